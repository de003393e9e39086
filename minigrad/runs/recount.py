"""Counting entries again from the rows that a record holds, where their counts were lost.

A row tells of updates and of moves. It tells nothing of gradients, of inputs and units, nor of what
was frozen: so steps that were recounted are told apart from those that were counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from typing import NamedTuple

import numpy as np

from minigrad.arrays import Array, Integers
from minigrad.errors import RunError
from minigrad.runs.block import Block
from minigrad.runs.counts import Counts
from minigrad.runs.gap import NOT_COUNTED, Gap, joined
from minigrad.runs.record import Record

# After an unseen write a step was counted from the new values; after any other, from those that the
# step before had left. After both, nobody knows.
_WRITE = re.compile(r"before step (\d+) .+? changed\b")
_UNSEEN = "the values changed while they were not recorded"


class Told(NamedTuple):
    """What the rows tell of one step.

    Attributes:
        step: Its number.
        before: The values that its entries are counted from: those after the step before, also
            where somebody else wrote in between.
        after: The values after it.
        update: The update.
    """

    step: int
    before: Array
    after: Array
    update: Array


class Recount(NamedTuple):
    """Counts that were completed from rows.

    Attributes:
        counts: The counts.
        lost: The steps that no row tells of.
    """

    counts: Counts
    lost: Integers


def recounted(record: Record) -> Counts | None:
    """The counts of a record, completed from its rows up to its last step.

    Steps that the rows do not tell of become uncounted ones; `not_counted` names them.

    Args:
        record: The record.

    Returns:
        New counts; None where the record has none to complete.
    """
    if record.counts is None:
        return None
    return recount(record, record.counts, record.counted_step).counts


def not_counted(record: Record) -> list[Gap]:
    """The steps after the last one counted that the rows do not tell of, as gaps."""
    if record.counts is None:
        return []
    return gaps_of(
        recount(record, record.counts, record.counted_step).lost, "the writer was cut off"
    )


def gaps_of(lost: Iterable[int], why: str) -> list[Gap]:
    """Steps that are not counted, as gaps.

    Args:
        lost: The steps.
        why: What happened.
    """
    reason = f"{NOT_COUNTED}: {why}, and no rows tell of them"
    return joined(Gap(int(step), int(step), reason) for step in lost)


def recount(record: Record, counts: Counts, last: int) -> Recount:
    """Complete counts from the rows of a record.

    Changes are added up in float64 here, and not in the dtype of the parameters: so `movement` may
    differ in its last digits from what the training would have counted.

    Args:
        record: The record.
        counts: The counts.
        last: The last step that they cover; the one before the first if they cover none.
    """
    return _recount(record, deepcopy(counts), last, record.last_step, record.counted)


def recount_from_rows(record: Record, end: int) -> Recount:
    """What the rows of a record tell by themselves of the steps up to one.

    Args:
        record: The record.
        end: That step.
    """
    nothing = Counts.of_nothing(record.slots, record.final.size)
    begin = int(record.kept.steps[0]) - 1 if len(record.kept.steps) else record.final_step
    initial = record.initial if record.initial_known else None
    return _recount(record, nothing, begin, end, initial)


def _recount(record: Record, counts: Counts, begin: int, end: int, values: Array | None) -> Recount:
    steps = record.kept.steps
    lost = set(steps[(steps > begin) & (steps <= end)].tolist())
    counts.uncounted += len(lost)
    for told in _told_by_rows(record, begin, end, values):
        _count(counts, told)
        lost.discard(told.step)
        counts.recounted += 1
        counts.uncounted -= 1
    return Recount(counts, np.array(sorted(lost), np.int64))


def _told_by_rows(record: Record, last: int, end: int, values: Array | None) -> Iterator[Told]:
    """What the rows tell of some steps, in order.

    A step is told of where its row is what was written, and the values before and after it are
    known to the bit.

    Args:
        record: The record.
        last: The step before the first of them.
        end: The last of them.
        values: The values after the step before the first, if they are known.
    """
    writes = [match for match in map(_WRITE.match, record.notes) if match]
    unseen = {int(match[1]) for match in writes if match.string.endswith(_UNSEEN)}
    seen = {int(match[1]) for match in writes if not match.string.endswith(_UNSEEN)}
    at = last
    for block in record.blocks:
        if not block.count or "update" not in block.rows or block.steps[-1] <= last:
            continue
        for step, before, after, update in _of_block(block, values, at, block.first in unseen):
            if step > end:
                return
            if step in seen and step in unseen:
                before = None
            if before is not None and after is not None and step > last:
                yield Told(step, before, after, update)
            values, at = after, step
            if after is not None:
                values = after.copy()


def _of_block(
    block: Block, values: Array | None, at: int, unseen: bool
) -> Iterator[tuple[int, Array | None, Array | None, Array]]:
    """(step, values before it, values after it, update) of each row; None where not known.

    Args:
        block: The block.
        values: The values after the last step of the block before, if they are known.
        at: That step.
        unseen: Whether the first step was counted from values that nobody saw being written.
    """
    try:
        keyframe, rows = block.keyframe, {kind: block.rows[kind] for kind in block.rows}
        sound = block.sound(range(block.count))
    except RunError:
        return
    now = None if keyframe is None else keyframe.copy()
    before = values if at == block.first - 1 else None
    if unseen or (now is not None and not block.foreign):
        before = None if now is None else now.copy()
    for row, step in enumerate(block.steps):
        if step != (block.steps[row - 1] + 1 if row else block.first):
            before = None
        update = rows["update"][row]
        if not sound[row] or row >= block.replayable:
            now = None
        if now is not None:
            with np.errstate(all="ignore"):
                now = now + update
        after = now
        if "value" in rows:
            after = rows["value"][row] if sound[row] else None
        yield step, before if sound[row] else None, after, update
        before = after


def _count(counts: Counts, told: Told) -> None:
    """Count one step, as it would have been counted while it was made."""
    counts.updates += told.update != 0
    with np.errstate(all="ignore"):
        # NaN equals NaN: it did not move. A change to or from NaN or infinity has no length to add.
        moved = told.before != told.after
        moved &= ~(np.isnan(told.before) & np.isnan(told.after))
        change = np.abs(np.subtract(told.after, told.before))
        counts.movement += np.where(np.isfinite(change), change, 0)
    counts.moves += moved
    counts.first_move[moved & (counts.first_move < 0)] = told.step
    counts.last_move[moved] = told.step
