"""Activation functions: each a function and its derivative, side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

from minigrad.arrays import Array


@final
@dataclass(frozen=True)
class ActivationFunction:
    """A function of an array and the chain rule through it.

    Attributes:
        name: What it is called.
        forward: `x -> y`, both of shape (batch, ...); a new array.
        backward: `(grad, x, y) -> gradient of x`, where `grad` is the gradient of `y`; a new array.
    """

    name: str
    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array, Array], Array]


def _linear(x: Array) -> Array:
    return x.copy()


def _linear_backward(grad: Array, x: Array, y: Array) -> Array:
    return grad.copy()  # dy/dx = 1


@lru_cache(maxsize=8)
def _everywhere(value: float, shape: tuple[int, ...], char: str) -> Array:
    """One value in an array, read-only and kept: minimum and maximum are several times faster against that than against a number."""
    array = np.full(shape, value, char)
    array.flags.writeable = False
    return array


def _relu(x: Array) -> Array:
    return np.maximum(x, _everywhere(0, x.shape, x.dtype.char))


def _relu_backward(grad: Array, x: Array, y: Array) -> Array:
    return grad * (x > 0)  # dy/dx = 1 above 0, else 0; at 0 itself too, as is usual


def _sigmoid(x: Array) -> Array:
    e = np.minimum(x, _everywhere(40, x.shape, x.dtype.char))  # from 40 on the result is 1, and exp does not overflow
    np.exp(e, out=e)
    e /= e + 1
    return e


def _sigmoid_backward(grad: Array, x: Array, y: Array) -> Array:
    return grad * (y * (1 - y))  # dy/dx = y (1 - y)


def _tanh_backward(grad: Array, x: Array, y: Array) -> Array:
    slope: Array = 1 - y * y  # dy/dx = 1 - y^2
    return grad * slope


def _softmax(x: Array) -> Array:
    y: Array = np.exp(x - x.max(axis=-1, keepdims=True))  # a shift changes nothing but keeps exp from overflowing
    y /= y.sum(axis=-1, keepdims=True)
    return y


def _softmax_backward(grad: Array, x: Array, y: Array) -> Array:
    shared: Array = (grad * y).sum(axis=-1, keepdims=True)
    return y * (grad - shared)  # dy_j/dx_k = y_j ([j = k] - y_k)


FUNCTIONS: dict[str, ActivationFunction] = {
    function.name: function
    for function in (
        ActivationFunction("linear", _linear, _linear_backward),
        ActivationFunction("relu", _relu, _relu_backward),
        ActivationFunction("sigmoid", _sigmoid, _sigmoid_backward),
        ActivationFunction("tanh", np.tanh, _tanh_backward),
        ActivationFunction("softmax", _softmax, _softmax_backward),
    )
}
"""The activation functions that have a name."""
