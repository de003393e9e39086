"""Inputs, layers and a loss that are right, for tests of `check_gradients` to spoil."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

import minigrad as mg
from minigrad.arrays import Array

X = np.random.default_rng(0).normal(size=(5, 3))


class Affine(mg.Layer):
    """x W + b in the plainest form, for others to spoil."""

    def __init__(self, weight: npt.ArrayLike | None = None) -> None:
        drawn = np.random.default_rng(1).normal(size=(3, 3))
        self.weight = mg.Parameter(np.array(drawn if weight is None else weight, np.float64))
        self.bias = mg.Parameter(np.zeros(self.weight.shape[1]))

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x @ self.weight.value + self.bias.value)

    def backward(self, grad: Array) -> Array | None:
        self.weight.grad = self.x.T @ grad
        self.bias.grad = grad.sum(axis=0)
        return np.asarray(grad @ self.weight.value.T)


class Plain(mg.Layer):
    """A layer made of two functions, without parameters."""

    def __init__(
        self, forward: Callable[[Array], Array], backward: Callable[[Array, Array], Any]
    ) -> None:
        self.functions = (forward, backward)

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(self.functions[0](x))

    def backward(self, grad: Array) -> Array:
        below: Array = self.functions[1](grad, self.x)
        return below


class Squares(mg.Loss):
    """The mean of squares."""

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.error = logits - np.asarray(targets)
        return float((self.error**2).mean())

    def backward(self) -> Array:
        return np.asarray(2 * self.error / self.error.size)
