"""`Dense`: x @ weight + bias, and its three gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import GradientOverwritten


def worked_out() -> mg.Dense:
    """A layer of 2 inputs and 3 units with small whole numbers."""
    layer = mg.Dense(2, 3, rng=0)
    layer.weight.value = [[1, 2, 3], [4, 5, 6]]
    assert layer.bias is not None
    layer.bias.value = [10, 20, 30]
    return layer


def test_forward_by_hand() -> None:
    """Two samples, worked out on paper."""
    x = np.array([[1, 0], [2, -1]], np.float32)
    assert [[11, 22, 33], [8, 19, 30]] == worked_out()(x).tolist()


def test_backward_by_hand() -> None:
    """dL/dW = x.T g, dL/db = the sum of g, dL/dx = g W.T."""
    layer = worked_out()
    layer(np.array([[1, 0], [2, -1]]))
    below = layer.backward(np.array([[1, 1, 0], [0, 2, 1]]))
    assert [[3, 9], [7, 16]] == below.tolist()
    assert [[1, 5, 2], [0, -2, -1]] == layer.weight.grad.tolist()
    assert layer.bias is not None
    assert [1, 3, 1] == layer.bias.grad.tolist()
    assert None not in (layer.weight.arrival, layer.bias.arrival)


def test_without_bias() -> None:
    """No bias: one parameter, and x @ weight."""
    layer = mg.Dense(2, 2, bias=False, init=lambda shape, rng: [[1, 2], [3, 4]])
    assert layer.bias is None
    assert ["weight"] == [name for name, _ in layer.parameters()]
    assert [[4, 6]] == layer(np.ones((1, 2))).tolist()
    assert [[3, 7]] == layer.backward(np.ones((1, 2))).tolist()


def test_parameters_alone() -> None:
    """`backward_parameters` writes the same gradients and counts them once, without the input's."""
    layer, x, grad = worked_out(), np.ones((4, 2)), np.arange(12.0).reshape(4, 3)
    layer(x)
    layer.backward(grad)
    expected = layer.weight.grad.copy()
    layer(x)
    layer.weight.grad.fill(0)
    layer.backward_parameters(grad)
    assert expected.tolist() == layer.weight.grad.tolist()
    assert layer.weight.arrival is not None


def test_what_backward_needs_is_there_to_be_seen() -> None:
    """The input, and the factors of the gradient, can be read after a step."""
    layer, x = worked_out(), np.array([[1.0, 2.0], [0.0, 3.0]], np.float32)
    layer(x)
    layer.backward(np.ones((2, 3)))
    assert x.tolist() == layer.x.tolist()
    assert layer.factors is not None
    assert layer.weight.grad.tolist() == (layer.factors[0].T @ layer.factors[1]).tolist()
    explained = layer.explain()
    assert ["weight", "bias"] == list(explained)
    inputs = explained["weight"].inputs
    assert inputs is not None
    assert x.tolist() == inputs.tolist()
    assert explained["bias"].inputs is None
    assert [[1, 1, 1], [1, 1, 1]] == explained["bias"].units.tolist()


def test_explaining_without_bias() -> None:
    """Only parameters that there are, are explained."""
    layer = mg.Dense(2, 3, bias=False, rng=0)
    layer(np.ones((1, 2)))
    layer.backward(np.ones((1, 3)))
    assert {name for name, _ in layer.parameters()} == set(layer.explain())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [1, 3, 50, 700])
def test_against_plain_numpy(dtype: Any, batch: int) -> None:
    """Random batches agree with the formulas in extended precision."""
    rng = np.random.default_rng(batch)
    layer = mg.Dense(13, 7, dtype=dtype, rng=rng)
    x, grad = rng.normal(size=(batch, 13)).astype(dtype), rng.normal(size=(batch, 7)).astype(dtype)
    wide: Any = np.longdouble
    weight = layer.weight.value.astype(wide)
    rtol, atol = (1e-4, 1e-4) if dtype is np.float32 else (1e-12, 1e-12)
    np.testing.assert_allclose(layer(x), x.astype(wide) @ weight, rtol, atol)
    np.testing.assert_allclose(layer.backward(grad), grad.astype(wide) @ weight.T, rtol, atol)
    np.testing.assert_allclose(layer.weight.grad, x.T.astype(wide) @ grad.astype(wide), rtol, atol)
    assert layer.bias is not None
    np.testing.assert_allclose(layer.bias.grad, grad.astype(wide).sum(axis=0), rtol, atol)


def test_its_repr() -> None:
    """The repr is what one would type."""
    assert "Dense(784, 10)" == repr(mg.Dense(784, 10, rng=0))
    assert "Dense(2, 3, bias=False, dtype=float64)" == repr(
        mg.Dense(2, 3, bias=False, dtype=np.float64, rng=0)
    )


def test_each_backward_of_a_layer_by_itself_begins_anew() -> None:
    """A layer that is trained without a Sequential assigns its gradients as a model does, says so
    where no step has used the last ones, and adds none up.
    """
    layer = mg.Dense(2, 1, init="ones")
    mg.SGD(layer, lr=0.1)
    layer(np.array([[3.0, 5.0]]))
    layer.backward(np.array([[1.0]]))
    layer(np.array([[3.0, 5.0]]))
    with pytest.warns(GradientOverwritten):
        layer.backward(np.array([[2.0]]))
    assert [[6.0], [10.0]] == layer.weight.grad.tolist()
