"""Hooks of one's own, written with public names alone, do what minigrad's do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow
from training_support import classifier, plain

import minigrad as mg
from minigrad.errors import AttachError, HookError, UnknownNameError


class OwnEarlyStopping(mg.Hook):
    """Ends a training after some epochs that brought nothing, and restores the best."""

    def __init__(self, monitor: str, patience: int) -> None:
        self.monitor, self.patience = monitor, patience

    def on_fit_begin(self, event: mg.FitBegin) -> None:
        event.check_monitor(self.monitor, "OwnEarlyStopping")
        self.best, self.bad, self.state = np.inf, 0, dict[str, Any]()

    def on_epoch(self, event: mg.Epoch) -> None:
        if event.metrics[self.monitor] < self.best:
            self.best, self.bad, self.state = (
                event.metrics[self.monitor],
                0,
                event.model.state_dict(),
            )
        else:
            self.bad += 1
        if self.bad >= self.patience:
            event.stop("it brings nothing")

    def on_fit_end(self, event: mg.FitEnd) -> None:
        if event.error is None and event.between_epochs:
            event.restore(self.state)


class Bar(mg.Hook):
    """A progress bar: how far it has come, of how much."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_fit_begin(self, event: mg.FitBegin) -> None:
        assert event.epochs is not None
        assert event.steps_per_epoch is not None
        self.lines.append(f"0 of {event.epochs * event.steps_per_epoch}")

    def on_step(self, event: mg.Step) -> None:
        self.lines.append(
            f"{event.step + 1} of {(event.epochs or 0) * (event.steps_per_epoch or 0)}"
        )

    def on_fit_end(self, event: mg.FitEnd) -> None:
        self.lines.append(f"over: {type(event.error).__name__}, {event.stopped}")


class Veto(mg.Hook):
    """Does not let a step be written."""

    def before_step(self, event: mg.Step) -> None:
        if event.step == 2:
            raise PermissionError(f"not {event.flat.update.size} entries")


def noisy(seed: int) -> tuple[mg.Sequential, Callable[..., mg.History]]:
    """A training whose validation loss falls and rises again, because there is little data and a
    high rate.
    """
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(24, 5)), rng.integers(0, 3, 24)
    model = mg.Sequential(
        mg.Dense(5, 32, rng=0), mg.BatchNorm(32), mg.Activation("relu"), mg.Dense(32, 3, rng=1)
    )
    optimizer, loss = mg.Adam(model, 0.02), mg.SoftmaxCrossEntropy()
    data, validation = mg.Batches(x[:12], y[:12], 4, rng=2), (x[12:], y[12:])

    def fit(hooks: list[mg.Hook], epochs: int = 40) -> mg.History:
        return mg.fit(
            model,
            loss,
            optimizer,
            data,
            epochs=epochs,
            validation_data=validation,
            hooks=hooks,
            progress=False,
        )

    return model, fit


@pytest.mark.parametrize("seed", [0, slow(1), slow(2)])
def test_early_stopping_of_ones_own(seed: int) -> None:
    """It ends in the same epoch as ours, and the model has the same bits, running statistics
    too.
    """
    (ours, fit_ours), (own, fit_own) = noisy(seed), noisy(seed)
    first = fit_ours([mg.EarlyStopping("val_loss", 3)])
    second = fit_own([OwnEarlyStopping("val_loss", 3)])
    assert first["val_loss"] == second["val_loss"]
    assert 3 < first.epochs < 40
    assert plain(ours.state_dict()) == plain(own.state_dict())
    assert second.stopped == "it brings nothing"
    with pytest.raises(
        UnknownNameError,
        match="OwnEarlyStopping monitors 'accuracy_of_none', but the epochs have only loss",
    ):
        fit_own([OwnEarlyStopping("accuracy_of_none", 3)])


def test_a_bar_of_ones_own_knows_totals_and_is_told_of_the_end() -> None:
    """After the last epoch, when somebody stops it, and after an error, whoever raised it."""
    training, bar = classifier(), Bar()
    training.fit(2, hooks=[bar])
    steps = 2 * len(training.data)
    assert [f"{step} of {steps}" for step in range(steps + 1)] == bar.lines[:-1]
    assert "over: NoneType, " == bar.lines[-1]

    class Fails(mg.Hook):
        def on_epoch(self, event: mg.Epoch) -> None:
            raise ZeroDivisionError

    again = Bar()
    with pytest.raises(HookError):
        classifier().fit(2, hooks=[Fails(), again])
    assert "over: HookError, " == again.lines[-1]


