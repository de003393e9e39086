"""`SoftmaxCrossEntropy` against a second implementation of PyTorch's documented definition, for
every combination.

The definition: https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ShapeError

WEIGHTS = [0.5, 2.0, 0.0, 3.0]
IGNORED = 3
TARGETS = ["labels", "probabilities", "one-hot integers"]

combinations = [
    pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"]),
    pytest.mark.parametrize("smoothing", [0.0, 0.3, 1.0]),
    pytest.mark.parametrize(
        ("kind", "ignored"),
        [
            *(("labels", ignored) for ignored in (None, IGNORED, -100, -1)),
            ("probabilities", None),
            ("one-hot integers", None),
        ],
    ),
    pytest.mark.parametrize("reduction", ["mean", "sum"]),
]


def data(
    kind: str, ignored: int | None, batch: int = 9, classes: int = 4
) -> tuple[Array, npt.NDArray[Any]]:
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
        log_sum = math.log(math.fsum(math.exp(value - top) for value in z))
        log_p = [value - top - log_sum for value in z]
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


@sparse(*combinations, full=5, every=5)
def test_values_are_pytorchs(
    kind: str,
    weights: list[float] | None,
    smoothing: float,
    ignored: int | None,
    reduction: Literal["mean", "sum"],
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


@sparse(*combinations, full=5, every=5)
def test_gradients_are_the_derivatives_of_the_values(
    kind: str,
    weights: list[float] | None,
    smoothing: float,
    ignored: int | None,
    reduction: Literal["mean", "sum"],
) -> None:
    """The gradient agrees with central differences of the second implementation.

    Ignored samples have none.
    """
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
    """Two samples with probabilities of 1/8, 2/8, 5/8: the loss is the mean of log 8 and log
    8/5.
    """
    logits = np.log([[1.0, 2.0, 5.0], [1.0, 2.0, 5.0]])
    loss = mg.SoftmaxCrossEntropy()
    assert math.isclose(
        (math.log(8) + math.log(8 / 5)) / 2, loss.forward(logits, [0, 2]), rel_tol=1e-14
    )
    np.testing.assert_allclose(loss.backward(), np.array([[-7, 2, 5], [1, 2, -3]]) / 16, rtol=1e-13)
    assert loss.probabilities is not None
    np.testing.assert_allclose(loss.probabilities, [[1 / 8, 2 / 8, 5 / 8]] * 2, rtol=1e-14)


# PyTorch 2.13.0, torch.nn.CrossEntropyLoss in float64: the value, and the gradient of the first
# sample's logits.
PYTORCHS_LOGITS = [
    [1.5, -0.5, 0.25, 3.0],
    [-2.0, 0.75, 1.25, 0.5],
    [0.0, 4.0, -1.0, 2.5],
    [3.5, -3.0, 0.5, -0.75],
    [0.125, 0.25, -0.375, 1.0],
]
PYTORCHS_LABELS = [3, 0, 1, 2, 3]
PYTORCHS_ROWS = [
    [0.1, 0.2, 0.3, 0.4],
    [0.7, 0.1, 0.1, 0.1],
    [0.0, 0.5, 0.5, 0.0],
    [0.25, 0.25, 0.25, 0.25],
    [0.0, 0.0, 0.0, 1.0],
]
PYTORCHS_WEIGHTS = [0.5, 2.0, 1.25, 3.0]
# targets, weighted, label smoothing, ignored label, reduction, value, gradient
PYTORCHS_NUMBERS = [
    ("labels", False, 0.0, None, "mean", 1.6645648533375486,
     [0.03387804055905568, 0.004584894214561253, 0.009706221128393531, -0.04816915590201046]),
    ("labels", False, 0.0, None, "sum", 8.322824266687743,
     [0.16939020279527842, 0.022924471072806266, 0.04853110564196765, -0.24084577951005226]),
    ("labels", False, 0.0, 1, "mean", 2.025283693794323,
     [0.042347550698819604, 0.005731117768201567, 0.012132776410491913, -0.060211444877513065]),
    ("labels", False, 0.0, 1, "sum", 8.101134775177291,
     [0.16939020279527842, 0.022924471072806266, 0.04853110564196765, -0.24084577951005226]),
    ("labels", False, 0.2, None, "mean", 1.8095648533375488,
     [0.023878040559055683, -0.005415105785438747, -0.0002937788716064695, -0.018169155902010455]),
    ("labels", False, 0.2, None, "sum", 9.047824266687742,
     [0.11939020279527841, -0.027075528927193736, -0.0014688943580323521, -0.09084577951005235]),
    ("labels", False, 0.2, 1, "mean", 2.075283693794323,
     [0.029847550698819603, -0.006768882231798434, -0.00036722358950808803, -0.022711444877513087]),
    ("labels", False, 0.2, 1, "sum", 8.301134775177292,
     [0.11939020279527841, -0.027075528927193736, -0.0014688943580323521, -0.09084577951005235]),
    ("labels", True, 0.0, None, "mean", 0.962551113275228,
     [0.05212006239854721, 0.007053683407017313, 0.014932647889836202, -0.0741063936954007]),
    ("labels", True, 0.0, None, "sum", 9.384873354433473,
     [0.5081706083858353, 0.0687734132184188, 0.14559331692590294, -0.7225373385301568]),
    ("labels", True, 0.0, 1, "mean", 1.1537412092145254,
     [0.06557040108204326, 0.00887398880237662, 0.018786234442051995, -0.09323062432647183]),
    ("labels", True, 0.0, 1, "sum", 8.941494371412572,
     [0.5081706083858353, 0.0687734132184188, 0.14559331692590294, -0.7225373385301568]),
    ("labels", True, 0.2, None, "mean", 1.1595809613901427,
     [0.04499545437457176, -0.0038199241475069586, 0.007215784789219123, -0.048391315016283916]),
    ("labels", True, 0.2, None, "sum", 11.305914373553893,
     [0.43870568015207473, -0.037244260438192844, 0.07035390169488645, -0.47181532140876814]),
    ("labels", True, 0.2, 1, "mean", 1.3211472237099864,
     [0.056607184535751566, -0.004805711024282948, 0.009077922799340186, -0.0608793963108088]),
    ("labels", True, 0.2, 1, "sum", 10.238890983752395,
     [0.43870568015207473, -0.037244260438192844, 0.07035390169488645, -0.47181532140876814]),
    ("probabilities", False, 0.0, None, "mean", 2.4170648533375485,
     [0.013878040559055681, -0.03541510578543875, -0.050293778871606465, 0.07183084409798954]),
    ("probabilities", False, 0.0, None, "sum", 12.085324266687742,
     [0.06939020279527841, -0.17707552892719375, -0.2514688943580323, 0.3591542204899477]),
    ("probabilities", False, 0.2, None, "mean", 2.4115648533375484,
     [0.007878040559055683, -0.03741510578543875, -0.04829377887160646, 0.07783084409798954]),
    ("probabilities", False, 0.2, None, "sum", 12.057824266687742,
     [0.03939020279527841, -0.18707552892719376, -0.24146889435803232, 0.3891542204899477]),
    ("probabilities", True, 0.0, None, "mean", 3.7022016288094735,
     [0.05860303213208777, -0.07071558921551348, -0.05534490221500309, 0.06745745929842885]),
    ("probabilities", True, 0.0, None, "sum", 18.511008144047366,
     [0.29301516066043887, -0.3535779460775673, -0.2767245110750155, 0.3372872964921443]),
    ("probabilities", True, 0.2, None, "mean", 3.7213644410490003,
     [0.05331626439435151, -0.07502506957499637, -0.053500072141169655, 0.07520887732181454]),
    ("probabilities", True, 0.2, None, "sum", 18.606822205245003,
     [0.2665813219717575, -0.37512534787498175, -0.2675003607058483, 0.37604438660907263]),
]  # fmt: skip


@sparse(
    pytest.mark.parametrize(
        ("kind", "weighted", "smoothing", "ignored", "reduction", "value", "slopes"),
        PYTORCHS_NUMBERS,
    ),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
)
def test_pytorchs_numbers(
    kind: str,
    weighted: bool,
    smoothing: float,
    ignored: int | None,
    reduction: Literal["mean", "sum"],
    value: float,
    slopes: list[float],
    dtype: Any,
) -> None:
    """Value and gradient are the numbers that PyTorch itself printed, for every combination of
    settings.
    """
    loss = mg.SoftmaxCrossEntropy(
        label_smoothing=smoothing,
        class_weight=PYTORCHS_WEIGHTS if weighted else None,
        ignore_index=ignored,
        reduction=reduction,
    )
    targets = PYTORCHS_LABELS if kind == "labels" else PYTORCHS_ROWS
    rtol = 1e-5 if dtype is np.float32 else 1e-12
    assert math.isclose(
        value, loss.forward(np.array(PYTORCHS_LOGITS, dtype), targets), rel_tol=rtol
    )
    np.testing.assert_allclose(loss.backward()[0], slopes, rtol=rtol, atol=rtol / 10)


def test_the_mean_is_over_the_weights_of_the_labels() -> None:
    """By hand: losses log 2 and log 4 with weights 3 and 1 have the mean (3 log 2 + log 4) / 4, not
    / 2.
    """
    logits = np.log([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0], [5.0, 1.0, 1.0]])
    loss = mg.SoftmaxCrossEntropy(class_weight=[3, 1, 7], ignore_index=2)
    assert math.isclose(
        (3 * math.log(2) + math.log(4)) / 4, loss.forward(logits, [0, 1, 2]), rel_tol=1e-14
    )
    # p - t is (-2, 1, 1) / 4 and (2, -3, 1) / 4; times the weight of the label, over the sum of
    # these weights.
    np.testing.assert_allclose(
        loss.backward(), np.array([[-6, 3, 3], [2, -3, 1], [0, 0, 0]]) / 16, rtol=1e-13, atol=0
    )


def test_smoothing_spreads_over_the_weighted_classes() -> None:
    """By hand: with smoothing 1/2 and two classes the targets are 3/4 and 1/4, each times the
    weight of its class.
    """
    logits = np.log([[3.0, 1.0]])
    loss = mg.SoftmaxCrossEntropy(label_smoothing=0.5, class_weight=[4, 8])
    # 4 * 3/4 * log(4/3) + 8 * 1/4 * log 4, over the weight of the label, 4.
    assert math.isclose(
        (3 * math.log(4 / 3) + 2 * math.log(4)) / 4, loss.forward(logits, [0]), rel_tol=1e-14
    )
    # p (3 + 2) - (3, 2) = (3/4, -3/4), over 4.
    np.testing.assert_allclose(loss.backward(), [[3 / 16, -3 / 16]], rtol=1e-13)


def test_a_call_is_forward() -> None:
    """`loss(logits, targets)` is `loss.forward(logits, targets)`."""
    loss = mg.SoftmaxCrossEntropy()
    assert math.isnan(loss.value)
    assert math.isclose(math.log(4), loss(np.zeros((3, 4)), [0, 1, 2]), rel_tol=1e-15)


@sparse(
    pytest.mark.parametrize("kind", TARGETS),
    pytest.mark.parametrize("size", [1.0, 100.0, 1e4, 1e6]),
    pytest.mark.parametrize("smoothing", [0.0, 0.1]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    full=2,
)
def test_extreme_logits(dtype: Any, smoothing: float, size: float, kind: str) -> None:
    """Logits up to a million overflow nowhere: values are exact, gradients finite and within their
    bounds.
    """
    logits = np.array(
        [[size, -size, 0], [-size, -size, -size], [0, size, size], [size, 0, size / 2]], dtype
    )
    labels = np.array([1, 0, 2, 1])
    rows = {
        "labels": labels,
        "one-hot integers": np.eye(3, dtype=int)[labels],
        "probabilities": np.eye(3)[labels],
    }
    loss = mg.SoftmaxCrossEntropy(label_smoothing=smoothing)
    value = loss.forward(logits, rows[kind])
    expected, _ = pytorch(logits.astype(np.float64), rows[kind], None, smoothing, None, "mean")
    assert math.isclose(expected, value, rel_tol=1e-6 if dtype is np.float32 else 1e-14)
    grad = loss.backward()
    assert np.isfinite(grad).all()
    assert (np.abs(grad) <= 0.25 + 1e-6).all()
    np.testing.assert_allclose(grad.sum(axis=1), 0, atol=1e-6)


@sparse(
    pytest.mark.parametrize(
        ("kind", "ignored"), [("labels", None), ("labels", 2), ("probabilities", None)]
    ),
    pytest.mark.parametrize("smoothing", [0.0, 0.25]),
    pytest.mark.parametrize("reduction", ["mean", "sum"]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    full=2,
)
def test_extreme_logits_with_every_setting(
    kind: str, smoothing: float, ignored: int | None, reduction: Literal["mean", "sum"], dtype: Any
) -> None:
    """Logits of a million, class weights, smoothing and an ignored label together: the exact value,
    finite gradients.
    """
    size = 1e6
    logits = np.array(
        [[size, -size, 0], [-size, -size, -size], [0, size, size], [size, 0, size / 2]], dtype
    )
    targets = np.array([1, 0, 2, 1]) if kind == "labels" else np.array([[0.5, 0.25, 0.25]] * 4)
    weights = [0.5, 2.0, 4.0]
    loss = mg.SoftmaxCrossEntropy(
        label_smoothing=smoothing, class_weight=weights, ignore_index=ignored, reduction=reduction
    )
    expected, samples = pytorch(
        logits.astype(np.float64), targets, weights, smoothing, ignored, reduction
    )
    rtol = 1e-6 if dtype is np.float32 else 1e-14
    assert math.isclose(expected, loss.forward(logits, targets), rel_tol=rtol)
    np.testing.assert_allclose(loss.per_sample(logits, targets), samples, rtol=rtol)
    grad = loss.backward()
    assert np.isfinite(grad).all()
    np.testing.assert_allclose(grad.sum(axis=1), 0, atol=1e-6)
    if smoothing == 0 and reduction == "sum" and kind == "labels":
        # w (p - t), where p is known exactly
        certain = np.array([[2, -2, 0], [-1 / 3, 1 / 6, 1 / 6], [0, 2, -2], [2, -2, 0]])
        if ignored is not None:
            certain[2] = 0
        np.testing.assert_allclose(grad, certain, rtol=1e-6)


def test_a_probability_of_0_costs_nothing() -> None:
    """Where the target is 0 an infinitely small probability does not matter: 0 times infinity is 0
    here.
    """
    loss = mg.SoftmaxCrossEntropy()
    logits = np.array([[0.0, -np.inf, 0.0]])
    for targets in ([[0.5, 0, 0.5]], [0]):
        assert math.isclose(math.log(2), loss.forward(logits, targets), rel_tol=1e-15)
        assert np.isfinite(loss.backward()).all()


def test_a_batch_of_ignored_samples_alone() -> None:
    """The mean over nothing is NaN, as in PyTorch; the sum over nothing is 0. Neither warns."""
    logits, labels = np.zeros((2, 3)), [1, 1]
    mean, total = (
        mg.SoftmaxCrossEntropy(ignore_index=1),
        mg.SoftmaxCrossEntropy(ignore_index=1, reduction="sum"),
    )
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
    assert math.isclose(
        math.log(2), mg.SoftmaxCrossEntropy()(np.zeros((2, 2), int), [0, 1]), rel_tol=1e-7
    )


def test_one_class() -> None:
    """With a single column there is nothing to learn, which is hardly what somebody means: the
    error names the right loss.
    """
    loss = mg.SoftmaxCrossEntropy()
    with pytest.raises(
        ShapeError, match=r"logits of shape \(2, 1\): .* use SigmoidCrossEntropy for yes or no"
    ):
        loss.forward(np.array([[3.0], [4.0]]), [0, 0])


def test_probabilities_may_be_rounded() -> None:
    """Rows from float32 computations sum to 1 but for rounding."""
    rows = np.random.default_rng(0).dirichlet(np.ones(1000), size=3).astype(np.float32)
    mg.SoftmaxCrossEntropy().forward(np.zeros((3, 1000), np.float32), rows)


def test_one_loss_for_many_batches() -> None:
    """A loss may see labels and probabilities, and batches of any size, in turn."""
    loss = mg.SoftmaxCrossEntropy()
    for kind, batch in [
        ("labels", 5),
        ("probabilities", 2),
        ("labels", 7),
        ("one-hot integers", 1),
    ]:
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
    """A setting that is assigned later counts from then on, as the learning rate of an optimizer
    does.
    """
    logits, labels = data("labels", None)
    loss = mg.SoftmaxCrossEntropy()
    loss.forward(logits, labels)
    loss.label_smoothing = 0.5
    assert mg.SoftmaxCrossEntropy(label_smoothing=0.5).forward(logits, labels) == loss.forward(
        logits, labels
    )


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
    """Before the first forward there is neither value nor gradient.

    A failed one changes nothing.
    """
    loss = mg.SoftmaxCrossEntropy()
    with pytest.raises(mg.MinigradError):
        loss.forward(np.zeros((2, 2)), [5, 5])
    assert math.isnan(loss.value)
    assert loss.probabilities is None
    with pytest.raises(CallOrderError):
        loss.backward()


def test_writing_into_the_probabilities_spoils_nothing() -> None:
    """They are a copy: the gradient is that of the loss."""
    loss = mg.SoftmaxCrossEntropy()
    loss.forward(np.zeros((1, 2)), [0])
    assert loss.probabilities is not None
    loss.probabilities[...] = 7
    assert loss.backward().tolist() == [[-0.5, 0.5]]


@sparse(pytest.mark.parametrize("n", [256, 257, 512, 1000, 4096, 4097, 3_000_000]), every=3)
def test_the_mean_over_very_many_samples_keeps_its_digits(n: int) -> None:
    """Each sample's loss is log 2 in float32.

    So is the mean, to the seventh digit, however many there are.
    """
    value = mg.SoftmaxCrossEntropy().forward(np.zeros((n, 2), np.float32), np.zeros(n, np.int64))
    np.testing.assert_allclose(value, np.log(2), rtol=3e-7)
