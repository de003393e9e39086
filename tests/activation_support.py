"""What the tests of the activation functions share: values with slopes, and a comparison by
relative error.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

import minigrad as mg
from minigrad.activations import ActivationName
from minigrad.arrays import Array

RTOL: dict[type, float] = {np.float64: 2e-14, np.float32: 2e-6}
dtypes = pytest.mark.parametrize("dtype", RTOL)


def value_and_slope(name: ActivationName, x: Array) -> tuple[Array, Array]:
    """What the layer makes of `x`, and what it makes of a gradient of ones."""
    layer = mg.Activation(name)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        value = layer(x)
        slope = layer.backward(np.ones_like(x))
    assert (x.dtype, x.dtype, x.shape, x.shape) == (
        value.dtype,
        slope.dtype,
        value.shape,
        slope.shape,
    )
    return value, slope


def agree(
    found: Array, expected: npt.NDArray[np.float64], points: Array, rtol: float | None = None
) -> None:
    """Equal but for a relative error; near the smallest numbers but for a thousand of the steps
    that there are then.

    A function may multiply by x, up to a thousand there, what has already lost digits for being so
    small.
    """
    limits, rtol = np.finfo(found.dtype), RTOL[found.dtype.type] if rtol is None else rtol
    allowed = rtol * np.abs(expected) + 1000 * float(limits.smallest_subnormal)
    wrong = ~(np.abs(found - expected) <= allowed)
    places = np.argwhere(wrong).tolist()
    told = [
        f"at {points[*place]!r}: {found[*place]!r}, expected {expected[*place]!r}"
        for place in places
    ]
    assert [] == told
