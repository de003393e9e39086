"""`Watch`, which notices values that changed between two steps other than by the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import final

import numpy as np

from minigrad.arrays import Array
from minigrad.vector import ParameterVector, Slot, Writer


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
        self._vector = vector
        self._bytes = bytearray(size * vector.values.itemsize)
        self.values: Array = np.frombuffer(self._bytes, vector.values.dtype)
        self._steps_by: list[int] = []
        self._known = False

    def remember(self, values: Array) -> None:
        """These are the values after a step."""
        np.copyto(self.values, values)
        self._steps_by = [writer.steps for writer in self._vector.writers]
        self._known = True

    def changed(self, values: Array) -> bool:
        """Whether any bit of these values differs from those remembered: as bytes, five times as fast as numbers."""
        return not self._known or self._bytes != values.data

    def others(self, name: str) -> list[str]:
        """The other optimizers that have made steps in this memory since then, for the optimizer of this name."""
        own = set(self._vector.parameters)
        return [
            f"another {writer.name}" if writer.name == name else writer.name
            for writer, before in zip_longest(self._vector.writers, self._steps_by, fillvalue=0)
            if isinstance(writer, Writer) and writer.steps > before and own & writer.parameters
        ]


def changed_names(before: Array | None, after: Array, slots: Mapping[str, Slot]) -> str:
    """Which parameters are others than before, in words; empty if none. Where nothing remembers, it may be any."""
    if before is None:
        return f"something of {', '.join(slots)}"
    return ", ".join(
        name for name, (part, _) in slots.items() if first_different(before[part], after[part]) is not None
    )


def first_different(a: Array, b: Array) -> int | None:
    """The first entry whose bits differ, if any: -0.0 is not 0.0, but all NaNs are the same."""
    bits = f"u{a.itemsize}"
    different = np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)
    places = np.flatnonzero(different & ~(np.isnan(a) & np.isnan(b)))
    return int(places[0]) if len(places) else None
