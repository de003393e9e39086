"""Bad input to `fit`: a sentence that says what to do, before the first step.

Nothing is changed and nothing is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from training_support import Diary, Training, classifier, samples

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import (
    AttachError,
    DataFileError,
    KindError,
    LabelError,
    MinigradError,
    ModelError,
    RangeError,
    ShapeError,
    UnknownNameError,
)

X, Y = samples()


class Returning(mg.Loss):
    """A loss of somebody's own, which returns something else than a number."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        return self._result  # type: ignore[no-any-return]

    def backward(self) -> Array:
        raise AssertionError


class Case(NamedTuple):
    """What is given in place of what is right, and what is said of it."""

    give: Callable[[Training], dict[str, Any]]
    error: type[MinigradError]
    told: str


def batches(
    x: npt.ArrayLike, y: npt.ArrayLike, **settings: Any
) -> Callable[[Training], dict[str, Any]]:
    """Other training data."""
    return lambda training: {"data": mg.Batches(x, y, **{"batch_size": 5, "rng": 0, **settings})}


def late(labels: npt.NDArray[Any], row: int, label: int) -> npt.NDArray[Any]:
    """These labels, with another one in a row."""
    labels = labels.copy()
    labels[row] = label
    return labels


def other() -> Training:
    return classifier(seed=1)


MANY = np.zeros((20_000, 4), np.float32)
WRONG_LABEL = "there are 3 classes, so labels go from 0 to 2"

