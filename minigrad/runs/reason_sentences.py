"""What became of one entry, and why, in a sentence with its numbers."""

from __future__ import annotations

from typing import final

import numpy as np

from minigrad.arrays import Array
from minigrad.display.words import counted
from minigrad.parameters.vector import Slot
from minigrad.reason import Reason
from minigrad.runs.causes import Causes
from minigrad.runs.counts import Counts
from minigrad.runs.reasons import frozen_alone


def not_counted(name: str, index: tuple[int, ...], why: str) -> str:
    """The sentence where nothing was counted."""
    return f"{_entry(name, index)}: unknown, because this record has no counts ({why})."


@final
class EntrySentences:
    """Says what became of the entries of one parameter.

    Args:
        name: The parameter's name.
        slot: Where it lies in the flat arrays.
        counts: What was counted.
        initial: Its value before the first step; None where that is not known.
        final: Its value after the last step that was counted.
        causes: What may have changed its updates besides its gradients.
        behind: The last step that was counted, and the last one of the run.
    """

    def __init__(
        self,
        name: str,
        slot: Slot,
        counts: Counts,
        initial: Array | None,
        final: Array,
        causes: Causes,
        behind: tuple[int, int] = (0, 0),
    ) -> None:
        self._name = name
        self._causes = causes
        self._slot = slot
        self._tally = counts
        # What never moved is what it was; what did move has no sentence then that tells of it.
        self._initial = final if initial is None else initial
        self._final = final
        self._behind = behind

    def sentence(self, index: tuple[int, ...], reason: Reason) -> str:
        """What became of the entry at `index`, whose reason is known."""
        # The others say it themselves.
        strange = "" if reason.moved or reason is Reason.SWALLOWED else self._strange(index)
        value = f"; its value is {strange}" if strange else ""
        return (
            f"{_entry(self._name, index)} {self._what_became(index, reason)}{value}"
            f"{self._reservations()}."
        )

    def _reservations(self) -> str:
        """What is not known of all entries, if anything."""
        counts, (step, last) = self._tally, self._behind
        text = ""
        if counts.recounted and not counts.steps:
            text = "; only the rows tell of these steps, and not of gradients: the counts are lost"
        elif counts.recounted:
            text = (
                f"; after a writer was cut off, only the rows tell of "
                f"{counted(counts.recounted, 'step')}, and not of gradients"
            )
        return f"{text}; steps are counted up to {step} of {last}" if step < last else text

    def _strange(self, index: tuple[int, ...]) -> str:
        """What its last value is, if it is no finite number."""
        value = self._final[index]
        return "" if np.isfinite(value) else "NaN" if np.isnan(value) else "infinite"

    def _often_frozen(self, index: tuple[int, ...]) -> str:
        """In how many steps it was frozen, where its parameter was not in all of them."""
        alone = frozen_alone(self._name, self._slot, self._tally)
        if alone is None or not alone[index]:
            return ""
        return f"; it was frozen in {int(alone[index]) + self._tally.frozen[self._name]:,} of them"

    def _what_became(self, index: tuple[int, ...], reason: Reason) -> str:
        counts = self._tally
        flat = self._slot.slice.start + int(np.ravel_multi_index(index, self._slot.shape))
        steps = counted(counts.seen, "step")
        grads, updates, moves = (
            int(counts.grads[flat]),
            int(counts.updates[flat]),
            int(counts.moves[flat]),
        )
        alone = (
            ""
            if grads or not counts.whole
            else f" by {self._causes.movers} alone, its gradient was always 0"
        )
        if moves and not updates:
            alone = " by somebody's write into the value, its update was always 0"
        strange, often = self._strange(index), self._often_frozen(index)
        activity = counts.activity.get(self._name)
        own, unit = (
            (0, index[-1] if index else 0)
            if activity is None
            else activity.place(index, self._slot.shape)
        )
        samples = f"{activity.samples:,} samples" if activity else "samples"
        match reason:
            case Reason.MOVED if strange:
                since = f"has been {strange} since step {counts.last_move[flat]}"
                if self._causes.written:  # then its last move may not be the one that did it
                    since = f"is {strange} at the end"
                return (
                    f"{since}: it moved in {moves:,} of {steps}{alone}, from "
                    f"{self._initial[index]:.6g} to {self._final[index]:.6g}; first in step "
                    f"{counts.first_move[flat]}, last in step {counts.last_move[flat]}"
                )
            case Reason.MOVED:
                return (
                    f"moved in {moves:,} of {steps}{alone}: from {self._initial[index]:.6g} to "
                    f"{self._final[index]:.6g}, by {counts.movement[flat]:.3g} in all; first in "
                    f"step {counts.first_move[flat]}, last in step {counts.last_move[flat]}"
                )
            case Reason.RETURNED:
                return (
                    f"moved in {moves:,} of {steps}{alone}, and came back to exactly where it "
                    f"began, {self._initial[index]:.6g}"
                )
            case Reason.SWALLOWED if strange:
                return (
                    f"never moved: it was {strange} before the first step, which none of its "
                    f"{counted(updates, 'update')} that {'was' if updates == 1 else 'were'} not 0 "
                    f"changed"
                )
            case Reason.SWALLOWED:
                return (
                    f"never moved: {updates:,} of its {counted(counts.seen, 'update')} were not "
                    f"0{alone}, and rounding took each of them, because they are too small beside "
                    f"its value {self._initial[index]:.6g}"
                )
            case Reason.UPDATE_ZERO:
                return (
                    f"never moved: its gradient was not 0 in {grads:,} of {steps}, but its update "
                    f"was 0 each time ({self._causes.stoppers}){often}"
                )
            case Reason.CANCELLED:
                met = (
                    "its input and its unit were active in the same sample"
                    if len(index) == 2
                    else "its unit was active"
                )
                return (
                    f"never moved: {met}, but summed over the batch its gradient was 0 in all "
                    f"{steps} (opposite samples cancelled out, or it underflowed)"
                )
            case Reason.NEVER_TOGETHER | Reason.NEVER_TOGETHER_OR_CANCELLED if (
                activity and activity.inputs is not None
            ):
                never = (
                    "but never both in the same one"
                    if reason is Reason.NEVER_TOGETHER
                    else "but its gradient was always 0: never both in the same one, or cancelled "
                    "out over each batch (record with coactivation=True to tell)"
                )
                return (
                    f"never moved: its input {own} was not 0 in {activity.inputs[own]:,} of "
                    f"{samples}, and its unit {unit} had a gradient in {activity.units[unit]:,}, "
                    f"{never}"
                )
            case Reason.UNIT_SILENT:
                return (
                    f"never moved: the gradient of its unit {unit} was 0 in all {samples} "
                    f"(a dead unit, or nothing came from above)"
                )
            case Reason.INPUT_ZERO:
                return (
                    f"never moved: its input {own} was 0 in all {samples}, so its gradient was 0 "
                    f"in all {steps}"
                )
            case Reason.GRADIENT_ZERO:
                problem = counts.unexplained.get(self._name)
                why = f" (inputs and units are not told apart: {problem})" if problem else ""
                return f"never moved: its gradient was 0 in all {steps}{why}{often}"
            case Reason.NO_GRADIENT:
                return f"never moved: no backward reached it in any of {steps}{often}"
            case Reason.FROZEN:
                return f"never moved: it was frozen in all {steps}"
            case Reason.UNKNOWN if moves:
                return (
                    f"moved in {moves:,} of {steps}; whether it came back to where it began is not "
                    f"known, because the values before the first step are damaged"
                )
            case Reason.UNKNOWN if counts.uncounted:
                return (
                    f"did not move in {steps}, and {counted(counts.uncounted, 'more step')} of the "
                    f"run were not counted"
                )
            case Reason.UNKNOWN if counts.recounted:
                return f"did not move in {steps}, and why is not known"
            case Reason.UNKNOWN if counts.seen:
                return f"changed, but in none of {steps} that were recorded: the record has a gap"
            case _:
                return f"is not explained by this record: {reason.value}"


def _entry(name: str, index: tuple[int, ...]) -> str:
    return f"{name}[{', '.join(str(i) for i in index)}]" if index else name
