"""What backward's keywords mean, and what a backward leaves that fails or is overwritten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gradient_support import Either, Fails, X, back, grads_of, model_of

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, GradientOverwritten, MissingGradientError

# -- accumulate=True -----------------------------------------------------------------------------


def test_accumulating_adds_bit_for_bit() -> None:
    """The gradient is the sum of those of the single backwards, in their order.

    Reasons and samples count them all.
    """
    parts = [X, X[:1] * 3, X[1:] - 1]
    model = model_of()
    expected = np.zeros(26, np.float32)
    for part in parts:
        back(model, part)
        expected = grads_of(model) + expected
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        optimizer.step()
        for _ in range(2):
            for part in parts:
                back(model, part, accumulate=True)
            accumulated = grads_of(model)
            optimizer.step()
    assert accumulated.shape == expected.shape
    fresh = model_of()
    for part in parts:
        back(fresh, part, accumulate=True)
    assert expected.tobytes() == grads_of(fresh).tobytes()
    assert 3 == len(recorder.run.steps)


def test_accumulated_reasons_count_every_backward() -> None:
    """An input that is not 0 in the first of two backwards alone is not called 0."""
    first, second = np.array([[1, 0, 0]], np.float32), np.array([[0, 1, 0]], np.float32)
    model = model_of()
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        back(model, first)
        back(model, second, accumulate=True)
        optimizer.step()
    why = recorder.run["0.weight"].why
    assert {mg.Reason.INPUT_ZERO: 4, mg.Reason.MOVED: 8} == why.counts
    assert "0 in all 2 samples" in why.at(2, 0)


def test_accumulating_into_what_was_not_reached() -> None:
    """What only the first, or only the second backward has reached keeps that gradient alone.

    A used one is not added.
    """
    layer = Either()
    model = mg.Sequential(layer)
    optimizer = mg.SGD(model, 1.0)
    back(model)
    optimizer.step()
    back(model)
    left = np.array(layer.left.grad)
    layer.use_left = False
    back(model, accumulate=True)
    right = np.array(layer.right.grad)
    assert left.tobytes() == layer.left.grad.tobytes()
    before = layer.left.value.copy(), layer.right.value.copy()
    optimizer.step()
    np.testing.assert_array_equal(before[0] - left, layer.left.value)
    np.testing.assert_array_equal(before[1] - right, layer.right.value)


def test_a_hook_that_changes_an_accumulated_gradient() -> None:
    """What it makes of the latest backward's gradient is added to those before."""

    class Halves(mg.Hook):
        def on_backward(self, event: mg.Backward) -> None:
            if event.name == "0":
                event.layer.weight.grad *= 0.5

    model = model_of()
    back(model)
    single = np.array(model[0].weight.grad)
    model.attach(Halves())
    fresh = model_of()
    fresh.attach(Halves())
    back(fresh, accumulate=True)
    back(fresh, accumulate=True)
    np.testing.assert_allclose(single, fresh[0].weight.grad, rtol=1e-6)
    assert fresh[0].weight.arrival is not None
    assert fresh[0].weight.arrival.by_hand


def test_accumulating_is_for_the_whole_model() -> None:
    """Inside of another layer's backward it is an error that says so."""

    class Wrong(mg.Layer):
        def __init__(self) -> None:
            self.inner = mg.Sequential(mg.Dense(3, 3, rng=0))

        def forward(self, x: Array) -> Array:
            return self.inner(x)

        def backward(self, grad: Array) -> Array | None:
            return self.inner.backward(grad, accumulate=True)

    model = mg.Sequential(mg.Dense(3, 3, rng=1), Wrong())
    with pytest.raises(
        CallOrderError, match="accumulate=True is for the backward of the whole model"
    ):
        back(model)


# -- parameters=False ----------------------------------------------------------------------------


