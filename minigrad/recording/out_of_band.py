"""`Watch`, which notices values that changed between two steps other than by the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from minigrad.arrays import Array
from minigrad.parameters.observers import Writer
from minigrad.parameters.vector import ParameterVector, Slot


@final
class Watch:
    """Remembers the values after a step, and says whether they are the same before the next.

    Args:
        vector: The memory in which they lie.
        size: How many values are watched.

    Attributes:
        values: The values after the last step; those before the first are not known.
    """

    def __init__(self, vector: ParameterVector, size: int) -> None:
        self._parameters = frozenset(vector.parameters)
        self._bytes, self._spare_bytes = (
            bytearray(size * vector.values.itemsize) for _ in range(2)
        )
        self.values: Array = np.frombuffer(self._bytes, vector.values.dtype)
        self._spare: Array = np.frombuffer(self._spare_bytes, vector.values.dtype)
        self._before: Array | None = (
            None  # the values before somebody else wrote, until the next step
        )
        self._writers: dict[str, None] = {}  # who else has written since, in order
        self._known = False

    def remember(self, values: Array) -> None:
        """These are the values now, or were when the writers were forgotten."""
        np.copyto(self.values, values)
        self._known = True

    def add(self, update: Array) -> tuple[Array, Array]:
        """A step adds this update to the values remembered. What hooks write then is no step's.

        Returns:
            The values before, those of before others wrote if somebody did, so that what they
            changed did move; and after.
        """
        with np.errstate(all="ignore"):
            np.add(self.values, update, out=self._spare)
        self._bytes, self._spare_bytes = self._spare_bytes, self._bytes
        self.values, self._spare = self._spare, self.values
        self.forget_writers()
        before, self._before = self._before, None
        return (self._spare if before is None else before), self.values

    def changed(self, values: Array) -> bool:
        """Whether any bit of these values differs from those remembered: as bytes, five times as fast as numbers."""
        return not self._known or self._bytes != values.data

    def written(self, writer: Writer, own: Writer) -> None:
        """Somebody has written values on purpose.

        Args:
            writer: Who.
            own: The optimizer whose steps are recorded.
        """
        if writer is not own and self._parameters & writer.parameters:
            same_name = writer.name == own.name
            self._writers[f"another {writer.name}" if same_name else writer.name] = None

    def forget_writers(self) -> None:
        """What was written up to now is no matter."""
        self._writers.clear()

    def look(self, values: Array, slots: Mapping[str, Slot]) -> str:
        """What somebody else has written since then, and who, in words: "0.weight changed by ...";
        empty if nobody has.

        These values are then the ones that are remembered; what they were before counts as where
        the next step begins.

        Args:
            values: The values now.
            slots: Where each parameter lies in them.
        """
        which = changed_names(self.values, values, slots) if self.changed(values) else ""
        if not which:
            return ""
        by = f"by {', '.join(self._writers)}" if self._writers else "other than by an optimizer"
        self._before = self.values.copy()
        self.remember(values)
        self.forget_writers()
        return f"{which} changed {by}"


def changed_names(before: Array | None, after: Array, slots: Mapping[str, Slot]) -> str:
    """Which parameters are others than before, in words; empty if none.

    Where nothing remembers, it may be any.
    """
    if before is None:
        return f"something of {', '.join(slots)}"
    return ", ".join(
        name
        for name, (part, _) in slots.items()
        if first_different(before[part], after[part]) is not None
    )


def first_different(a: Array, b: Array) -> int | None:
    """The first entry whose bits differ, if any: -0.0 is not 0.0, but all NaNs are the same."""
    bits = f"u{a.itemsize}"
    different = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    places = np.flatnonzero(different & ~(np.isnan(a) & np.isnan(b)))
    return int(places[0]) if len(places) else None
