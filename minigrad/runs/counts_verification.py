"""Whether the counts of a record fit its rows and its values."""

from __future__ import annotations

import numpy as np

from minigrad.arrays import Mask
from minigrad.runs.counts import Counts
from minigrad.runs.notes import written_by_others
from minigrad.runs.record import Record
from minigrad.runs.recount import recount_from_rows

_CLOSE = 1e-3  # movement is added up in float32 while it is counted


def first_misfit(record: Record) -> int | None:
    """The first entry whose counts do not fit what the rows and the values tell, if any.

    Where the rows tell of all steps that were counted, the counts must be what they give; otherwise
    they must lie within what the rows leave open.

    Args:
        record: The record. One without counts fits.
    """
    counts = record.counts
    if counts is None:
        return None
    told = recount_from_rows(record, record.counted_step).counts
    if not told.uncounted and not counts.uncounted:
        wrong = _differ(counts, told)
    else:
        wrong = _out_of_bounds(counts, told)
    wrong |= _changed_unseen(record, counts)
    places = np.flatnonzero(wrong)
    return int(places[0]) if len(places) else None


def _differ(counts: Counts, told: Counts) -> Mask:
    """Whose counts are not what the rows give."""
    with np.errstate(all="ignore"):
        far = np.abs(counts.movement - told.movement) > _CLOSE * np.abs(told.movement)
    return np.asarray(
        (counts.updates != told.updates)
        | (counts.moves != told.moves)
        | (counts.first_move != told.first_move)
        | (counts.last_move != told.last_move)
        | (far & np.isfinite(told.movement) & np.isfinite(counts.movement))
    )


def _out_of_bounds(counts: Counts, told: Counts) -> Mask:
    """Whose counts cannot be, with some of the steps that the rows tell of, and all the others."""
    others, missed = told.uncounted, counts.uncounted
    wrong = np.zeros(len(counts.moves), bool)
    for ours, theirs in ((counts.updates, told.updates), (counts.moves, told.moves)):
        wrong |= (ours < theirs - missed) | (ours > theirs + others)
    if not missed:
        moved = told.moves > 0
        wrong |= moved & ((counts.first_move < 0) | (counts.first_move > told.first_move))
        wrong |= moved & (counts.last_move < told.last_move)
    return wrong


def _changed_unseen(record: Record, counts: Counts) -> Mask:
    """Which entries never moved, though their value has changed; writes by others aside."""
    wrong = np.zeros(len(counts.moves), bool)
    if counts.uncounted or not record.initial_known:
        return wrong
    first, last = record.initial, record.counted
    changed = (first != last) & ~(np.isnan(first) & np.isnan(last))
    for name, (part, _) in record.slots.items():
        if not written_by_others(record.notes, name):
            wrong[part] = changed[part] & (counts.moves[part] == 0)
    return wrong
