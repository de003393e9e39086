"""Activation functions: each a function and its derivative, side by side.

They are precise at any magnitude: where the plain formula overflows, or takes the difference of two
almost equal numbers, an equal one is used that does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, final

import numpy as np

from minigrad._messages import described
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError
from minigrad.gaussian import cdf, pdf

ActivationName: TypeAlias = Literal[
    "linear",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "softplus",
    "softmax",
    "log_softmax",
]
"""The names of the activation functions."""


@final
class ActivationFunction(NamedTuple):
    """A function of an array and the chain rule through it.

        square = minigrad.ActivationFunction(
            "square", lambda x: x * x, lambda grad, x, y: grad * 2 * x
        )

    Attributes:
        name: What it is called.
        forward: `x -> y`, both of shape (batch, ...); a new array.
        backward: `(grad, x, y) -> gradient of x`, where `grad` is the gradient of `y`; a new array.
    """

    name: str
    forward: Callable[[Array], Array]
    backward: Callable[[Array, Array, Array], Array]


@lru_cache(maxsize=8)
def _filled(shape: tuple[int, ...], value: float, char: str) -> Array:
    """An array of one value, read-only and kept.

    Minimum and maximum are several times faster with it than with a number.
    """
    array = np.full(shape, value, char)
    array.flags.writeable = False
    return array


def _below(x: Array, end: float) -> Array:
    """min(x, end), a new array."""
    return np.minimum(x, _filled(x.shape, end, x.dtype.char))


def _above(x: Array, end: float) -> Array:
    """max(x, end), a new array."""
    return np.maximum(x, _filled(x.shape, end, x.dtype.char))


# -- piecewise linear ----------------------------------------------------------------------------


def _linear(x: Array) -> Array:
    return x.copy()


def _linear_backward(grad: Array, x: Array, y: Array) -> Array:
    return grad.copy()  # dy/dx = 1


def _relu(x: Array) -> Array:
    return _above(x, 0)


def _relu_backward(grad: Array, x: Array, y: Array) -> Array:
    return grad * (x > 0)  # dy/dx = 1 above 0, else 0; at 0 itself too, as is usual


_LEAK = 0.01


def _leaky_relu(x: Array) -> Array:
    return np.maximum(x, x.dtype.type(_LEAK) * x)


def _leaky_relu_backward(grad: Array, x: Array, y: Array) -> Array:
    return np.where(x > 0, grad, x.dtype.type(_LEAK) * grad)  # dy/dx = 1 above 0, else 0.01


# where every bell and sigmoid is 0, and so is their product with this; with infinity it would be
# NaN
_END = -1000


# -- sigmoid and its relatives -------------------------------------------------------------------


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), a new array."""
    y = _below(x, 40)  # from here on the result is 1, and the exponential does not overflow
    np.exp(y, out=y)
    y /= y + 1  # e^x / (1 + e^x) = 1 / (1 + e^-x)
    return y


def _sigmoid_slope(x: Array) -> Array:
    slope = np.abs(x)
    np.exp(np.negative(slope, out=slope), out=slope)
    root = slope + 1
    root *= root
    # dy/dx = y (1 - y) = e / (1 + e)^2 with e = e^-|x|, which does not lose what 1 - y rounds off
    slope /= root
    return slope


def _sigmoid_backward(grad: Array, x: Array, y: Array) -> Array:
    below = _sigmoid_slope(x)
    below *= grad
    return below


def _tanh_backward(grad: Array, x: Array, y: Array) -> Array:
    slope: Array = 4 * _sigmoid_slope(
        2 * np.clip(x, _END, -_END)
    )  # dy/dx = 1 - y^2, and tanh(x) = 2 sigmoid(2x) - 1
    return grad * slope


def softplus(x: Array) -> Array:
    """log(1 + exp(x)), a new array."""
    y: Array = _above(x, 0) + np.log1p(np.exp(np.copysign(x, -1)))
    return y


def _softplus_backward(grad: Array, x: Array, y: Array) -> Array:
    return grad * sigmoid(x)  # dy/dx = e^x / (e^x + 1)


def _silu(x: Array) -> Array:
    return _above(x, _END) * sigmoid(x)


def _silu_backward(grad: Array, x: Array, y: Array) -> Array:
    # dy/dx = s + x ds/dx, with s = sigmoid(x)
    slope: Array = sigmoid(x) + np.clip(x, _END, -_END) * _sigmoid_slope(x)
    return grad * slope


def _gelu(x: Array) -> Array:
    return _above(x, _END) * cdf(x)


def _gelu_backward(grad: Array, x: Array, y: Array) -> Array:
    slope: Array = cdf(x) + np.clip(x, _END, -_END) * pdf(x)  # dy/dx = cdf + x pdf
    return grad * slope