CASES: dict[str, Case] = {
    # data
    "data of another width": Case(
        batches(X[:, :3], Y),
        ShapeError,
        (
            "data: layer '0', Dense(4, 6) got an input of shape (23, 3), expected (batch, 4): each "
            "row has 3 features and must have 4"
        ),
    ),
    "targets of another shape": Case(
        batches(X, Y[:, np.newaxis]),
        ShapeError,
        "data: the targets have shape (23, 1), expected labels (23,) or probabilities (23, 3)",
    ),
    "labels that are floats": Case(
        batches(X, Y.astype(np.float32)),
        LabelError,
        (
            "data: labels of dtype float32, expected integers from 0 to 2: pass "
            "labels.astype(np.int64)"
        ),
    ),
    "a label out of range at the end": Case(
        batches(X, late(Y, -1, 3)),
        LabelError,
        f"data: label 3 of sample 22 is out of range: {WRONG_LABEL}",
    ),
    "a negative label at the end": Case(
        batches(X, late(Y, -1, -1)),
        LabelError,
        f"data: label -1 of sample 22 is out of range: {WRONG_LABEL}",
    ),
    "a label out of range at the end of much data": Case(
        batches(MANY, late(np.zeros(20_000, np.int64), -1, 7)),
        LabelError,
        f"data: label 7 of sample 19999 is out of range: {WRONG_LABEL}",
    ),
    "rows that do not sum to 1 at the end": Case(
        batches(X, np.vstack([np.eye(3)[Y[:-1]], [[0.5, 0.6, 0.0]]])),
        LabelError,
        "data: target row 22 sums to 1.1, expected probabilities of 0 or more that sum to 1",
    ),
    # validation data
    "validation data of another width": Case(
        lambda training: {"validation_data": (X[:, :2], Y)},
        ShapeError,
        (
            "validation_data: layer '0', Dense(4, 6) got an input of shape (23, 2), expected "
            "(batch, 4)"
        ),
    ),
    "validation data of two lengths": Case(
        lambda training: {"validation_data": (X[:7], Y[:6])},
        ShapeError,
        "validation_data: Batches got 7 samples in x but 6 targets in y",
    ),
    "no validation data in a tuple": Case(
        lambda training: {"validation_data": (X[:0], Y[:0])},
        ShapeError,
        "validation_data: Batches got x of shape (0, 4) and y of shape (0,): there are no samples",
    ),
    "a label out of range at the end of validation": Case(
        lambda training: {"validation_data": (X, late(Y, -1, 3))},
        LabelError,
        f"validation_data: label 3 of sample 22 is out of range: {WRONG_LABEL}",
    ),
    "labels of validation that are text": Case(
        lambda training: {"validation_data": (X, np.array(["cat"] * 23))},
        KindError,
        (
            "validation_data: y of Batches has dtype <U3: text, not numbers; encode categories as "
            "numbers first"
        ),
    ),
    "validation data alone": Case(
        lambda training: {"validation_data": X},
        KindError,
        "validation_data is a ndarray, expected (x, y), or minigrad.Batches",
    ),
    "validation data of three": Case(
        lambda training: {"validation_data": (X, Y, 5)},
        KindError,
        "validation_data is a tuple, expected (x, y), or minigrad.Batches",
    ),
    # numbers
    "negative epochs": Case(
        lambda training: {"epochs": -1},
        RangeError,
        "epochs is -1, expected a whole number, 0 or more",
    ),
    "half an epoch": Case(
        lambda training: {"epochs": 0.5},
        KindError,
        "epochs is 0.5, expected a whole number, 0 or more",
    ),
    "epochs as a float": Case(
        lambda training: {"epochs": 3.0},
        KindError,
        "epochs is 3.0, expected a whole number, 0 or more",
    ),
    "epochs as text": Case(
        lambda training: {"epochs": "3"},
        KindError,
        "epochs is '3', expected a whole number, 0 or more",
    ),
    "epochs as yes": Case(
        lambda training: {"epochs": True},
        KindError,
        "epochs is True, expected a whole number, 0 or more",
    ),
    # wrong kinds
    "a model that is none": Case(
        lambda training: {"model": [1]},
        KindError,
        "fit got [1] as model, expected a layer, such as a Sequential",
    ),
    "a model that is a class": Case(
        lambda training: {"model": mg.Dropout},
        KindError,
        "fit got the class Dropout as model, expected a layer, such as a Sequential",
    ),
    "a loss by name": Case(
        lambda training: {"loss": "mse"},
        KindError,
        "fit got 'mse' as loss, expected a loss, such as SoftmaxCrossEntropy()",
    ),
    "a rate as optimizer": Case(
        lambda training: {"optimizer": 0.1},
        KindError,
        "fit got 0.1 as optimizer, expected an optimizer, such as SGD(model, lr=0.1)",
    ),
    "data as a tuple": Case(
        lambda training: {"data": (1, 2)},
        KindError,
        "fit got (1, 2) as data, expected minigrad.Batches(x, y, batch_size)",
    ),
    "progress in words": Case(
        lambda training: {"progress": "yes"},
        KindError,
        "progress is 'yes', expected True, False or 'auto'",
    ),
    "progress as a number": Case(
        lambda training: {"progress": 1}, KindError, "progress is 1, expected True, False or 'auto'"
    ),
    "no progress at all": Case(
        lambda training: {"progress": None},
        KindError,
        "progress is None, expected True, False or 'auto'",
    ),
    "a checkpoint by number": Case(
        lambda training: {"resume_from": 5},
        KindError,
        "load got 5 as path, expected the path of a file",
    ),
    "a checkpoint that there is not": Case(
        lambda training: {"resume_from": Path("no") / "such.npz"},
        DataFileError,
        "such.npz' cannot be read",
    ),
    # hooks
    "one hook": Case(
        lambda training: {"hooks": Diary()},
        KindError,
        "fit got a Diary as hooks, expected several, hooks=[...]",
    ),
    "no hooks": Case(
        lambda training: {"hooks": None},
        KindError,
        "fit got None as hooks, expected several, hooks=[...]",
    ),
    "a function among the hooks": Case(
        lambda training: {"hooks": [Diary(), len]},
        KindError,
        (
            "fit got the function len among its hooks, expected an instance of a subclass of "
            "minigrad.Hook"
        ),
    ),
    "a class among the hooks": Case(
        lambda training: {"hooks": [Diary]},
        KindError,
        "fit got the class Diary among its hooks, expected an instance",
    ),
    "a hook that overrides nothing": Case(
        lambda training: {"hooks": [mg.Hook()]},
        AttachError,
        "Hook overrides no method of Hook: it would never be called",
    ),
    "a recorder of another model": Case(
        lambda training: {"hooks": [mg.Recorder(other().optimizer)]},
        ModelError,
        (
            "Recorder among the hooks is of another optimizer than SGD(lr=0.1, 63 entries); make "
            "one of this"
        ),
    ),
    "a plateau of another model": Case(
        lambda training: {
            "hooks": [Diary(), mg.ReduceOnPlateau(other().optimizer, monitor="loss")]
        },
        ModelError,
        (
            "ReduceOnPlateau among the hooks is of another optimizer than SGD(lr=0.1, 63 entries); "
            "make one of this"
        ),
    ),
    "a figure that there is not": Case(
        lambda training: {"hooks": [Diary(), mg.EarlyStopping("val_accuracy")]},
        UnknownNameError,
        (
            "EarlyStopping monitors 'val_accuracy', but the epochs have only loss, accuracy (there "
            "is no validation data)"
        ),
    ),
    "a figure to keep the best by": Case(
        lambda training: {"hooks": [mg.Checkpoint("never.npz", monitor="r2")]},
        UnknownNameError,
        "Checkpoint monitors 'r2', but the epochs have only loss, accuracy",
    ),
    # several things that do not go together
    "an optimizer of another model": Case(
        lambda training: {"optimizer": other().optimizer},
        ModelError,
        "fit got an optimizer, SGD(lr=0.1, 63 entries), of another model; make one of this model",
    ),
    "a loss of numbers with labels": Case(
        lambda training: {"loss": mg.MeanSquaredError()},
        ShapeError,
        (
            "data: MeanSquaredError got outputs of shape (23, 3) and targets of shape (23,): these "
            "are labels; use SoftmaxCrossEntropy"
        ),
    ),
    "a loss that returns nothing": Case(
        lambda training: {"loss": Returning(None)},
        KindError,
        "data: Returning returned None, expected one number",
    ),
    "a loss that returns one for each sample": Case(
        lambda training: {"loss": Returning(np.ones(8))},
        KindError,
        "data: Returning returned an array of shape (8,), expected one number",
    ),
    "an unknown metric": Case(
        lambda training: {"metrics": ["acc"]},
        RangeError,
        "there is no metric 'acc'; there are accuracy, mean_absolute_error, r2, or give a function",
    ),
    "a metric that returns an array": Case(
        lambda training: {
            "metrics": {"right": lambda outputs, targets: outputs.argmax(axis=1) == targets}
        },
        KindError,
        "data: the metric 'right' returned an array of shape (23,), expected one number",
    ),
}


