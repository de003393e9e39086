"""A layer that tests in several directories build models of."""

from __future__ import annotations

import minigrad as mg
from minigrad.arrays import Array


class Residual(mg.Layer):
    """A composite: what goes in is added to what the inner layers make of it."""

    def __init__(self, *layers: mg.Layer) -> None:
        self.inner = mg.Sequential(*layers)

    def forward(self, x: Array) -> Array:
        return x + self.inner(x)

    def backward(self, grad: Array) -> Array:
        below = self.inner.backward(grad)
        assert below is not None
        return grad + below
