"""Which way a square weight lies, where its layer does not say and its gradient must."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from recording_support import Array

import minigrad as mg
from minigrad import Reason


class Turned(mg.Layer):
    """A square weight that lies (n_out, n_in), and whose layer leaves that open."""

    def __init__(self) -> None:
        self.weight = mg.Parameter(np.ones((2, 2)))

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x @ self.weight.value.T)

    def backward(self, grad: Array) -> Array:
        self.units = grad
        self.weight.grad = grad.T @ self.x
        return np.asarray(grad @ self.weight.value)

    def explain(self) -> Mapping[str, mg.Factors]:
        return {"weight": mg.Factors(self.x, self.units)}


@pytest.mark.parametrize(("crossed", "settled"), [(1.0, True), (0.01, True), (0.0, False)])
def test_a_gradient_that_is_nearly_symmetric(crossed: float, settled: bool) -> None:
    """A gradient that differs from its transpose by a hundredth of its size still tells which way
    the weight lies; one that does not differ leaves it open, and then no input is named.
    """
    model = mg.Sequential(Turned())
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        model(np.array([[0.0, 1.0]]))  # input 0 is dark
        model.backward(np.array([[crossed, 1.0]]))
        optimizer.step()
    dark = Reason.INPUT_ZERO if settled else Reason.GRADIENT_ZERO
    other = Reason.MOVED if crossed else Reason.GRADIENT_ZERO
    assert [[dark, other], [dark, Reason.MOVED]] == recorder.run["0.weight"].why.reasons.tolist()
