"""`Why`: why the entries of one parameter moved or did not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, SupportsIndex, final

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._printable import printable
from minigrad.arrays import Integers, Mask
from minigrad.display import notebook
from minigrad.display.words import counted
from minigrad.errors import KindError, ShapeError
from minigrad.reason import Reason

Codes = npt.NDArray[np.uint8]
"""Reasons as their codes: for each entry the position of its reason in the order of the gates."""

_REASONS = tuple(Reason)
# These tell inputs and units apart, for which a layer has to explain its gradients.
_EXPLAINED = (Reason.INPUT_ZERO, Reason.UNIT_SILENT, Reason.NEVER_TOGETHER)


class Gate(NamedTuple):
    """A gate that an update passes, or not.

    Attributes:
        name: What is true of an update that passes it.
        passed: How many entries passed it in at least one step.
        stopped: How many entries never passed it though they passed those before, by reason.
    """

    name: str
    passed: int
    stopped: dict[Reason, int]


@final
class Why:
    """Why the entries of one parameter moved or did not.

    Args:
        name: The parameter's name.
        codes: The code of each entry's reason, in the parameter's shape.
        sentence: From the index of an entry and its reason, what became of it.
        without_gradient: Which entries moved although their gradient was 0 in every step.
        explained: Which of the reasons that tell inputs and units apart were looked for.
        zero_inputs: The inputs that were 0 in every sample; None where that is not known.
        unexplained: Why inputs and units are not told apart; empty where they are.
        movers: What may have moved entries whose gradient was 0 in every step, in words.
        remarks: What else is to be said, in sentences.

    Attributes:
        zero_inputs: As given.
        unexplained: As given.
        movers: As given.
    """

    def __init__(
        self,
        name: str,
        codes: Codes,
        sentence: Callable[[tuple[int, ...], Reason], str],
        *,
        without_gradient: Mask | None = None,
        explained: Collection[Reason] = (),
        zero_inputs: Integers | None = None,
        unexplained: str = "",
        movers: str = "",
        remarks: Sequence[str] = (),
    ) -> None:
        self._name = printable(name)
        self._codes = codes
        self._sentence = sentence
        self._without_gradient = (
            np.zeros(codes.shape, bool) if without_gradient is None else without_gradient
        )
        self._explained = explained
        self._remarks = tuple(map(printable, remarks))
        self.zero_inputs: Integers | None = zero_inputs
        self.unexplained: str = printable(unexplained)
        self.movers: str = printable(movers)

    @property
    def counts(self) -> dict[Reason, int]:
        """How many entries have each reason, in the order of the gates.

        They add up to the parameter's size.
        """
        counts = np.bincount(self._codes.ravel(), minlength=len(_REASONS)).tolist()
        return {reason: count for reason, count in zip(_REASONS, counts, strict=True) if count}

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates that an update passes, in order, and what became of the entries there.

        Entries whose reason is UNKNOWN are not among them.
        """
        counts = self.counts
        stopped: dict[str, dict[Reason, int]] = {}
        for reason in Reason:
            if reason.gate and (reason not in _EXPLAINED or reason in self._explained):
                here = {reason: counts[reason]} if reason in counts else {}
                stopped.setdefault(reason.gate, {}).update(here)
        left = self._codes.size - counts.get(Reason.UNKNOWN, 0)
        gates = []
        for name, reasons in stopped.items():
            left -= sum(reasons.values())
            gates.append(Gate(name, left, reasons))
        return tuple(gates)

    @property
    def reasons(self) -> npt.NDArray[Any]:
        """The `Reason` of each entry, in the parameter's shape."""
        reasons: npt.NDArray[Any] = np.array(_REASONS, dtype=object)[self._codes]
        return reasons

    @property
    def moved_without_gradient(self) -> int:
        """How many entries moved although their gradient was 0 in every step: by decay, say.

        Their reason is MOVED or RETURNED, like that of those which learned;
        `where_moved_without_gradient` has the entries.
        """
        return int(np.count_nonzero(self._without_gradient))

    @property
    def where_moved_without_gradient(self) -> Mask:
        """Which entries moved although their gradient was 0 in every step, in the same shape."""
        return self._without_gradient.copy()

    def where(self, reason: Reason) -> Mask:
        """Which entries have this reason, in the parameter's shape.

        Raises:
            KindError: It is not a `Reason`.
        """
        if not isinstance(reason, Reason):
            raise KindError(
                f"{described(reason)} is not a reason; there are "
                f"{', '.join(f'Reason.{known}' for known in Reason)}"
            )
        return np.asarray(self._codes == reason.code)

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
        return printable(self._sentence(place, _REASONS[self._codes[place]]))

    def __str__(self) -> str:
        lines = [
            f"{count:>12,}  {reason.name}: {reason.value}" for reason, count in self.counts.items()
        ]
        return "\n".join([f"{self._name}, {self._codes.size:,} entries:", *lines, *self._remarks])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows: how many entries have each reason, and a picture in its colors."""
        counts = self.counts
        picture = notebook.categories(
            self._codes,
            [reason.color for reason in Reason],
            "reasons, in the colors of the table",
            "the one that came least far",
        )
        return notebook.block(
            notebook.title(f"{self._name}: {counted(self._codes.size, 'entry', 'entries')}"),
            notebook.table(
                ("reason", "entries", "what it says"),
                [(reason.name, count, reason.value) for reason, count in counts.items()],
                [reason.color for reason in counts],
            ),
            notebook.lines(self._remarks),
            # Where all entries have one reason, a picture would say nothing.
            picture if len(counts) > 1 else "",
        )
