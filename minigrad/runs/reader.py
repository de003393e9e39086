"""Reading a run from its directory: NumPy only, also while the writer runs, and after it died."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.arrays import Array
from minigrad.errors import RunError
from minigrad.files import open_regular
from minigrad.runs.block import replay
from minigrad.runs.block_reader import BlockReader
from minigrad.runs.counts_reader import read_counts, with_counts
from minigrad.runs.file_block import FileBlock
from minigrad.runs.format import salt_of
from minigrad.runs.gap import Gap, joined
from minigrad.runs.kept_files import FileBatches, FileBuffers
from minigrad.runs.kept_steps import KeptSteps
from minigrad.runs.mapped_files import MappedFiles
from minigrad.runs.record import Record
from minigrad.runs.run_json import gaps_of, read_json, slots_of
from minigrad.runs.step_table import read_steps

_TRIES = 20  # how often a run is read that changes meanwhile
_EVERYTHING = slice(None)


def read_record(directory: Path) -> Record:
    """The record in a directory, as far as it is whole.

    Raises:
        RunError: There is no run, it is damaged beyond reading, or of a later version.
    """
    for attempt in range(_TRIES):
        before, description = _contents(directory), read_json(directory)
        try:
            record = _read(directory, description)
        except RunError:
            if attempt + 1 == _TRIES or _contents(directory) == before:
                raise
            continue  # a block was given up while it was read
        except (OSError, ValueError, ArithmeticError, LookupError, TypeError) as error:
            raise RunError(
                f"'{directory}' is damaged: {type(error).__name__}: {error}; the arrays in it can "
                f"still be read by numpy.load"
            ) from error
        if read_json(directory) == description:
            break
    return record


def _contents(directory: Path) -> list[bytes]:
    """The files that say which other files there are."""
    found = [b"", b""]
    for place, name in enumerate(("run.json", "blocks.npy")):
        with suppress(OSError, ValueError), open_regular(directory / name) as opened:
            found[place] = opened.read()
    return found


def _read(directory: Path, description: dict[str, Any]) -> Record:
    files, slots = MappedFiles(directory), slots_of(description)
    salt = salt_of(description["id"])
    dtype = np.dtype(description["dtype"])
    size = max(slot.slice.stop for slot in slots.values())
    # The writer publishes steps last: what they refer to is there for whoever reads them first. It
    # saves counts after the steps that they cover.
    counts = read_counts(directory, description["id"]) if description["aggregates"] else None
    table = read_steps(files, description["version"], salt)
    steps, said = table.rows["step"].copy(), gaps_of(description)
    reader = BlockReader(files, tuple(description["kinds"]), dtype, size, salt)
    blocks, initial, lost, problems = reader.read(table.rows, said)
    if not blocks:
        raise RunError(
            f"'{directory}' holds no keyframe that can be "
            f"read{': ' if problems else ''}{'; '.join(problems)}"
        )
    before = int(steps[0]) - 1 if len(steps) else blocks[0].first - 1
    last = int(steps[-1]) if len(steps) else before
    batches = FileBatches(files, table, salt)
    buffers = FileBuffers(files, table, salt, description["buffers"])
    found = [*problems, batches.problem, *buffers.problems]
    gaps = [*said, *lost]
    held = max((step for block in blocks for step in block.steps), default=before)
    if description["full"] and held < last:
        gaps.append(Gap(held + 1, last, "the budget was reached"))
    final_step, final = _final(blocks, last, before, initial, size, dtype)
    if initial is None and final_step == before:
        raise RunError(f"'{directory}' holds no values that can be read: {'; '.join(problems)}")
    closed = max((b.value_after for b in blocks if b.value_after is not None), default=before)
    record = Record(
        slots=slots,
        initial=np.full(size, np.nan, dtype) if initial is None else initial,
        final=final,
        final_step=final_step,
        blocks=tuple(blocks),
        kept=KeptSteps(
            steps=steps,
            lr=table.rows["lr"].copy(),
            loss=table.rows["loss"].copy(),
            clip_factor=table.rows["clip_factor"].copy(),
            indices=batches,
            buffers=buffers,
        ),
        gaps=tuple(
            joined(
                Gap(gap.first, min(gap.last, last), gap.why) for gap in gaps if gap.first <= last
            )
        ),
        notes=(*description["notes"], *(problem for problem in found if problem)),
        counts=None,
        counted=final,
        counted_step=final_step,
        replayed=final_step != closed,
        complete=description["complete"],
        bytes=size_of(directory),
        optimizer=description["optimizer"],
        initial_known=initial is not None,
    )
    if damage := table.damage or _end_is_missing(description, last):
        record = record.with_damage(damage)
    return record if counts is None else with_counts(record, *counts)


def _end_is_missing(description: dict[str, Any], last: int) -> str:
    """What is wrong where run.json tells of steps after the last one; empty if it does not."""
    sessions = description["sessions"]
    end = sessions[-1].get("last_step", last) if sessions and description["complete"] else last
    if end <= last or any(gap.first <= end <= gap.last for gap in gaps_of(description)):
        return ""
    return f"steps.npy holds no rows after step {last}, though run.json tells of step {end}"


def size_of(directory: Path) -> int:
    """How many bytes the arrays of a directory take, without those that are removed meanwhile."""
    size = 0
    for path in directory.rglob("*.np[yz]"):
        with suppress(OSError):
            size += path.stat().st_size
    return size


def _final(
    blocks: Sequence[FileBlock],
    last: int,
    before: int,
    initial: Array | None,
    size: int,
    dtype: np.dtype[Any],
) -> tuple[int, Array]:
    """The last step whose values are known exactly, and these values."""
    best, values = before, np.full(size, np.nan, dtype) if initial is None else initial
    for block in reversed(blocks):
        if "value" in block.rows and block.count and block.steps[-1] > best:
            sound = np.flatnonzero(block.sound(range(block.count)))
            if len(sound) and block.steps[sound[-1]] > best:
                best, values = block.steps[sound[-1]], block.rows["value"][sound[-1]].copy()
        if block.replayable and block.has_keyframe and block.first + block.replayable - 1 > best:
            leading = block.leading
            if block.first + leading - 1 > best:
                best, values = block.first + leading - 1, replay(block, leading, _EVERYTHING)
        if block.value_after is not None and block.value_after > best:
            best, values = block.value_after, replay(block, 0, _EVERYTHING)
        if best == last:
            break
    return best, values
