"""Layers as users write them, for the tests of the order of calls, of predict, and of what copies
hold.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from layer_support import Residual

import minigrad as mg
from minigrad.arrays import Array


class Times(mg.Layer):
    """Each feature times a factor."""

    def __init__(self) -> None:
        self.factor = mg.Parameter(np.array([1, 2, 3], np.float32))
        self.calls = 0

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.factor.value

    def backward(self, grad: Array) -> Array:
        self.calls += 1
        self.factor.grad = (grad * self.x).sum(axis=0)
        return grad * self.factor.value


class Clipped(Times):
    """Goes on where its base class stops, and keeps what that gave."""

    def forward(self, x: Array) -> Array:
        self.inner = super().forward(x)
        return np.clip(self.inner, -1, 1)

    def backward(self, grad: Array) -> Array:
        return super().backward(grad * (np.abs(self.inner) < 1))


class Twice(Times):
    """Calls its base class's forward for something else first."""

    def forward(self, x: Array) -> Array:
        self.scale = super().forward(x * 2)
        return super().forward(x)


class Shift:
    """A mixin that is no layer."""

    def forward(self, x: Array) -> Array:
        found: Array = super().forward(x + 1)  # type: ignore[misc]
        return found


class Mixed(Shift, Times):
    """A mixin before a layer."""


class Lazy(Times):
    """A `backward_parameters` of its own that calls `backward`, as the base class's does, and does
    something more.
    """

    more = 0

    def backward_parameters(self, grad: Array) -> None:
        self.backward(grad)
        self.more += 1


class Empty(Times):
    """Says in `__init__` that there is no input yet, and keeps the gradient too."""

    def __init__(self) -> None:
        super().__init__()
        self.x: Array | None = None  # type: ignore[assignment]
        self.seen: dict[str, Array] | None = None

    def backward(self, grad: Array) -> Array:
        self.last, self.seen = grad, {"grad": grad}
        return super().backward(grad)


class Composite(mg.Layer):
    """Layers in a dict, a list and a tuple; no parameter of its own."""

    def __init__(self) -> None:
        self.by_name = {"a": mg.Sequential(Times(), mg.Dropout(0.5, rng=0))}
        self.in_order: list[mg.Layer] = [mg.Dense(3, 3, rng=1), mg.BatchNorm(3)]
        self.pair = (mg.Activation("tanh"), mg.Dropout(0.5, rng=1))

    def chain(self) -> list[mg.Layer]:
        return [self.by_name["a"], *self.in_order, *self.pair]

    def forward(self, x: Array) -> Array:
        for layer in self.chain():
            x = layer(x)
        return x

    def backward(self, grad: Array) -> Array:
        for layer in self.chain()[::-1]:
            below = layer.backward(grad)
            assert below is not None
            grad = below
        return grad


USERS: dict[str, Callable[[], mg.Layer]] = {
    "plain": Times, "super": Clipped, "super twice": Twice, "mixin": Mixed, "lazy": Lazy,
    "empty": Empty,
    "composite": Composite, "residual": lambda: Residual(Times()),
    "residual of residuals": lambda: Residual(Residual(Clipped()), Times()),
}  # fmt: skip
