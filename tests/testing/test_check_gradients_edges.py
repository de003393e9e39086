"""`check_gradients` at the edge of forward's domain, where there are values on one side only."""

from __future__ import annotations

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientError
from minigrad.testing import check_gradients


class Edge(mg.Layer):
    """y = c z + z^1.5 with z = side (x - 1), which is NaN on the other side of 1.

    Its derivative is side (c + 1.5 sqrt(z)), and so side c at the edge.
    """

    def __init__(self, side: float, claimed: float) -> None:
        self.side, self.claimed = side, claimed

    def forward(self, x: Array) -> Array:
        self.z = self.side * (x - 1)
        with np.errstate(invalid="ignore"):
            return np.asarray(2 * self.z + self.z**1.5)

    def backward(self, grad: Array) -> Array:
        with np.errstate(invalid="ignore"):
            return np.asarray(grad * self.side * (self.claimed + 1.5 * np.sqrt(self.z)))


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_the_edge_of_the_domain(side: float) -> None:
    """The slope on the side that has values is compared: the right one passes, another does not."""
    x = np.array([[1.0, 1.0 + 0.5 * side]])
    check_gradients(Edge(side, claimed=2.0), x, perturbation=0)
    for wrong in (0.0, -2.0, 3.0):
        with pytest.raises(GradientError, match=r"is wrong at \(0, [01]\)"):
            check_gradients(Edge(side, claimed=wrong), x, perturbation=0)
    at_the_edge = np.array([[1.0, 1.0]])
    check_gradients(Edge(side, claimed=2.0), at_the_edge, perturbation=0)
    with pytest.raises(GradientError, match=r"is wrong at \(0, [01]\)"):
        check_gradients(Edge(side, claimed=3.0), at_the_edge, perturbation=0)
