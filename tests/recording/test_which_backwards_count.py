"""Only those backwards count that a step's gradient is known to be made of."""

from __future__ import annotations

import numpy as np
import pytest
from recording_support import Array

import minigrad as mg
from minigrad import Reason


class Fails(mg.Layer):
    """Passes everything through, or fails in backward where it is told to."""

    fails = False

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, grad: Array) -> Array:
        if self.fails:
            raise ArithmeticError("no gradient today")
        return grad.copy()


@pytest.mark.parametrize("coactivation", [True, False])
def test_a_backward_before_one_that_failed(coactivation: bool) -> None:
    """What fails leaves no gradient, so a step after it knows nothing of the samples before."""
    model = mg.Sequential(mg.Dense(2, 1, init="ones"), Fails())
    optimizer, fails = mg.SGD(model, 0.1), model[1]
    assert isinstance(fails, Fails)
    with mg.Recorder(optimizer, coactivation=coactivation) as recorder:
        model(np.array([[1.0, 0.0]]))  # the only sample in which input 0 is not dark
        model.backward(np.array([[1.0]]))
        fails.fails = True
        model(np.array([[1.0, 1.0]]))
        with pytest.raises(ArithmeticError):
            model.backward(np.array([[1.0]]))
        fails.fails = False
        model(np.array([[0.0, 1.0]]))
        model.backward(np.array([[1.0]]), accumulate=True)
        optimizer.step()
    reasons = recorder.run["0.weight"].why.reasons
    assert [[Reason.INPUT_ZERO], [Reason.MOVED]] == reasons.tolist()


def test_under_a_transform_no_input_is_named() -> None:
    """A transform of one's own may have made a gradient 0 or not: that it was 0 is known, and why
    is left open.
    """

    def double(names: object, values: Array, array: Array) -> None:
        array *= 2

    model = mg.Sequential(mg.Dense(2, 1, init="ones"))
    optimizer = mg.SGD(model, 0.1, grad_transforms=[double])
    with mg.Recorder(optimizer) as recorder:
        model(np.array([[0.0, 1.0]]))
        model.backward(np.array([[1.0]]))
        optimizer.step()
    reasons = recorder.run["0.weight"].why.reasons
    assert [[Reason.GRADIENT_ZERO], [Reason.MOVED]] == reasons.tolist()
    report = " ".join(recorder.run.report().split())
    assert "its gradient may have been changed by the transform double" in report
