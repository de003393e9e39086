"""Which reason each entry of a parameter has, from what was counted.

At each step an entry's update passes gates, one after the other. The reason of an entry that never
moved is the first gate that it never passed in any step. So each entry has exactly one reason, and
the counts add up by construction.
"""

from __future__ import annotations

import numpy as np

from minigrad.arrays import Array, Integers
from minigrad.parameters.vector import Slot
from minigrad.reason import Reason
from minigrad.runs.activity import Activity
from minigrad.runs.counts import Counts
from minigrad.runs.why import Codes


def codes_of(name: str, slot: Slot, counts: Counts, initial: Array | None, final: Array) -> Codes:
    """The reason of each entry of a parameter, as its code, in the parameter's shape.

    Args:
        name: The parameter's name.
        slot: Where it lies in the flat arrays.
        counts: What was counted.
        initial: Its value before the first step; None where that is not known.
        final: Its value after the last step that was counted.
    """
    part = slot.slice
    if not counts.seen:
        return np.full(slot.shape, Reason.UNKNOWN.code, np.uint8)
    start = Reason.FROZEN if counts.frozen[name] == counts.steps else Reason.NO_GRADIENT
    reached = counts.frozen[name] + counts.unreached[name] < counts.steps
    codes = np.full(slot.shape, (Reason.GRADIENT_ZERO if reached else start).code, np.uint8)
    alone = frozen_alone(name, slot, counts)
    activity = counts.activity.get(name)
    if reached and activity is not None:
        codes[...] = _gates_before_the_gradient(activity, slot.shape)
    if alone is not None:
        # What was active while an entry was frozen says nothing of its own steps; what was never
        # active, does.
        active = np.isin(codes, [Reason.CANCELLED.code, Reason.NEVER_TOGETHER_OR_CANCELLED.code])
        codes[active & (alone > 0)] = Reason.GRADIENT_ZERO.code
        left = counts.steps - counts.frozen[name] - alone
        codes[left <= counts.unreached[name]] = Reason.NO_GRADIENT.code
        codes[left == 0] = Reason.FROZEN.code
    # From here on each line overrides the one before: these entries came further.
    grads, updates, moves = (
        flat[part].reshape(slot.shape) for flat in (counts.grads, counts.updates, counts.moves)
    )
    codes[grads > 0] = Reason.UPDATE_ZERO.code
    codes[updates > 0] = Reason.SWALLOWED.code
    if initial is None:  # then it may have come back to where it began
        codes[moves > 0] = Reason.UNKNOWN.code
    else:
        bits = np.dtype(f"u{initial.dtype.itemsize}")
        back = initial.view(bits) == final.view(bits)
        differs = (initial != final) & ~(np.isnan(initial) & np.isnan(final))
        codes[(moves == 0) & differs] = Reason.UNKNOWN.code
        codes[moves > 0] = Reason.MOVED.code
        codes[(moves > 0) & back] = Reason.RETURNED.code
    if counts.recounted:  # in which the others may have come further
        codes[(updates == 0) & (moves == 0) & (grads == 0)] = Reason.UNKNOWN.code
    if counts.uncounted:
        codes[moves == 0] = Reason.UNKNOWN.code
    return codes


def frozen_alone(name: str, slot: Slot, counts: Counts) -> Integers | None:
    """In how many steps each entry was frozen while its parameter was not, in its shape.

    None where that never happened.
    """
    flat = counts.frozen_entries.get(name)
    return None if flat is None else flat.reshape(slot.shape)


def explained_by(activity: Activity | None) -> frozenset[Reason]:
    """Which of the reasons that tell inputs and units apart an activity can give."""
    if activity is None:
        return frozenset()
    reasons = {Reason.UNIT_SILENT}
    if activity.inputs is not None:  # a bias has no input that could be 0
        reasons.add(Reason.INPUT_ZERO)
    if activity.together is not None:
        reasons.add(Reason.NEVER_TOGETHER)
    return frozenset(reasons)


def zero_inputs_of(activity: Activity | None) -> Integers | None:
    """The inputs that were 0 in every sample; None where inputs are not known."""
    if activity is None or activity.inputs is None:
        return None
    return np.flatnonzero(activity.inputs == 0)


def _gates_before_the_gradient(activity: Activity, shape: tuple[int, ...]) -> Codes:
    """For each (input, unit), why its gradient was 0; for a bias, for each unit."""
    active_units = activity.units > 0
    if activity.inputs is None:  # the input of a bias is always 1, so it meets every active unit
        codes = np.where(active_units, Reason.CANCELLED.code, Reason.UNIT_SILENT.code)
        return codes.astype(np.uint8).reshape(shape)
    table = (len(activity.inputs), len(activity.units))
    codes = np.full(table, Reason.NEVER_TOGETHER_OR_CANCELLED.code, np.uint8)
    if activity.together is not None:
        codes[...] = np.where(activity.together, Reason.CANCELLED.code, Reason.NEVER_TOGETHER.code)
    codes[:, ~active_units] = Reason.UNIT_SILENT.code
    codes[activity.inputs == 0] = Reason.INPUT_ZERO.code
    laid_out: Codes = activity.laid_out(codes, shape)
    return laid_out
