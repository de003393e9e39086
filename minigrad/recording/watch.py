"""`Watch`, which notices values that changed between two steps other than by the optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import final

import numpy as np

from minigrad.arrays import Array
from minigrad.parameter import ParameterVector, Slot, Writer


@final
class Watch:
    """Remembers the values after a step, and says whether they are the same before the next.

    Args:
        vector: The memory in which they lie.
        size: How many values are watched.
        exact: Whether to keep a copy of them. Otherwise a checksum is kept, and assignments are counted; values that
            only change places escape that.

    Attributes:
        values: The copy, or None.
    """

    def __init__(self, vector: ParameterVector, size: int, exact: bool) -> None:
        self._vector = vector
        self.values: Array | None = np.empty(size, vector.values.dtype) if exact else None
        self._sum = 0
        self._assignments = 0
        self._steps_by: list[int] = []
        self._known = False

    def remember(self, values: Array) -> None:
        """These are the values after a step."""
        if self.values is not None:
            np.copyto(self.values, values)
        else:
            self._sum = _word_sum(values)
        self._steps_by = [writer.steps for writer in self._vector.writers]
        self._assignments = self._vector.whole.assignments
        self._known = True

    def changed(self, values: Array) -> bool:
        """Whether these values are others than those remembered."""
        if not self._known:
            return True
        if self.values is not None:
            return first_different(values, self.values) is not None
        return self._vector.whole.assignments != self._assignments or _word_sum(values) != self._sum

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
    if not different.any():  # mostly, and it is asked at every step
        return None
    places = np.flatnonzero(different & ~(np.isnan(a) & np.isnan(b)))
    return int(places[0]) if len(places) else None


def _word_sum(values: Array) -> int:
    """The sum of all bits, taken as whole numbers of 64 bits: a fast pass that any single change alters."""
    pairs = values.size // 2 * 2 if values.itemsize == 4 else values.size
    total = int(np.add.reduce(values[:pairs].view(np.uint64)))
    return total if pairs == values.size else hash((total, values[-1:].tobytes()))