def test_no_parameters_leaves_everything() -> None:
    """It returns the input's gradient.

    Gradients, arrivals, a pending step and the record are as without it.
    """
    ends = []
    for looks in (False, True):
        model = model_of("relu")
        optimizer = mg.SGD(model, 0.1, momentum=0.9)
        with mg.Recorder(optimizer, coactivation=True) as recorder:
            for _ in range(4):
                back(model, X * [1, 1, 0])
                before, arrivals = grads_of(model), [p.arrival for _, p in model.parameters()]
                if looks:
                    output = model(X + 5)
                    below = model.backward(np.ones_like(output), parameters=False)
                    assert below is not None
                    slope = (
                        np.ones_like(output)
                        @ model[2].weight.value.T
                        * ((X + 5) @ model[0].weight.value + model[0].bias.value > 0)
                    )
                    np.testing.assert_allclose(below, slope @ model[0].weight.value.T, rtol=1e-5)
                    assert before.tobytes() == grads_of(model).tobytes()
                    assert all(
                        a is p.arrival
                        for a, (_, p) in zip(arrivals, model.parameters(), strict=True)
                    )
                optimizer.step()
            if looks:
                model(X)
                model.backward(np.ones((2, 2), np.float32), parameters=False)
                with pytest.raises(MissingGradientError):
                    optimizer.step()
        run = recorder.run
        told = [run[name].why.at(*(0,) * len(run[name].shape)) for name in run]
        counts = [run[name].why.counts for name in run]
        ends.append((mg.ParameterVector.of(model).values.tobytes(), told, counts, run.notes))
    assert ends[0] == ends[1]
    assert () == ends[1][3]


def test_no_parameters_inside_of_a_backward() -> None:
    """A layer may ask for an input's gradient alone, and the other gradients of the same backward
    arrive.
    """

    class Twice(mg.Layer):
        def __init__(self) -> None:
            self.kept, self.passed = (
                mg.Sequential(mg.Dense(3, 3, rng=0)),
                mg.Sequential(mg.Dense(3, 3, rng=1)),
            )

        def forward(self, x: Array) -> Array:
            return self.kept(self.passed(x))

        def backward(self, grad: Array) -> Array | None:
            below = self.kept.backward(grad)
            assert below is not None
            return self.passed.backward(below, parameters=False)

    model = mg.Sequential(mg.Dense(3, 3, rng=2), Twice())
    back(model)
    arrived = {name: parameter.arrival is not None for name, parameter in model.parameters()}
    assert {name: ".passed." not in name for name in arrived} == arrived


@pytest.mark.parametrize("accumulate", [False, True])
def test_half_of_a_gradient_is_none(accumulate: bool) -> None:
    """After a backward that failed there is no gradient to step with.

    One that was to add leaves what was there.
    """
    fails = Fails()
    model = mg.Sequential(mg.Dense(3, 3, rng=0), fails, mg.Dense(3, 2, rng=1))
    optimizer = mg.SGD(model, 0.1)
    back(model)
    before = grads_of(model)
    fails.fails = True
    with pytest.raises(ZeroDivisionError):
        back(model, X * 2, accumulate=accumulate)
    if accumulate:
        assert before.tobytes() == grads_of(model).tobytes()
        optimizer.step()
        return
    with pytest.raises(MissingGradientError):
        optimizer.step()
    fails.fails = False
    back(model)
    optimizer.step()


# -- a gradient that is overwritten --------------------------------------------------------------


def test_an_overwritten_gradient_is_said_once() -> None:
    """Two backwards before a step: one warning that names both ways out, and one note of a
    recorder.
    """
    model = model_of()
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        back(model)
        with pytest.warns(GradientOverwritten, match="accumulate=True.*parameters=False"):
            back(model)
        back(model)  # nothing is said again: warnings are errors here
        optimizer.step()
        for _ in range(2):
            back(model)
        optimizer.step()
    assert 1 == sum("accumulate=True" in note for note in recorder.run.notes)


@pytest.mark.parametrize(
    "why_not",
    ["no optimizer", "frozen", "accumulated", "no parameters", "a step between", "by hand"],
)
def test_where_nothing_is_overwritten(why_not: str) -> None:
    """Nothing is said where no optimizer is to use the gradient, or where it was used, added, or
    assigned.
    """
    model = model_of()
    optimizer = None if why_not == "no optimizer" else mg.SGD(model, 0.1)
    if why_not == "frozen":
        model.freeze()
    keywords: dict[str, Any] = {
        "accumulated": {"accumulate": True},
        "no parameters": {"parameters": False},
    }.get(why_not, {})
    for _ in range(3):  # warnings are errors here
        back(model, **keywords)
        if why_not == "a step between" and optimizer is not None:
            optimizer.step()
        if why_not == "by hand":
            mg.ParameterVector.of(model).grads = grads_of(model) / 2
            assert optimizer is not None
            optimizer.step()
