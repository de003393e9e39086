"""`Tensors`: one parameter's updates or gradients, as a sequence over the recorded steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final, overload

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array, Integers
from minigrad.parameters.vector import Slot
from minigrad.runs.record import Record


@final
class Tensors(Sequence[Array]):
    """One parameter's tensors over the steps that the record holds.

    `numpy.asarray` gives all of them as one array of shape (steps, *shape).

    Attributes:
        steps: The number of each step, in order.
        shape: (number of steps, *shape of the parameter).
    """

    def __init__(
        self, record: Record, kind: str, slot: Slot, places: list[tuple[int, int]] | None = None
    ) -> None:
        self._record = record
        self._kind = kind
        self._slot = slot
        if places is None:
            blocks = enumerate(record.blocks)
            places = [
                (n, row) for n, block in blocks if kind in block.rows for row in range(block.count)
            ]
        self._places = places
        self.steps: Integers = np.array(
            [record.blocks[n].steps[row] for n, row in places], np.int64
        )
        self.shape: tuple[int, ...] = (len(places), *slot.shape)

    @override
    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Tensors: ...
    @override
    def __getitem__(self, index: int | slice) -> Array | Tensors:
        """A copy of one tensor by its position, or a shorter sequence.

        Raises:
            RunError: It is damaged.
        """
        if isinstance(index, slice):
            return Tensors(self._record, self._kind, self._slot, self._places[index])
        block, row = self._places[index]
        self._record.blocks[block].check(range(row, row + 1))
        return (
            self._record.blocks[block]
            .rows[self._kind][row, self._slot.slice]
            .reshape(self._slot.shape)
            .copy()
        )

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """All tensors in one array.

        A read-only view where one block holds consecutive rows, otherwise a copy.

        Raises:
            RunError: One is damaged.
        """
        blocks = {block for block, _ in self._places}
        rows = [row for _, row in self._places]
        one_view = len(blocks) == 1 and rows == list(range(rows[0], rows[0] + len(rows)))
        if copy is False and (
            not one_view or (dtype is not None and np.dtype(dtype) != self._record.final.dtype)
        ):
            raise ValueError(
                "these tensors cannot be given without a copy: they lie in several blocks, or have "
                "another dtype"
            )
        if one_view:
            block = self._record.blocks[blocks.pop()]
            block.check(range(rows[0], rows[0] + len(rows)))
            held = block.rows[self._kind]
            array = held[rows[0] : rows[0] + len(rows), self._slot.slice].reshape(self.shape)
        else:
            array = np.array(list(self), self._record.final.dtype).reshape(self.shape)
        if (dtype is not None and np.dtype(dtype) != array.dtype) or (copy and one_view):
            return array.astype(array.dtype if dtype is None else dtype)
        return array

    @override
    def __repr__(self) -> str:
        return f"<{self._kind}s of {len(self)} steps, each {self._slot.shape}>"
