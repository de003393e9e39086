"""The figures of an epoch are those of all its samples: each against a formula over the whole
data.
"""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from training_support import Training, batches, classifier, constant, descent

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import KindError, RangeError, ShapeError
from minigrad.training.metrics import METRICS, MetricName

Targets = npt.NDArray[Any]
LOGITS = np.array(
    [[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 4.0], [0.0, 1.0], [0.0, 2.0], [3.0, 1.0]]
)
"""Largest in the columns 0 1 0 0 1 1 0."""


def figures(
    name: str,
    loss: mg.Loss,
    outputs: npt.ArrayLike,
    targets: npt.ArrayLike,
    batch_size: int,
    **settings: Any,
) -> tuple[float, float]:
    """The figure of an epoch in such batches, and that of validation with the same data.

    The model stays as it is.
    """
    training = constant(loss, outputs, targets, batch_size, **settings)
    history = training.fit(metrics=[name], validation_data=(outputs, targets))
    return history[name][0], history[f"val_{name}"][0]


# -- the loss ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7])
def test_the_loss_is_the_mean_over_all_samples(batch_size: int) -> None:
    """Whatever the batches are, with a short one at the end: the mean of the seven squares."""
    targets = np.arange(14.0).reshape(7, 2)
    history = constant(mg.MeanSquaredError(), LOGITS, targets, batch_size).fit(2)
    np.testing.assert_allclose(history["loss"], [((LOGITS - targets) ** 2).mean()] * 2, rtol=1e-14)


def test_each_epoch_begins_anew() -> None:
    """The figures of one epoch do not flow into the next: means of 6, 5 and of 4, 3."""
    history = descent(6.0, steps=2).fit(
        2, metrics={"out": lambda outputs, targets: float(outputs.mean())}
    )
    assert [5.5, 3.5] == history["loss"]
    assert [5.5, 3.5] == history["out"]


def test_samples_that_are_dropped_do_not_count() -> None:
    """With `drop_last`, the figure is that of the samples that were seen."""
    training = constant(
        mg.MeanAbsoluteError(), np.zeros((5, 1)), [[1.0], [2.0], [3.0], [4.0], [100.0]], 2
    )
    data = mg.Batches(training.data.x, training.data.y, 2, shuffle=False, drop_last=True)
    assert [2.5] == training._replace(data=data).fit()["loss"]


# -- accuracy ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 7])
def test_accuracy(batch_size: int) -> None:
    """Four of seven are right; the mean of the batches' shares would be another number."""
    labels = np.array([0, 1, 0, 0, 0, 0, 1])
    assert (4 / 7, 4 / 7) == figures(
        "accuracy", mg.SoftmaxCrossEntropy(), LOGITS, labels, batch_size
    )


def test_accuracy_leaves_ignored_samples_out() -> None:
    """Of five that count, three are right; in batches of 3, 3 and 1 each has one that counts."""
    labels = np.array([0, -1, 0, 0, 0, -1, 1])
    training = constant(mg.SoftmaxCrossEntropy(ignore_index=-1), LOGITS, labels, 3, shuffle=False)
    history = training.fit(validation_data=(LOGITS, labels))
    assert ([3 / 5], [3 / 5]) == (history["accuracy"], history["val_accuracy"])


def test_accuracy_of_rows_of_probabilities() -> None:
    """The class of a row is its largest entry: right but for the first and the last."""
    rows = np.array(
        [[0.4, 0.6], [0.0, 1.0], [0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]]
    )
    assert (5 / 7, 5 / 7) == figures("accuracy", mg.SoftmaxCrossEntropy(), LOGITS, rows, 3)


def test_accuracy_of_yes_and_no() -> None:
    """Above 0 means yes, for each entry; 0 itself means no. Ten of fourteen are right."""
    logits = np.array(
        [[1.0, -1.0], [-2.0, 3.0], [0.0, 0.0], [4.0, 1.0], [-1.0, -1.0], [2.0, 2.0], [0.5, -0.5]]
    )
    targets = np.array([[1, 0], [0, 1], [0, 0], [1, 0], [1, 1], [1, 1], [0, 0]])
    #                    ✓  ✓    ✓  ✓    ✓  ✓    ✓  ✗    ✗  ✗    ✓  ✓    ✗  ✓
    assert (10 / 14, 10 / 14) == figures("accuracy", mg.SigmoidCrossEntropy(), logits, targets, 7)
    found = figures("accuracy", mg.SigmoidCrossEntropy(), logits, targets, 3)
    np.testing.assert_allclose(found, [10 / 14, 10 / 14], rtol=1e-14)


def test_accuracy_is_measured_by_itself_for_cross_entropies() -> None:
    """And for no other loss."""
    softmax = constant(mg.SoftmaxCrossEntropy(), LOGITS, [0, 1, 0, 0, 0, 0, 1], 7).fit()
    sigmoid = constant(mg.SigmoidCrossEntropy(), LOGITS, np.ones((7, 2)), 7).fit()
    squares = constant(mg.MeanSquaredError(), LOGITS, LOGITS, 7).fit(
        validation_data=(LOGITS, LOGITS)
    )
    assert ["loss", "accuracy"] == list(softmax) == list(sigmoid)
    assert ["loss", "val_loss"] == list(squares)
    assert ["loss"] == list(constant(mg.SoftmaxCrossEntropy(), LOGITS, [0] * 7, 7).fit(metrics=()))


