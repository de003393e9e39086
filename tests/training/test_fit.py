"""`fit` is the loop by hand: the same bits, whatever is around it.

And a small training worked out on paper.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from hook_support import Vandal
from training_support import (
    Act,
    Diary,
    Losses,
    Optimizers,
    Training,
    classifier,
    descent,
    sgd,
    weight,
)

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import HookError, UnknownNameError


class Signs(mg.Optimizer):
    """An optimizer of somebody's own, with a state."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        speed = self.state("speed")
        speed *= 0.5
        speed -= self.current_lr * np.sign(grads)
        update[...] = speed


OPTIMIZERS: dict[str, Optimizers] = {
    "SGD": sgd,
    "Nesterov, clipped": lambda model: mg.SGD(
        model, 0.05, momentum=0.9, nesterov=True, max_grad_norm=0.5
    ),
    "Adam": lambda model: mg.Adam(model, 0.01),
    "AdamW, scheduled": lambda model: mg.AdamW(
        model, mg.LinearWarmup(mg.StepDecay(0.01, 6, 0.5), 4)
    ),
    "RMSprop": lambda model: mg.RMSprop(model, 0.01, weight_decay={"*.weight": 1e-3}),
    "of one's own": lambda model: Signs(model, 0.01),
}


@sparse(
    pytest.mark.parametrize("name", OPTIMIZERS),
    pytest.mark.parametrize(
        "settings", [{}, {"drop_last": True}, {"shuffle": False}, {"batch_size": 23}], ids=str
    ),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    full=2,
    every=5,
)
def test_fit_is_the_loop_by_hand(name: str, dtype: Any, settings: dict[str, Any]) -> None:
    """Values, statistics, moments and generators are the same bits after three epochs, and so is
    the loss of each step.
    """
    hand, fitted = (classifier(OPTIMIZERS[name], dtype=dtype, **settings) for _ in range(2))
    losses, seen = hand.by_hand(3), Losses()
    fitted.fit(3, hooks=[seen])
    assert hand.bits() == fitted.bits()
    assert losses == seen.losses


def test_the_bits_tell_trainings_apart() -> None:
    """The comparison that these tests rest on sees one step more, another seed, another rate, and
    one number drawn.
    """
    trainings = [classifier() for _ in range(2)] + [
        classifier(seed=1),
        classifier(lambda model: mg.SGD(model, 0.2)),
    ]
    first, same, *others = (training.bits() for training in trainings)
    assert first == same
    assert all(first != other for other in others)
    trainings[0].data.rng.random()
    assert first != trainings[0].bits()
    trainings[1].fit(1)
    assert first["model"] != trainings[1].bits()["model"]


AROUND: dict[str, Callable[[Training, Path], dict[str, Any]]] = {
    "metrics": lambda t, path: {"metrics": ["accuracy", spoiling]},
    "no metrics": lambda t, path: {"metrics": []},
    "validation": lambda t, path: {"validation_data": (t.data.x[:7], t.data.y[:7])},
    "validation with its own data": lambda t, path: {"validation_data": t.data},
    "progress": lambda t, path: {"progress": True},
    "a diary": lambda t, path: {"hooks": [Diary()]},
    "a vandal": lambda t, path: {"hooks": [Vandal()]},
    "a recorder": lambda t, path: {
        "hooks": [mg.Recorder(t.optimizer, t.loss, t.data, keep=("update", "grad"))]
    },
    "a recorder on disk": lambda t, path: {"hooks": [mg.Recorder(t.optimizer, path=path / "run")]},
    "checkpoints": lambda t, path: {
        "hooks": [mg.Checkpoint(path / "a.npz", every=2, keep=2, monitor="loss")]
    },
    "early stopping": lambda t, path: {"hooks": [mg.EarlyStopping("loss", restore_best=False)]},
    "a search for NaN": lambda t, path: {"hooks": [mg.StopOnNonFinite()]},
}


def spoiling(outputs: Array, targets: Array) -> float:
    """A metric that spoils what it is given."""
    outputs.fill(np.nan)
    targets.fill(0)
    return 0.5


