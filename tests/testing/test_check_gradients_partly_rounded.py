"""`check_gradients` where only some of the outputs are rounded."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientError
from minigrad.testing import check_gradients


class PartlyRounded(mg.Layer):
    """The tanh, with the first columns rounded to float32."""

    def __init__(self, rounded: int) -> None:
        self.rounded = rounded

    def forward(self, x: Array) -> Array:
        self.y = np.tanh(x)
        self.y[:, : self.rounded] = self.y[:, : self.rounded].astype(np.float32)
        return self.y.copy()

    def backward(self, grad: Array) -> Array:
        return np.asarray(grad * (1 - self.y**2))


@pytest.mark.parametrize("rounded", [1, 4, 10])
def test_a_few_outputs_that_are_rounded(rounded: int) -> None:
    """One column of ten is enough to be told that forward rounds; backward is not called wrong."""
    x = np.random.default_rng(1).normal(size=(5, 10))
    check_gradients(PartlyRounded(0), x)
    with pytest.raises(GradientError, match=r"forward rounds: .* the precision of float32"):
        check_gradients(PartlyRounded(rounded), x)
