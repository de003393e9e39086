"""softmax and log_softmax: their values and their full Jacobians."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from activation_support import RTOL, agree, dtypes, value_and_slope

import minigrad as mg
from minigrad.activations import ActivationName
from minigrad.arrays import Array

OVER_ROWS: list[ActivationName] = ["softmax", "log_softmax"]
INF = math.inf

# (row, softmax, log_softmax) by mpmath as in activation_numbers
ROWS: list[tuple[list[float], list[float], list[float]]] = [
    (
        [0.5, -1.0, 2.0],
        [0.1752903921400367, 0.03911257327068745, 0.7855970345892759],
        [-1.7413112966571571, -3.241311296657157, -0.24131129665715706],
    ),
    (
        [3.0, 3.0, -700.0],
        [0.5, 0.5, 2.4544219508459608e-306],
        [-0.6931471805599453, -0.6931471805599453, -703.6931471805599],
    ),
    (
        [1e15, 1e15 - 1, 0.0],
        [0.7310585786300049, 0.2689414213699951, 0.0],
        [-0.3132616875182228, -1.3132616875182228, -1000000000000000.4],
    ),
    (
        [-1e15, -1e15, -1e15 + 2],
        [0.10650697891920075, 0.10650697891920075, 0.7869860421615985],
        [-2.2395447662218846, -2.2395447662218846, -0.2395447662218845],
    ),
    ([1e-300, -1e-300, 0.0], [1 / 3, 1 / 3, 1 / 3], [-1.0986122886681098] * 3),
]
NEXT_TO_1: list[tuple[list[float], list[float], list[float]]] = [  # the first share is nearly all
    (
        [0.0, -40.0, -41.0],
        [1.0, 4.248354255291589e-18, 1.5628821893349888e-18],
        [-5.811236444626578e-18, -40.0, -41.0],
    ),
    (
        [36.0, 0.0, -36.0],
        [0.9999999999999998, 2.3195228302435686e-16, 5.380186160021137e-32],
        [-2.3195228302435696e-16, -36.0, -72.0],
    ),
    (
        [0.0, -88.0, -90.0],
        [1.0, 6.054601895401186e-39, 8.194012623990515e-40],
        [-6.874003157800237e-39, -88.0, -90.0],
    ),
]
rows = pytest.mark.parametrize(
    ("row", "shares", "logarithms", "dtype"),  # float32 has no such neighbours at 1e15
    [
        (*row, dtype)
        for dtype in RTOL
        for row in ROWS
        if dtype is np.float64 or abs(row[0][0]) < 1e15
    ],
)
next_to_1 = pytest.mark.parametrize(("row", "shares", "logarithms"), NEXT_TO_1)


@rows
def test_softmax(
    row: list[float], shares: list[float], logarithms: list[float], dtype: Any
) -> None:
    """Shares and their logarithms."""
    x = np.array([row], dtype)
    agree(mg.Activation("softmax")(x), np.array([shares]), x)
    agree(mg.Activation("log_softmax")(x), np.array([logarithms]), x)


@next_to_1
@dtypes
def test_logarithms_of_shares_next_to_1(
    row: list[float], shares: list[float], logarithms: list[float], dtype: Any
) -> None:
    """Where a share is so near to 1 that it rounds to 1, its logarithm is still what the others
    take away from it.
    """
    x = np.array([row], dtype)
    agree(mg.Activation("softmax")(x), np.array([shares]), x)
    agree(mg.Activation("log_softmax")(x), np.array([logarithms]), x)


def jacobian(name: ActivationName, x: Array) -> Array:
    """dy_j/dx_k in row j and column k, from a backward for each j."""
    layer, found = mg.Activation(name), []
    for unit in np.eye(x.size, dtype=x.dtype):
        layer(x)
        found.append(layer.backward(unit[np.newaxis])[0])
    return np.array(found)


def matrices(shares: list[float]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """y_j ([j = k] - y_k) and [j = k] - y_k, where 1 - y_k is what the other shares add up to."""
    y = np.array(shares)
    logarithmic = np.tile(-y, (3, 1))
    np.fill_diagonal(logarithmic, [y[1] + y[2], y[0] + y[2], y[0] + y[1]])
    return y[:, np.newaxis] * logarithmic, logarithmic


@rows
def test_jacobians(
    row: list[float], shares: list[float], logarithms: list[float], dtype: Any
) -> None:
    """Every entry, by its definition."""
    x = np.array([row], dtype)
    for name, expected in zip(OVER_ROWS, matrices(shares), strict=True):
        agree(
            jacobian(name, x), expected, expected, 5 * RTOL[dtype]
        )  # a share is e^y there, and y is rounded


@next_to_1
@dtypes
def test_the_jacobian_of_shares_next_to_1(
    row: list[float], shares: list[float], logarithms: list[float], dtype: Any
) -> None:
    """A row that is nearly decided still has a slope: what is left to gain, not what rounding
    leaves of 1 - y.
    """
    expected = next(iter(matrices(shares)))
    agree(jacobian("softmax", np.array([row], dtype)), expected, expected, 5 * RTOL[dtype])


@pytest.mark.parametrize("name", OVER_ROWS)
@pytest.mark.parametrize("width", [1, 2, 7])
def test_jacobians_of_any_width(name: ActivationName, width: int) -> None:
    """Written out from the definition, at random; each row of a batch and of an image by itself."""
    rng = np.random.default_rng(width)
    x, grad = 3 * rng.normal(size=(2, 3, width)), rng.normal(size=(2, 3, width))
    layer = mg.Activation(name)
    value = layer(x)
    below = layer.backward(grad)
    for place in np.ndindex(2, 3):
        y = np.exp(x[place]) / np.exp(x[place]).sum()
        matrix = np.diag(y) - np.outer(y, y) if name == "softmax" else np.eye(width) - y
        np.testing.assert_allclose(
            value[place], y if name == "softmax" else np.log(y), rtol=1e-13, atol=1e-15
        )
        np.testing.assert_allclose(below[place], grad[place] @ matrix, rtol=1e-12, atol=1e-15)


@dtypes
def test_rows_with_infinity(dtype: Any) -> None:
    """One infinity takes all; minus infinity takes nothing; NaN stays in its row.

    Then the slopes are limits as well.
    """
    x = np.array([[INF, 0, 1], [-INF, 0, 0], [-INF, INF, 0], [0, 0, 0]], dtype)
    shares = np.array([[1, 0, 0], [0, 0.5, 0.5], [0, 1, 0], [1 / 3] * 3])
    value, _ = value_and_slope("softmax", x)
    np.testing.assert_allclose(value, shares, rtol=1e-6)
    logarithms, slope = value_and_slope("log_softmax", x)
    half, third = -math.log(2), -math.log(3)
    expected = np.array([[0, -INF, -INF], [-INF, half, half], [-INF, 0, -INF], [third] * 3])
    np.testing.assert_allclose(logarithms, expected, rtol=1e-6)
    np.testing.assert_allclose(slope, 1 - 3 * shares, rtol=1e-6, atol=1e-6)
    for row, y in zip(x, shares, strict=True):
        np.testing.assert_allclose(
            jacobian("softmax", row[np.newaxis]), np.diag(y) - np.outer(y, y), atol=1e-6
        )
        np.testing.assert_allclose(
            jacobian("log_softmax", row[np.newaxis]), np.eye(3) - y, atol=1e-6
        )


@pytest.mark.parametrize("name", OVER_ROWS)
@dtypes
def test_rows_with_nan_and_without_a_limit(name: ActivationName, dtype: Any) -> None:
    """NaN stays in its row.

    Rows of nothing but infinities have no limit; they warn of nothing and spoil no other row.
    """
    x = np.array([[np.nan, INF, 1], [INF, INF, 0], [-INF, -INF, -INF], [0, 0, 0]], dtype)
    value, _ = value_and_slope(name, x)
    assert np.isnan(value[0]).any()
    expected = 1 / 3 if name == "softmax" else -math.log(3)
    np.testing.assert_allclose(value[3], [expected] * 3, rtol=1e-6)


@dtypes
def test_rows_of_the_largest_numbers(dtype: Any) -> None:
    """A difference that overflows is as good as infinite; nothing warns."""
    largest = np.finfo(dtype).max
    value, slope = value_and_slope(
        "softmax", np.array([[largest, -largest, 0], [-largest] * 3], dtype)
    )
    np.testing.assert_allclose(value, np.array([[1, 0, 0], [1 / 3] * 3]), rtol=1e-6)
    np.testing.assert_allclose(slope, np.zeros((2, 3)), atol=1e-6)
