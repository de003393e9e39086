"""`EarlyStopping`, with figures that are known on paper: w goes down by 1 in each epoch, val_loss
is |w - 3|.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from training_support import Act, classifier, descent, towards, weight

import minigrad as mg
from minigrad.errors import KindError, RangeError, UnknownNameError


def scripted(figures: list[float]) -> Iterator[float]:
    """The figures of the epochs, for a metric that is asked once in the check before the first
    step.
    """
    return itertools.chain([0.0], figures)


def ended(figures: list[float], **settings: Any) -> tuple[int, int | None, float | None, float]:
    """How many epochs a training with these figures has, which was the best, its figure, and w at
    the end, from 0 down.
    """
    training = descent(0.0)
    told = scripted(figures)
    hook = mg.EarlyStopping("figure", **{"mode": "min", **settings})
    history = training.fit(
        len(figures), hooks=[hook], metrics={"figure": lambda outputs, targets: next(told)}
    )
    np.testing.assert_array_equal(history["figure"], figures[: history.epochs])
    return history.epochs, hook.best_epoch, hook.best, weight(training.model)


def test_it_ends_and_restores_the_best() -> None:
    """|w - 3| for w = 5, 4, 3, 2, 1: best in the third epoch, and two that bring nothing."""
    training, stopping = descent(6.0), mg.EarlyStopping("val_loss", patience=2)
    history = training.fit(9, hooks=[stopping], validation_data=towards(3.0))
    assert [2.0, 1.0, 0.0, 1.0, 2.0] == history["val_loss"]
    assert "val_loss has not become better for 2 epochs (best 0 in epoch 3)" == history.stopped
    assert 3.0 == weight(training.model)
    assert (0.0, 2, 2) == (stopping.best, stopping.best_epoch, stopping.bad_epochs)


def test_the_first_epoch_may_be_the_best() -> None:
    """|w - 3| for w = 3, 2, 1: what is said counts epochs from 1."""
    training, stopping = descent(4.0), mg.EarlyStopping("val_loss", patience=2)
    history = training.fit(9, hooks=[stopping], validation_data=towards(3.0))
    assert [0.0, 1.0, 2.0] == history["val_loss"]
    assert "val_loss has not become better for 2 epochs (best 0 in epoch 1)" == history.stopped
    assert 3.0 == weight(training.model)


def test_it_can_leave_the_last() -> None:
    """With restore_best=False, w is that of the last epoch."""
    training = descent(6.0)
    training.fit(
        9, hooks=[mg.EarlyStopping("val_loss", 2, restore_best=False)], validation_data=towards(3.0)
    )
    assert 1.0 == weight(training.model)


def test_the_best_is_restored_after_the_last_epoch_too() -> None:
    """Where patience was not at its end; the history does not say that it ended early."""
    training = descent(6.0)
    history = training.fit(4, hooks=[mg.EarlyStopping("val_loss", 5)], validation_data=towards(3.0))
    assert ("", 3.0) == (history.stopped, weight(training.model))


def test_statistics_are_restored_too() -> None:
    """The buffers of the best epoch come back with the weights.

    The optimizer is where it was at the end.
    """
    straight, stopped, training = classifier(), classifier(), classifier()
    straight.fit(1)
    stopped.fit(3)
    rising = {"rising": lambda outputs, targets: training.optimizer.step_count}
    training.fit(9, hooks=[mg.EarlyStopping("rising", 2, mode="min")], metrics=rising)
    assert straight.bits()["model"] == training.bits()["model"]
    assert stopped.bits()["optimizer"] == training.bits()["optimizer"]


def test_nothing_is_restored_in_the_middle_of_an_epoch() -> None:
    """Where a hook, or Ctrl-C, ends the training there: w is that of the last step, also in a
    checkpoint.
    """
    training = descent(9.0, steps=3)
    stop = Act(lambda event: event.stop("now"), step=4)
    training.fit(9, hooks=[mg.EarlyStopping("val_loss", 5), stop], validation_data=towards(6.0))
    assert 4.0 == weight(training.model)


def test_a_recorder_knows_who_restored() -> None:
    """It is no write of a stranger, which would be warned of; what follows is recorded."""
    training = descent(6.0)
    with mg.Recorder(training.optimizer) as recorder:
        training.fit(4, hooks=[mg.EarlyStopping("val_loss", 5)], validation_data=towards(3.0))
        training.by_hand(1)
    run = recorder.run
    assert [0, 1, 2, 3, 4] == list(run.steps)
    assert ([5.0, 4.0, 3.0, 2.0], 2.0) == (
        [run["0.weight"].value(step).item() for step in range(4)],
        weight(training.model),
    )
    assert run.verify()
    assert ["before step 4 0.weight changed by EarlyStopping, which restored the best"] == list(
        run.notes
    )


def test_a_checkpoint_holds_the_last_and_the_model_the_best(tmp_path: Path) -> None:
    """So that the training can go on from where it was."""
    every: Literal["epoch"] | int
    for every in ("epoch", 100):
        training, fresh = descent(6.0), descent(0.0)
        hooks = [mg.EarlyStopping("val_loss", 2), mg.Checkpoint(tmp_path / "a.npz", every=every)]
        training.fit(9, hooks=hooks, validation_data=towards(3.0))
        mg.load(tmp_path / "a.npz", model=fresh.model)
        assert (3.0, 1.0) == (weight(training.model), weight(fresh.model))


# -- patience and what is better -----------------------------------------------------------------


def test_patience_counts_epochs_in_a_row() -> None:
    """Equal is not better; one that is better starts the count anew."""
    assert (3, 0, 5.0, -1.0) == ended([5.0, 5.0, 6.0, 4.0], patience=2)
    assert (5, 2, 4.0, -3.0) == ended([5.0, 5.0, 4.0, 4.0, 4.5, 1.0], patience=2)
    assert (2, 0, 5.0, -1.0) == ended([5.0, 5.0, 4.0], patience=1)
    assert (3, 2, 3.0, -3.0) == ended([5.0, 4.0, 3.0], patience=1)


def test_min_delta() -> None:
    """Better by 0.5 or less than the best does not count, though it adds up from epoch to epoch."""
    assert (3, 0, 5.0, -1.0) == ended([5.0, 4.75, 4.5, 4.25], patience=2, min_delta=0.5)
    assert (4, 2, 4.25, -3.0) == ended([5.0, 4.75, 4.25, 4.0], patience=2, min_delta=0.5)
    assert (3, 0, 5.0, -1.0) == ended([5.0, 5.25, 5.5, 9.0], patience=2, min_delta=0.5, mode="max")


def test_more_may_be_better() -> None:
    """With mode="max"."""
    assert (4, 1, 6.0, -2.0) == ended([5.0, 6.0, 5.5, 6.0, 9.0], patience=2, mode="max")


@pytest.mark.parametrize(
    ("monitor", "best"),
    [
        ("loss", 0),
        ("mean_absolute_error", 2),
        ("accuracy", 1),
        ("r2", 1),
        ("val_mean_absolute_error", 2),
        ("val_r2", 1),
    ],
)
def test_what_is_better_is_known_of_names(monitor: str, best: int) -> None:
    """Less of losses and errors, more of accuracy and r2, in training and in validation.

    The loss |w| rises from 0.
    """
    training, figures = descent(0.0), iter([0.0] * 2 + [5.0, 5.0, 9.0, 9.0, 1.0, 1.0])
    name = monitor.removeprefix("val_")
    metrics = {} if name == "loss" else {name: lambda outputs, targets: next(figures)}
    hook = mg.EarlyStopping(monitor, 5)
    training.fit(3, hooks=[hook], metrics=metrics, validation_data=towards(0.0))
    assert best == hook.best_epoch


def test_a_figure_that_is_no_number_is_never_better() -> None:
    """At first and later; where none ever was a number, nothing is restored."""
    nan = math.nan
    assert (6, 2, 3.0, -3.0) == ended([nan, nan, 3.0, nan, nan, nan, 1.0], patience=3)
    assert (2, None, None, -2.0) == ended([nan, nan, 1.0], patience=2)


def test_never_a_number_is_told() -> None:
    """In the reason for the end."""
    hook = mg.EarlyStopping("val_loss", 1)
    history = descent(3.0).fit(4, hooks=[hook], validation_data=([[math.nan]], [[0.0]]))
    assert "val_loss has not become better for 1 epoch (never a number)" == history.stopped


def test_infinity_is_no_better_than_infinity() -> None:
    """It is worse than any number, and brings nothing a second time."""
    assert (4, 1, 2.0, -2.0) == ended([math.inf, 2.0, math.inf, 3.0, 1.0], patience=2)
    assert (3, 0, math.inf, -1.0) == ended([math.inf, math.inf, math.inf, 1.0], patience=2)


# -- several trainings ---------------------------------------------------------------------------


def test_each_training_begins_anew() -> None:
    """One hook serves two models: the second is not judged by the first, nor given its weights."""
    hook = mg.EarlyStopping("val_loss", 2)
    for start, best in [(6.0, 3.0), (9.0, 3.0)]:
        training = descent(start)
        history = training.fit(20, hooks=[hook], validation_data=towards(best))
        assert (best, start - best + 2) == (weight(training.model), history.epochs)
        assert start - best - 1 == hook.best_epoch


def test_each_training_begins_anew_where_nothing_is_better() -> None:
    """One without any number: the epochs of the training before do not count, and its weights are
    not brought back.
    """
    hook = mg.EarlyStopping("val_loss", 2)
    descent(6.0).fit(4, hooks=[hook], validation_data=towards(3.0))
    training = descent(9.0)
    history = training.fit(20, hooks=[hook], validation_data=([[math.nan]], [[0.0]]))
    assert (2, 7.0) == (history.epochs, weight(training.model))
    assert (None, None, 2) == (hook.best, hook.best_epoch, hook.bad_epochs)


def test_one_that_was_at_its_end_ends_again(tmp_path: Path) -> None:
    """A training that goes on from its last checkpoint makes no step, says why, and has the best
    weights.
    """
    path = tmp_path / "a.npz"
    first = descent(6.0).fit(
        9,
        hooks=[mg.EarlyStopping("val_loss", 2), mg.Checkpoint(path)],
        validation_data=towards(3.0),
    )
    training = descent(0.0)
    second = training.fit(
        9, hooks=[mg.EarlyStopping("val_loss", 2)], validation_data=towards(3.0), resume_from=path
    )
    assert (first.stopped, dict(first)) == (second.stopped, dict(second))
    assert (3.0, 5) == (weight(training.model), training.optimizer.step_count)


# -- settings ------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"monitor": 5}, KindError, "monitor is 5, expected the name of a figure, such as 'val_loss'"),
    (
        {"monitor": "top3"},
        RangeError,
        "whether less or more of 'top3' is better is not known; give mode='min' or mode='max'",
    ),
    ({"mode": "down"}, RangeError, "mode is 'down', expected 'min', 'max' or 'auto'"),
    ({"patience": 0}, RangeError, "patience is 0, expected a whole number, 1 or more"),
    ({"patience": 2.0}, KindError, "patience is 2.0, expected a whole number, 1 or more"),
    ({"patience": True}, KindError, "patience is True, expected a whole number, 1 or more"),
    ({"min_delta": -0.1}, RangeError, "min_delta is -0.1, expected a finite number at least 0"),
    ({"min_delta": math.nan}, RangeError, "min_delta is nan, expected a finite number at least 0"),
    ({"min_delta": "0.1"}, KindError, "min_delta is '0.1', expected a finite number at least 0"),
]


@pytest.mark.parametrize(
    ("settings", "error", "told"), WRONG, ids=[str(settings) for settings, _, _ in WRONG]
)
def test_wrong_settings(settings: dict[str, Any], error: type[Exception], told: str) -> None:
    """Refused where they are given, in a sentence."""
    with pytest.raises(error) as caught:
        mg.EarlyStopping(**settings)
    assert told == str(caught.value)


def test_a_figure_that_there_is_not() -> None:
    """It says which there are, before the first step, and that there is no validation data where
    that is why.
    """
    training = descent(3.0)
    with pytest.raises(UnknownNameError) as caught:
        training.fit(hooks=[mg.EarlyStopping()])
    told = (
        "EarlyStopping monitors 'val_loss', but the epochs have only loss (there is no validation "
        "data)"
    )
    assert told == str(caught.value)
    with pytest.raises(
        UnknownNameError, match=r"monitors 'accuracy', but the epochs have only loss, val_loss$"
    ):
        training.fit(hooks=[mg.EarlyStopping("accuracy")], validation_data=towards(0.0))
    assert 3.0 == weight(training.model)
