"""`Flatten`: each sample as one row, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import check_gradients

SHAPES = [(2, 3), (1, 3, 4), (5, 2, 3, 2), (4, 1, 1)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_rows_and_back(shape: tuple[int, ...], dtype: Any) -> None:
    """The last axis runs fastest; backward gives the gradient the shape of the input."""
    x = np.arange(math.prod(shape), dtype=dtype).reshape(shape)
    layer = mg.Flatten()
    y = layer(x)
    assert (shape[0], math.prod(shape[1:])) == y.shape
    assert list(range(x.size)) == y.ravel().tolist()
    below = layer.backward(2 * y)
    assert (2 * x).tolist() == below.tolist()
    assert (dtype, dtype) == (y.dtype, below.dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_it_hands_out_is_the_callers(shape: tuple[int, ...]) -> None:
    """Copies, where a reshape alone would give views."""
    layer, x = mg.Flatten(), np.ones(shape)
    y = layer(x)
    grad = np.ones(y.shape)
    below = layer.backward(grad)
    y.fill(9)
    below.fill(9)
    assert (x == 1).all()
    assert (grad == 1).all()


def test_any_memory_layout() -> None:
    """The order of the entries is that of their indices, not that of the memory."""
    x = np.arange(24.0).reshape(2, 3, 4)
    for other in (
        np.asfortranarray(x),
        np.ascontiguousarray(x.transpose(2, 1, 0)).transpose(2, 1, 0),
    ):
        layer = mg.Flatten()
        assert x.reshape(2, 12).tolist() == layer(other).tolist()
        assert x.tolist() == layer.backward(np.asfortranarray(x.reshape(2, 12))).tolist()


def test_batches_of_different_sizes() -> None:
    """The last forward counts."""
    layer = mg.Flatten()
    for n in (4, 1, 7):
        layer(np.ones((n, 2, 5)))
        assert (n, 2, 5) == layer.backward(np.ones((n, 10))).shape


def test_images_into_a_dense_layer() -> None:
    """What people use it for: forward, predict, training, and the input's gradient in the shape of
    the images.
    """
    model = mg.Sequential(mg.Flatten(), mg.Dense(12, 2, rng=0))
    images = np.random.default_rng(0).normal(size=(5, 3, 4)).astype(np.float32)
    y = model(images)
    assert (
        images.reshape(5, 12) @ model[1].weight.value + model[1].bias.value
    ).tolist() == y.tolist()
    below = model.backward(np.ones((5, 2)), input_grad=True)
    assert below is not None
    np.testing.assert_allclose(
        below, np.tile(model[1].weight.value.sum(axis=1).reshape(3, 4), (5, 1, 1)), rtol=1e-6
    )
    np.testing.assert_allclose(model.predict(images, batch_size=2), y, rtol=1e-5)


def test_it_is_nothing_but_a_shape() -> None:
    """No parameters, no state, the same in both modes."""
    layer = mg.Flatten()
    assert [] == list(layer.parameters())
    assert {} == layer.state_dict()
    assert "Flatten()" == repr(layer)
    for mode in (layer.train(), layer.eval()):
        check_gradients(mode, np.random.default_rng(0).normal(size=(3, 2, 4)))
