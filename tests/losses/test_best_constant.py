"""`Loss.best_constant` and `Loss.default_metric`: what training asks of a loss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from loss_support import central_differences

import minigrad as mg
from minigrad.arrays import Array

LABELS = np.array([0, 0, 0, 1, 2, 2])
SHARES = np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]])
YES = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
NUMBERS = np.array([[1.0, 0.5], [2.0, -3.0], [6.0, 0.25]])

CASES: dict[str, tuple[mg.Loss, npt.NDArray[Any]]] = {
    "labels": (mg.SoftmaxCrossEntropy(), LABELS),
    "small unsigned labels": (mg.SoftmaxCrossEntropy(), LABELS.astype(np.uint8)),
    "an ignored label": (mg.SoftmaxCrossEntropy(ignore_index=-1), np.array([0, -1, 1, 1, 2])),
    "a sum": (mg.SoftmaxCrossEntropy(reduction="sum"), LABELS),
    "smoothed": (mg.SoftmaxCrossEntropy(label_smoothing=0.2), LABELS),
    "weighted": (mg.SoftmaxCrossEntropy(class_weight=[1.0, 3.0, 0.5]), LABELS),
    "probabilities": (mg.SoftmaxCrossEntropy(), SHARES),
    "weighted probabilities": (mg.SoftmaxCrossEntropy(class_weight=[1.0, 3.0]), SHARES),
    "yes and no": (mg.SigmoidCrossEntropy(), YES),
    "weighted yes": (mg.SigmoidCrossEntropy(pos_weight=[3.0, 0.5]), YES),
    "squares": (mg.MeanSquaredError(), NUMBERS),
    "distances": (mg.MeanAbsoluteError(), NUMBERS),
}


def as_function(loss: mg.Loss, targets: npt.NDArray[Any]) -> Callable[[Array], float]:
    """The loss of the same output for every sample."""
    return lambda output: loss.forward(
        np.broadcast_to(output, (len(targets), *output.shape)).copy(), targets
    )


@pytest.mark.parametrize("name", CASES)
def test_no_constant_near_it_is_better(name: str) -> None:
    """The loss has a minimum at the constant: a step in any direction makes it larger or equal."""
    loss, targets = CASES[name]
    best = loss.best_constant(targets)
    assert best is not None
    value = as_function(loss, targets)
    least = value(best.output)
    rng = np.random.default_rng(0)
    for _ in range(100):
        assert least <= value(best.output + rng.normal(size=best.output.shape)) + 1e-12


@pytest.mark.parametrize("name", [name for name in CASES if name != "distances"])
def test_the_slope_there_is_zero(name: str) -> None:
    """Where the loss is smooth, its gradient by the constant is 0."""
    loss, targets = CASES[name]
    best = loss.best_constant(targets)
    assert best is not None
    slopes = central_differences(as_function(loss, targets), best.output)
    np.testing.assert_allclose(0, slopes, atol=1e-8)


def test_what_it_is_called() -> None:
    """The name of the constant is what the first line of a training says."""
    loss = mg.SoftmaxCrossEntropy()
    best = loss.best_constant(np.array([0, 1]))
    assert best is not None
    assert "the class shares" == best.name
    assert [math.log(0.5)] * 2 == best.output.tolist()
    squares = mg.MeanSquaredError().best_constant(NUMBERS)
    huber = mg.Huber().best_constant(NUMBERS)
    assert squares is not None
    assert huber is not None
    assert ("the mean", [3.0, -0.75]) == (squares.name, squares.output.tolist())
    assert ("the median", [2.0, 0.25]) == (huber.name, huber.output.tolist())


def test_classes_that_do_not_occur() -> None:
    """`n_outputs` says how many classes there are, where the labels do not name the last; all
    outputs are finite.
    """
    best = mg.SoftmaxCrossEntropy().best_constant(np.array([0, 1]), 4)
    assert best is not None
    assert (4,) == best.output.shape
    assert np.isfinite(best.output).all()
    always = mg.SigmoidCrossEntropy().best_constant(np.ones((3, 1)))
    assert always is not None
    assert np.isfinite(always.output).all()


class Own(mg.Loss):
    """A loss of somebody's own."""

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        """Nothing."""
        return 0.0

    def backward(self) -> Array:
        """Nothing."""
        return np.zeros(1)


def test_the_default_metric() -> None:
    """Accuracy goes with the cross-entropies, and no metric with the others."""
    assert "accuracy" == mg.SoftmaxCrossEntropy().default_metric
    assert "accuracy" == mg.SigmoidCrossEntropy().default_metric
    for loss in (mg.MeanSquaredError(), mg.MeanAbsoluteError(), mg.Huber(), Own()):
        assert loss.default_metric is None


def test_a_loss_of_ones_own_knows_none() -> None:
    """Authors need not write it: the base says None."""
    assert Own().best_constant(NUMBERS) is None
