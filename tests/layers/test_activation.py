"""`Activation`: the layer around a function.

The functions themselves are in test_activations.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.activations import FUNCTIONS, ActivationName
from minigrad.arrays import Array

POINTS = [
    -1e6,
    -1e3,
    -88.8,
    -40,
    -20,
    -3,
    -1,
    -1e-3,
    -1e-30,
    0,
    1e-30,
    1e-3,
    0.5,
    1,
    3,
    20,
    36.8,
    41,
    89,
    1e3,
    1e6,
]

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def sigmoid(x: float) -> float:
    """In the form that does not overflow, by the standard library."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


VALUES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "sigmoid": sigmoid,
    "tanh": math.tanh,
}
SLOPES: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1.0,
    "relu": lambda x: float(x > 0),
    "sigmoid": lambda x: sigmoid(x) * sigmoid(-x),
    "tanh": lambda x: 1 / math.cosh(x) ** 2 if abs(x) < 300 else 0.0,
}


@pytest.mark.parametrize("name", VALUES)
@dtypes
def test_values_at_any_magnitude(name: ActivationName, dtype: Any) -> None:
    """From -1e6 to 1e6, against the standard library."""
    x = np.array([POINTS], dtype)
    expected = [[VALUES[name](float(point)) for point in x[0]]]
    tiny = float(np.finfo(dtype).tiny)
    np.testing.assert_allclose(
        mg.Activation(name)(x), expected, rtol=4e-7 if dtype is np.float32 else 1e-15, atol=tiny
    )


@pytest.mark.parametrize("name", SLOPES)
@dtypes
def test_slopes_at_any_magnitude(name: ActivationName, dtype: Any) -> None:
    """The gradient is the slope times the gradient from above.

    Where the function is flat it is 0, never NaN.
    """
    x = np.array([POINTS], dtype)
    layer = mg.Activation(name)
    layer(x)
    expected = [[-2 * SLOPES[name](float(point)) for point in x[0]]]
    found = layer.backward(np.full(x.shape, -2, dtype))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2 * float(np.finfo(dtype).eps))


@dtypes
def test_softmax_by_hand(dtype: Any) -> None:
    """Rows of logarithms of 1, 2 and 5 give 1/8, 2/8 and 5/8, also when shifted by a million."""
    x = np.log(np.array([[1, 2, 5]], dtype))
    found = mg.Activation("softmax")(np.vstack([x, x + dtype(64), x - dtype(64)]))
    np.testing.assert_allclose(found, [[1 / 8, 2 / 8, 5 / 8]] * 3, rtol=1e-5)


@dtypes
def test_softmax_at_any_magnitude(dtype: Any) -> None:
    """Rows sum to 1, whatever comes in."""
    x = np.array([[1e6, 0, -1e6], [-1e6, -1e6, -1e6], [1e6, 1e6, 0], [1e30, -1e30, 0]], dtype)
    layer = mg.Activation("softmax")
    assert [[1, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]] == (layer(x) * [[1], [3], [2], [1]]).round(
        5
    ).tolist()
    assert np.isfinite(layer.backward(np.ones_like(x))).all()


def test_softmax_slopes_by_its_matrix() -> None:
    """dy_j/dx_k = y_j ([j = k] - y_k), written out as a matrix."""
    x, grad = (
        np.array([[0.3, -1.0, 2.0], [0.0, 0.0, 1.0]]),
        np.array([[1.0, 2.0, -3.0], [0.5, 0.0, 4.0]]),
    )
    layer = mg.Activation("softmax")
    rows = []
    for y, g in zip(layer(x), grad, strict=True):
        rows.append((np.diag(y) - np.outer(y, y)).T @ g)
    np.testing.assert_allclose(layer.backward(grad), rows, rtol=1e-12)


@sparse(
    pytest.mark.parametrize("name", FUNCTIONS),
    pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (5, 1)]),
)
def test_any_number_of_axes(name: ActivationName, shape: tuple[int, ...]) -> None:
    """Images go through as well as rows, forward and backward, in any memory layout.

    Softmax is along the last axis.
    """
    rng = np.random.default_rng(0)
    x, grad = rng.normal(size=shape), rng.normal(size=shape)
    layer, flat = mg.Activation(name), mg.Activation(name)
    expected = flat(x.reshape(-1, shape[-1])).reshape(shape)
    below = flat.backward(grad.reshape(-1, shape[-1])).reshape(shape)
    for other in (x, np.asfortranarray(x)):
        np.testing.assert_allclose(layer(other), expected, rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(
            layer.backward(np.asfortranarray(grad)), below, rtol=1e-13, atol=1e-15
        )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_is_not_hidden(name: ActivationName) -> None:
    """What has gone wrong stays visible."""
    assert np.isnan(mg.Activation(name)(np.array([[np.nan, 1.0]]))[0, 0])


def test_a_function_of_ones_own() -> None:
    """Any function with its chain rule is an activation, even one that returns its input itself."""

    def forward(x: Array) -> Array:
        return x * x

    def backward(grad: Array, x: Array, y: Array) -> Array:
        return grad * 2 * x

    layer = mg.Activation(mg.ActivationFunction("square", forward, backward))
    assert [[4, 9]] == layer(np.array([[2.0, -3.0]])).tolist()
    assert [[4, -6]] == layer.backward(np.ones((1, 2))).tolist()
    assert "square" in repr(layer)
    same = mg.Activation(mg.ActivationFunction("same", lambda x: x, lambda grad, x, y: grad))
    x = np.ones((1, 2))
    same(x).fill(9)
    assert [[1, 1]] == x.tolist()


def test_what_backward_needs_is_there_to_be_seen() -> None:
    """The last input and output can be read."""
    layer = mg.Activation("relu")
    layer(np.array([[-1.0, 2.0]]))
    assert ([[-1, 2]], [[0, 2]]) == (layer.x.tolist(), layer.y.tolist())
    assert "Activation('relu')" == repr(layer)
    assert [] == list(layer.parameters())
