"""`Flatten`, which turns each sample into one row."""

from __future__ import annotations

from typing import final

from minigrad._types import override
from minigrad._validation import batch
from minigrad.arrays import Array
from minigrad.layers.layer import Layer


@final
class Flatten(Layer):
    """Each sample as one row: images (batch, 28, 28) become (batch, 784)."""

    def __init__(self) -> None:
        self.shape: tuple[int, ...] = ()  # of the last input

    @override
    def forward(self, x: Array) -> Array:
        """(batch, ...) -> (batch, features), a new array.

        Raises:
            KindError: The input holds no real numbers.
            ShapeError: The input has no rows.
        """
        x = batch(x, None, self)
        self.shape = x.shape
        return x.reshape(len(x), -1).copy()

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, features) -> (batch, ...): the same numbers in the shape of the input.

        Raises:
            CallOrderError: No forward came before, or backward was already called for it.
            ShapeError: The gradient does not have the output's shape.
        """
        return grad.reshape(self.shape).copy()
