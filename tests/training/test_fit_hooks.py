"""Hooks in `fit`: told in order, attached as long as it runs, and what their events can ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_support import Act, Diary, classifier, descent, samples, weight

import minigrad as mg
from minigrad.errors import CallOrderError, DataFileError, HookError

# -- being told -----------------------------------------------------------------------------------


def test_all_four_methods_are_called() -> None:
    """For two epochs of three steps of one layer, with the epoch's figures at its end."""

    class All(Diary):
        def on_backward(self, event: mg.Backward) -> None:
            self.entries.append(("backward", event.name))

        def on_epoch(self, event: mg.Epoch) -> None:
            self.entries.append(("epoch", dict(event.metrics)))

    hook = All()
    descent(6.0, steps=3).fit(2, hooks=[hook], metrics={"one": lambda outputs, targets: 1.0})
    expected: list[tuple[str, object]] = []
    for step in range(6):
        expected += [("forward", True), ("backward", "0"), ("step", step)]
        if step in (2, 5):
            expected.append(("epoch", {"loss": 5.0 if step == 2 else 2.0, "one": 1.0}))
    assert expected == hook.entries


def test_hooks_are_told_in_order() -> None:
    """The first in the list hears of everything first."""
    entries: list[tuple[str, object]] = []
    descent(steps=2).fit(hooks=[Diary(entries, "a "), Diary(entries, "b "), Diary(entries, "c ")])
    kinds = ["forward", "step", "forward", "step", "epoch"]
    assert [f"{who} {kind}" for kind in kinds for who in "abc"] == [name for name, _ in entries]


def test_hooks_hear_of_validation_as_no_training() -> None:
    """After the steps of each epoch, with `event.training` False.

    Of the checks before the first step they hear nothing.
    """
    training, diary = classifier(batch_size=10), Diary()
    training.fit(2, hooks=[diary], validation_data=samples(6))
    epoch = [True] * 3 * 6 + [
        False
    ] * 6  # three batches, and one pass of validation, through six layers
    assert epoch * 2 == diary.of("forward")
    assert [0, 1, 2, 3, 4, 5] == diary.of("step")


def test_what_an_epoch_hands_out_cannot_be_changed() -> None:
    """A hook that tries is told so, and the one after it sees the figures."""

    class Vandal(mg.Hook):
        def on_epoch(self, event: mg.Epoch) -> None:
            metrics: Any = event.metrics
            metrics["loss"] = 0.0

    seen: list[float] = []
    with pytest.raises(HookError, match="TypeError"):
        descent(3.0).fit(
            hooks=[Vandal(), Act(lambda event: seen.append(event.metrics["loss"]), epoch=0)]
        )
    assert [3.0] == seen


def test_reduce_on_plateau_lowers_the_rate() -> None:
    """|w - 3| falls by 1 in each of three epochs, rises in the fourth, and so does a tenth of that
    in the fifth.
    """
    training = descent(6.0)
    rates: list[object] = []
    plateau = mg.ReduceOnPlateau(training.optimizer, monitor="val_loss", patience=0)
    notes = [
        Act(lambda event: rates.append(training.optimizer.lr), epoch=epoch) for epoch in range(5)
    ]
    history = training.fit(5, hooks=[plateau, *notes], validation_data=([[1.0]], [[3.0]]))
    np.testing.assert_allclose(history["val_loss"], [2.0, 1.0, 0.0, 1.0, 1.1], rtol=1e-12)
    np.testing.assert_allclose(rates, [1.0, 1.0, 1.0, 0.1, 0.01], rtol=1e-12)  # type: ignore[arg-type]


# -- attached while it runs ----------------------------------------------------------------------


def test_hooks_are_attached_only_while_fit_runs() -> None:
    """Steps by hand before and after it are not told, and a second `fit` without them neither."""
    training, diary = descent(steps=2), Diary()
    training.by_hand(1)
    training.fit(hooks=[diary])
    told = list(diary.entries)
    training.by_hand(1)
    training.fit()
    assert told == diary.entries
    assert [2, 3] == diary.of("step")


@pytest.mark.parametrize("when", [{"step": 1}, {"epoch": 0}], ids=str)
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt], ids=str)
def test_hooks_are_not_attached_after_an_exception(
    when: dict[str, int], error: type[BaseException]
) -> None:
    """Whatever ended it, nobody is told any more, and the events of a loop by hand know no
    `fit`.
    """
    training, diary, events = descent(steps=2), Diary(), list[Any]()

    def fail(event: object) -> None:
        raise error("enough")

    with pytest.raises((HookError, KeyboardInterrupt)):
        training.fit(3, hooks=[diary, Act(fail, **when)])
    told = list(diary.entries)
    training.optimizer.attach(Act(events.append, step=2))
    training.by_hand(1)
    assert told == diary.entries
    assert training.optimizer.session is None
    with pytest.raises(CallOrderError):
        events[0].stop("late")