def test_accuracy_while_the_model_learns() -> None:
    """The share over the outputs of training as they were, batch by batch, dropout and all."""
    training, right = classifier(batch_size=5), []

    class Count(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            if event.name == "3":
                labels = training.data.y[training.data.indices]
                right.append(int((event.output.argmax(axis=1) == labels).sum()))

    history = training.fit(2, hooks=[Count()])
    assert [5, 5, 5, 5, 3] == list(batches(23, 5))
    assert [sum(right[:5]) / 23, sum(right[5:]) / 23] == history["accuracy"]


# -- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 4, 5])
def test_mean_absolute_error(batch_size: int) -> None:
    """Distances of 1, 2, 0, 4, 3 and of 0, 1, 1, 0, 8: their mean is 2."""
    targets = np.array([[1.0, 0.0], [-2.0, 1.0], [0.0, -1.0], [4.0, 0.0], [-3.0, 8.0]])
    found = figures(
        "mean_absolute_error", mg.MeanSquaredError(), np.zeros((5, 2)), targets, batch_size
    )
    np.testing.assert_allclose(found, [2.0, 2.0], rtol=1e-14)


def r2(outputs: Array, targets: Array) -> float:
    """1 - sum (y - o)^2 / sum (y - mean)^2, over all entries at once."""
    return 1 - math.fsum(((targets - outputs) ** 2).ravel()) / math.fsum(
        ((targets - targets.mean()) ** 2).ravel()
    )


def test_r2_by_hand() -> None:
    """Targets 1, 2, 3, 6 spread by 4 + 1 + 0 + 9 = 14.

    Outputs are off by 1 once and by 2 once: 1 - 5 / 14.
    """
    outputs, targets = [[1.0], [3.0], [3.0], [4.0]], [[1.0], [2.0], [3.0], [6.0]]
    for batch_size in (1, 2, 3, 4):
        found = figures("r2", mg.MeanSquaredError(), outputs, targets, batch_size)
        np.testing.assert_allclose(found, [9 / 14, 9 / 14], rtol=1e-14)


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("batch_size", [1, 7, 16, 40])
def test_r2_of_an_epoch_is_that_of_its_samples(shift: float, batch_size: int) -> None:
    """It is no mean of the batches' figures; and it keeps its digits far away from 0."""
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(40, 3)) + shift
    outputs = targets + rng.normal(size=(40, 3)) / 2
    found = figures("r2", mg.MeanSquaredError(), outputs, targets, batch_size)
    np.testing.assert_allclose(found, [r2(outputs, targets)] * 2, rtol=1e-9)


def test_r2_where_all_targets_are_the_same() -> None:
    """Then the spread is 0: scikit-learn says 1 where all outputs are right, else 0."""
    assert (1.0, 1.0) == figures("r2", mg.MeanSquaredError(), [[3.0], [3.0]], [[3.0], [3.0]], 1)
    assert (0.0, 0.0) == figures("r2", mg.MeanSquaredError(), [[3.0], [2.0]], [[3.0], [3.0]], 1)


# -- functions of one's own ----------------------------------------------------------------------


def most(outputs: Array, targets: Targets) -> Any:
    """The largest output: no mean of anything; a NumPy number."""
    return outputs.max()