@sparse(pytest.mark.parametrize("around", [*AROUND, "all"]), every=6)
def test_what_is_around_it_changes_nothing(
    around: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With metrics, validation, progress and hooks, one by one and together, all bits are those of
    the loop by hand.
    """
    hand, fitted = classifier(), classifier()
    hand.by_hand(3)
    settings: dict[str, Any] = {}
    for name, given in AROUND.items():
        if around in (name, "all"):
            for setting, value in given(fitted, tmp_path).items():
                settings[setting] = (
                    settings[setting] + value
                    if setting == "hooks" and setting in settings
                    else value
                )
    fitted.fit(3, **settings)
    assert hand.bits() == fitted.bits()


def test_what_is_around_it_changes_nothing_in_pieces() -> None:
    """Three times one epoch is one time three, with a new history each."""
    whole, pieces = classifier(), classifier()
    history = whole.fit(3)
    losses = [pieces.fit(1)["loss"] for _ in range(3)]
    assert whole.bits() == pieces.bits()
    assert [loss for (loss,) in losses] == history["loss"]


def test_training_on_paper() -> None:
    """From w = 0 to y = x with rate 0.1: gradients of -5, -2.5, -1.25.

    The loss is a quarter of the one before.
    """
    model = mg.Sequential(mg.Dense(1, 1, bias=False, dtype=np.float64, rng=0))
    mg.ParameterVector.of(model).values = np.zeros(1)
    data = mg.Batches([[1.0], [2.0]], [[1.0], [2.0]], 2, rng=0)
    history = mg.fit(
        model,
        mg.MeanSquaredError(),
        mg.SGD(model, 0.1),
        data,
        epochs=3,
        validation_data=([[4.0]], [[4.0]]),
    )
    # After the epochs w is 0.5, 0.75, 0.875; the loss of x = 4 is 16 (1 - w)^2.
    np.testing.assert_allclose(history["loss"], [2.5, 0.625, 0.15625], rtol=1e-12)
    np.testing.assert_allclose(history["val_loss"], [4.0, 1.0, 0.25], rtol=1e-12)
    np.testing.assert_allclose(weight(model), 0.875, rtol=1e-12)
    assert "" == history.stopped


def test_a_short_last_batch_counts_by_its_size() -> None:
    """Seven steps of one weight in batches of 3, 3 and 1: the losses 5, 4 and 3 have the mean (3 5
    + 3 4 + 3) / 7.
    """
    training = descent()
    data = mg.Batches(np.ones((7, 1)), np.zeros((7, 1)), 3, rng=0)
    history = training._replace(data=data).fit(1)
    np.testing.assert_allclose(history["loss"], [30 / 7], rtol=1e-14)


def test_hooks_are_told_the_loss_and_the_rows_of_each_step() -> None:
    """Each epoch names every row once; losses are those that fall by 1 a step."""
    training, seen = descent(9.0, steps=3), Losses()
    training.fit(2, hooks=[seen])
    assert [9.0, 8.0, 7.0, 6.0, 5.0, 4.0] == seen.losses
    assert [0, 1, 2] == sorted(row for rows in seen.rows[:3] for row in rows)
    assert [0, 1, 2] == sorted(row for rows in seen.rows[3:] for row in rows)


# -- modes ---------------------------------------------------------------------------------------


def modes(model: mg.Layer) -> dict[str, bool]:
    return {name: layer.training for name, layer in model.layers()}


def test_a_part_in_eval_mode_stays_so() -> None:
    """A BatchNorm that is switched to eval mode keeps its statistics, while dropout goes on
    dropping.
    """
    training, diary = classifier(), Diary()
    model = training.model
    assert isinstance(model, mg.Sequential)
    model[1].eval()
    before, statistics = modes(model), model[1].running_mean.copy()
    training.fit(2, hooks=[diary], validation_data=(training.data.x, training.data.y))
    assert before == modes(model)
    assert {
        "": True,
        "0": True,
        "1": False,
        "2": True,
        "2.0": True,
        "2.1": True,
        "3": True,
    } == before
    assert statistics.tobytes() == model[1].running_mean.tobytes()
    assert model[2][1].mask is not None
    layers_in_training = [
        True,
        False,
        True,
        True,
        True,
        True,
    ]  # the inner ones before the one that holds them
    assert layers_in_training == diary.of("forward")[:6]


def test_a_model_in_eval_mode_is_trained_and_put_back() -> None:
    """It gets the bits of one that was in training mode, and is in eval mode afterwards."""
    straight, training = classifier(), classifier()
    training.model.eval()
    straight.fit(2)
    training.fit(2)
    assert [False] * 7 == list(modes(training.model).values())
    training.model.train()
    assert straight.bits() == training.bits()


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        (Act(lambda event: 1 / 0, step=2), HookError),
        (mg.EarlyStopping("val_loss"), UnknownNameError),
    ],
    ids=["in the middle", "before it began"],
)
def test_a_model_in_eval_mode_is_put_back_after_an_error(
    hook: mg.Hook, error: type[Exception]
) -> None:
    """Whether a hook fails in the middle, or one cannot begin."""
    training = classifier()
    training.model.eval()
    with pytest.raises(error):
        training.fit(hooks=[hook])
    assert [False] * 7 == list(modes(training.model).values())


# -- other models and parts ----------------------------------------------------------------------


def test_an_optimizer_of_a_part() -> None:
    """Only that part learns, as in the loop by hand."""
    hand, fitted = (classifier(lambda model: mg.Adam(model[2:], 0.01)) for _ in range(2))  # type: ignore[index]
    before = hand.model.state_dict()
    hand.by_hand(2)
    fitted.fit(2)
    assert hand.bits() == fitted.bits()
    after = fitted.model.state_dict()
    changed = {name for name, value in after.items() if value.tobytes() != before[name].tobytes()}
    assert {"1.running_mean", "1.running_var", "3.weight", "3.bias"} == changed


def test_a_layer_alone_is_a_model() -> None:
    """Without any Sequential too, with steps and epochs told."""
    trainings = []
    for _ in range(2):
        model = mg.Dense(4, 3, rng=0)
        x, y = classifier().data.x, classifier().data.y
        trainings.append(
            Training(model, mg.SoftmaxCrossEntropy(), mg.Adam(model), mg.Batches(x, y, 6, rng=1))
        )
    hand, fitted = trainings
    entries: list[tuple[str, object]] = []
    told = Act(lambda event: entries.append(("step", event.step)), step=3)
    hand.by_hand(2)
    fitted.fit(2, hooks=[told], validation_data=(fitted.data.x, fitted.data.y))
    assert hand.bits() == fitted.bits()
    assert [("step", 3)] == entries


class Tanh(mg.Layer):
    """A layer of one's own, which keeps for backward the very array that it returns."""

    def __init__(self) -> None:
        self.weight = mg.Parameter(np.random.default_rng(0).normal(size=(4, 3)))

    def forward(self, x: Array) -> Array:
        self.x = x
        self.output: Array = np.tanh(x @ self.weight.value)
        return self.output

    def backward(self, grad: Array) -> Array:
        slope = grad * (1 - self.output**2)
        self.weight.grad = self.x.T @ slope
        return slope @ self.weight.value.T


def test_a_metric_that_writes_into_what_a_layer_keeps() -> None:
    """It comes too late to change the step."""
    trainings = []
    for _ in range(2):
        model = Tanh()
        x, y = classifier().data.x, classifier().data.y
        trainings.append(
            Training(
                model, mg.SoftmaxCrossEntropy(), mg.SGD(model, 0.1), mg.Batches(x, y, 6, rng=1)
            )
        )
    trainings[0].by_hand(2)
    trainings[1].fit(2, metrics=spoiling)
    assert trainings[0].bits() == trainings[1].bits()


def test_frozen_layers_stay() -> None:
    """As in the loop by hand."""
    hand, fitted = classifier(), classifier()
    for training in (hand, fitted):
        dict(training.model.layers())["0"].freeze()
    hand.by_hand(2)
    fitted.fit(2)
    assert hand.bits() == fitted.bits()