# -- exponential below 0 -------------------------------------------------------------------------

# Klambauer et al. 2017, "Self-normalizing neural networks", https://arxiv.org/abs/1706.02515
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def _exponential(alpha: float, scale: float, x: Array) -> Array:
    low: Array = np.expm1(_below(x, 0))
    return np.where(x > 0, x.dtype.type(scale) * x, x.dtype.type(scale * alpha) * low)


def _exponential_backward(alpha: float, scale: float, grad: Array, x: Array, y: Array) -> Array:
    low: Array = np.exp(_below(x, 0))
    slope = np.where(x > 0, x.dtype.type(scale), x.dtype.type(scale * alpha) * low)
    return grad * slope


def _elu(x: Array) -> Array:
    return _exponential(1.0, 1.0, x)


def _elu_backward(grad: Array, x: Array, y: Array) -> Array:
    return _exponential_backward(1.0, 1.0, grad, x, y)


def _selu(x: Array) -> Array:
    return _exponential(_SELU_ALPHA, _SELU_SCALE, x)


def _selu_backward(grad: Array, x: Array, y: Array) -> Array:
    return _exponential_backward(_SELU_ALPHA, _SELU_SCALE, grad, x, y)


# -- over the last axis --------------------------------------------------------------------------


def _shifted(x: Array) -> Array:
    """`x` less the largest of its row: the softmax is the same, and exp does not overflow."""
    largest = x.max(axis=-1, keepdims=True)
    shifted = np.zeros_like(x)
    # Infinity less itself would be NaN; in the limit it is 0.
    with np.errstate(over="ignore"):
        np.subtract(
            x, largest, out=shifted, where=True if np.isfinite(largest).all() else x != largest
        )
    return shifted


def _softmax(x: Array) -> Array:
    y: Array = np.exp(_shifted(x))
    y /= y.sum(axis=-1, keepdims=True)
    return y


def _softmax_backward(grad: Array, x: Array, y: Array) -> Array:
    # dy_j/dx_k = y_j ([j = k] - y_k). The slope is the same for grad less a constant; with that of
    # the largest share, no 1 - y_k of it is needed, of which rounding would leave nothing.
    grad = grad - np.take_along_axis(grad, y.argmax(axis=-1, keepdims=True), axis=-1)
    shared: Array = (grad * y).sum(axis=-1, keepdims=True)
    return y * (grad - shared)


def _log_softmax(x: Array) -> Array:
    shifted = _shifted(x)
    others = np.exp(shifted)
    np.put_along_axis(others, x.argmax(axis=-1, keepdims=True), 0, axis=-1)  # the largest is 1
    y: Array = shifted - np.log1p(others.sum(axis=-1, keepdims=True))
    return y


def _log_softmax_backward(grad: Array, x: Array, y: Array) -> Array:
    below: Array = grad - np.exp(y) * grad.sum(
        axis=-1, keepdims=True
    )  # dy_j/dx_k = [j = k] - softmax_k
    return below


_FUNCTIONS = (
    ActivationFunction("linear", _linear, _linear_backward),
    ActivationFunction("relu", _relu, _relu_backward),
    ActivationFunction("leaky_relu", _leaky_relu, _leaky_relu_backward),
    ActivationFunction("elu", _elu, _elu_backward),
    ActivationFunction("selu", _selu, _selu_backward),
    ActivationFunction("gelu", _gelu, _gelu_backward),
    ActivationFunction("silu", _silu, _silu_backward),
    ActivationFunction("sigmoid", sigmoid, _sigmoid_backward),
    ActivationFunction("tanh", np.tanh, _tanh_backward),
    ActivationFunction("softplus", softplus, _softplus_backward),
    ActivationFunction("softmax", _softmax, _softmax_backward),
    ActivationFunction("log_softmax", _log_softmax, _log_softmax_backward),
)

FUNCTIONS: dict[str, ActivationFunction] = {function.name: function for function in _FUNCTIONS}
"""The activation functions that have a name."""

OVER_ROWS = (FUNCTIONS["softmax"], FUNCTIONS["log_softmax"])
"""Those that go over the last axis, which must not be that of the samples."""


def named(function: str | ActivationFunction) -> ActivationFunction:
    """The function of this name, or the function itself.

    Raises:
        ModelError: There is no function of this name.
        KindError: It is neither a name nor an `ActivationFunction`.
    """
    if isinstance(function, ActivationFunction):
        return function
    if not isinstance(function, str):
        raise KindError(
            f"activation is {described(function)}, expected a name or an ActivationFunction"
        )
    if function not in FUNCTIONS:
        raise ModelError(f"no activation '{function}'; there are {', '.join(FUNCTIONS)}")
    return FUNCTIONS[function]