class Counted:
    """A metric with a memory."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, outputs: Array, targets: Targets) -> float:
        assert len(outputs) == len(targets)
        self.sizes.append(len(outputs))
        return float(len(outputs))


def test_a_function_is_weighted_by_the_batch_sizes() -> None:
    """Largest outputs 3 of three samples, 7 of three, and 9 of one: (3 3 + 3 7 + 9) / 7.

    In validation all are seen at once.
    """
    outputs = np.array([[1.0], [3.0], [2.0], [7.0], [5.0], [4.0], [9.0]])
    training = constant(mg.MeanSquaredError(), outputs, outputs, 3, shuffle=False)
    history = training.fit(metrics=most, validation_data=(outputs, outputs))
    np.testing.assert_allclose(history["most"], [39 / 7], rtol=1e-14)
    assert [9.0] == history["val_most"]


def test_what_a_function_is_given() -> None:
    """Each batch of training, and in validation all samples of any number at once."""
    counted = Counted()
    outputs = np.zeros((3000, 1))
    training = constant(mg.MeanSquaredError(), outputs, outputs, 1300)
    history = training.fit(2, metrics=counted, validation_data=(outputs, outputs))
    assert [1300, 1300, 400, 3000] * 2 == counted.sizes[-8:]
    assert [3000.0, 3000.0] == history["val_Counted"]


def test_names_of_metrics() -> None:
    """Those of names and functions, of a mapping the keys; several side by side, in their order."""
    metrics: list[tuple[Any, list[str]]] = [
        ("mean_absolute_error", ["mean_absolute_error"]),
        (most, ["most"]),
        (Counted(), ["Counted"]),
        (["r2", most], ["r2", "most"]),
        ((most, "r2"), ["most", "r2"]),
        ({"top": lambda outputs, targets: 1.0, "error": "mean_absolute_error"}, ["top", "error"]),
        ([], []),
    ]
    for given, names in metrics:
        history = constant(mg.MeanSquaredError(), LOGITS, LOGITS, 7).fit(metrics=given)
        assert ["loss", *names] == list(history)


def test_a_metric_may_be_no_number() -> None:
    """NaN stands in the history; it ends nothing."""
    history = descent(2.0).fit(2, metrics={"nothing": lambda outputs, targets: math.nan})
    assert [2.0, 1.0] == history["loss"]
    assert [True, True] == [math.isnan(figure) for figure in history["nothing"]]


# -- what cannot be measured ---------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, type[Exception], str]] = {
    "an unknown name": (
        "acuracy",
        RangeError,
        (
            "there is no metric 'acuracy'; there are accuracy, mean_absolute_error, r2, or give a "
            "function"
        ),
    ),
    "a number": (
        5,
        KindError,
        "metrics is 5, expected 'auto', names (accuracy, mean_absolute_error, r2) or functions",
    ),
    "nothing": (None, KindError, "metrics is None, expected"),
    "a set": ({"r2"}, KindError, "metrics is {'r2'}, expected"),
    "a number among several": (["r2", 5], KindError, "metric 'int' is 5, expected a name"),
    "a lambda without a name": (
        lambda outputs, targets: 1.0,
        RangeError,
        "a metric cannot be called '<lambda>' here; give it a name, metrics={'my_name': function}",
    ),
    "two of one name": (["r2", "r2"], RangeError, "a metric cannot be called 'r2' here"),
    "the name of the loss": ({"loss": most}, RangeError, "a metric cannot be called 'loss' here"),
    "a name as of validation": (
        {"val_r2": most},
        RangeError,
        "a metric cannot be called 'val_r2' here; give it a name",
    ),
    "a name that is no text": ({5: most}, KindError, "metrics names one 5, expected text"),
    "an array": (
        {"rows": lambda outputs, targets: outputs.max(axis=1)},
        KindError,
        "data: the metric 'rows' returned an array of shape (2,), expected one number",
    ),
    "an array of one": (
        {"one": lambda outputs, targets: outputs[:1, 0]},
        KindError,
        "the metric 'one' returned an array of shape (1,), expected one number",
    ),
    "text": (
        {"text": lambda outputs, targets: "1"},
        KindError,
        "the metric 'text' returned '1', expected one number",
    ),
    "no result": (
        {"none": lambda outputs, targets: None},
        KindError,
        "the metric 'none' returned None, expected one number",
    ),
    "accuracy of one column": (
        "accuracy",
        ShapeError,
        (
            "data: accuracy got outputs of shape (2, 1), expected (batch, classes): one column for "
            "each class"
        ),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_measured_is_refused(name: str) -> None:
    """Before the first step, in a sentence."""
    metrics, error, told = REFUSED[name]
    training = constant(mg.MeanSquaredError(), [[1.0], [1.0]], [[1.0], [2.0]], 2)
    before = training.bits()
    with pytest.raises(error) as caught:
        training.fit(metrics=metrics)
    assert told in str(caught.value)
    assert before == training.bits()


@pytest.mark.parametrize("name", ["r2", "mean_absolute_error"])
def test_nothing_is_broadcast(name: str) -> None:
    """Labels are no rows."""
    training = constant(mg.SoftmaxCrossEntropy(), LOGITS, [0] * 7, 7)
    told = rf"data: {name} got outputs of shape \(7, 2\) and targets of shape \(7,\); nothing is"
    with pytest.raises(ShapeError, match=told):
        training.fit(metrics=name)


def test_accuracy_of_targets_that_are_no_labels() -> None:
    """For a loss of numbers, rows of another width are neither labels nor probabilities."""

    class Any2(mg.Loss):
        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            return 0.0

        def backward(self) -> Array:
            return np.zeros((7, 2))

    with pytest.raises(
        ShapeError, match=r"accuracy got targets of shape \(7, 3\), expected labels, \(7,\)"
    ):
        constant(Any2(), LOGITS, np.zeros((7, 3)), 7).fit(metrics="accuracy")


def test_a_training_is_a_training() -> None:
    """The model of these tests stays as it is, so its figures are those of the data."""
    training: Training = constant(mg.MeanSquaredError(), LOGITS, LOGITS + 1, 3)
    before = training.model.state_dict()["0.weight"].tobytes()
    training.fit(3)
    assert before == training.model.state_dict()["0.weight"].tobytes()


def test_the_names_that_editors_complete_are_those_that_there_are() -> None:
    """Each name of `MetricName` can be measured, and no other is known."""
    assert get_args(MetricName) == tuple(METRICS)
    for name in get_args(MetricName):
        assert f"val_{name}" == mg.EarlyStopping(f"val_{name}").monitor  # knows what is better
