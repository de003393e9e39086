"""`SoftmaxCrossEntropy` against a second implementation of PyTorch's documented definition, for every combination.

The definition: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import OrderError

WEIGHTS = [0.5, 2.0, 0.0, 3.0]
IGNORED = 3
TARGETS = ["labels", "probabilities", "one-hot integers"]

combinations = [
    pytest.mark.parametrize("kind", TARGETS),
    pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"]),
    pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0]),
    pytest.mark.parametrize("ignored", [None, IGNORED, -100, -1], ids=str),
    pytest.mark.parametrize("reduction", ["mean", "sum"]),
]


def every_combination(function: Callable[..., None]) -> Callable[..., None]:
    for combination in combinations:
        function = combination(function)
    return function


def data(kind: str, ignored: int | None, batch: int = 9, classes: int = 4) -> tuple[Array, npt.NDArray[Any]]:
    rng = np.random.default_rng(3)
    logits = rng.normal(scale=3, size=(batch, classes))
    if kind == "probabilities":
        return logits, rng.dirichlet(np.ones(classes), size=batch)
    labels = rng.integers(0, classes, size=batch)
    labels[:3] = [0, 1, 3]
    if kind == "one-hot integers":
        return logits, np.eye(classes, dtype=np.int64)[labels]
    if ignored is not None:
        labels[-2:] = ignored
    return logits, labels


def pytorch(
    logits: Array,
    targets: npt.NDArray[Any],
    weights: list[float] | None,
    smoothing: float,
    ignored: int | None,
    reduction: str,
) -> tuple[float, list[float]]:
    """The loss and the losses of the samples, number by number, as PyTorch's page has them."""
    classes = logits.shape[1]
    weight = weights or [1.0] * classes
    losses, divisor = [], 0.0
    for z, target in zip(logits.tolist(), targets.tolist(), strict=True):
        top = max(z)
        log_sum = top + math.log(math.fsum(math.exp(value - top) for value in z))
        log_p = [value - log_sum for value in z]
        if isinstance(target, list):  # probabilities: the mean is over the batch
            wanted, scale = target, 1.0
        elif target == ignored:
            wanted, scale = None, 0.0
        else:  # labels: the mean is over their weights
            wanted, scale = [float(c == target) for c in range(classes)], weight[target]
        divisor += scale
        if wanted is None:
            losses.append(0.0)
            continue
        smooth = [(1 - smoothing) * wanted[c] + smoothing / classes for c in range(classes)]
        losses.append(-math.fsum(weight[c] * smooth[c] * log_p[c] for c in range(classes)))
    total = math.fsum(losses)
    return (total if reduction == "sum" else total / divisor), losses


@every_combination
def test_values_are_pytorchs(
    kind: str, weights: list[float] | None, smoothing: float, ignored: int | None, reduction: Literal["mean", "sum"]
) -> None:
    """Value and losses of the samples, for every combination of targets and settings."""
    logits, targets = data(kind, ignored)
    loss = mg.SoftmaxCrossEntropy(
        label_smoothing=smoothing, class_weight=weights, ignore_index=ignored, reduction=reduction
    )
    value, samples = pytorch(logits, targets, weights, smoothing, ignored, reduction)
    assert math.isclose(value, loss.forward(logits, targets), rel_tol=1e-12)
    np.testing.assert_allclose(loss.per_sample(logits, targets), samples, rtol=1e-11, atol=1e-13)
    small = loss.forward(logits.astype(np.float32), targets)
    assert math.isclose(value, small, rel_tol=1e-5)


@every_combination
def test_gradients_are_the_derivatives_of_the_values(
    kind: str, weights: list[float] | None, smoothing: float, ignored: int | None, reduction: Literal["mean", "sum"]
) -> None:
    """The gradient agrees with central differences of the second implementation; ignored samples have none."""
    logits, targets = data(kind, ignored)
    loss = mg.SoftmaxCrossEntropy(
        label_smoothing=smoothing, class_weight=weights, ignore_index=ignored, reduction=reduction
    )
    loss.forward(logits, targets)
    found = loss.backward()
    expected = np.zeros_like(logits)
    for place in np.ndindex(logits.shape):
        ends = []
        for eps in (1e-5, -1e-5):
            moved = logits.copy()
            moved[place] += eps
            ends.append(pytorch(moved, targets, weights, smoothing, ignored, reduction)[0])
        expected[place] = (ends[0] - ends[1]) / 2e-5
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    if kind == "labels" and ignored is not None:
        assert not found[targets == ignored].any()
    loss.forward(logits.astype(np.float32), targets)
    np.testing.assert_allclose(loss.backward(), expected, rtol=1e-4, atol=1e-5)


