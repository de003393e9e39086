"""Reading a run from its directory: NumPy only, also while the writer runs, and after it died."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array
from minigrad.errors import RunError, UnknownNameError
from minigrad.parameters.vector import Slot
from minigrad.runs.blocks import BatchRows, Block, Gap, Meta, PerStep, joined, replay
from minigrad.runs.counts import Tally
from minigrad.runs.format import (
    BLOCK,
    FOLDERS,
    STEP,
    checksum_of_block,
    file_of,
    read_json,
    slots_of,
    sums_of,
    unpacked,
)
from minigrad.runs.mapped_files import MappedFiles
from minigrad.runs.record import Record

_TRIES = 20  # how often a run is read that changes meanwhile


@final
class _Rows(Mapping[str, Array]):
    """The rows of a block, by kind."""

    def __init__(
        self,
        files: MappedFiles,
        number: int,
        kinds: tuple[str, ...],
        dtype: np.dtype[Any],
        size: int,
    ) -> None:
        self._files = files
        self._number = number
        self._kinds = kinds
        self._dtype = dtype
        self._size = size
        self.count = 0

    @override
    def __getitem__(self, kind: str) -> Array:
        if kind not in self._kinds:
            raise UnknownNameError(f"this block has no {kind} rows")
        return self._files.rows(
            file_of(FOLDERS[kind], self._number), self._dtype, (self.count, self._size)
        )

    @override
    def __contains__(self, kind: object) -> bool:
        return kind in self._kinds  # without opening a file

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    @override
    def __len__(self) -> int:
        return len(self._kinds)


@final
class FileBlock(Block):
    """A block whose keyframe and rows lie in files.

    Args:
        files: The directory's arrays.
        number: The block's number.
        row: Its row of blocks.npy.
        kinds: The kinds of tensors whose rows it has.
        dtype: Their dtype.
        size: The number of entries in a row.
    """

    def __init__(
        self,
        files: MappedFiles,
        number: int,
        row: Any,
        kinds: tuple[str, ...],
        dtype: np.dtype[Any],
        size: int,
    ) -> None:
        self.number: int = number
        self.told: Any = row
        self.crc32: int = int(row["crc32"])
        self._own = _Rows(files, number, kinds if row["has_rows"] else (), dtype, size)
        super().__init__(
            int(row["first"]),
            partial(_keyframe, files, number, dtype, size) if row["has_keyframe"] else None,
            rows=self._own,
            foreign=bool(row["foreign"]),
        )

    @override
    def counted(self, step: int) -> None:
        """Note that the row of this step is filled."""
        super().counted(step)
        self._own.count = self.count

    @override
    def without_rows(self) -> FileBlock:
        """The keyframe alone."""
        block = FileBlock.__new__(FileBlock)
        Block.__init__(block, self.first, self._keyframe, foreign=self.foreign)
        block.number, block.crc32, block.told = self.number, self.crc32, self.told
        return block


def described(blocks: Sequence[Block]) -> npt.NDArray[Any]:
    """Blocks as rows of blocks.npy."""
    rows = [
        (
            block.number,
            block.first,
            block.has_keyframe,
            bool(block.rows),
            block.foreign,
            block.crc32,
        )
        for block in blocks
        if isinstance(block, FileBlock)
    ]
    return np.array(rows, BLOCK)


def _keyframe(files: MappedFiles, number: int, dtype: np.dtype[Any], size: int) -> Array:
    values: Array = files.rows(file_of("keyframes", number), dtype, (1, size))[0]
    return values


@final
class _Buffers(PerStep[Mapping[str, npt.NDArray[Any]]]):
    """The layers' state that is not learnt after each step, by name."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], count: int) -> None:
        self._arrays = arrays
        self._count = count

    @override
    def __len__(self) -> int:
        return self._count

    @override
    def _at(self, place: int) -> Mapping[str, npt.NDArray[Any]]:
        return {name: rows[place] for name, rows in self._arrays.items()}


