"""`NonzeroCounter`: counts in how many rows each column of an array is not 0."""

from __future__ import annotations

from typing import final

import numpy as np

from minigrad.arrays import Array, Integers, Mask

_ROWS = 255  # that are added up at once: as many as a byte can count


@final
class NonzeroCounter:
    """Integers in how many rows each column is not 0.

    Rows are gathered, and added up in bytes when one could overflow, which takes a sixteenth of the
    time. Behind those that count lie the ones that were only looked at.
    """

    def __init__(self, counts: Integers) -> None:
        self._counts = counts
        self._mask = np.empty((_ROWS, len(counts)), bool)
        self._counted = 0  # how many of the gathered rows count
        self.pending: int = 0

    def look(self, array: Array) -> None:
        """Look at the rows of an array."""
        end = self._counted + self.pending
        if end + len(array) > len(self._mask):
            self._add_up()
            end = self.pending
            if end + len(array) > len(self._mask):
                larger = np.empty((2 * (end + len(array)), len(self._counts)), bool)
                larger[:end] = self._mask[:end]
                self._mask = larger
        np.not_equal(array, 0, out=self._mask[end : end + len(array)])
        self.pending += len(array)

    def looked_at(self) -> Mask:
        """Where the rows that were looked at are not 0."""
        return self._mask[self._counted : self._counted + self.pending]

    def keep(self, used: Mask) -> None:
        """Forget some of the rows that were looked at."""
        kept = self.looked_at()[used]
        self._mask[self._counted : self._counted + len(kept)] = kept
        self.pending = len(kept)

    def count(self) -> None:
        """Have the rows that were looked at count."""
        self._counted += self.pending
        self.pending = 0

    def counts(self) -> Integers:
        """The counts up to here, a copy."""
        self._add_up()
        return self._counts.copy()

    def _add_up(self) -> None:
        rows = self._mask[: self._counted].view(np.uint8)
        for start in range(0, len(rows), _ROWS):
            self._counts += np.add.reduce(rows[start : start + _ROWS], axis=0, dtype=np.uint8)
        self._mask[: self.pending] = self.looked_at()
        self._counted = 0