@dataclass
class Lamp(mg.Hook):
    """A hook that is a context manager too, and by the way not hashable."""

    entries: list[object] = field(default_factory=list)

    def __enter__(self) -> None:
        raise AssertionError("nobody's context is entered")

    def __exit__(self, *error: object) -> None:
        raise AssertionError("nor left")

    def on_fit_begin(self, event: mg.FitBegin) -> None:
        self.entries.append("on")

    def on_fit_end(self, event: mg.FitEnd) -> None:
        self.entries.append("off")

    def on_step(self, event: mg.Step) -> None:
        self.entries.append(event.step)

    def on_epoch(self, event: mg.Epoch) -> None:
        self.entries.append(event.metrics["loss"])


def test_a_hook_is_told_of_the_beginning_and_the_end() -> None:
    """Of each `fit`, also after an exception.

    If it is a context manager, that is its own affair.
    """
    training, lamp = descent(5.0), Lamp()
    training.fit(2, hooks=[lamp])
    assert ["on", 0, 5.0, 1, 4.0, "off"] == lamp.entries
    with pytest.raises(HookError):
        training.fit(hooks=[lamp, Act(lambda event: 1 / 0, step=2)])
    assert ["on", 2, "off"] == lamp.entries[6:]


def test_a_recorder_records_while_fit_runs() -> None:
    """It starts and stops by itself, and again in the next `fit`; steps in between are a gap."""
    training = descent(9.0, steps=2)
    recorder = mg.Recorder(training.optimizer, training.loss, training.data)
    training.fit(hooks=[recorder])
    training.by_hand(1)
    training.fit(hooks=[recorder])
    run = recorder.run
    assert [0, 1, 4, 5] == list(run.steps)
    assert [9.0, 8.0, 5.0, 4.0] == list(run.loss)
    assert 3.0 == weight(training.model)
    assert 3.0 == run["0.weight"].value(5)


def test_a_recorder_around_fit_is_told_of_each_step_once() -> None:
    """In a `with` around it.

    Among the hooks as well, it goes on recording afterwards, for it was not `fit` that started it.
    """
    training = descent(9.0, steps=2)
    with mg.Recorder(training.optimizer) as recorder:
        training.fit(2)
        training.fit(hooks=[recorder])
        assert not recorder.run.complete
        training.by_hand(1)
    assert list(range(8)) == list(recorder.run.steps)
    assert [9.0 - step for step in range(1, 9)] == [
        recorder.run["0.weight"].value(step).item() for step in range(8)
    ]
    assert recorder.run.complete
    assert recorder.run.verify()


# -- what goes wrong in hooks --------------------------------------------------------------------


def test_an_exception_names_the_epoch() -> None:
    """The others are told first.

    The original is the cause; the epoch counts from 0 as its event does.
    """
    training, diary = descent(), Diary()
    with pytest.raises(HookError) as caught:
        training.fit(3, hooks=[Act(lambda event: event.metrics["nothing"], epoch=1), diary])
    assert "Act failed in Epoch of epoch 1: KeyError: 'nothing'" == str(caught.value)
    assert KeyError is type(caught.value.__cause__)
    assert isinstance(caught.value.event, mg.Epoch)
    assert [0, 1] == diary.of("epoch")


def test_an_exception_names_the_step() -> None:
    """The step is complete: w went down twice."""
    training = descent(5.0)
    with pytest.raises(HookError) as caught:
        training.fit(3, hooks=[Act(lambda event: 1 / 0, step=1)])
    assert "Act failed in Step of step 1: ZeroDivisionError: division by zero" == str(caught.value)
    assert 1 == caught.value.step
    assert 3.0 == weight(training.model)


def test_a_hook_that_returns_something_is_told_that_it_must_not() -> None:
    """At the end of an epoch too."""

    class Returns(mg.Hook):
        def on_epoch(self, event: mg.Epoch) -> None:
            return event.epoch  # type: ignore[return-value]

    with pytest.raises(
        HookError, match="on_epoch returned int; hooks only observe and return nothing"
    ):
        descent().fit(hooks=[Returns()])


# -- what events can ask for ---------------------------------------------------------------------


def test_stopping_after_a_step() -> None:
    """All hooks are still told of it.

    There is no step more; the epoch that is under way has no figures.
    """
    training, diary = descent(9.0, steps=3), Diary()
    history = training.fit(5, hooks=[Act(lambda event: event.stop("seen enough"), step=4), diary])
    assert "seen enough" == history.stopped
    assert [0, 1, 2, 3, 4] == diary.of("step")
    assert [8.0] == history["loss"]
    assert 4.0 == weight(training.model)