def test_by_hand() -> None:
    """Two samples with probabilities of 1/8, 2/8, 5/8: the loss is the mean of log 8 and log 8/5."""
    logits = np.log([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]])
    loss = mg.SoftmaxCrossEntropy()
    assert math.isclose((math.log(8) + math.log(8 / 5)) / 2, loss.forward(logits, [0, 2]), rel_tol=1e-14)
    np.testing.assert_allclose(loss.backward(), np.array([[-7, 2, 5], [1, 2, -3]]) / 16, rtol=1e-13)
    assert loss.probabilities is not None
    np.testing.assert_allclose(loss.probabilities, [[1 / 8, 2 / 8, 5 / 8]] * 2, rtol=1e-14)


def test_a_call_is_forward() -> None:
    """`loss(logits, targets)` is `loss.forward(logits, targets)`."""
    loss = mg.SoftmaxCrossEntropy()
    assert math.isnan(loss.value)
    assert math.isclose(math.log(4), loss(np.zeros((3, 4)), [0, 1, 2]), rel_tol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("size", [1.0, 100.0, 1e4, 1e6])
@pytest.mark.parametrize("kind", TARGETS)
def test_extreme_logits(dtype: Any, smoothing: float, size: float, kind: str) -> None:
    """Logits up to a million overflow nowhere: values are exact, gradients finite and within their bounds."""
    logits = np.array([[size, -size, 0], [-size, -size, -size], [0, size, size], [size, 0, size / 2]], dtype)
    labels = np.array([1, 0, 2, 1])
    rows = {"labels": labels, "one-hot integers": np.eye(3, dtype=int)[labels], "probabilities": np.eye(3)[labels]}
    loss = mg.SoftmaxCrossEntropy(label_smoothing=smoothing)
    value = loss.forward(logits, rows[kind])
    expected, _ = pytorch(logits.astype(np.float64), rows[kind], None, smoothing, None, "mean")
    assert math.isclose(expected, value, rel_tol=1e-6 if dtype is np.float32 else 1e-14)
    grad = loss.backward()
    assert np.isfinite(grad).all()
    assert (np.abs(grad) <= 0.25 + 1e-6).all()
    np.testing.assert_allclose(grad.sum(axis=1), 0, atol=1e-6)


def test_a_probability_of_0_costs_nothing() -> None:
    """Where the target is 0 an infinitely small probability does not matter: 0 times infinity is 0 here."""
    loss = mg.SoftmaxCrossEntropy()
    logits = np.array([[0.0, -np.inf, 0.0]])
    for targets in ([[0.5, 0, 0.5]], [0]):
        assert math.isclose(math.log(2), loss.forward(logits, targets), rel_tol=1e-15)
        assert np.isfinite(loss.backward()).all()


def test_a_batch_of_ignored_samples_alone() -> None:
    """The mean over nothing is NaN, as in PyTorch; the sum over nothing is 0. Neither warns."""
    logits, labels = np.zeros((2, 3)), [1, 1]
    mean, total = mg.SoftmaxCrossEntropy(ignore_index=1), mg.SoftmaxCrossEntropy(ignore_index=1, reduction="sum")
    assert math.isnan(mean.forward(logits, labels))
    assert np.isnan(mean.backward()).all()
    assert 0 == total.forward(logits, labels)
    assert not total.backward().any()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "u4", "i8", "u8", ">i4", ">i8"])
def test_labels_of_any_integers(dtype: str) -> None:
    """The bytes of MNIST, and other integers, are labels; so are lists."""
    logits, labels = data("labels", None)
    expected = mg.SoftmaxCrossEntropy().forward(logits, labels.tolist())
    loss = mg.SoftmaxCrossEntropy()
    assert expected == loss.forward(logits, labels.astype(dtype))
    assert expected == loss.forward(logits, np.repeat(labels, 2).astype(dtype)[::2])