def read_record(directory: Path) -> Record:
    """The record in a directory, as far as it is whole.

    Raises:
        RunError: There is no run, it is damaged beyond reading, or of a later version.
    """
    for attempt in range(_TRIES):
        before, told = _tables(directory), read_json(directory)
        try:
            record = _read(directory, told)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            raise RunError(
                f"'{directory / 'run.json'}' is damaged: {type(error).__name__}: {error}"
            ) from error
        except RunError:
            if attempt + 1 == _TRIES or _tables(directory) == before:
                raise
            continue  # a block was given up while it was read
        if read_json(directory) == told:
            break
    return record


def _tables(directory: Path) -> list[bytes]:
    """What says which files there are."""
    paths = (directory / "run.json", directory / "blocks.npy")
    return [path.read_bytes() if path.is_file() else b"" for path in paths]


def _read(directory: Path, told: dict[str, Any]) -> Record:
    files, slots, dtype = MappedFiles(directory), slots_of(told), np.dtype(told["dtype"])
    size = max((slot.slice.stop for slot in slots.values()), default=0)
    # The writer tells of steps last, so whatever they refer to is there when it is read after them.
    notes: list[str] = []
    tally, values, counted_to = _counts(directory, slots, size, notes)
    steps = files.table("steps.npy", STEP)
    table = files.table("blocks.npy", BLOCK)
    if dtype.name not in ("float32", "float64"):
        raise RunError(
            f"'{directory / 'run.json'}' gives the dtype {dtype.name}, expected float32 or "
            f"float64: it is not as minigrad wrote it; put a copy of the original there"
        )
    if (np.diff(steps["step"]) <= 0).any() or (np.diff(steps["indices_end"]) < 0).any():
        raise RunError(f"'{directory / 'steps.npy'}' is damaged: its rows are not in order")
    if (steps["row_crc32"] != sums_of(steps)).any():
        raise RunError(f"'{directory / 'steps.npy'}' is damaged: the checksum of a row differs")
    notes = [*told["notes"], *notes]
    gaps = [Gap(*gap) for gap in told["gaps"]]
    initial_step = int(table["first"][0]) if len(table) else 0
    last = int(steps["step"][-1]) if len(steps) else initial_step - 1
    blocks: list[FileBlock] = []
    for row in table[
        table["first"] <= last + 1
    ]:  # a block may be there before the steps that lead to it are told of
        block = FileBlock(files, int(row["number"]), row, tuple(told["kinds"]), dtype, size)
        blocks.append(block)
        rows = steps[steps["segment"] == block.number] if row["has_rows"] else steps[:0]
        for step in rows["step"].tolist():
            block.counted(step)
        block.sums = rows["crc32"].copy()
    blocks = _whole(files, blocks, gaps, notes, dtype, size)
    if not blocks:
        raise RunError(
            f"'{directory}' holds no keyframe that can be "
            f"read{': ' if notes else ''}{'; '.join(notes)}"
        )
    initial = files.rows(file_of("keyframes", int(table["number"][0])), dtype, (1, size))[0]
    meta = Meta(
        steps=steps["step"].copy(),
        lr=steps["lr"].copy(),
        loss=steps["loss"].copy(),
        clip_factor=steps["clip_factor"].copy(),
        indices=_batches(files, steps, notes),
        buffers=_buffers(files, told["buffers"], len(steps), notes),
    )
    held = max((step for block in blocks for step in block.steps), default=initial_step - 1)
    if told["full"] and held < last:
        gaps.append(Gap(held + 1, last, "the budget was reached"))
    final_step, final_ = _final(blocks, last, initial_step - 1, initial)
    closed = max(
        (b.value_after for b in blocks if b.value_after is not None), default=initial_step - 1
    )
    if tally is not None and values is not None and final_step < counted_to <= last:
        final_step, final_ = counted_to, values
    gaps = [Gap(gap.first, min(gap.last, last), gap.why) for gap in gaps if gap.first <= last]
    if tally is not None and counted_to < last and not told["complete"]:
        notes.append(
            f"entries are counted up to step {counted_to} of {last}: the writer was cut off, or is "
            f"still writing"
        )
    return Record(
        slots=slots,
        initial=initial,
        final=final_,
        final_step=final_step,
        blocks=tuple(blocks),
        meta=meta,
        gaps=tuple(joined(gaps)),
        notes=tuple(notes),
        tally=tally,
        counted=final_ if values is None else values,
        counted_step=final_step if values is None else counted_to,
        replayed=final_step != closed,
        complete=bool(told["complete"]),
        bytes=size_of(directory),
        optimizer=str(told["optimizer"]),
    )


