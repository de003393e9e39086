"""Initial weights, by name or as a callable.

    Dense(784, 10, init="he_normal")
    Dense(784, 10, init=minigrad.init.uniform(-0.5, 0.5))

An initializer is any callable `(shape, rng) -> array`, where `rng` is a `numpy.random.Generator`.
With `n_in` and `n_out` for the two axes of a weight of shape (n_in, n_out), the variances by name
are

- he: 2 / n_in (He et al. 2015, https://arxiv.org/abs/1502.01852),
- glorot: 2 / (n_in + n_out) (Glorot and Bengio 2010,
  https://proceedings.mlr.press/v9/glorot10a.html),
- lecun: 1 / n_in (LeCun et al. 1998, "Efficient BackProp").

A normal initializer draws from N(0, variance), a uniform one from [-r, r] with r = sqrt(3
variance).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._validation import float_array, number, shaped
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError

__all__ = ["InitName", "Initializer", "constant", "normal", "uniform"]

Initializer: TypeAlias = "Callable[[tuple[int, ...], np.random.Generator], npt.ArrayLike]"
"""Makes initial values: `(shape, rng) -> array`."""

InitName: TypeAlias = Literal[
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "zeros",
    "ones",
]
"""The names of the initializers."""


def uniform(low: float, high: float) -> Initializer:
    """Draws evenly from [low, high).

    Raises:
        RangeError: `high` is not above `low`, or one of them is not finite.
    """
    low = number(low, "low")
    high = number(high, "high", above=low)
    return lambda shape, rng: rng.uniform(low, high, shape)


def normal(mean: float = 0.0, std: float = 1.0) -> Initializer:
    """Draws from a normal distribution.

    Raises:
        RangeError: `std` is negative, or one of them is not finite.
    """
    mean, std = number(mean, "mean"), number(std, "std", least=0)
    return lambda shape, rng: rng.normal(mean, std, shape)


def constant(value: float) -> Initializer:
    """The same value everywhere.

    Raises:
        RangeError: `value` is not finite.
    """
    value = number(value, "value")
    return lambda shape, rng: np.full(shape, value)


def _scaled(variance: Callable[[int, int], float], even: bool) -> Initializer:
    def draw(shape: tuple[int, ...], rng: np.random.Generator) -> npt.ArrayLike:
        std = math.sqrt(variance(shape[0], shape[-1]))
        return (
            rng.uniform(-math.sqrt(3) * std, math.sqrt(3) * std, shape)
            if even
            else rng.normal(0, std, shape)
        )

    return draw


BY_NAME: dict[str, Initializer] = {
    "he_normal": _scaled(lambda n_in, n_out: 2 / n_in, even=False),
    "he_uniform": _scaled(lambda n_in, n_out: 2 / n_in, even=True),
    "glorot_normal": _scaled(lambda n_in, n_out: 2 / (n_in + n_out), even=False),
    "glorot_uniform": _scaled(lambda n_in, n_out: 2 / (n_in + n_out), even=True),
    "lecun_normal": _scaled(lambda n_in, n_out: 1 / n_in, even=False),
    "lecun_uniform": _scaled(lambda n_in, n_out: 1 / n_in, even=True),
    "zeros": constant(0),
    "ones": constant(1),
}
"""The initializers that have a name."""


def draw(
    init: str | Initializer, shape: tuple[int, ...], rng: np.random.Generator, dtype: np.dtype[Any]
) -> Array:
    """Initial values of a shape.

    Raises:
        ModelError: There is no initializer of this name.
        KindError: `init` is neither a name nor a callable, or the callable returns no real numbers.
        ShapeError: The callable returns another shape.
    """
    if isinstance(init, str):
        if init not in BY_NAME:
            raise ModelError(
                f"no initializer '{init}'; there are {', '.join(BY_NAME)}, and any callable "
                f"(shape, rng) -> array"
            )
        init = BY_NAME[init]
    if not callable(init):
        raise KindError(
            f"init is {described(init)}, expected a name or a callable (shape, rng) -> array"
        )
    what = "what init returned"
    return shaped(float_array(init(shape, rng), dtype, what), shape, dtype, what)