def test_logits_of_integers() -> None:
    """Integer logits are converted."""
    assert math.isclose(math.log(2), mg.SoftmaxCrossEntropy()(np.zeros((2, 2), int), [0, 1]), rel_tol=1e-7)


def test_one_class() -> None:
    """With a single class there is nothing to lose."""
    loss = mg.SoftmaxCrossEntropy()
    assert 0 == loss.forward(np.array([[3.0], [4.0]]), [0, 0])
    assert not loss.backward().any()


def test_probabilities_may_be_rounded() -> None:
    """Rows from float32 computations sum to 1 but for rounding."""
    rows = np.random.default_rng(0).dirichlet(np.ones(1000), size=3).astype(np.float32)
    mg.SoftmaxCrossEntropy().forward(np.zeros((3, 1000), np.float32), rows)


def test_one_loss_for_many_batches() -> None:
    """A loss may see labels and probabilities, and batches of any size, in turn."""
    loss = mg.SoftmaxCrossEntropy()
    for kind, batch in [("labels", 5), ("probabilities", 2), ("labels", 7), ("one-hot integers", 1)]:
        logits, targets = data(kind, None, batch=max(batch, 3))
        other = mg.SoftmaxCrossEntropy()
        assert other.forward(logits, targets) == loss.forward(logits, targets)
        assert other.backward().tobytes() == loss.backward().tobytes()


def test_the_labels_may_be_used_again() -> None:
    """Changing the labels in place after forward does not change the gradient."""
    logits, labels = data("labels", None)
    for loss in (mg.SoftmaxCrossEntropy(), mg.SoftmaxCrossEntropy(label_smoothing=0.1)):
        mine = labels.copy()
        loss.forward(logits, mine)
        expected = loss.backward()
        mine.fill(0)
        assert expected.tobytes() == loss.backward().tobytes()


def test_class_weights_are_kept() -> None:
    """The weights belong to the loss; changing one's own array later does not change it."""
    weights = np.array([1.0, 2.0, 3.0, 4.0])
    loss, (logits, labels) = mg.SoftmaxCrossEntropy(class_weight=weights), data("labels", None)
    expected = loss.forward(logits, labels)
    weights.fill(0)
    assert expected == loss.forward(logits, labels)


def test_settings_may_be_changed() -> None:
    """A setting that is assigned later counts from then on, as the learning rate of an optimizer does."""
    logits, labels = data("labels", None)
    loss = mg.SoftmaxCrossEntropy()
    loss.forward(logits, labels)
    loss.label_smoothing = 0.5
    assert mg.SoftmaxCrossEntropy(label_smoothing=0.5).forward(logits, labels) == loss.forward(logits, labels)


def test_its_repr() -> None:
    """The repr shows the settings that are not the default."""
    assert "SoftmaxCrossEntropy()" == repr(mg.SoftmaxCrossEntropy())
    assert "SoftmaxCrossEntropy(ignore_index=1, reduction='sum')" == repr(
        mg.SoftmaxCrossEntropy(ignore_index=1, reduction="sum")
    )
    assert "label_smoothing=0.1" in repr(mg.SoftmaxCrossEntropy(label_smoothing=0.1))


def test_a_loss_of_ones_own() -> None:
    """An author writes `forward` and `backward`; all else follows."""

    class SquaredError(mg.Loss):
        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            self.error = logits - np.asarray(targets)
            self.value = float((self.error**2).mean())
            return self.value

        def backward(self) -> Array:
            return np.asarray(2 * self.error / self.error.size)

    loss = SquaredError()
    assert 2.5 == loss(np.array([[1.0, 2.0]]), [[0.0, 0.0]])
    assert [[1, 2]] == loss.backward().tolist()
    mg.testing.check_gradients(loss, np.array([[1.0, 2.0]]), [[0.0, 0.5]])


def test_nothing_before_forward() -> None:
    """Before the first forward there is neither value nor gradient; a failed one changes nothing."""
    loss = mg.SoftmaxCrossEntropy()
    with pytest.raises(mg.MinigradError):
        loss.forward(np.zeros((2, 2)), [5, 5])
    assert math.isnan(loss.value)
    assert loss.probabilities is None
    with pytest.raises(OrderError):
        loss.backward()
