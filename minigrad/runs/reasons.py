"""`Reason`: why an entry did not move, as a statement of fact about the run.

At each step an entry's update passes gates, one after the other. The reason of an entry that never
moved is the first gate that it never passed in any step. So each entry has exactly one reason, and
the counts add up by construction.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, SupportsIndex, final

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad.arrays import Array, Mask
from minigrad.display import notebook
from minigrad.errors import KindError, ShapeError
from minigrad.parameters.vector import Slot
from minigrad.recording.coactivity import Activity, Counts
from minigrad.runs.counts import Tally


class Reason(Enum):
    """What became of an entry: it moved, or the gate that no update of it ever passed."""

    FROZEN = "it was frozen"
    NO_GRADIENT = "no backward reached it"
    INPUT_ZERO = "its input was 0 in every sample"
    UNIT_SILENT = "its unit's gradient was 0 in every sample"
    NEVER_TOGETHER = "its input and its unit were never active in the same sample"
    CANCELLED = "its gradient, summed over the batch, was 0 in every step"
    NEVER_TOGETHER_OR_CANCELLED = (
        "its gradient was 0: input and unit never met, or the batch cancelled out"
    )
    GRADIENT_ZERO = "its gradient was 0 in every step"
    UPDATE_ZERO = "its update was 0 in every step"
    SWALLOWED = "every update was lost to rounding"
    RETURNED = "it moved, and came back to exactly where it began"
    MOVED = "it moved"
    UNKNOWN = "it was not counted, or changed where nothing was recorded"

    def __str__(self) -> str:
        return self.name


ORDER: tuple[Reason, ...] = tuple(Reason)
"""The reasons in the order of the gates; an array of reasons holds their positions in it."""

COLORS: dict[Reason, tuple[int, int, int]] = {
    Reason.FROZEN: (110, 78, 66),
    Reason.NO_GRADIENT: (196, 160, 128),
    Reason.INPUT_ZERO: (88, 106, 119),
    Reason.UNIT_SILENT: (142, 94, 162),
    Reason.NEVER_TOGETHER: (230, 159, 0),
    Reason.CANCELLED: (213, 94, 0),
    Reason.NEVER_TOGETHER_OR_CANCELLED: (201, 138, 27),
    Reason.GRADIENT_ZERO: (204, 121, 167),
    Reason.UPDATE_ZERO: (240, 228, 66),
    Reason.SWALLOWED: (190, 30, 45),
    Reason.RETURNED: (0, 158, 115),
    Reason.MOVED: (222, 217, 204),
    Reason.UNKNOWN: (140, 140, 140),
}
"""The color of each reason in pictures, red, green and blue."""

Codes = npt.NDArray[np.uint8]


def code(reason: Reason) -> int:
    """The position of a reason in `ORDER`."""
    return ORDER.index(reason)


def codes_of(name: str, slot: Slot, tally: Tally, initial: Array, final: Array) -> Codes:
    """The reason of each entry of a parameter, as positions in `ORDER`, in the parameter's shape.

    Args:
        name: The parameter's name.
        slot: Where it lies in the flat arrays.
        tally: What was counted.
        initial: Its value before the first step.
        final: Its value after the last step.
    """
    part = slot.slice
    if not tally.steps:
        return np.full(slot.shape, code(Reason.UNKNOWN), np.uint8)
    start = Reason.FROZEN if tally.frozen[name] == tally.steps else Reason.NO_GRADIENT
    reached = tally.frozen[name] + tally.unreached[name] < tally.steps
    reasons = np.full(slot.shape, code(Reason.GRADIENT_ZERO if reached else start), np.uint8)
    alone = frozen_alone(name, slot, tally)
    activity = tally.activity.get(name)
    if reached and activity is not None:
        reasons[...] = _gates_before_the_gradient(activity, slot.shape)
    if alone is not None:
        # What was active while an entry was frozen says nothing of its own steps; what was never
        # active, does.
        active = np.isin(
            reasons, [code(Reason.CANCELLED), code(Reason.NEVER_TOGETHER_OR_CANCELLED)]
        )
        reasons[active & (alone > 0)] = code(Reason.GRADIENT_ZERO)
        left = tally.steps - tally.frozen[name] - alone
        reasons[left <= tally.unreached[name]] = code(Reason.NO_GRADIENT)
        reasons[left == 0] = code(Reason.FROZEN)
    # From here on each line overrides the one before: these entries came further.
    counts = {
        kind: getattr(tally, kind)[part].reshape(slot.shape)
        for kind in ("grads", "updates", "moves")
    }
    reasons[counts["grads"] > 0] = code(Reason.UPDATE_ZERO)
    reasons[counts["updates"] > 0] = code(Reason.SWALLOWED)
    bits = np.dtype(f"u{initial.dtype.itemsize}")
    back = initial.view(bits) == final.view(bits)
    reasons[
        (counts["moves"] == 0) & (initial != final) & ~(np.isnan(initial) & np.isnan(final))
    ] = code(Reason.UNKNOWN)
    reasons[counts["moves"] > 0] = code(Reason.MOVED)
    reasons[(counts["moves"] > 0) & back] = code(Reason.RETURNED)
    if tally.uncounted:  # in which the others may have come further
        reasons[counts["moves"] == 0] = code(Reason.UNKNOWN)
    return reasons


def frozen_alone(name: str, slot: Slot, tally: Tally) -> Counts | None:
    """In how many steps each entry was frozen while its parameter was not, in its shape.

    None where that never happened.
    """
    found = tally.frozen_entries.get(name)
    return None if found is None else found.reshape(slot.shape)


def _gates_before_the_gradient(activity: Activity, shape: tuple[int, ...]) -> Codes:
    """For each (input, unit), why its gradient was 0; for a bias, for each unit."""
    active_units = activity.units > 0
    if activity.inputs is None:  # the input of a bias is always 1, so it meets every active unit
        codes = np.where(active_units, code(Reason.CANCELLED), code(Reason.UNIT_SILENT)).astype(
            np.uint8
        )
        return codes.reshape(shape)
    table = (len(activity.inputs), len(activity.units))
    reasons = np.full(table, code(Reason.NEVER_TOGETHER_OR_CANCELLED), np.uint8)
    if activity.together is not None:
        reasons[...] = np.where(
            activity.together, code(Reason.CANCELLED), code(Reason.NEVER_TOGETHER)
        )
    reasons[:, ~active_units] = code(Reason.UNIT_SILENT)
    reasons[activity.inputs == 0] = code(Reason.INPUT_ZERO)
    return activity.laid_out(reasons, shape)


@final
class Why:
    """Why the entries of one parameter moved or did not."""

    def __init__(
        self,
        name: str,
        codes: Codes,
        sentence: Callable[[tuple[int, ...], Reason], str],
        without_gradient: Mask | None = None,
        remarks: tuple[str, ...] = (),
    ) -> None:
        self._name = name
        self._codes = codes
        self._sentence = sentence
        self._without_gradient = (
            np.zeros(codes.shape, bool) if without_gradient is None else without_gradient
        )
        self._remarks = remarks

    @property
    def counts(self) -> dict[Reason, int]:
        """How many entries have each reason, in the order of the gates.

        They add up to the parameter's size.
        """
        tally = np.bincount(self._codes.ravel(), minlength=len(ORDER))
        return {reason: int(count) for reason, count in zip(ORDER, tally, strict=True) if count}

    @property
    def reasons(self) -> npt.NDArray[Any]:
        """The `Reason` of each entry, in the parameter's shape."""
        found: npt.NDArray[Any] = np.array(ORDER, dtype=object)[self._codes]
        return found

    @property
    def moved_without_gradient(self) -> int:
        """How many entries moved although their gradient was 0 in every step: by decay or momentum,
        say.

        Their reason is MOVED or RETURNED, like that of those which learnt;
        `where_moved_without_gradient` has the entries.
        """
        return int(np.count_nonzero(self._without_gradient))

    @property
    def where_moved_without_gradient(self) -> Mask:
        """Which entries moved although their gradient was 0 in every step, in the parameter's shape."""
        return self._without_gradient.copy()

    def where(self, reason: Reason) -> Mask:
        """Which entries have this reason, in the parameter's shape.

        Raises:
            KindError: It is no `Reason`.
        """
        if not isinstance(reason, Reason):
            raise KindError(
                f"{described(reason)} is no reason; there are "
                f"{', '.join(f'Reason.{known}' for known in ORDER)}"
            )
        return np.asarray(self._codes == code(reason))

    def at(self, *index: int) -> str:
        """What became of one entry, as a sentence with its numbers.

        Raises:
            KindError: The index is not made of whole numbers.
            ShapeError: There is no such entry.
        """
        shape = self._codes.shape
        if not all(isinstance(i, SupportsIndex) for i in index):
            raise KindError(
                f"'{self._name}' has entries like {tuple(0 for _ in shape)}, not {index}"
            )
        if len(index) != len(shape) or any(
            not -n <= i < n for i, n in zip(index, shape, strict=False)
        ):
            raise ShapeError(f"'{self._name}' of shape {shape} has no entry {index}")
        place = tuple(int(i) % n for i, n in zip(index, shape, strict=True))
        return self._sentence(place, ORDER[self._codes[place]])

    def __str__(self) -> str:
        lines = [
            f"{count:>12,}  {reason.name}: {reason.value}" for reason, count in self.counts.items()
        ]
        return "\n".join([f"{self._name}, {self._codes.size:,} entries:", *lines, *self._remarks])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: how many entries have each reason, and a picture of them in these colors."""
        rows = [(reason.name, count, reason.value) for reason, count in self.counts.items()]
        colors = [COLORS[reason] for reason in self.counts]
        palette = [COLORS[reason] for reason in ORDER]
        picture = notebook.categories(
            self._codes,
            palette,
            "reasons, in the colors of the table",
            "the one that came least far",
        )
        # Where all entries have one reason, a picture would say nothing.
        return notebook.block(
            notebook.title(
                f"{self._name}: {self._codes.size:,} "
                f"{'entry' if self._codes.size == 1 else 'entries'}"
            ),
            notebook.table(("reason", "entries", "what it says"), rows, colors),
            notebook.lines(self._remarks),
            picture if len(rows) > 1 else "",
        )
