"""The density and the distribution function of the standard normal distribution.

They are as precise as the dtype of the input.
"""

from __future__ import annotations

import math

import numpy as np

from minigrad.arrays import Array

# For x >= 0 the tail is cdf(-x) = t exp(-x^2 / 2) R(2t - 1) with t = 4.5 / (4.5 + x), where R is so
# smooth that a short Chebyshev series gives it; these are its coefficients, computed in 40 digits
# from the definition of erfc. The idea is that of Schonfelder 1978, "Chebyshev expansions for the
# error and related functions", Math. Comp. 32.
_SCALE = 4.5
_SERIES = np.array(
    [
        0.22873754251977539,
        0.18896226301366137,
        0.062341552132050396,
        0.016288572986148877,
        0.0032305022002681512,
        0.00042819409002599708,
        1.8481508691248371e-5,
        -5.9734547967340137e-6,
        -1.1916266857120789e-6,
        2.1622336488600858e-8,
        3.4243051618083045e-8,
        1.7907306742946267e-9,
        -9.6210017521071489e-10,
        -9.6422291438277648e-11,
        3.0658216927580309e-11,
        3.8444315064310636e-12,
        -1.1531466041527225e-12,
        -1.364294693533527e-13,
        4.9877215757324238e-14,
        4.0462688171793588e-15,
        -2.3350838997976503e-15,
        -5.642108421019868e-17,
        1.1062889138136968e-16,
    ]
)
_SERIES_FLOAT32 = _SERIES[:12].astype(np.float32)  # the rest is below float32's precision
_END = 40  # beyond 40 standard deviations the density is 0 in float64, too


def _bell(x: Array) -> Array:
    """exp(-x^2 / 2), where the square is split, so that its rounding spoils no result far out."""
    near = np.round(x * 16) / 16
    bell: Array = np.exp(near * near / -2) * np.exp((x - near) * (x + near) / -2)
    return bell


def pdf(x: Array) -> Array:
    """The density exp(-x^2 / 2) / sqrt(2 pi), same shape as `x`; 0 at both infinities."""
    return _bell(np.clip(x, -_END, _END)) * x.dtype.type(1 / math.sqrt(2 * math.pi))


def cdf(x: Array) -> Array:
    """The share of the distribution below `x`, same shape; precise in the tail below 0, too."""
    distance = np.minimum(np.abs(x), _END)
    t = _SCALE / (_SCALE + distance)
    series = _SERIES_FLOAT32 if x.dtype == np.float32 else _SERIES
    tail = t * _bell(distance) * np.polynomial.chebyshev.chebval(2 * t - 1, series)
    return np.where(x < 0, tail, 1 - tail)
