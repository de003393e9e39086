"""Promise 6: nothing broadcasts by accident."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import minigrad as mg
from minigrad.errors import LabelError, ShapeError

BROADCASTS: dict[str, Callable[[], object]] = {
    "labels (n, 1)": lambda: mg.SoftmaxCrossEntropy().forward(
        np.ones((3, 2)), np.ones((3, 1), int)
    ),
    "one row of probabilities": lambda: mg.SoftmaxCrossEntropy().forward(
        np.ones((3, 2)), np.ones((1, 2)) / 2
    ),
    "one label": lambda: mg.SoftmaxCrossEntropy().forward(np.ones((3, 2)), np.ones(1, int)),
    "a label without axis": lambda: mg.SoftmaxCrossEntropy().forward(np.ones((3, 2)), np.array(1)),
    "logits (n, c, 1)": lambda: mg.SoftmaxCrossEntropy().forward(
        np.ones((3, 2, 1)), np.ones(3, int)
    ),
    "one class weight": lambda: mg.SoftmaxCrossEntropy(class_weight=[1.0]).forward(
        np.ones((3, 2)), np.ones(3, int)
    ),
    "one feature": lambda: mg.Dense(2, 2, rng=0)(np.ones((3, 1))),
    "three axes": lambda: mg.Dense(2, 2, rng=0)(np.ones((3, 1, 2))),
    "a row as value": lambda: setattr(mg.Parameter(np.ones((3, 2))), "value", np.ones(2)),
    "a number as value": lambda: setattr(mg.Parameter(np.ones((3, 2))), "value", 1.0),
    "(n,) as gradient of (n, 1)": lambda: setattr(
        mg.Parameter(np.ones((3, 1))), "grad", np.ones(3)
    ),
    "a number as all gradients": lambda: setattr(
        mg.ParameterVector.of(mg.Dense(2, 2, rng=0)), "grads", 1.0
    ),
    "a row to compare": lambda: mg.compare(np.ones((3, 2)), np.ones(2)),
}


@pytest.mark.parametrize("act", BROADCASTS.values(), ids=BROADCASTS.keys())
def test_6_shapes_that_would_broadcast_are_errors(act: Callable[[], object]) -> None:
    """NumPy would stretch each of these silently."""
    with pytest.raises(ShapeError):
        act()


@pytest.mark.parametrize("shape", [(1, 2), (2,), (3, 1), ()])
def test_6_gradients_that_would_broadcast_are_errors(shape: tuple[int, ...]) -> None:
    """Neither `Dense`, nor `Activation`, nor `Sequential` stretches the gradient that it is
    given.
    """
    for layer in (
        mg.Dense(2, 2, rng=0),
        mg.Activation("tanh"),
        mg.Sequential(mg.Dense(2, 2, rng=0)),
    ):
        layer(np.ones((3, 2)))
        with pytest.raises(ShapeError, match=r"expected \(3, 2\)"):
            layer.backward(np.ones(shape))
        layer.backward(np.ones((3, 2)))  # the pass is not used up by the error


def test_6_float_labels_are_no_labels() -> None:
    """Labels that were read as floats are an error, not truncated."""
    with pytest.raises(LabelError, match="astype"):
        mg.SoftmaxCrossEntropy().forward(np.ones((3, 2)), np.ones(3))
