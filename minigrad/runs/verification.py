"""Whether a record holds what happened, and where two records part, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import numpy as np

from minigrad._printable import printable
from minigrad.arrays import Array
from minigrad.display.words import counted
from minigrad.errors import ModelError, RunError
from minigrad.runs.block import Block, replay
from minigrad.runs.counts_verification import first_misfit
from minigrad.runs.format import checksum
from minigrad.runs.record import Record

_EVERYTHING = slice(None)


@final
@dataclass(frozen=True)
class Difference:
    """Where two runs part.

    Attributes:
        step: The step; -1 means before the first one.
        name: The parameter.
        index: The entry.
        what: "update" or "value".
        here: What this run has there.
        there: What the other run has there.
    """

    step: int
    name: str
    index: tuple[int, ...]
    what: str
    here: float
    there: float


@final
@dataclass(frozen=True)
class Verification:
    """What replaying a run against its keyframes found.

    True if something was checked, and all of it held.

    Attributes:
        checked: How many steps were replayed and led to exactly the values that they should.
        unchecked: How many steps could not be: their updates are not held, or nothing that was
            stored by itself follows.
        keyframes: How many stored values were compared: keyframes, final values, and those that the
            counts belong to.
        mismatch: The first step, parameter and entry that does not hold; None if all do.
        damaged: The steps whose rows, batch indices or buffers are not what was written: they are
            missing, or their checksum differs.
        what: What does not hold there: the "value", or the "counts", which do not fit the rows
            and values up to that step.
    """

    checked: int
    unchecked: int
    keyframes: int
    mismatch: tuple[int, str, tuple[int, ...]] | None
    damaged: tuple[int, ...] = ()
    what: Literal["value", "counts"] = "value"

    def __bool__(self) -> bool:
        return self.checked > 0 and self.mismatch is None and not self.damaged

    def __str__(self) -> str:
        text = (
            f"{counted(self.checked, 'step')} replayed exactly, to "
            f"{counted(self.keyframes, 'keyframe')}; {self.unchecked:,} not checked"
        )
        if self.damaged:
            which = ", ".join(str(step) for step in self.damaged[:5])
            which += ", ..." if len(self.damaged) > 5 else ""
            text += (
                f"; the stored rows, batches or buffers of {counted(len(self.damaged), 'step')} "
                f"are damaged: {which}"
            )
        if self.mismatch is None:
            return text
        step, name, index = self.mismatch
        entry = f"{printable(name)}{list(index)}"
        if self.what == "counts":
            return f"{text}; the counts of {entry} do not fit the rows and values up to step {step}"
        return f"{text}; the replay up to step {step} does not give the recorded {entry}"


def verify(record: Record) -> Verification:
    """Replay all updates, compare with every value stored by itself, and check every checksum."""
    # What reads the values, not the values: all keyframes of a long run exceed the memory.
    stored: dict[int, Callable[[], Array]] = {
        block.value_after: partial(replay, block, 0, _EVERYTHING)
        for block in record.blocks
        if block.value_after is not None
    }
    if record.counts is not None:
        stored.setdefault(record.counted_step, lambda: record.counted)
    if not record.replayed:
        stored.setdefault(record.final_step, lambda: record.final)
    checked = compared = 0
    mismatch: tuple[int, str, tuple[int, ...]] | None = None
    for block in record.blocks:
        ends = (
            [step for step in block.steps[: block.replayable] if step in stored]
            if block.has_keyframe
            else []
        )
        if not ends:
            continue
        compared += 1
        count = block.steps.index(ends[-1]) + 1
        entry = first_different(replay(block, count, _EVERYTHING), stored[ends[-1]]())
        if entry is None:
            checked += count
        elif mismatch is None:
            mismatch = (ends[-1], *_place(record, entry))
    damaged = {step for block in record.blocks for step in _damaged(block)}
    damaged.update(_damaged_facts(record))
    what: Literal["value", "counts"] = "value"
    if mismatch is None and (misfit := first_misfit(record)) is not None:
        what, mismatch = "counts", (record.counted_step, *_place(record, misfit))
    unchecked = len(record.kept.steps) - checked
    return Verification(checked, unchecked, compared, mismatch, tuple(sorted(damaged)), what)


def _damaged_facts(record: Record) -> Iterator[int]:
    """The steps whose batch indices or buffers are not what was written."""
    for place, step in enumerate(record.kept.steps.tolist()):
        try:
            record.kept.indices[place], record.kept.buffers[place]
        except RunError:
            yield step


def _damaged(block: Block) -> Iterator[int]:
    """The steps of a block whose rows do not have the checksum that they were written with."""
    if block.sums is not None:
        tensors = list(block.rows.values())
        for row, (step, written) in enumerate(zip(block.steps, block.sums.tolist(), strict=True)):
            if checksum((rows[row] for rows in tensors), block.salt) != written:
                yield step


def first_difference(ours: Record, theirs: Record) -> Difference | None:
    """The first step, parameter and entry in which two records part; None if they never do.

    Where both hold a step's updates these are compared, as they are stored; otherwise the values,
    where both know them exactly.

    Raises:
        ModelError: The records are of different parameters.
        RunError: What is needed for a value is damaged.
    """
    if {name: slot.shape for name, slot in ours.slots.items()} != {
        name: slot.shape for name, slot in theirs.slots.items()
    }:
        raise ModelError(
            f"the runs are of different parameters: {', '.join(ours.slots)} and "
            f"{', '.join(theirs.slots)}"
        )
    if ours.final.dtype != theirs.final.dtype:
        raise ModelError(
            f"the runs have different dtypes: {ours.final.dtype} and {theirs.final.dtype}"
        )
    for step, what, here, there in _pairs(ours, theirs):
        entry = first_different(here, there)
        if entry is not None:
            name, index = _place(ours, entry)
            return Difference(step, name, index, what, float(here[entry]), float(there[entry]))
    return None


def _pairs(ours: Record, theirs: Record) -> Iterator[tuple[int, str, Array, Array]]:
    """(step, "update" or "value", in our record, in theirs) of all that both know, in order."""
    if ours.initial_known and theirs.initial_known:
        yield -1, "value", ours.initial, theirs.initial
    our_rows, their_rows = _rows_by_step(ours), _rows_by_step(theirs)
    exact = set(ours.exact_steps.tolist()) & set(theirs.exact_steps.tolist())
    written = {block.first for record in (ours, theirs) for block in record.blocks if block.foreign}
    for step in sorted((our_rows.keys() & their_rows.keys()) | exact):
        if step in written and step - 1 in exact:
            before = [record.values_before(step, _EVERYTHING) for record in (ours, theirs)]
            yield step, "value", before[0], before[1]
        if step in our_rows and step in their_rows:
            yield step, "update", our_rows[step], their_rows[step]
        else:
            after = [record.values(step, _EVERYTHING) for record in (ours, theirs)]
            yield step, "value", after[0], after[1]
    our_steps, their_steps = ours.kept.steps, theirs.kept.steps
    if len(our_steps) and len(their_steps) and our_steps[-1] == their_steps[-1]:
        yield int(our_steps[-1]), "value", ours.final, theirs.final


def _rows_by_step(record: Record) -> dict[int, Array]:
    found: dict[int, Array] = {}
    for block, rows in record.rows("update"):
        found.update(zip(block.steps, rows, strict=True))
    return found


def first_different(a: Array, b: Array) -> int | None:
    """The first entry whose bits differ, if any: -0.0 is not 0.0, but all NaNs are the same."""
    bits = f"u{a.itemsize}"
    different = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    places = np.flatnonzero(different & ~(np.isnan(a) & np.isnan(b)))
    return int(places[0]) if len(places) else None


def _place(record: Record, flat: int) -> tuple[str, tuple[int, ...]]:
    """The parameter and index of an entry of the flat arrays."""
    for name, (part, shape) in record.slots.items():
        if part.start <= flat < part.stop:
            return name, tuple(int(i) for i in np.unravel_index(flat - part.start, shape))
    raise AssertionError("every entry belongs to a parameter")