def test_stopping_after_an_epoch() -> None:
    """All hooks are still told of it, and its figures are in the history."""
    training, diary = descent(9.0, steps=3), Diary()
    history = training.fit(5, hooks=[Act(lambda event: event.stop("good enough"), epoch=1), diary])
    assert "good enough" == history.stopped
    assert [0, 1] == diary.of("epoch")
    assert [8.0, 5.0] == history["loss"]
    assert 3.0 == weight(training.model)


def test_the_first_reason_counts() -> None:
    """Where several ask for the end of the same step.

    And without a reason, it says that a hook asked.
    """
    ask = [
        Act(lambda event: event.stop("first"), step=0),
        Act(lambda event: event.stop("second"), step=0),
    ]
    assert "first" == descent().fit(2, hooks=ask).stopped
    assert (
        "a hook asked for it"
        == descent().fit(2, hooks=[Act(lambda event: event.stop(""), step=0)]).stopped
    )


def test_what_stopped_one_training_does_not_stop_the_next() -> None:
    """A second `fit` begins anew."""
    training = descent()
    training.fit(2, hooks=[Act(lambda event: event.stop("now"), step=0)])
    assert "" == training.fit(2).stopped


def test_saving_after_a_step(tmp_path: Path) -> None:
    """The checkpoint is written once all hooks were told, also when asked by the first, and holds
    the step.
    """
    path, there = tmp_path / "a.npz", list[bool]()
    hooks = [
        Act(lambda event: event.save(path), step=1),
        Act(lambda event: there.append(path.exists()), step=1),
    ]
    descent(9.0, steps=3).fit(2, hooks=hooks)
    fresh = descent(0.0, steps=3)
    mg.load(path, model=fresh.model, optimizer=fresh.optimizer)
    assert [False] == there
    assert (7.0, 2) == (weight(fresh.model), fresh.optimizer.step_count)


def test_saving_after_an_epoch(tmp_path: Path) -> None:
    """Going on from it is as never stopping."""
    path = tmp_path / "a.npz"
    straight = classifier()
    history = straight.fit(3, hooks=[Act(lambda event: event.save(str(path)), epoch=1)])
    resumed = classifier()
    assert dict(history) == dict(resumed.fit(3, resume_from=path))
    assert straight.bits() == resumed.bits()


def test_saving_and_stopping_at_once(tmp_path: Path) -> None:
    """Both are carried out."""

    def act(event: mg.Step) -> None:
        event.stop("saved")
        event.save(tmp_path / "a.npz")

    assert "saved" == descent().fit(2, hooks=[Act(act, step=0)]).stopped
    assert (tmp_path / "a.npz").is_file()


def test_saving_where_it_cannot_be(tmp_path: Path) -> None:
    """A checkpoint that a hook asked for is not left out in silence."""
    with pytest.raises(DataFileError, match="cannot be written"):
        descent().fit(2, hooks=[Act(lambda event: event.save(tmp_path / "no" / "a.npz"), step=0)])


ASK: dict[str, Callable[[Any], object]] = {
    "stop": lambda event: event.stop("enough"),
    "save": lambda event: event.save("never.npz"),
}


@pytest.mark.parametrize("what", ASK)
def test_a_loop_by_hand_has_nobody_to_ask(what: str) -> None:
    """Its events say what to do instead; an epoch of a loop by hand too."""
    training = descent()
    training.optimizer.attach(Act(ASK[what], step=0))
    with pytest.raises(HookError) as caught:
        training.by_hand(1)
    cause = caught.value.__cause__
    assert CallOrderError is type(cause)
    told = (
        "this event comes from a loop by hand, not from minigrad.fit; use break, or minigrad.save"
    )
    assert f"{what}: {told}" == str(cause)
    with pytest.raises(CallOrderError, match=what):
        ASK[what](mg.Epoch(0, {"loss": 1.0}))


@pytest.mark.parametrize(
    "hook", [mg.EarlyStopping("loss"), mg.Checkpoint("never.npz")], ids=["stopping", "checkpoint"]
)
def test_hooks_of_fit_work_nowhere_else(hook: mg.Hook) -> None:
    """In a loop of one's own they say where they belong."""
    with pytest.raises(
        CallOrderError, match=r"works only in minigrad.fit\(\.\.\., hooks=\[\.\.\.\]\)"
    ):
        hook.on_epoch(mg.Epoch(0, {"loss": 1.0}))