@sparse(pytest.mark.parametrize("name", CASES), every=3)
def test_bad_input(
    name: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error, in one line.

    The training and another model as before, no hook attached, no line shown, no file written.
    """
    monkeypatch.chdir(tmp_path)
    case, training, diary = CASES[name], classifier(), Diary()
    settings: dict[str, Any] = {
        **training._asdict(),
        "epochs": 2,
        "progress": True,
        "hooks": [diary],
        **case.give(training),
    }
    training.model.eval()
    before = training.bits()
    with pytest.raises(MinigradError) as caught:
        mg.fit(**settings)
    assert case.error is type(caught.value)
    assert case.told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "object at 0x" not in str(caught.value)
    assert before == training.bits()
    assert ("", "") == capfd.readouterr()
    assert [] == [*tmp_path.iterdir()]
    training.by_hand(1, steps=1)
    assert [] == diary.entries
    assert training.optimizer.session is None


def test_a_hook_that_nobody_tells(capsys: pytest.CaptureFixture[str]) -> None:
    """Where no Sequential is inside, one that waits for layers would wait for ever."""

    class Waiting(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            pass

    model = mg.Dense(4, 3, rng=0)
    with pytest.raises(
        AttachError,
        match="there is no Sequential inside, which is what tells hooks: Waiting would never",
    ):
        mg.fit(
            model,
            mg.SoftmaxCrossEntropy(),
            mg.SGD(model, 0.1),
            mg.Batches(X, Y, 5),
            epochs=1,
            hooks=[Waiting()],
            progress=True,
        )
    assert "" == capsys.readouterr().out
