"""Promise 11: a gradient is used once."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from promise_support import (
    MakeOptimizer,
    Sometimes,
    bits,
    build,
    data_of,
    make_without_patterns,
    optimizers,
    train,
)

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import MissingGradientError


@optimizers
def test_11_a_step_needs_a_new_gradient(make: MakeOptimizer) -> None:
    """A step before the first backward, and a second one after it, raise and change nothing."""
    model = build(np.float32)
    optimizer = make(model)
    initial = bits(model)
    with pytest.raises(MissingGradientError, match="backward"):
        optimizer.step()
    assert initial == bits(model)
    train(model, optimizer, 1)
    after, state = bits(model), pickle.dumps(optimizer.state_dict())
    with pytest.raises(MissingGradientError):
        optimizer.step()
    assert after == bits(model)
    assert 1 == optimizer.step_count
    assert state == pickle.dumps(optimizer.state_dict())


@optimizers
def test_11_a_part_without_gradient_gets_no_update(make: MakeOptimizer) -> None:
    """A branch that backward does not reach stays, with its moments, and the event says why."""

    class Skipped(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            told.append(dict(event.skipped))

    told: list[dict[str, str]] = []
    sometimes = Sometimes(6, np.float32)
    model = mg.Sequential(sometimes, mg.Dense(6, 3, rng=1))
    optimizer = make_without_patterns(make, model)
    optimizer.attach(Skipped())
    train(model, optimizer, 2)
    sometimes.use_left = False
    before, states = bits(model), optimizer.state_dict()["state"]
    train(model, optimizer, 3)
    assert before["0.left"] == bits(model)["0.left"]
    for name, arrays in optimizer.state_dict()["state"].items():
        assert states[name]["0.left"].tobytes() == arrays["0.left"].tobytes()
    assert [{"0.right": "no gradient"}] * 2 + [{"0.left": "no gradient"}] * 3 == told


def test_11_assigning_a_gradient_counts_as_a_new_one() -> None:
    """`parameter.grad = ...` and `vector.grads = ...` are new gradients; forward alone is none."""
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    optimizer, weight = mg.SGD(model, lr=0.5), dict(model.parameters())["0.weight"]
    model(np.ones((1, 2)))
    with pytest.raises(MissingGradientError):
        optimizer.step()
    before = model.state_dict()
    weight.grad = np.ones((2, 2))
    optimizer.step()
    assert np.array_equal(before["0.weight"] - np.float32(0.5), weight.value)
    assert np.array_equal(before["0.bias"], dict(model.parameters())["0.bias"].value)
    mg.ParameterVector.of(model).grads = np.ones(6)
    optimizer.step()
    assert np.array_equal(
        before["0.bias"] - np.float32(0.5), dict(model.parameters())["0.bias"].value
    )


def test_11_micro_batches_accumulate_in_one_visible_line() -> None:
    """Adding a second micro-batch's gradients by hand gives the gradient of both."""
    model, x = build(np.float64), data_of(np.float64)[0]
    vector = mg.ParameterVector.of(model)
    model.backward(model(x))
    expected = vector.grads.copy()
    model.backward(model(x[:25]))
    first = vector.grads.copy()
    model.backward(model(x[25:]))
    vector.grads += first
    np.testing.assert_allclose(vector.grads, expected, rtol=1e-9, atol=1e-12)
    mg.SGD(model, lr=0.1).step()


def test_11_two_backwards_before_a_step_keep_the_last() -> None:
    """`backward` assigns, it never accumulates."""
    model, x = build(np.float64), data_of(np.float64)[0]
    vector = mg.ParameterVector.of(model)
    model.backward(model(x[:7]))
    expected = vector.grads.tobytes()
    model.backward(model(x))
    model.backward(model(x[:7]))
    assert expected == vector.grads.tobytes()


def test_11_after_a_backward_that_failed_no_half_gradient_is_used() -> None:
    """When a layer of one's own fails in backward, the layers above it do not make a step by
    themselves.
    """

    class Failing(mg.Layer):
        def forward(self, x: Array) -> Array:
            return x.copy()

        def backward(self, grad: Array) -> Array:
            raise ZeroDivisionError

    model = mg.Sequential(mg.Dense(2, 2, rng=0), Failing(), mg.Dense(2, 2, rng=1))
    optimizer, before = mg.SGD(model, lr=0.1), bits(model)
    with pytest.raises(ZeroDivisionError):
        model.backward(model(np.ones((1, 2))))
    with pytest.raises(MissingGradientError):
        optimizer.step()
    assert before == bits(model)
    model[2].weight = mg.Parameter(np.ones((2, 2), np.float32))  # nor for one that was put in since
    with pytest.raises(ZeroDivisionError):
        model.backward(model(np.ones((1, 2))))
    with pytest.raises(MissingGradientError):
        mg.SGD(model, lr=0.1).step()
