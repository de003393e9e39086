"""Reading a run from its directory: NumPy only, also while the writer runs, and after it died."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.errors import RunError
from minigrad.parameters.vector import Slot
from minigrad.runs.block import replay
from minigrad.runs.counts import Counts
from minigrad.runs.counts_file import unpacked
from minigrad.runs.file_block import FileBlock, keyframe_of
from minigrad.runs.format import (
    BLOCK,
    FOLDERS,
    STEP,
    checksum_of_block,
    checksums_of_steps,
    file_of,
    salt_of,
)
from minigrad.runs.gap import Gap, joined
from minigrad.runs.kept_steps import Batches, Buffers, KeptSteps, Stretch
from minigrad.runs.mapped_files import MappedFiles
from minigrad.runs.record import Record
from minigrad.runs.run_json import read_json, slots_of

_TRIES = 20  # how often a run is read that changes meanwhile


def read_record(directory: Path) -> Record:
    """The record in a directory, as far as it is whole.

    Raises:
        RunError: There is no run, it is damaged beyond reading, or of a later version.
    """
    for attempt in range(_TRIES):
        before, description = _contents(directory), read_json(directory)
        try:
            record = _read(directory, description)
        except (KeyError, TypeError, ValueError, OverflowError, IndexError) as error:
            raise RunError(
                f"'{directory / 'run.json'}' is damaged: {type(error).__name__}: {error}"
            ) from error
        except RunError:
            if attempt + 1 == _TRIES or _contents(directory) == before:
                raise
            continue  # a block was given up while it was read
        if read_json(directory) == description:
            break
    return record


def _contents(directory: Path) -> list[bytes]:
    """The files that say which other files there are."""
    paths = (directory / "run.json", directory / "blocks.npy")
    return [path.read_bytes() if path.is_file() else b"" for path in paths]


def _read(directory: Path, description: dict[str, Any]) -> Record:
    files, slots = MappedFiles(directory), slots_of(description)
    salt = salt_of(description.get("id", ""))
    dtype = np.dtype(description["dtype"])
    size = max((slot.slice.stop for slot in slots.values()), default=0)
    problems: list[str] = []
    # The writer publishes steps last: what they refer to is there for whoever reads them first.
    counts, values, counted_step = _counts(directory, slots, size, problems)
    steps, table = files.table("steps.npy", STEP), files.table("blocks.npy", BLOCK)
    _check(directory, dtype, steps, salt)
    notes = [*description["notes"], *problems]
    gaps = [Gap(*gap) for gap in description["gaps"]]
    before = (int(table["first"][0]) if len(table) else 0) - 1
    last = int(steps["step"][-1]) if len(steps) else before
    blocks = _blocks(files, table, steps, last, tuple(description["kinds"]), dtype, size)
    blocks = _whole(files, blocks, gaps, notes, dtype, size, salt)
    if not blocks:
        raise RunError(
            f"'{directory}' holds no keyframe that can be "
            f"read{': ' if notes else ''}{'; '.join(notes)}"
        )
    initial = keyframe_of(files, int(table["number"][0]), dtype, size)
    kept = KeptSteps(
        steps=steps["step"].copy(),
        lr=steps["lr"].copy(),
        loss=steps["loss"].copy(),
        clip_factor=steps["clip_factor"].copy(),
        indices=_batches(files, steps, notes),
        buffers=_buffers(files, description["buffers"], len(steps), notes),
    )
    held = max((step for block in blocks for step in block.steps), default=before)
    if description["full"] and held < last:
        gaps.append(Gap(held + 1, last, "the budget was reached"))
    final_step, final = _final(blocks, last, before, initial)
    closed = max((b.value_after for b in blocks if b.value_after is not None), default=before)
    if counts is not None and values is not None and final_step < counted_step <= last:
        final_step, final = counted_step, values
    gaps = [Gap(gap.first, min(gap.last, last), gap.why) for gap in gaps if gap.first <= last]
    if counts is not None and counted_step < last and not description["complete"]:
        notes.append(
            f"entries are counted up to step {counted_step} of {last}: the writer was cut off, or "
            f"is still writing"
        )
    return Record(
        slots=slots,
        initial=initial,
        final=final,
        final_step=final_step,
        blocks=tuple(blocks),
        kept=kept,
        gaps=tuple(joined(gaps)),
        notes=tuple(notes),
        counts=counts,
        counted=final if values is None else values,
        counted_step=final_step if values is None else counted_step,
        replayed=final_step != closed,
        complete=bool(description["complete"]),
        bytes=size_of(directory),
        optimizer=str(description["optimizer"]),
    )


def _check(directory: Path, dtype: np.dtype[Any], steps: npt.NDArray[Any], salt: int) -> None:
    """Make sure that run.json and steps.npy are as minigrad wrote them."""
    if dtype.name not in ("float32", "float64"):
        raise RunError(
            f"'{directory / 'run.json'}' gives the dtype {dtype.name}, expected float32 or "
            f"float64: it is not as minigrad wrote it; put a copy of the original there"
        )
    if (np.diff(steps["step"]) <= 0).any() or (np.diff(steps["indices_end"]) < 0).any():
        raise RunError(f"'{directory / 'steps.npy'}' is damaged: its rows are not in order")
    if (steps["row_crc32"] != checksums_of_steps(steps, salt)).any():
        raise RunError(f"'{directory / 'steps.npy'}' is damaged: the checksum of a row differs")


def _blocks(
    files: MappedFiles,
    table: npt.NDArray[Any],
    steps: npt.NDArray[Any],
    last: int,
    kinds: tuple[str, ...],
    dtype: np.dtype[Any],
    size: int,
) -> list[FileBlock]:
    """The blocks of the table, with the steps whose rows they hold."""
    blocks: list[FileBlock] = []
    # A block may be there before the steps that lead to it are published.
    for row in table[table["first"] <= last + 1]:
        block = FileBlock(files, row, kinds, dtype, size)
        rows = steps[steps["segment"] == block.number] if row["has_rows"] else steps[:0]
        block.steps.extend(rows["step"].tolist())
        block.sums = rows["crc32"].copy()
        blocks.append(block)
    return blocks


def _whole(
    files: MappedFiles,
    blocks: Sequence[FileBlock],
    gaps: list[Gap],
    notes: list[str],
    dtype: np.dtype[Any],
    size: int,
    salt: int,
) -> list[FileBlock]:
    """The blocks whose files are there and whole; the others become gaps."""
    whole: list[FileBlock] = []
    for block in blocks:
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
            if (problem := files.problem(file, dtype, shape))
        ]
        if (
            not problems
            and checksum_of_block(block.row, block.keyframe, salt) != block.row["crc32"]
        ):
            keyframe = f"{file_of('keyframes', block.number)} and " if block.has_keyframe else ""
            problems = [f"{keyframe}its row of blocks.npy are damaged: their checksum differs"]
        block.salt = salt
        if not problems:
            whole.append(block)
            continue
        notes.extend(problems)
        if block.count:
            gaps.append(Gap(block.steps[0], block.steps[-1], problems[0]))
    return whole


def size_of(directory: Path) -> int:
    """How many bytes the arrays of a directory take, without those that are removed meanwhile."""
    size = 0
    for path in directory.rglob("*.np[yz]"):
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def _batches(files: MappedFiles, steps: npt.NDArray[Any], notes: list[str]) -> Batches:
    count, known = int(steps["indices_end"][-1]) if len(steps) else 0, steps["has_indices"]
    try:
        flat = files.rows("indices.npy", np.dtype(np.int32), (count,))
    except RunError as error:
        notes.append(f"the rows of the batches are not known: {error}")
        flat, known = np.empty(0, np.int32), np.zeros(len(steps), bool)
    return Batches(flat, steps["indices_end"], known)


def _buffers(
    files: MappedFiles, described: list[dict[str, Any]], count: int, notes: list[str]
) -> Buffers:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for number, buffer in enumerate(described):
        try:
            shape = (count, *buffer["shape"])
            arrays[buffer["name"]] = files.rows(
                file_of("buffers", number), np.dtype(buffer["dtype"]), shape
            )
        except RunError as error:
            notes.append(f"{buffer['name']} is not known: {error}")
    return Buffers([Stretch(0, arrays)], count)


def _final(
    blocks: Sequence[FileBlock], last: int, before: int, initial: Array
) -> tuple[int, Array]:
    """The last step whose values are known exactly, and these values."""
    best, values = before, initial
    for block in reversed(blocks):
        if "value" in block.rows and block.count and block.steps[-1] > best:
            best, values = block.steps[-1], block.rows["value"][block.count - 1].copy()
        replayed = block.first + block.replayable - 1
        if block.replayable and block.has_keyframe and replayed > best:
            best, values = replayed, replay(block, block.replayable, slice(None))
        if block.value_after is not None and block.value_after > best:
            best, values = block.value_after, replay(block, 0, slice(None))
        if best == last:
            break
    return best, values


def _counts(
    directory: Path, slots: dict[str, Slot], size: int, notes: list[str]
) -> tuple[Counts | None, Array | None, int]:
    """The counts, the values that they belong to, and the last step that they cover."""
    path = directory / "aggregates.npz"
    if not path.is_file():
        return None, None, -1
    try:
        counts, values, counted_step = unpacked(path)
        if any(len(array) != size for array in (values, counts.moves)) or set(counts.frozen) != set(
            slots
        ):
            raise RunError("it is of other parameters")
        return counts, values, counted_step
    except Exception as error:  # noqa: BLE001 - whatever NumPy and JSON make of damage
        notes.append(
            f"aggregates.npz is damaged ({type(error).__name__}: {error}), so nothing is known of "
            f"the entries' counts"
        )
        return None, None, -1
