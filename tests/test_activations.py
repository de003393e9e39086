"""The twelve activation functions: values and slopes with a small relative error at any magnitude,
and no warnings.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from decimal import Context, Decimal, localcontext
from typing import Any

import numpy as np
import pytest
from activation_numbers import NUMBERS
from activation_support import RTOL, agree, dtypes, value_and_slope
from case_support import sparse

import minigrad as mg
from minigrad.activations import FUNCTIONS, ActivationName

EACH = [
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
]
OVER_ROWS = ["softmax", "log_softmax"]
INF = math.inf

# Klambauer et al. 2017, "Self-normalizing neural networks", section 2 and their published code
SELU_SCALE, SELU_ALPHA = (
    Decimal("1.0507009873554804934193349852946"),
    Decimal("1.6732632423543772848170429916717"),
)

each = pytest.mark.parametrize("name", EACH)
all_of_them = pytest.mark.parametrize("name", EACH + OVER_ROWS)


def test_there_are_twelve() -> None:
    """Each name is that of its function, and everything below is about all of them."""
    assert set(EACH + OVER_ROWS) == set(FUNCTIONS)
    assert all(name == function.name for name, function in FUNCTIONS.items())
    assert set(NUMBERS) == set(EACH) - {"linear", "relu", "leaky_relu"}


# -- entry by entry ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NUMBERS)
@dtypes
def test_values_and_slopes(name: ActivationName, dtype: Any) -> None:
    """Against the numbers of the table, from 1e-300 to 1e15 and through the middle.

    Also where the result is tiny.
    """
    smallest = float(np.finfo(dtype).tiny)
    rows = [row for row in NUMBERS[name] if abs(row[0]) > smallest]
    x = np.array([[row[0] for row in rows]], dtype)
    value, slope = value_and_slope(name, x)
    agree(value, np.array([[row[1] for row in rows]]), x)
    agree(slope, np.array([[row[2] for row in rows]]), x)
    assert len(rows) >= 48


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("linear", lambda x: x, lambda x: 1.0),
        ("relu", lambda x: max(x, 0.0), lambda x: float(x > 0)),
        ("leaky_relu", lambda x: x if x > 0 else 0.01 * x, lambda x: 1.0 if x > 0 else 0.01),
    ],
)
@dtypes
def test_straight_lines(
    name: ActivationName,
    value: Callable[[float], float],
    slope: Callable[[float], float],
    dtype: Any,
) -> None:
    """Three functions that need no table."""
    magnitudes = [10.0**power for power in range(-300 if dtype is np.float64 else -30, 16)]
    x = np.array([[sign * point for point in magnitudes for sign in (1, -1)]], dtype)
    found, found_slope = value_and_slope(name, x)
    agree(
        found,
        np.array([[value(float(point)) for point in x[0]]]),
        x,
        rtol=1e-7 if dtype is np.float32 else 3e-16,
    )
    agree(
        found_slope,
        np.array([[slope(float(point)) for point in x[0]]]),
        x,
        1e-7 if dtype is np.float32 else 0,
    )


def by_decimals(name: ActivationName, number: float) -> tuple[float, float]:
    """Value and slope in 200 decimal digits, from the exponential alone."""
    with localcontext(Context(prec=200, Emin=-999_999, Emax=999_999)):
        x, e = Decimal(number), Decimal(number).exp()
        share, rest = e / (e + 1), 1 / (e + 1)  # sigmoid(x) and sigmoid(-x)
        y = (e * e - 1) / (e * e + 1)
        alpha, scale = (SELU_ALPHA, SELU_SCALE) if name == "selu" else (Decimal(1), Decimal(1))
        value, slope = {
            "sigmoid": (share, share * rest),
            "silu": (x * share, share + x * share * rest),
            "softplus": ((1 + e).ln(), share),
            "tanh": (y, 1 - y * y),
            "elu": (
                scale * x if x > 0 else scale * alpha * (e - 1),
                scale if x > 0 else scale * alpha * e,
            ),
        }["elu" if name == "selu" else name]
        return float(value), float(slope)


@pytest.mark.slow
@sparse(
    pytest.mark.parametrize("name", ["elu", "selu", "silu", "sigmoid", "tanh", "softplus"]),
    dtypes,
    every=4,
)
def test_values_and_slopes_in_between(name: ActivationName, dtype: Any) -> None:
    """Between the points of the table there is no seam: against 200 decimal digits, densely from
    -120 to 120.
    """
    x = np.linspace(-120, 120, 401).astype(dtype)[np.newaxis] + dtype(1 / 64)
    x = x[np.abs(x + 1.28) > 0.25][
        np.newaxis
    ]  # where silu has its lowest point, its slope is 0: see below
    expected = np.array([[by_decimals(name, float(point)) for point in x[0]]])
    value, slope = value_and_slope(name, x)
    agree(value, expected[..., 0], x)
    agree(slope, expected[..., 1], x)


@dtypes
def test_gelu_in_between(dtype: Any) -> None:
    """Against the standard library's erfc, densely.

    That takes x / sqrt 2 rounded, which costs up to x^2 roundings.
    """
    end = 37 if dtype is np.float64 else 12
    x = np.linspace(-end, end, 1201).astype(dtype)[np.newaxis]
    x = x[np.abs(x + 0.75) > 0.25][np.newaxis]
    below = np.array([[math.erfc(-float(point) / math.sqrt(2)) / 2 for point in x[0]]])
    bell = np.exp(-(x.astype(np.float64) ** 2) / 2) / math.sqrt(2 * math.pi)
    value, slope = value_and_slope("gelu", x)
    rtol = 1e-12 if dtype is np.float64 else RTOL[dtype]
    agree(value, x * below, x, rtol)
    agree(slope, below + x * bell, x, rtol)


@pytest.mark.parametrize(
    ("name", "lowest", "least"),
    [
        (
            "silu",
            -1.2784645427610738,
            -0.27846454276107379,
        ),  # mpmath: findroot of the slope, and the value there
        ("gelu", -0.75179152469356446, -0.16997120747990366),
    ],
)
@dtypes
def test_slopes_around_the_lowest_point(
    name: ActivationName, lowest: float, least: float, dtype: Any
) -> None:
    """Where two terms of a slope cancel each other, what is left is precise relative to them."""
    x = (lowest + np.linspace(-0.3, 0.3, 61)).astype(dtype)[np.newaxis]
    value, slope = value_and_slope(name, x)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(value.min(), least, rtol=4 * eps)
    assert abs(slope[0, 30]) < 4 * eps
    assert (np.sign(slope[0, :30]) == -1).all()
    assert (np.sign(slope[0, 31:]) == 1).all()
    step = x.astype(np.float64) + np.array([[1e-5], [-1e-5]])
    ahead, behind = mg.Activation(name)(step)
    np.testing.assert_allclose(
        slope[0], (ahead - behind) / 2e-5, rtol=0, atol=1e-9 if dtype is np.float64 else 1e-6
    )


@dtypes
def test_the_mean_and_variance_that_selu_keeps(dtype: Any) -> None:
    """What its constants are made for: of standard normal numbers mean and variance stay 0 and
    1.
    """
    grid = np.linspace(-12, 12, 200_001)
    weight = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi) * (grid[1] - grid[0])
    value = mg.Activation("selu")(grid.astype(dtype)[np.newaxis])[0].astype(np.float64)
    np.testing.assert_allclose([value @ weight, value**2 @ weight], [0, 1], rtol=0, atol=1e-6)


@sparse(
    pytest.mark.parametrize(
        ("name", "slope"),
        {
            "linear": 1,
            "relu": 0,
            "leaky_relu": 0.01,
            "elu": 1,
            "selu": SELU_SCALE * SELU_ALPHA,
            "gelu": 0.5,
            "silu": 0.5,
            "sigmoid": 0.25,
            "tanh": 1,
            "softplus": 0.5,
        }.items(),
    ),
    dtypes,
)
def test_at_zero(name: ActivationName, slope: float, dtype: Any) -> None:
    """At 0 and at -0; where there is a kink, the slope is the one to the left."""
    x = np.array([[0.0, -0.0]], dtype)
    value, found = value_and_slope(name, x)
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(
        value, [[{"sigmoid": 0.5, "softplus": math.log(2)}.get(name, 0.0)] * 2], rtol=2 * eps
    )
    np.testing.assert_allclose(found, [[float(slope)] * 2], rtol=2 * eps)


LIMITS: dict[
    str, tuple[tuple[float, float], tuple[float, float]]
] = {  # values at -inf and inf, slopes there
    "linear": ((-INF, INF), (1, 1)),
    "relu": ((0, INF), (0, 1)),
    "leaky_relu": ((-INF, INF), (0.01, 1)),
    "elu": ((-1, INF), (0, 1)),
    "selu": ((float(-SELU_SCALE * SELU_ALPHA), INF), (0, float(SELU_SCALE))),
    "gelu": ((0, INF), (0, 1)),
    "silu": ((0, INF), (0, 1)),
    "sigmoid": ((0, 1), (0, 0)),
    "tanh": ((-1, 1), (0, 0)),
    "softplus": ((0, INF), (0, 1)),
}


@sparse(pytest.mark.parametrize(("name", "limits"), LIMITS.items(), ids=LIMITS.keys()), dtypes)
def test_at_infinity(
    name: ActivationName, limits: tuple[tuple[float, float], tuple[float, float]], dtype: Any
) -> None:
    """The limits, alone and beside numbers."""
    value, slope = value_and_slope(name, np.array([[-INF, INF, 1]], dtype))
    np.testing.assert_allclose(value[0, :2], limits[0], rtol=1e-6)
    np.testing.assert_allclose(slope[0, :2], limits[1], rtol=1e-6)
    assert np.isfinite([value[0, 2], slope[0, 2]]).all()


@each
@dtypes
def test_nan_stays_where_it_is(name: ActivationName, dtype: Any) -> None:
    """It is seen, and only there; it warns of nothing."""
    value, slope = value_and_slope(name, np.array([[np.nan, 1]], dtype))
    assert [True, False] == np.isnan(value[0]).tolist()
    assert not np.isnan(slope[0, 1])


@sparse(
    pytest.mark.parametrize(
        "name",
        ["linear", "relu", "leaky_relu", "elu", "gelu", "silu", "sigmoid", "tanh", "softplus"],
    ),
    dtypes,
)
def test_at_the_largest_numbers(name: ActivationName, dtype: Any) -> None:
    """As at infinity, where the results are that large themselves: no overflow on the way, and no
    warning.
    """
    largest = np.finfo(dtype).max
    value, slope = value_and_slope(name, np.array([[-largest, largest]], dtype))
    limits, slopes = LIMITS[name]
    expected = [
        float(largest) * (0.01 if name == "leaky_relu" and limit < 0 else 1) * np.sign(limit)
        for limit in limits
    ]
    expected = [
        grown if math.isinf(limit) else limit for grown, limit in zip(expected, limits, strict=True)
    ]
    np.testing.assert_allclose(value, [expected], rtol=1e-6)
    np.testing.assert_allclose(slope, [slopes], rtol=1e-6)


@each
@dtypes
def test_the_slope_is_multiplied_by_the_gradient(name: ActivationName, dtype: Any) -> None:
    """Each entry by its own; a gradient of 0 stays 0."""
    x = np.array([[-3, -1, -0.5, 0.5, 1, 3]], dtype)
    _, slope = value_and_slope(name, x)
    layer, grad = mg.Activation(name), np.array([[2, -4, 0, 8, -0.25, 0]], dtype)
    layer(x)
    np.testing.assert_allclose(
        layer.backward(grad), slope * grad, rtol=4 * float(np.finfo(dtype).eps)
    )


# -- all twelve ----------------------------------------------------------------------------------


@all_of_them
@dtypes
def test_they_change_nothing_and_hand_out_their_own(name: ActivationName, dtype: Any) -> None:
    """The functions themselves, without the layer around: read-only arrays go in, new arrays come
    out.
    """
    function = FUNCTIONS[name]
    x = np.array([[-2.0, 0.5, 3.0]], dtype)
    grad = np.ones_like(x)
    x.flags.writeable = grad.flags.writeable = False
    y = function.forward(x)
    kept = y.copy()
    y.flags.writeable = False
    below = function.backward(grad, x, y)
    assert kept.tolist() == y.tolist()
    assert not np.shares_memory(x, y)
    assert not any(np.shares_memory(below, other) for other in (grad, x, y))
    for again in (function.forward(x), function.backward(grad, x, y)):
        again.fill(9)
    assert kept.tolist() == function.forward(x).tolist()
    assert below.tolist() == function.backward(grad, x, y).tolist()


@all_of_them
def test_copies_are_the_same_function(name: ActivationName) -> None:
    """A layer can be pickled, whichever function it has, and still says its name."""
    layer = mg.Activation(name)
    x = np.array([[-2.0, 0.5, 3.0]])
    other = pickle.loads(pickle.dumps(layer))
    assert f"Activation('{name}')" == repr(layer) == repr(other)
    assert layer(x).tolist() == other(x).tolist()
