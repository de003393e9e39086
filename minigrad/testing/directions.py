"""Directions along which a tensor moves: single entries, or mixtures of many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array

_EACH_ENTRY = 64  # tensors up to this size are checked entry by entry
_MIXTURES = 24  # directions through larger ones


class Direction(NamedTuple):
    """A direction.

    Attributes:
        place: Where it is, for errors: "at (0, 3)".
        array: How far each entry moves for a distance of 1, of the tensor's shape.
    """

    place: str
    array: Array

    @property
    def entries(self) -> npt.NDArray[np.intp]:
        """The entries that move, as positions in the flat array."""
        return np.flatnonzero(self.array)

    def halves(self) -> Iterator[Direction]:
        """The direction in two: one half of the entries, and the other."""
        for half in np.array_split(self.entries, 2):
            if len(half) == 1:
                yield along_entry(int(half[0]), self.array.shape)
                continue
            masked = np.zeros_like(self.array)
            masked.reshape(-1)[half] = self.array.reshape(-1)[half]
            yield Direction("along a random direction", masked / np.linalg.norm(masked))


def directions(shape: tuple[int, ...], rng: np.random.Generator) -> list[Direction]:
    """Each entry of a small tensor; random mixtures of all entries for a large one."""
    size = int(np.prod(shape))
    if size <= _EACH_ENTRY:
        return [along_entry(flat, shape) for flat in range(size)]
    drawn = [rng.normal(size=shape) for _ in range(_MIXTURES)]
    return [Direction("along a random direction", array / np.linalg.norm(array)) for array in drawn]


def along_entry(flat: int, shape: tuple[int, ...]) -> Direction:
    """The direction in which one entry alone moves."""
    array = np.zeros(shape)
    array.reshape(-1)[flat] = 1.0
    return Direction(f"at {tuple(int(i) for i in np.unravel_index(flat, shape))}", array)


def along_all(shape: tuple[int, ...]) -> Direction:
    """The direction in which all entries move together."""
    array = np.ones(shape)
    return Direction("where all entries move together", array / np.sqrt(array.size))
