"""What became of one entry, in a sentence with its numbers."""

from __future__ import annotations

from typing import final

import numpy as np

from minigrad.arrays import Array
from minigrad.pictures import counted
from minigrad.recording.reasons import Reason
from minigrad.recording.tally import Tally
from minigrad.vector import Slot


def unknown(name: str, index: tuple[int, ...]) -> str:
    """The sentence where nothing was counted."""
    return f"{_entry(name, index)}: unknown, because this record has no counts (aggregates=False)."


@final
class Entries:
    """Says what became of the entries of one parameter.

    Args:
        name: The parameter's name.
        slot: Where it lies in the flat arrays.
        tally: What was counted.
        initial: Its value before the first step.
        final: Its value after the last step.
    """

    def __init__(self, name: str, slot: Slot, tally: Tally, initial: Array, final: Array) -> None:
        self._name = name
        self._slot = slot
        self._tally = tally
        self._initial = initial
        self._final = final

    def sentence(self, index: tuple[int, ...], reason: Reason) -> str:
        """What became of the entry at `index`, whose reason is known."""
        return f"{_entry(self._name, index)} {self._told(index, reason)}."

    def _told(self, index: tuple[int, ...], reason: Reason) -> str:
        tally = self._tally
        flat = self._slot.slice.start + int(np.ravel_multi_index(index, self._slot.shape))
        steps = counted(tally.steps, "step")
        grads, updates, moves = int(tally.grads[flat]), int(tally.updates[flat]), int(tally.moves[flat])
        alone = "" if grads else " by decay or momentum alone, its gradient was always 0"
        if moves and not updates:
            alone = " by somebody's write into the value, its update was always 0"
        activity = tally.activity.get(self._name)
        own, unit = (0, index[-1] if index else 0) if activity is None else activity.place(index, self._slot.shape)
        samples = f"{activity.samples:,} samples" if activity else "samples"
        match reason:
            case Reason.MOVED:
                return (
                    f"moved in {moves:,} of {steps}{alone}: from {self._initial[index]:.6g} to {self._final[index]:.6g}, "
                    f"by {tally.movement[flat]:.3g} in all; first in step {tally.first_move[flat]}, "
                    f"last in step {tally.last_move[flat]}"
                )
            case Reason.RETURNED:
                return (
                    f"moved in {moves:,} of {steps}{alone}, and came back to exactly where it began, "
                    f"{self._initial[index]:.6g}"
                )
            case Reason.SWALLOWED:
                return (
                    f"never moved: {updates:,} of its {counted(tally.steps, 'update')} were not 0{alone}, and rounding "
                    f"took each of them, because they are too small beside its value {self._initial[index]:.6g}"
                )
            case Reason.UPDATE_ZERO:
                return (
                    f"never moved: its gradient was not 0 in {grads:,} of {steps}, but its update was 0 each time "
                    f"(a learning rate of 0, clipping, or underflow)"
                )
            case Reason.CANCELLED:
                met = (
                    "its input and its unit were active in the same sample"
                    if len(index) == 2
                    else "its unit was active"
                )
                return (
                    f"never moved: {met}, but summed over the batch its gradient was 0 in all {steps} "
                    f"(opposite samples cancelled out, or it underflowed)"
                )
            case Reason.NEVER_TOGETHER | Reason.NEVER_TOGETHER_OR_CANCELLED if activity and activity.inputs is not None:
                never = (
                    "but never both in the same one"
                    if reason is Reason.NEVER_TOGETHER
                    else "but its gradient was always 0: never both in the same one, or cancelled out over each batch "
                    "(record with coactivation=True to tell)"
                )
                return (
                    f"never moved: its input {own} was not 0 in {activity.inputs[own]:,} of {samples}, and its "
                    f"unit {unit} had a gradient in {activity.units[unit]:,}, {never}"
                )
            case Reason.UNIT_SILENT:
                return (
                    f"never moved: the gradient of its unit {unit} was 0 in all {samples} "
                    f"(a dead unit, or nothing came from above)"
                )
            case Reason.INPUT_ZERO:
                return f"never moved: its input {own} was 0 in all {samples}, so its gradient was 0 in all {steps}"
            case Reason.GRADIENT_ZERO:
                return f"never moved: its gradient was 0 in all {steps}"
            case Reason.NO_GRADIENT:
                return f"never moved: no backward reached it in any of {steps}"
            case Reason.FROZEN:
                return f"never moved: it was frozen in all {steps}"
            case Reason.UNKNOWN if tally.steps:
                return f"changed, but in none of {steps} that were recorded: the record has a gap"
            case _:
                return f"is not explained by this record: {reason.value}"


def _entry(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(str(i) for i in index)}]" if index else name
