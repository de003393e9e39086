"""Where NaN and infinity first appear in a record."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Literal, NamedTuple

import numpy as np

from minigrad.arrays import Array, Mask
from minigrad.errors import RunError
from minigrad.runs.block import Block
from minigrad.runs.nan_loss import is_nan_loss
from minigrad.runs.notes import written_by_others
from minigrad.runs.record import Record


class NonFinite(NamedTuple):
    """Where NaN or infinity first appears in a run.

    Attributes:
        step: The step; -1 means before the first one.
        what: "loss", "value" (after that step), or "write": somebody else wrote it into the values
            before that step.
        entries: How many values are NaN or infinite there; 0 for a loss.
        names: The parameters that they belong to; none for a loss.
        exact: Whether the record shows that there was none before; False: it may have been in a
            step that it does not hold.
    """

    step: int
    what: Literal["loss", "value", "write"]
    entries: int
    names: tuple[str, ...]
    exact: bool


def earlier(loss: NonFinite | None, values: NonFinite | None) -> NonFinite | None:
    """The one that came first, of the first loss and the first values that are not finite."""
    if loss is None or values is None:
        return loss or values
    # In a step the loss comes before the update; what was written before a step comes before its
    # loss.
    return values if (values.step, values.what != "write") < (loss.step, True) else loss


def first_loss(record: Record) -> NonFinite | None:
    """The first loss that was NaN or infinite, if any is known to be."""
    losses = record.kept.loss
    places = np.flatnonzero(np.isinf(losses) | is_nan_loss(losses))
    if not len(places):
        return None
    exact = bool(np.isfinite(losses[: places[0]]).all())  # others were not given
    return NonFinite(int(record.kept.steps[places[0]]), "loss", 0, (), exact)


def first_values(record: Record) -> NonFinite | None:
    """The first values that are NaN or infinite.

    What is not finite stays so under any update: so only blocks of which the values after them are
    not known to be finite are looked at row by row.
    """
    if record.initial_known and not np.isfinite(record.initial).all():
        return _non_finite(record, -1, "value", ~np.isfinite(record.initial), exact=True)
    if not len(record.kept.steps):
        return None
    # Up to this step all is finite; -2 where that is not even known of the initial values.
    known = int(record.kept.steps[0]) - 1 if record.initial_known else -2
    whole = True  # whether nothing is left out
    for block, following in zip_longest(record.blocks, record.blocks[1:]):
        start = _keyframe(block)
        if block.foreign:  # what others replaced is known only if all was known up to there
            whole &= known == block.first - 1 and start is not None
        if start is not None:
            if not np.isfinite(start).all():
                write = block.foreign and known == block.first - 1
                step = block.first if write else block.first - 1
                exact = whole and (write or known == step - 1)
                what: Literal["value", "write"] = "write" if write else "value"
                return _by_counts(
                    record, _non_finite(record, step, what, ~np.isfinite(start), exact)
                )
            known = block.first - 1
        end: Array | None
        if following is None:
            end, last = record.final, record.final_step
        else:
            end, last = None if following.foreign else _keyframe(following), following.first - 1
        if end is not None and np.isfinite(end).all():
            known = last
            continue
        for step, values in _values(block):
            if not np.isfinite(values).all():
                exact = whole and known == step - 1
                return _by_counts(
                    record, _non_finite(record, step, "value", ~np.isfinite(values), exact)
                )
            known = step
    if np.isfinite(record.final).all():
        return None
    # With the counts alone, say, that is not known of more than one step.
    exact = whole and known == record.final_step - 1
    return _by_counts(
        record, _non_finite(record, record.final_step, "value", ~np.isfinite(record.final), exact)
    )


def _keyframe(block: Block) -> Array | None:
    """The keyframe of a block; None if it has none, or the file is gone or damaged."""
    try:
        return block.keyframe
    except RunError:
        return None


def _values(block: Block) -> Iterator[tuple[int, Array]]:
    """(step, the values after it) of each row of a block that tells them.

    The array is used again.
    """
    kind, start = "value" if "value" in block.rows else "update", _keyframe(block)
    if kind not in block.rows:
        return
    try:
        rows = block.rows[kind]
    except RunError:
        return
    if kind == "value":
        for step, row, sound in zip(
            block.steps, rows, block.sound(range(block.count)), strict=True
        ):
            if sound:
                yield step, row
    elif start is not None:
        values = start.copy()
        for step, row in zip(block.steps, rows[: block.leading], strict=False):
            with np.errstate(all="ignore"):
                values += row
            yield step, values


def _non_finite(
    record: Record, step: int, what: Literal["value", "write"], strange: Mask, exact: bool
) -> NonFinite:
    names = tuple(name for name, slot in record.slots.items() if strange[slot.slice].any())
    return NonFinite(step, what, int(np.count_nonzero(strange)), names, exact)


def _by_counts(record: Record, first: NonFinite) -> NonFinite:
    """By the counts an earlier step, where the rows do not tell.

    An entry that is NaN or infinite last moved when it became so.
    """
    counts = record.counts
    # A write by others: then its last move may not be when it became NaN.
    if (
        first.exact
        or counts is None
        or any(written_by_others(record.notes, name) for name in record.slots)
    ):
        return first
    strange = ~np.isfinite(record.counted) & (counts.last_move >= 0)
    if not strange.any() or (step := int(counts.last_move[strange].min())) >= first.step:
        return first
    return _non_finite(record, step, "value", strange & (counts.last_move == step), exact=False)
