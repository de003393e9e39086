"""`StepRows`, the scratch space in which the entries of some steps wait to be counted."""

from __future__ import annotations

from math import isfinite
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask

_ROWS = 64  # steps that are gathered before they are counted, at most


class Sums(NamedTuple):
    """The rows of some steps added up, each in its own dtype.

    Attributes:
        grads: In how many steps the gradient was not 0.
        updates: In how many the update was not 0.
        moves: In how many the value changed.
        last_move: The place of the last step that changed it; 0 where none did.
        movement: The sum of the magnitudes of all changes.
    """

    grads: npt.NDArray[np.uint8]
    updates: npt.NDArray[np.uint8]
    moves: npt.NDArray[np.uint8]
    last_move: npt.NDArray[np.uint8]
    movement: Array

    @classmethod
    def zeros(cls, size: int, dtype: np.dtype[Any]) -> Sums:
        """Those of no step."""
        grads, updates, moves, last_move = (np.zeros(size, np.uint8) for _ in range(4))
        return cls(grads, updates, moves, last_move, np.zeros(size, dtype))

    def added_to(self, others: Sums | None, out: Sums) -> None:
        """Write those of earlier steps, if there are any, and of these together into `out`."""
        if others is None:
            for array, own in zip(out, self, strict=True):
                np.copyto(array, own)
            return
        with np.errstate(over="ignore"):
            np.add(others.grads, self.grads, out=out.grads)
            np.add(others.updates, self.updates, out=out.updates)
            np.add(others.moves, self.moves, out=out.moves)
            np.add(others.movement, self.movement, out=out.movement)
        np.maximum(others.last_move, self.last_move, out=out.last_move)


@final
class StepRows:
    """A row for each step: in a small network, calling NumPy takes longer than what it computes.

    Writing a row again, or adding rows up again, gives the same.

    Args:
        size: How many entries there are.
        entries: How many entries of all steps together may wait; a single step may have more.
        dtype: The dtype of the parameters.
    """

    def __init__(self, size: int, entries: int, dtype: np.dtype[Any]) -> None:
        rows = max(1, min(_ROWS, entries // size))
        self._grads, self._updates, self._moved = (np.empty((rows, size), bool) for _ in range(3))
        self._places = np.empty((rows, size), np.uint8)
        self._changes = np.empty((rows, size), dtype)
        self._zero = np.zeros((), dtype)  # with which NumPy compares faster than with 0

    def __len__(self) -> int:
        return len(self._changes)

    def look(self, row: int, grads: tuple[Array, ...]) -> None:
        """Write where the gradients are not 0, or any of the others is."""
        grad_mask = self._grads[row]
        np.not_equal(grads[0], self._zero, out=grad_mask)
        for others in grads[1:]:
            grad_mask |= others != 0

    def add(self, row: int, before: Array, after: Array, update: Array) -> Mask:
        """Write what a step has done.

        Returns:
            Where its gradients are not 0: a view, from which may be taken what got no update.
        """
        moved, change = self._moved[row], self._changes[row]
        np.not_equal(update, self._zero, out=self._updates[row])
        with np.errstate(all="ignore"):
            np.subtract(after, before, out=change)
            np.not_equal(change, self._zero, out=moved)
            if not isfinite(change.dot(change)):
                _write_non_finite(change, moved, before, after)
        grad_mask: Mask = self._grads[row]
        return grad_mask

    def clear(self, row: int) -> None:
        """Write that nothing was done."""
        for rows in (self._grads, self._updates, self._moved, self._changes):
            rows[row] = 0

    def sums(self, rows: int, place: int) -> Sums:
        """The first rows added up, where the first one has this place; may be views of them."""
        moved, changes, places = self._moved[:rows], self._changes[:rows], self._places[:rows]
        numbers = np.arange(place, place + rows, dtype=np.uint8)
        np.multiply(moved.view(np.uint8), numbers[:, np.newaxis], out=places)
        np.abs(changes, out=changes)
        with np.errstate(over="ignore"):
            return Sums(
                _sum(self._grads[:rows].view(np.uint8)),
                _sum(self._updates[:rows].view(np.uint8)),
                _sum(moved.view(np.uint8)),
                places[0] if rows == 1 else places.max(axis=0),
                _sum(changes),
            )

    def first_moves(self, rows: int, which: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """In which of the first rows these entries, all of which did, have moved first."""
        first: npt.NDArray[np.intp] = self._moved[:rows, which].argmax(axis=0)
        return first


def _sum(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows added up, in their own dtype."""
    total: npt.NDArray[Any] = (
        rows[0] if len(rows) == 1 else np.add.reduce(rows, axis=0, dtype=rows.dtype)
    )
    return total


def _write_non_finite(change: Array, moved: Mask, before: Array, after: Array) -> None:
    """Mend a row where values are NaN or infinite.

    NaN equals NaN: it did not move. A change to or from NaN or infinity has no length to add.
    """
    np.not_equal(before, after, out=moved)
    moved &= ~(np.isnan(before) & np.isnan(after))
    change[~np.isfinite(change)] = 0