def test_a_hook_that_refuses_the_beginning_is_not_told_of_the_end() -> None:
    """Those before it are.

    Those after it hear of neither; nothing was trained, and nobody stays attached.
    """

    class Refuses(mg.Hook):
        def on_fit_begin(self, event: mg.FitBegin) -> None:
            raise LookupError("not with me")

        def on_fit_end(self, event: mg.FitEnd) -> None:
            raise AssertionError

    training, before, after = classifier(), Bar(), Bar()
    bits = training.bits()
    with pytest.raises(LookupError, match="not with me"):
        training.fit(1, hooks=[before, Refuses(), after])
    assert ["over: LookupError, "] == before.lines[1:]
    assert [] == after.lines
    assert bits == training.bits()
    assert [] == training.optimizer.listeners


def test_a_veto_of_ones_own() -> None:
    """Nothing is written, what it raises is raised as it is, in `fit` and by hand, and the gradient
    is used up.
    """
    training = classifier()
    with pytest.raises(PermissionError, match=r"not \d+ entries"):
        training.fit(1, hooks=[Veto()])
    assert 2 == training.optimizer.step_count
    twin = classifier()
    twin.by_hand(1, steps=2)
    values, expected = (mg.ParameterVector.of(one.model).values for one in (training, twin))
    assert expected.tobytes() == values.tobytes()
    with pytest.raises(mg.errors.MissingGradientError):
        training.optimizer.step()


def test_a_checkpoint_of_ones_own(tmp_path: Path) -> None:
    """Written by an event, it resumes as ours does: to the same bits."""

    class Saves(mg.Hook):
        def on_epoch(self, event: mg.Epoch) -> None:
            if event.epoch == 1:
                event.save(tmp_path / "own.npz")

    whole, rest = classifier(), classifier()
    whole.fit(4, hooks=[Saves()])
    rest.fit(4, resume_from=tmp_path / "own.npz")
    assert whole.bits() == rest.bits()


@pytest.mark.parametrize(
    "name", ["on_batch", "on_train_begin", "before_epoch", "on_steps", "after_step", "on_qwzzyxv"]
)
def test_an_unknown_method_is_an_error_when_the_class_is_made(name: str) -> None:
    """It would never be called; the error lists those that are."""
    with pytest.raises(
        AttachError, match=rf"Mine.{name} would never be called: a hook's methods are on_fit_begin"
    ):
        type("Mine", (mg.Hook,), {name: lambda self, event: None})


def test_a_recorder_among_the_hooks_is_complete_after_an_error() -> None:
    """It is stopped, and its record reaches as far as the training came."""
    training = classifier()
    recorder = mg.Recorder(training.optimizer)
    with pytest.raises(PermissionError):
        training.fit(1, hooks=[recorder, Veto()])
    assert (2, True) == (len(recorder.run.steps), recorder.run.complete)
    assert recorder.run.verify()


def test_the_beginning_tells_what_is_trained_with_what() -> None:
    """The objects that `fit` was given, themselves; the names of the figures, and whether it goes
    on from a checkpoint.
    """
    seen: list[mg.FitBegin] = []

    class Look(mg.Hook):
        def on_fit_begin(self, event: mg.FitBegin) -> None:
            seen.append(event)
            assert event.model is model
            assert event.optimizer is optimizer
            assert event.loss is loss
            assert event.data is data
            assert hook in event.hooks
            assert ("loss", "accuracy") == event.names
            assert (3, 2) == (event.epochs, event.steps_per_epoch)
            assert not event.validates
            assert not event.resumes

    hook = Look()
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    optimizer, loss = mg.SGD(model, 0.1), mg.SoftmaxCrossEntropy()
    data = mg.Batches(np.ones((4, 2)), np.array([0, 1, 1, 0]), 2, rng=0)
    mg.fit(model, loss, optimizer, data, epochs=3, hooks=[hook], progress=False)
    assert 1 == len(seen)
