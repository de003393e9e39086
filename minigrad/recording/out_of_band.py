"""`OutOfBandWatch`, which notices values that somebody else than the optimizer has changed."""

from __future__ import annotations

from typing import final

import numpy as np

from minigrad.arrays import Array
from minigrad.optimizers import Optimizer
from minigrad.parameters.observers import Writer
from minigrad.parameters.vector import ParameterVector
from minigrad.recording.selected_parameters import SelectedParameters
from minigrad.runs.verification import first_different


@final
class OutOfBandWatch:
    """Remembers the values after a step, and says whether they are the same before the next.

    Args:
        optimizer: The optimizer whose steps are recorded.
        vector: Its parameters.
        selected: Those that are watched.

    Attributes:
        values: The values after the last step; those before the first are not known.
    """

    def __init__(
        self, optimizer: Optimizer, vector: ParameterVector, selected: SelectedParameters
    ) -> None:
        self._optimizer = optimizer
        self._vector = vector
        self._selected = selected
        size, dtype = selected.size, vector.values.dtype
        self._bytes, self._spare_bytes = (bytearray(size * dtype.itemsize) for _ in range(2))
        self.values: Array = np.frombuffer(self._bytes, dtype)
        self._spare: Array = np.frombuffer(self._spare_bytes, dtype)
        # The values before somebody else wrote, until the next step.
        self._before: Array | None = None
        self._writers: dict[str, None] = {}  # who else has written since, in order
        self._known = False

    def live_values(self) -> Array:
        """The values now; a view of the live ones, if all parameters are watched."""
        return self._selected.of(self._vector.values)

    def remember(self, values: Array) -> None:
        """Remember these values: those of now, or of when the writers were forgotten."""
        np.copyto(self.values, values)
        self._known = True

    def written(self, writer: Writer) -> None:
        """Somebody has written values on purpose."""
        own = self._optimizer.writer
        if writer is not own and not writer.parameters.isdisjoint(self._vector.parameters):
            name = f"another {writer.name}" if writer.name == own.name else writer.name
            self._writers[name] = None

    def forget_writers(self) -> None:
        """What was written up to now does not matter any more."""
        self._writers.clear()

    def add(self, update: Array) -> tuple[Array, Array]:
        """A step adds this update to the values remembered; what hooks write is not part of it.

        Returns:
            The values before and after. If somebody else wrote between the steps, those before are
            those before that write: what it changed did move.
        """
        with np.errstate(all="ignore"):
            np.add(self.values, update, out=self._spare)
        self._bytes, self._spare_bytes = self._spare_bytes, self._bytes
        self.values, self._spare = self._spare, self.values
        self.forget_writers()
        before, self._before = self._before, None
        return (self._spare if before is None else before), self.values

    def changed(self, values: Array) -> bool:
        """Whether any bit of these values differs from those remembered."""
        # As bytes, which takes a fifth of the time of comparing numbers.
        return not self._known or self._bytes != values.data

    def written_by_others(self, values: Array) -> str:
        """What somebody else has written since the last step, and who; empty if nobody has.

        In words: "0.weight changed by ...". After a write the values of now are remembered, and the
        next step begins at those before it.

        Args:
            values: The values now.
        """
        which = self.differing_names(self.values, values) if self.changed(values) else ""
        if not which:
            return ""
        by = f"by {', '.join(self._writers)}" if self._writers else "other than by an optimizer"
        self._before = self.values.copy()
        self.remember(values)
        self.forget_writers()
        return f"{which} changed {by}"

    def differing_names(self, before: Array | None, after: Array) -> str:
        """Which parameters have other values than before, in words; empty if none has.

        Args:
            before: Their values before, flat; None if those are not known.
            after: Their values after.
        """
        slots = self._selected.slots
        if before is None:
            return f"something of {', '.join(slots)}"
        return ", ".join(
            name
            for name, (part, _) in slots.items()
            if first_different(before[part], after[part]) is not None
        )
