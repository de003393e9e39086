"""`BlockReader`: the blocks of a run's directory that are whole, and what became of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.errors import RunError
from minigrad.runs.file_block import FileBlock
from minigrad.runs.format import BLOCK, FOLDERS, checksum_of_block, file_of
from minigrad.runs.gap import Gap
from minigrad.runs.mapped_files import MappedFiles

_MOST = 2**62  # no step and no number is beyond


class ReadBlocks(NamedTuple):
    """The blocks of a run, as far as they are whole.

    Attributes:
        blocks: Those that are whole.
        initial: All values before the first step; None where their keyframe is damaged.
        gaps: The steps of blocks that are not.
        notes: What is wrong with these, in sentences.
    """

    blocks: list[FileBlock]
    initial: Array | None
    gaps: list[Gap]
    notes: list[str]


@final
class BlockReader:
    """Reads blocks.npy, and looks at the files that it speaks of.

    Args:
        files: The directory's arrays.
        kinds: The kinds of tensors that the run keeps of a step.
        dtype: Their dtype.
        size: The number of entries in a row.
        salt: What the run's checksums begin with.

    Raises:
        RunError: blocks.npy is missing, or its header damaged.
    """

    def __init__(
        self, files: MappedFiles, kinds: tuple[str, ...], dtype: np.dtype[Any], size: int, salt: int
    ) -> None:
        self._files = files
        self._about = kinds, dtype, size
        self._salt = salt
        self._table, problem = files.prefix("blocks.npy", BLOCK)
        self._problem = f"blocks.npy {problem}" if problem else ""

    def read(self, steps: npt.NDArray[Any], known: Sequence[Gap]) -> ReadBlocks:
        """The blocks with the steps whose rows they hold.

        Args:
            steps: The rows of steps.npy.
            known: The gaps that the writer tells of.
        """
        found = ReadBlocks([], None, [], [self._problem] if self._problem else [])
        if not len(self._table):
            return found
        start = int(steps["step"][0]) if len(steps) else int(self._table["first"][0])
        last = int(steps["step"][-1]) if len(steps) else start - 1
        listed: set[int] = set()  # the numbers of blocks that are whole, or said to be damaged
        for place, row in enumerate(self._table):
            # A block may be there before the steps that lead to it are published.
            if row["first"] > last + 1:
                continue
            block = self._block(row, steps)
            before = found.blocks[-1] if found.blocks else None
            if problems := self._problems(block, before, place):
                found.notes.extend(problems)
                if block.count and block.number not in listed:
                    found.gaps.append(Gap(block.steps[0], block.steps[-1], problems[0]))
            else:
                found.blocks.append(block)
            listed.add(block.number)
        for gap in reversed(known):  # the first steps may not be recorded
            start = gap.first if gap.first < start <= gap.last + 1 else start
        initial = self._initial(found.blocks, start)
        if initial is None and not len(steps):
            return found._replace(blocks=[])
        return self._with_lost(found._replace(initial=initial), steps, known)

    def _initial(self, blocks: Sequence[FileBlock], start: int) -> Array | None:
        """The values before the first step; None where their keyframe is damaged."""
        for block in blocks:
            is_first = block.number == int(self._table["number"][0])
            if block.has_keyframe and block.first == start and (is_first or not block.foreign):
                return block.keyframe
        return None

    def _block(self, row: Any, steps: npt.NDArray[Any]) -> FileBlock:
        kinds, dtype, size = self._about
        block = FileBlock(self._files, row, kinds, dtype, size)
        rows = steps[steps["segment"] == block.number] if row["has_rows"] else steps[:0]
        block.steps.extend(rows["step"].tolist())
        block.sums, block.salt = rows["crc32"].copy(), self._salt
        return block

    def _problems(self, block: FileBlock, before: FileBlock | None, place: int) -> list[str]:
        """What is wrong with a block and its files, in sentences."""
        _, dtype, size = self._about
        row = f"row {place} of blocks.npy"
        if (
            not 0 <= block.number < _MOST
            or not 0 <= block.first < _MOST
            or (block.count and block.steps[0] < block.first)
            or (
                before is not None
                and (
                    block.number <= before.number
                    or block.first < before.first
                    or (before.count and before.steps[-1] >= block.first)
                )
            )
        ):
            return [f"{row} is damaged: it is out of order"]
        expected = [
            (file_of(FOLDERS[kind], block.number), (block.count, size))
            for kind in block.rows
            if block.count
        ]
        if block.has_keyframe:
            expected.append((file_of("keyframes", block.number), (1, size)))
        problems = [
            f"{file} {problem}"
            for file, shape in expected
            if (problem := self._files.problem(file, dtype, shape))
        ]
        if problems:
            return problems
        try:
            whole = checksum_of_block(block.row, block.keyframe, self._salt) == block.row["crc32"]
        except RunError as error:
            return [str(error)]
        keyframe = f"{file_of('keyframes', block.number)} and " if block.has_keyframe else ""
        return (
            []
            if whole
            else [f"{keyframe}its row of blocks.npy are damaged: their checksum differs"]
        )

    def _with_lost(
        self, found: ReadBlocks, steps: npt.NDArray[Any], known: Sequence[Gap]
    ) -> ReadBlocks:
        """With a gap where steps have rows in blocks that the table does not have."""
        held = {step for block in found.blocks for step in block.steps}
        lost = steps["step"][steps["segment"] >= 0]
        for gap in (*known, *found.gaps):
            lost = lost[(lost < gap.first) | (lost > gap.last)]
        missing = [step for step in lost.tolist() if step not in held]
        if missing:
            why = "blocks.npy is damaged: it does not hold the block of their rows"
            found.notes.append(f"{why}: steps {missing[0]} to {missing[-1]}")
            found.gaps.extend(Gap(step, step, why) for step in missing)
        return found
