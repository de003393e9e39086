"""What the tests of the losses share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array

FloatType: TypeAlias = type[np.float32] | type[np.float64]

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def central_differences(value: Callable[[Array], float], at: Array, eps: float = 1e-5) -> Array:
    """The derivative of `value` by each entry of its argument."""
    slopes = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        above, below = at.copy(), at.copy()
        above[place] += eps
        below[place] -= eps
        slopes[place] = (value(above) - value(below)) / (2 * eps)
    return slopes


def fails(act: Callable[[], object], error: type[mg.MinigradError], *contents: str) -> None:
    """`act` raises exactly this error, with a message of one line that contains all of these."""
    with pytest.raises(mg.MinigradError) as caught:
        act()
    message = str(caught.value)
    assert error is type(caught.value), message
    assert [] == [content for content in contents if content not in message], message
    assert "\n" not in message


def fails_and_changes_nothing(
    loss: mg.Loss, act: Callable[[], object], error: type[mg.MinigradError], *contents: str
) -> None:
    """As `fails`; value and gradient stay those of the last forward."""
    value, grad = loss.value, loss.backward()
    fails(act, error, *contents)
    assert value == loss.value
    assert grad.tobytes() == loss.backward().tobytes()
