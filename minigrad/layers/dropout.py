"""`Dropout`, which leaves out entries at random during training."""

from __future__ import annotations

from typing import final

import numpy as np

from minigrad._types import override
from minigrad._validation import batch, number
from minigrad.arrays import Array, Seed
from minigrad.layers.layer import Layer
from minigrad.randomness import generator


@final
class Dropout(Layer):
    """Inverted dropout: in training, each entry becomes 0 with probability `rate`.

    The others grow to make up for it. In eval mode nothing happens to the input. With u drawn
    evenly from [0, 1) for each entry (Srivastava et al. 2014,
    https://jmlr.org/papers/v15/srivastava14a.html),

        y = m x,  dL/dx = m dL/dy,  where m is 1 / (1 - rate) if u >= rate, else 0

    Args:
        rate: The probability, 0 to 1.
        rng: A seed or a generator for what is left out.

    Attributes:
        mask: What the last input was multiplied by, m; None in eval mode.

    Raises:
        KindError: The rate is no number, or `rng` is neither a seed nor a generator.
        RangeError: The rate is out of range.
    """

    mask: Array | None = None

    def __init__(self, rate: float, *, rng: Seed = None) -> None:
        self.rate: float = number(rate, "rate", least=0, most=1)
        self.rng: np.random.Generator = generator(rng)

    @override
    def forward(self, x: Array) -> Array:
        """(batch, ...) -> (batch, ...), a new array.

        Raises:
            KindError: The input holds no real numbers.
            ShapeError: The input has no rows.
        """
        x = batch(x, None, self)
        self.mask = self._draw(x) if self.training else None
        return x.copy() if self.mask is None else x * self.mask

    def _draw(self, x: Array) -> Array:
        dtype = np.float32 if x.dtype == np.float32 else np.float64
        kept = self.rng.random(x.shape) >= self.rate
        return kept * dtype(1 / (1 - self.rate) if self.rate < 1 else 0)

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, ...) -> (batch, ...): the gradient of what was kept.

        Raises:
            CallOrderError: No forward came before, or backward was already called for it.
            ShapeError: The gradient does not have the output's shape.
        """
        return grad.copy() if self.mask is None else grad * self.mask

    @override
    def __repr__(self) -> str:
        return f"Dropout({self.rate:g})"
