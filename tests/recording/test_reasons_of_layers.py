"""Which layers explain their gradients, and which explanations are believed."""

from __future__ import annotations

import numpy as np
import pytest
from layer_support import Residual
from reasons_support import linear, record
from recording_support import Array, dense, one

import minigrad as mg
from minigrad import Reason
from minigrad.errors import GradientOverwritten


def test_accumulated_gradients_are_not_explained_by_the_last_batch() -> None:
    """Where several gradients went into one step the last batch's inputs prove nothing:
    GRADIENT_ZERO, and said why.
    """
    model = linear(2, 1)
    optimizer = mg.SGD(model, 0.1)
    vector = mg.ParameterVector.of(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        model(np.array([[1, 0]], np.float32))
        model.backward(np.zeros((1, 1), np.float32))
        kept = vector.grads.copy()
        model(np.array([[0, 1]], np.float32))
        with pytest.warns(GradientOverwritten):
            model.backward(np.ones((1, 1), np.float32))
        vector.grads += kept
        optimizer.step()
    assert recorder.run["0.weight"].why.counts == {Reason.GRADIENT_ZERO: 1, Reason.MOVED: 1}
    assert "its gradient was changed after backward" in recorder.run.report()


@pytest.mark.parametrize("backward_first", [False, True])
def test_assigned_gradients_are_not_explained_by_an_old_batch(backward_first: bool) -> None:
    """A gradient assigned by hand did not come from the layer's last inputs, so these explain
    nothing.
    """
    model = linear(2, 1)
    optimizer = mg.SGD(model, 0.1)
    if backward_first:
        one(model, optimizer, [[0, 1]], [[1]])
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(2):
            dense(model, 0).weight.grad = np.array([[1], [0]], np.float32)
            optimizer.step()
    why = recorder.run["0.weight"].why
    assert why.counts == {Reason.GRADIENT_ZERO: 1, Reason.MOVED: 1}
    assert recorder.run["0.bias"].why.counts == {Reason.NO_GRADIENT: 1}


def test_dense_inside_other_layers_is_explained() -> None:
    """A Dense in a nested model, in a residual block, or held by a layer of one's own explains its
    entries.
    """

    class Holder(mg.Layer):
        def __init__(self) -> None:
            self.held = [mg.Dense(2, 2, init="zeros")]

        def forward(self, x: Array) -> Array:
            return self.held[0](x)

        def backward(self, grad: Array) -> Array:
            return self.held[0].backward(grad)

    model = mg.Sequential(mg.Sequential(Residual(mg.Dense(2, 2, init="zeros"))), Holder())
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1, 0]])])
    assert run["0.0.inner.0.weight"].why.counts == {Reason.INPUT_ZERO: 2, Reason.UNIT_SILENT: 2}
    assert run["1.held.0.weight"].why.counts == {
        Reason.INPUT_ZERO: 2,
        Reason.UNIT_SILENT: 1,
        Reason.MOVED: 1,
    }


def test_own_layer_may_explain() -> None:
    """A layer of one's own that offers `explain` gets the same reasons as Dense."""

    class Weighted(mg.Layer):
        def __init__(self) -> None:
            self.matrix = mg.Parameter(np.ones((2, 2), np.float32))

        def forward(self, x: Array) -> Array:
            self.x = x
            return np.asarray(x @ self.matrix.value)

        def backward(self, grad: Array) -> Array:
            self.grad = grad
            self.matrix.grad = self.x.T @ grad
            return np.asarray(grad @ self.matrix.value.T)

        def explain(self) -> dict[str, mg.Factors]:
            return {"matrix": mg.Factors(self.x, self.grad)}

    model = mg.Sequential(Weighted())
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1, 0]])])
    assert run["0.matrix"].why.counts == {
        Reason.INPUT_ZERO: 2,
        Reason.UNIT_SILENT: 1,
        Reason.MOVED: 1,
    }


def test_wrong_explanation_is_not_believed() -> None:
    """An explanation that does not fit the gradient is set aside, with a word in the report."""

    class Wrong(mg.Layer):
        def __init__(self) -> None:
            self.matrix = mg.Parameter(np.ones((2, 2), np.float32))

        def forward(self, x: Array) -> Array:
            self.x = x
            return np.asarray(x @ self.matrix.value)

        def backward(self, grad: Array) -> Array:
            self.matrix.grad = self.x.T @ grad
            return np.asarray(grad @ self.matrix.value.T)

        def explain(self) -> dict[str, mg.Factors]:
            return {"matrix": mg.Factors(self.x[:, :1], self.x)}

    model = mg.Sequential(Wrong())
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1, 0]])])
    assert run["0.matrix"].why.counts == {Reason.GRADIENT_ZERO: 3, Reason.MOVED: 1}
    assert "its layer's explanation does not fit it" in " ".join(run.report().split())


def test_parameters_of_any_shape() -> None:
    """A parameter that is a single number, or has three axes, has reasons, sentences and pictures
    too.
    """

    class Odd(mg.Layer):
        def __init__(self) -> None:
            self.temperature = mg.Parameter(np.float32(2.0))
            self.cube = mg.Parameter(np.ones((2, 3, 4), np.float32))

        def forward(self, x: Array) -> Array:
            self.x = x
            return x * self.temperature.value

        def backward(self, grad: Array) -> Array:
            self.temperature.grad = (grad * self.x).sum()
            self.cube.grad = np.zeros((2, 3, 4), np.float32)
            return grad * self.temperature.value

    model = mg.Sequential(mg.Dense(2, 2, rng=0), Odd())
    run = record(model, mg.SGD(model, 0.1), [([[1, 1]], [[1, 1]])] * 2)
    temperature, cube = run["1.temperature"], run["1.cube"]
    assert temperature.why.counts == {Reason.MOVED: 1}
    assert "moved in 2 of 2 steps: from 2 to" in temperature.why.at()
    assert np.asarray(temperature.why.reasons, object).item() is Reason.MOVED
    assert np.shape(temperature.why.reasons) == ()
    assert temperature.updates.shape == (2,)
    assert np.asarray(temperature.updates).shape == (2,)
    assert cube.why.counts == {Reason.GRADIENT_ZERO: 24}
    assert cube.why.at(1, 2, 3) == "1.cube[1, 2, 3] never moved: its gradient was 0 in all 2 steps."
    for history in (temperature, cube):
        assert history.picture()
        assert history.png()
