"""Targets that no loss can use, and class weights by name: what is said of them, by hand and by
`fit`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, KindError, LabelError, RangeError, ShapeError

LOGITS = np.random.default_rng(0).normal(size=(6, 3))
LABELS = np.array([0, 0, 0, 1, 0, 1])


# -- class weights -------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", [LABELS, np.eye(3)[LABELS]], ids=["labels", "rows"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_class_weights_by_class(
    targets: npt.NDArray[Any], reduction: Literal["mean", "sum"]
) -> None:
    """A dict gives the bits of the same weights in a row, where classes that it leaves out have the
    weight 1.
    """
    by_row = mg.SoftmaxCrossEntropy(
        class_weight=[1.0, 2.5, 1.0], label_smoothing=0.1, reduction=reduction
    )
    by_class = mg.SoftmaxCrossEntropy(
        class_weight={1: 2.5}, label_smoothing=0.1, reduction=reduction
    )
    assert by_row.forward(LOGITS, targets) == by_class.forward(LOGITS, targets)
    assert by_row.backward().tobytes() == by_class.backward().tobytes()
    assert "SoftmaxCrossEntropy(label_smoothing=0.1, class_weight=<{1: 2.5}>)" == repr(
        mg.SoftmaxCrossEntropy(class_weight={int(np.int8(1)): 2.5}, label_smoothing=0.1)
    )


@pytest.mark.parametrize(
    ("weights", "error", "told"),
    [
        ({"1": 2.0}, KindError, "class_weight has a weight for '1', expected labels as keys"),
        ({1.0: 2.0}, KindError, "class_weight has a weight for 1.0, expected labels as keys"),
        (
            {-1: 2.0},
            RangeError,
            "class_weight has a weight for class -1, expected labels of 0 or more",
        ),
        ({1: -2.0}, RangeError, "class_weight[1] is -2.0, expected a finite number at least 0"),
        ({1: None}, KindError, "class_weight[1] is None, expected a finite number at least 0"),
        (
            {1: np.ones(100)},
            KindError,
            "class_weight[1] is an array of shape (100,), expected a finite number",
        ),
        (
            "even",
            RangeError,
            (
                "class_weight is 'even', expected a weight for each class, {class: weight} or "
                "'balanced'"
            ),
        ),
    ],
)
def test_wrong_class_weights(weights: Any, error: type[Exception], told: str) -> None:
    """A key that is no label, a weight that is none, another word."""
    with pytest.raises(error) as caught:
        mg.SoftmaxCrossEntropy(class_weight=weights)
    assert str(caught.value).startswith(told)


def test_a_weight_for_a_class_that_there_is_not() -> None:
    """It is said once the logits tell how many classes there are."""
    loss = mg.SoftmaxCrossEntropy(class_weight={3: 2.0})
    with pytest.raises(
        ShapeError, match="a weight for class 3, but the logits are of 3 classes, 0 to 2"
    ):
        loss.forward(LOGITS, LABELS)


def test_balanced_weights() -> None:
    """They are n / (classes * count), as scikit-learn's: 6 / (2 * 4) and 6 / (2 * 2).

    The class that does not occur has 1.
    """
    loss = mg.SoftmaxCrossEntropy(class_weight="balanced")
    loss.balance(LABELS)
    assert {0: 0.75, 1: 1.5} == loss.class_weight
    same = mg.SoftmaxCrossEntropy(class_weight=[0.75, 1.5, 1.0])
    assert same.forward(LOGITS, LABELS) == loss.forward(LOGITS, LABELS)
    assert same.backward().tobytes() == loss.backward().tobytes()
    assert "SoftmaxCrossEntropy(class_weight='balanced')" == repr(loss)
    ignoring = mg.SoftmaxCrossEntropy(class_weight="balanced", ignore_index=-1)
    ignoring.balance([0, 1, 1, -1, -1])
    assert {0: 1.5, 1: 0.75} == ignoring.class_weight


def test_balanced_weights_by_hand_need_the_labels() -> None:
    """A batch may lack a class, so no batch is counted; the error says how to give all labels."""
    loss = mg.SoftmaxCrossEntropy(class_weight="balanced")
    for act in (loss.forward, loss.per_sample):
        with pytest.raises(
            CallOrderError,
            match=r'class_weight="balanced" has no weights yet: .* loss\.balance\(y_train\)',
        ):
            act(LOGITS, LABELS)
    with pytest.raises(ShapeError, match=r"labels of shape \(6, 3\), expected labels \(n,\)"):
        loss.balance(LOGITS)
    with pytest.raises(LabelError, match="labels of dtype float64, expected integers"):
        loss.balance(LABELS.astype(float))
    with pytest.raises(CallOrderError, match=r'is for a loss made with class_weight="balanced"'):
        mg.SoftmaxCrossEntropy().balance(LABELS)


def trained(
    loss: mg.SoftmaxCrossEntropy, shown: bool = False
) -> tuple[dict[str, list[float]], bytes]:
    model = mg.Sequential(mg.Dense(3, 3, dtype=np.float64, rng=0))
    data = mg.Batches(LOGITS, LABELS, 2, rng=1)
    validation = (LOGITS, np.full(6, 2))  # a class that does not occur in training
    history = mg.fit(
        model, loss, mg.SGD(model, 0.1), data, epochs=3, validation_data=validation, progress=shown
    )
    return dict(history), model[0].weight.value.tobytes()


def test_fit_balances_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """By all labels that it trains on, before the first step: the bits of the weights given by
    hand; validation has the same.
    """
    expected = trained(mg.SoftmaxCrossEntropy(class_weight=[0.75, 1.5, 1.0]))
    assert expected == trained(mg.SoftmaxCrossEntropy(class_weight="balanced"))
    assert expected == trained(mg.SoftmaxCrossEntropy(class_weight="balanced"), shown=True)
    assert "always guessing the class shares" in capsys.readouterr().out


def test_fit_with_balanced_weights_says_what_is_wrong_with_the_labels() -> None:
    """A label out of range is one still, and rows cannot be counted."""
    model = mg.Sequential(mg.Dense(3, 3, rng=0))
    for labels, error, told in (
        (np.array([0, 1, 7, 1, 1, 1]), LabelError, "data: label 7 of sample 2 is out of range"),
        (
            np.eye(3)[LABELS],
            ShapeError,
            r"data: class_weight=\"balanced\" got labels of shape \(6, 3\)",
        ),
    ):
        loss = mg.SoftmaxCrossEntropy(class_weight="balanced")
        with pytest.raises(error, match=told):
            mg.fit(model, loss, mg.SGD(model, 0.1), mg.Batches(LOGITS, labels, 2), epochs=1)


# -- targets that are wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "error", "told"),
    [
        (
            [1, 2, 3, 3, 2, 1],
            LabelError,
            "these labels go from 1 to 3: subtract 1, pass labels - 1",
        ),
        (
            [-1, 1, 1, -1, 1, 1],
            LabelError,
            "these labels go from -1 to 1: for yes and no pass (labels > 0)",
        ),
        ([[1, 1, 0]] * 6, LabelError, "several labels, use SigmoidCrossEntropy"),
        (
            [[True, False, False]] * 5 + [[False] * 3],
            LabelError,
            "several labels, use SigmoidCrossEntropy",
        ),
        ([[0, 1]] * 6, ShapeError, "several labels, use SigmoidCrossEntropy"),
        (
            [0, 1, np.nan, 1, 1, 1],
            LabelError,
            "label nan of sample 2 is no whole number (1 of 6 labels are none)",
        ),
        (
            [0, 1, 0.5, 1, 1, 1.5],
            LabelError,
            "label 0.5 of sample 2 is no whole number (2 of 6 labels are none)",
        ),
        ([[0.5, 0.5, 0]] * 5 + [[np.nan, 1, 0]], LabelError, "target row 5 contains nan"),
    ],
    ids=str,
)
def test_wrong_targets_of_a_softmax(targets: Any, error: type[Exception], told: str) -> None:
    """What is said leads to what was meant."""
    with pytest.raises(error) as caught:
        mg.SoftmaxCrossEntropy().forward(LOGITS, targets)
    assert told in str(caught.value)


def test_labels_that_do_not_look_counted_from_1() -> None:
    """Where 0 occurs, or a label is beyond the number of classes, nobody is told to subtract 1."""
    for targets in ([0, 3, 3, 2, 2, 2], [1, 2, 4, 1, 1, 1]):
        with pytest.raises(LabelError) as caught:
            mg.SoftmaxCrossEntropy().forward(LOGITS, targets)
        assert "subtract" not in str(caught.value)


def test_nothing_is_ignored_in_rows() -> None:
    """`ignore_index` is a label, and rows of probabilities have none."""
    loss = mg.SoftmaxCrossEntropy(ignore_index=1)
    with pytest.raises(
        LabelError, match=r"ignore_index is 1, a label, but the targets are rows of shape \(6, 3\)"
    ):
        loss.forward(LOGITS, np.eye(3)[LABELS])


ELEMENTWISE = [mg.MeanSquaredError, mg.MeanAbsoluteError, mg.Huber, mg.SigmoidCrossEntropy]


@sparse(
    pytest.mark.parametrize("make", ELEMENTWISE),
    pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
)
def test_targets_that_are_no_numbers(make: Any, dtype: Any, wrong: float) -> None:
    """Each loss names the first, its row and how many there are.

    Value and gradient stay those of the last forward.
    """
    loss, outputs, targets = make(), np.ones((4, 2), dtype), np.zeros((4, 2))
    value = loss.forward(outputs, targets)
    grad = loss.backward()
    targets[2, 1] = targets[3, 0] = wrong
    with pytest.raises(LabelError) as caught:
        loss.forward(outputs, targets)
    assert str(caught.value).startswith(
        f"{make.__name__} got the target {wrong} in row 2, at (2, 1), expected "
    )
    assert "2 of 8 targets" in str(caught.value)
    assert (value, grad.tobytes()) == (loss.value, loss.backward().tobytes())


def test_a_loss_of_ones_own_may_know_what_to_do_with_nan() -> None:
    """Where NaN marks a target that is missing and `entries` leaves it out, the loss is a number
    and nothing is refused.
    """

    class Known(mg.ElementwiseLoss):
        def entries(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
            difference = np.where(np.isnan(targets), 0, outputs - targets)
            return difference**2, 2 * difference

    assert 0.5 == Known().forward(np.ones((2, 1)), [[np.nan], [0.0]])


# -- what fit says before the first step ---------------------------------------------------------

N = 10_000


def labels(**wrong: int) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.arange(N) % 5
    for row, label in wrong.items():
        found[int(row[1:])] = label
    return found


def rows(fill: float, **wrong: float) -> npt.NDArray[Any]:
    found = np.full((N, 5), float(fill))
    for row, value in wrong.items():
        found[int(row[1:]), 3] = value
    return found


CHECKS: dict[str, tuple[mg.Loss, npt.NDArray[Any], str]] = {
    "a label": (
        mg.SoftmaxCrossEntropy(),
        labels(r2400=7),
        "label 7 of sample 2400 is out of range: .*1 of 10,000 labels",
    ),
    "labels": (
        mg.SoftmaxCrossEntropy(),
        labels(r2401=7, r9999=-1),
        "label 7 of sample 2401 is .*2 of 10,000 labels",
    ),
    "from 1": (
        mg.SoftmaxCrossEntropy(),
        labels() + 1,
        "label 5 of sample 4 .*2,000 of 10,000 .*from 1 to 5: subtract 1",
    ),
    "an ignored label": (
        mg.SoftmaxCrossEntropy(ignore_index=-1),
        labels(r3=-1, r2400=7),
        "label 7 of sample 2400 is out of range: .*1 of 10,000 labels",
    ),
    "labels with a gap": (
        mg.SoftmaxCrossEntropy(),
        labels() + np.where(np.arange(N) == 2401, np.nan, 0),
        "label nan of sample 2401 is no whole number .1 of 10,000 labels",
    ),
    "rows": (
        mg.SoftmaxCrossEntropy(),
        rows(0.2, r2400=0.5, r9999=0.3),
        "target row 2400 sums to 1.3, .*2 of 10,000 rows",
    ),
    "yes or no": (
        mg.SigmoidCrossEntropy(),
        rows(1, r2400=2, r9999=-1),
        r"target 2.0 in row 2400, .*2 of 50,000 targets",
    ),
    "NaN": (
        mg.MeanSquaredError(),
        rows(1, r2400=np.nan),
        r"MeanSquaredError .* nan in row 2400, .*1 of 50,000 targets",
    ),
    "infinity": (
        mg.Huber(),
        rows(1, r2401=np.inf),
        r"Huber got the target inf in row 2401, .*1 of 50,000 targets",
    ),
    "NaN in probabilities": (
        mg.SoftmaxCrossEntropy(),
        rows(0.2, r2401=np.nan),
        "target row 2401 contains nan",
    ),
}


@sparse(
    pytest.mark.parametrize(("loss", "targets", "told"), CHECKS.values(), ids=CHECKS.keys()),
    pytest.mark.parametrize("where", ["data", "validation_data"]),
)
def test_fit_names_the_row_of_the_data(
    loss: mg.Loss, targets: npt.NDArray[Any], told: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Row and count are those of all data, wherever the first samples that are looked at lie, and
    in however many parts.
    """
    x = np.zeros((N, 4), np.float32)
    model = mg.Sequential(mg.Dense(4, 5, rng=0))
    before = model[0].weight.value.tobytes()
    for most in (None, 1 << 12):
        if most is not None:
            monkeypatch.setattr(
                "minigrad.training.evaluation._CHUNK", most
            )  # several parts, the first wrong row in the third
        wrong = mg.Batches(x, targets, 50)
        right = mg.Batches(x, labels() if targets.ndim == 1 else rows(targets[0, 0]), 50)
        data, validation = (wrong, None) if where == "data" else (right, wrong)
        with pytest.raises(LabelError, match=f"^{where}: .*{told}"):
            mg.fit(model, loss, mg.SGD(model, 0.1), data, epochs=1, validation_data=validation)
    assert before == model[0].weight.value.tobytes()


@pytest.mark.parametrize("ignored", [0, 2])
def test_balanced_weights_count_no_ignored_class(ignored: int) -> None:
    """Samples that are ignored have no share in the weights, whichever label says so."""
    loss = mg.SoftmaxCrossEntropy(class_weight="balanced", ignore_index=ignored)
    labels = np.array([0, 0, 1, 1, 1, 2, 2, 2, 2, 3])
    loss.balance(labels)
    other = mg.SoftmaxCrossEntropy(class_weight="balanced")
    other.balance(labels[labels != ignored])
    expected, weights = other.class_weight, loss.class_weight
    assert isinstance(expected, dict)
    assert isinstance(weights, dict)
    assert expected == weights
