"""Whether what aggregates.npz says can be true of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Integers
from minigrad.parameters.vector import Slot
from minigrad.runs.activity import Activity
from minigrad.runs.counts import Counts
from minigrad.runs.counts_file import CountsFile
from minigrad.runs.notes import written_by_others
from minigrad.runs.record import Record

_INT64 = np.dtype(np.int64)


def problem_of(found: CountsFile, record: Record) -> str:
    """What cannot be true, in words; empty if all can.

    Args:
        found: What aggregates.npz says.
        record: The record, without counts.
    """
    return next(_problems(found, record), "")


def _problems(found: CountsFile, record: Record) -> Iterator[str]:
    slots, size, dtype = record.slots, record.final.size, record.final.dtype
    steps = record.kept.steps[record.kept.steps <= found.last_step]
    counts = found.counts
    flat = counts.grads, counts.updates, counts.moves, counts.first_move, counts.last_move
    if not all(_is(array, _INT64, (size,)) for array in flat) or not (
        _is(counts.movement, np.dtype(np.float64), (size,)) and _is(found.values, dtype, (size,))
    ):
        yield "it is of other parameters"
        return
    totals = counts.steps, counts.recounted, counts.uncounted
    if not all(_is_count(total) for total in totals) or not _adds_up(counts, len(steps)):
        yield f"it tells of {totals} steps, and the run has {len(steps):,} up to there"
        return
    if not all(isinstance(of_each, dict) for of_each in (counts.frozen, counts.unreached)) or not (
        counts.frozen.keys() == counts.unreached.keys() == slots.keys()
    ):
        yield "it is of other parameters"
        return
    for name in slots:
        frozen, unreached = counts.frozen[name], counts.unreached[name]
        if not (_is_count(frozen) and _is_count(unreached) and frozen + unreached <= counts.steps):
            yield f"'{name}' was not frozen in {frozen} and unreached in {unreached} steps"
            return
    yield from _problems_of_entries(counts, record, steps)
    yield from _problems_of_frozen_entries(counts, slots)
    for name, activity in counts.activity.items():
        if name not in slots or not _fits(activity, slots[name]):
            yield f"the activity of '{name}' makes no sense"
    if not all(name in slots and isinstance(why, str) for name, why in counts.unexplained.items()):
        yield "what it does not explain makes no sense"


def _adds_up(counts: Counts, steps: int) -> bool:
    """Whether the counts are of so many steps."""
    # An earlier minigrad took steps that were not recorded for some whose counts were lost.
    return counts.seen <= steps <= counts.seen + counts.uncounted and (
        counts.uncounted > 0 or counts.seen == steps
    )


def _problems_of_entries(counts: Counts, record: Record, steps: Integers) -> Iterator[str]:
    """What cannot be true of an entry."""
    first, last, moves = counts.first_move, counts.last_move, counts.moves
    moved = moves > 0
    if (counts.grads < 0).any() or (counts.grads > counts.steps).any():
        yield "a gradient was not 0 in more steps than there are"
    if any((array < 0).any() or (array > counts.seen).any() for array in (counts.updates, moves)):
        yield "an update was not 0 in more steps than there are"
    if ((first >= 0) != moved).any() or ((last >= 0) != moved).any():
        yield "an entry moved, and in no step; or the other way round"
    in_run = np.append(steps, -1)
    if not np.isin(first, in_run).all() or not np.isin(last, in_run).all():
        yield "an entry moved in a step that the run does not have"
    span = np.searchsorted(steps, last) - np.searchsorted(steps, first) + 1
    if (span[moved] < moves[moved]).any() or ((first == last) != (moves <= 1)).any():
        yield "an entry moved more often than from its first move to its last"
    # A NaN fails both.
    if not (counts.movement >= 0).all() or (counts.movement[~moved] != 0).any():
        yield "an entry did not move by as much as it says"
    for name, (part, _) in record.slots.items():
        # Where somebody else has written into it, it may have moved without an update.
        if (moves[part] > counts.updates[part]).any() and not written_by_others(record.notes, name):
            yield f"an entry of '{name}' moved in more steps than its update was not 0"


def _problems_of_frozen_entries(counts: Counts, slots: Mapping[str, Slot]) -> Iterator[str]:
    """What cannot be true of parameters of which some entries were frozen."""
    for name, alone in counts.frozen_entries.items():
        if name not in slots:
            yield f"it tells of entries of '{name}', which the run does not have"
            return
        part = slots[name].slice
        if not _is(alone, _INT64, (part.stop - part.start,)) or (
            (alone < 0).any() or (alone + counts.frozen[name] > counts.steps).any()
        ):
            yield f"entries of '{name}' were not frozen as often as it says"
            return


def _fits(activity: Activity, slot: Slot) -> bool:
    """Whether an activity can be that of a parameter."""
    inputs, units, together = activity.inputs, activity.units, activity.together
    if activity.layout not in ("in_out", "out_in") or not _is_count(activity.samples):
        return False
    columns = [units] if inputs is None else [inputs, units]
    for column in columns:
        if column.ndim != 1 or column.dtype != _INT64:
            return False
        if (column < 0).any() or (column > activity.samples).any():
            return False
    shape = tuple(len(column) for column in columns)
    if int(np.prod(shape)) != slot.slice.stop - slot.slice.start:
        return False
    return together is None or (inputs is not None and _is(together, np.dtype(bool), shape))


def _is(array: npt.NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    return array.dtype == dtype and array.shape == shape


def _is_count(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 2**62
