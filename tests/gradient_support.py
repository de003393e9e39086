"""What the tests of gradients share: a model, layers of which one fails, and a backward."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.activations import ActivationName
from minigrad.arrays import Array

X = np.array([[1, 2, 0], [3, -1, 2]], np.float32)


class Either(mg.Layer):
    """Multiplies by one of two parameters; backward reaches that one."""

    def __init__(self) -> None:
        self.left, self.right = (
            mg.Parameter(np.ones(3, np.float32)),
            mg.Parameter(np.ones(3, np.float32)),
        )
        self.use_left = True
        self.looks: Callable[[Either], object] = lambda layer: None

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * (self.left if self.use_left else self.right).value

    def backward(self, grad: Array) -> Array:
        used = self.left if self.use_left else self.right
        used.grad = (grad * self.x).sum(axis=0)
        self.looks(self)
        return grad * used.value


def model_of(activation: ActivationName = "tanh") -> mg.Sequential:
    return mg.Sequential(mg.Dense(3, 4, rng=0), mg.Activation(activation), mg.Dense(4, 2, rng=1))


def back(model: mg.Sequential, x: Array = X, **keywords: Any) -> Array | None:
    output = model(x)
    return model.backward(np.cos(output), **keywords)


def grads_of(model: mg.Layer) -> Array:
    return np.array(mg.ParameterVector.of(model).grads)


class Fails(mg.Layer):
    fails = False

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, grad: Array) -> Array:
        if self.fails:
            raise ZeroDivisionError("half way")
        return grad.copy()