def _whole(
    files: MappedFiles,
    blocks: list[FileBlock],
    gaps: list[Gap],
    notes: list[str],
    dtype: np.dtype[Any],
    size: int,
) -> list[FileBlock]:
    """The blocks whose files are there and whole; what is not becomes a gap."""
    found: list[FileBlock] = []
    for block in blocks:
        wanted = [
            (file_of(FOLDERS[kind], block.number), (block.count, size))
            for kind in block.rows
            if block.count
        ]
        if block.has_keyframe:
            wanted.append((file_of("keyframes", block.number), (1, size)))
        problems = [
            f"{file} {problem}"
            for file, shape in wanted
            if (problem := files.problem(file, dtype, shape))
        ]
        if not problems and checksum_of_block(block.told, block.keyframe) != block.crc32:
            named = f"{file_of('keyframes', block.number)} and " if block.has_keyframe else ""
            problems = [f"{named}its row of blocks.npy are damaged: their checksum differs"]
        if not problems:
            found.append(block)
            continue
        notes.extend(problems)
        if block.count:
            gaps.append(Gap(block.steps[0], block.steps[-1], problems[0]))
    return found


def size_of(directory: Path) -> int:
    """How many bytes the arrays of a directory take; one that is just given up takes none."""
    found = 0
    for path in directory.rglob("*.np[yz]"):
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


def _batches(files: MappedFiles, steps: npt.NDArray[Any], notes: list[str]) -> BatchRows:
    count, known = int(steps["indices_end"][-1]) if len(steps) else 0, steps["has_indices"]
    try:
        flat = files.rows("indices.npy", np.dtype(np.int32), (count,))
    except RunError as error:
        notes.append(f"the rows of the batches are not known: {error}")
        flat, known = np.empty(0, np.int32), np.zeros(len(steps), bool)
    return BatchRows(flat, steps["indices_end"], known)


def _buffers(
    files: MappedFiles, described: list[dict[str, Any]], count: int, notes: list[str]
) -> _Buffers:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, buffer in enumerate(described):
        try:
            shape = (count, *buffer["shape"])
            arrays[buffer["name"]] = files.rows(
                file_of("buffers", number), np.dtype(buffer["dtype"]), shape
            )
        except RunError as error:
            notes.append(f"{buffer['name']} is not known: {error}")
    return _Buffers(arrays, count)


def _final(blocks: list[FileBlock], last: int, before: int, initial: Array) -> tuple[int, Array]:
    """The last step whose values are known exactly, and these values."""
    best, values = before, initial
    for block in reversed(blocks):
        if "value" in block.rows and block.count and block.steps[-1] > best:
            best, values = block.steps[-1], block.rows["value"][block.count - 1].copy()
        if block.replayable and block.has_keyframe and block.first + block.replayable - 1 > best:
            best, values = (
                block.first + block.replayable - 1,
                replay(block, block.replayable, slice(None)),
            )
        if block.value_after is not None and block.value_after > best:
            best, values = block.value_after, replay(block, 0, slice(None))
        if best == last:
            break
    return best, values


def _counts(
    directory: Path, slots: dict[str, Slot], size: int, notes: list[str]
) -> tuple[Tally | None, Array | None, int]:
    path = directory / "aggregates.npz"
    if not path.is_file():
        return None, None, -1
    try:
        tally, values, counted_to = unpacked(path)
        if any(len(array) != size for array in (values, tally.moves)) or set(tally.frozen) != set(
            slots
        ):
            raise RunError("it is of other parameters")
        return tally, values, counted_to
    except Exception as error:
        notes.append(
            f"aggregates.npz is damaged ({type(error).__name__}: {error}), so nothing is known of "
            f"the entries' counts"
        )
        return None, None, -1
