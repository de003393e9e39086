"""The beginning and the end of `fit`: who is told, in which order, of what, and what hooks may ask
for there.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from training_support import Act, Training, classifier, descent, towards, weight

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import AttachError, CallOrderError, HookError, NonFiniteError, UnknownNameError


@pytest.fixture(autouse=True)
def _as_in_a_program() -> Iterator[None]:
    """Python's own handler of Ctrl-C, which a shell that runs tests in the background takes
    away.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Ends(mg.Hook):
    """Does something at the end, and keeps the event."""

    def __init__(self, act: Any = None) -> None:
        self.act, self.events = act, list[mg.FitEnd]()

    def on_fit_end(self, event: mg.FitEnd) -> None:
        self.events.append(event)
        if self.act is not None:
            self.act(event)


def press(event: object) -> None:
    signal.raise_signal(signal.SIGINT)


def interrupt(event: object) -> None:
    raise KeyboardInterrupt


def divide(event: object) -> None:
    1 / 0  # noqa: B018


# -- everybody is told of the end ----------------------------------------------------------------


def test_everybody_is_told_of_the_end_though_one_of_them_is_interrupted() -> None:
    """A recorder behind it is stopped, and the interrupt goes on."""
    training, last = classifier(), Ends()
    recorder = mg.Recorder(training.optimizer)
    with pytest.raises(KeyboardInterrupt):
        training.fit(hooks=[Ends(interrupt), recorder, last])
    assert 1 == len(last.events)
    assert recorder.run.complete
    assert [] == training.optimizer.listeners


def test_the_first_ctrl_c_at_the_end_lets_hooks_finish() -> None:
    """As between two steps; `history.stopped` tells of it."""
    hooks = [Ends(press), Ends()]
    assert "Ctrl-C" == classifier().fit(hooks=hooks).stopped
    assert [1, 1] == [len(hook.events) for hook in hooks]


def test_after_ctrl_c_the_end_tells_of_it() -> None:
    """It is a reason to stop, and no error."""
    end = Ends()
    descent(9.0, steps=3).fit(5, hooks=[Act(press, step=3), end])
    assert [("Ctrl-C", None, False)] == [(e.stopped, e.error, e.between_epochs) for e in end.events]


def test_an_error_at_the_end() -> None:
    """The others are told, what they ask for is done, and the message says when it was."""
    training = descent(6.0)
    hooks = [Ends(divide), mg.EarlyStopping("val_loss", 5)]
    with pytest.raises(HookError) as caught:
        training.fit(4, hooks=hooks, validation_data=towards(3.0))
    assert "Ends failed in FitEnd: ZeroDivisionError: division by zero" == str(caught.value)
    assert 3.0 == weight(training.model)


def test_an_error_at_the_end_after_another_is_a_note() -> None:
    """The first is what counts, and the second is not lost."""
    with pytest.raises(HookError, match="failed in Epoch of epoch 0: KeyError") as caught:
        descent().fit(hooks=[Ends(divide), Act(lambda event: event.metrics["no"], epoch=0)])
    assert [
        "and when fit had ended: Ends failed in FitEnd: ZeroDivisionError: division by zero"
    ] == (caught.value.__notes__)


# -- NaN ends it as an error does ----------------------------------------------------------------


class Spoils(mg.Loss):
    """A loss of 1 whose gradient becomes NaN after some batches."""

    def __init__(self, good: int) -> None:
        self.good = good

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.shape = logits.shape
        return 1.0

    def backward(self) -> Array:
        self.good -= 1
        return np.full(self.shape, 1.0 if self.good >= 0 else np.nan)


def test_a_checkpoint_is_not_overwritten_with_moments_that_are_nan(tmp_path: Path) -> None:
    """The newest is that of the last whole epoch: three good batches in each, and the eighth is
    NaN.
    """
    given = descent(9.0, steps=3)
    optimizer = mg.SGD(given.model, 0.1, momentum=0.9)
    training, end = Training(given.model, Spoils(7), optimizer, given.data), Ends()
    history = training.fit(5, hooks=[mg.Checkpoint(tmp_path / "a.npz"), end])
    assert history.stopped.startswith("step 7: the update is not finite")
    assert [NonFiniteError] == [type(event.error) for event in end.events]
    fresh = mg.SGD(descent().model, 0.1, momentum=0.9)
    mg.load(tmp_path / "a.npz", optimizer=fresh)
    assert 6 == fresh.step_count
    velocity = 0.0
    for _ in range(6):
        velocity = 0.9 * velocity - 0.1
    np.testing.assert_allclose(
        abs(fresh.state_dict()["state"]["velocity"]["0.weight"]), [[-velocity / 0.1]]
    )


def test_nothing_is_restored_after_a_nan() -> None:
    """Also where it comes in the first step of an epoch: the weights are those before it, as
    `history.stopped` says.
    """
    training = descent(6.0)
    x = np.ones((1, 1))
    training = training._replace(data=mg.Batches(x, np.zeros((1, 1)), 1))
    spoil = Act(lambda event: x.fill(np.nan), epoch=4)
    history = training.fit(
        9, hooks=[mg.EarlyStopping("val_loss", 5), spoil], validation_data=towards(3.0)
    )
    assert history.stopped.endswith("the weights are those before this step")
    assert 1.0 == weight(training.model)


# -- where hooks are attached --------------------------------------------------------------------


def test_a_recorder_comes_where_it_stands_among_the_hooks() -> None:
    """Though it attaches itself: hooks are told in the order in which they were given."""
    training, told = descent(), list[mg.Hook]()
    recorder = mg.Recorder(training.optimizer)
    first, last = (Act(lambda event: None, step=0) for _ in range(2))
    look = Act(
        lambda event: told.extend(listener.hook for listener in training.optimizer.listeners),
        step=0,
    )
    training.fit(hooks=[first, recorder, look, last])
    assert [first, recorder, look, last] == told[1:]


def test_a_hook_that_is_attached_already_is_told_once() -> None:
    """To the optimizer, to the model, or to a part of it; it stays attached."""

    class Counts(mg.Hook):
        def __init__(self) -> None:
            self.forwards, self.steps = list[str](), 0

        def on_forward(self, event: mg.Forward) -> None:
            self.forwards += [event.name] * event.training

        def on_step(self, event: mg.Step) -> None:
            self.steps += 1

    model = mg.Sequential(mg.Dense(1, 2, rng=0), mg.Sequential(mg.Dense(2, 1, rng=1)))
    whole, part = Counts(), Counts()
    optimizer = mg.SGD(model, 0.1)
    model.attach(whole)
    model[1].attach(part)
    optimizer.attach(whole)
    data = mg.Batches(np.ones((3, 1)), np.ones((3, 1)), 1)
    mg.fit(model, mg.MeanSquaredError(), optimizer, data, epochs=1, hooks=[whole, part])
    assert ["0", "1.0", "1"] * 3 == whole.forwards
    assert [
        "0",
        "0",
        "1",
    ] * 3 == part.forwards  # "0" of the whole; in the part, its own name; "1" of the whole
    assert (3, 3) == (whole.steps, part.steps)
    assert [whole] == [listener.hook for listener in optimizer.listeners]


def test_flush_is_called_before_a_checkpoint_is_written(tmp_path: Path) -> None:
    """Also of a hook that looks at epochs alone, and of one attached by hand that does nothing
    else.
    """

    class Flushes(mg.Hook):
        count = 0

        def flush(self) -> None:
            self.count += 1

    class LooksToo(Flushes):
        def on_epoch(self, event: mg.Epoch) -> None:
            pass

    hooks, training, alone = [Flushes(), LooksToo()], descent(), Flushes()
    training.fit(2, hooks=[*hooks, mg.Checkpoint(tmp_path / "a.npz")])
    assert [2, 2] == [hook.count for hook in hooks]
    with training.optimizer.attach(alone):
        mg.save(tmp_path / "b.npz", model=training.model, optimizer=training.optimizer)
    mg.save(tmp_path / "b.npz", model=training.model, optimizer=training.optimizer)
    assert 1 == alone.count


# -- what events tell ----------------------------------------------------------------------------


def test_steps_tell_where_they_are(tmp_path: Path) -> None:
    """Epoch, step in the epoch, and totals.

    Also where the training goes on in the middle of an epoch; not by hand.
    """

    class Places(mg.Hook):
        def __init__(self) -> None:
            self.before, self.after = list[tuple[int | None, ...]](), list[tuple[int | None, ...]]()

        def before_step(self, event: mg.Step) -> None:
            self.before.append(
                (event.epoch, event.step_in_epoch, event.epochs, event.steps_per_epoch)
            )

        def on_step(self, event: mg.Step) -> None:
            self.after.append(
                (event.epoch, event.step_in_epoch, event.epochs, event.steps_per_epoch)
            )

    every = [(epoch, step, 2, 3) for epoch in range(2) for step in range(3)]
    path, first, rest, by_hand = tmp_path / "a.npz", Places(), Places(), Places()
    stop = Act(lambda event: event.stop("now"), step=3)
    descent(9.0, steps=3).fit(2, hooks=[first, stop, mg.Checkpoint(path)])
    training = descent(9.0, steps=3)
    training.fit(2, hooks=[rest], resume_from=path)
    assert (every[:4], every[4:]) == (first.after, rest.after)
    assert (first.before, rest.before) == (first.after, rest.after)
    training.optimizer.attach(by_hand)
    training.by_hand(1, steps=1)
    assert [(None, None, None, None)] == by_hand.after


def test_the_history_that_events_hand_out_is_a_copy() -> None:
    """A hook that empties it changes nothing."""
    seen: list[list[float]] = []

    def spoil(event: mg.Epoch) -> None:
        seen.append(event.history["loss"])
        event.history["loss"].clear()

    hooks = [Act(spoil, epoch=0), Act(spoil, epoch=1)]
    assert [9.0, 8.0] == descent(9.0).fit(2, hooks=hooks)["loss"]
    assert [[9.0], [9.0, 8.0]] == seen


@pytest.mark.parametrize("validation", [None, towards(3.0)], ids=["without", "with"])
def test_the_beginning_tells_of_validation(validation: Any) -> None:
    """And says that there is none only where there is none."""
    seen: list[bool] = []

    class Begins(mg.Hook):
        def on_fit_begin(self, event: mg.FitBegin) -> None:
            seen.append(event.validates)
            with pytest.raises(UnknownNameError) as caught:
                event.check_monitor("val_none", "Begins")
            assert ("no validation data" in str(caught.value)) == (validation is None)

    descent().fit(hooks=[Begins()], validation_data=validation)
    assert [validation is not None] == seen


# -- what hooks may ask for ----------------------------------------------------------------------


def test_what_is_asked_for_at_the_beginning_is_carried_out(tmp_path: Path) -> None:
    """A checkpoint is written before the first step, also where another hook stops the training at
    once.
    """

    class Begins(mg.Hook):
        def on_fit_begin(self, event: mg.FitBegin) -> None:
            event.save(tmp_path / "a.npz")
            event.stop("not today")

    training, fresh = descent(6.0), descent(0.0)
    assert "not today" == training.fit(hooks=[Begins()]).stopped
    mg.load(tmp_path / "a.npz", model=fresh.model, optimizer=fresh.optimizer)
    assert (6.0, 0) == (weight(fresh.model), fresh.optimizer.step_count)


def test_a_checkpoint_at_the_end_holds_the_last_and_the_model_the_best(tmp_path: Path) -> None:
    """Whichever hook stands first: what is saved comes before what is restored."""
    kept: dict[str, Any] = {}

    def restore(event: mg.FitEnd) -> None:
        event.restore(kept)

    def save(event: mg.FitEnd) -> None:
        event.later(
            lambda: event.later(lambda: event.save_now(tmp_path / "a.npz"))
        )  # an action may ask, too

    keep = Act(lambda event: kept.update(event.model.state_dict()), epoch=1)
    for acts in ((restore, save), (save, restore)):
        training, fresh = descent(6.0), descent(0.0)
        training.fit(4, hooks=[keep, *map(Ends, acts)])
        mg.load(tmp_path / "a.npz", model=fresh.model)
        assert (4.0, 2.0) == (weight(training.model), weight(fresh.model))
        (tmp_path / "a.npz").unlink()


def test_nothing_is_restored_that_was_asked_for_in_a_step_that_failed() -> None:
    """The pass did not come to its end, so neither did what was asked for in it."""
    training = descent(6.0)

    def act(event: mg.Epoch) -> None:
        event.restore({"0.weight": np.array([[50.0]])})
        raise LookupError

    with pytest.raises(HookError):
        training.fit(hooks=[Act(act, epoch=0)])
    assert 5.0 == weight(training.model)


def test_an_ended_training_cannot_be_stopped() -> None:
    """`history.stopped` stays true: it came to its last epoch."""
    end = Ends(lambda event: event.stop("a lie"))
    with pytest.raises(HookError, match="stop: this training has ended already") as caught:
        descent().fit(hooks=[end])
    assert CallOrderError is type(caught.value.__cause__)
    assert "" == end.events[0].stopped


@pytest.mark.parametrize("what", ["stop", "save", "save_now", "restore", "later"])
def test_an_event_of_a_training_that_is_over_says_so(what: str, tmp_path: Path) -> None:
    """Who has kept one is not left to wait for what never comes."""
    events: list[Any] = []
    descent().fit(hooks=[Act(events.append, epoch=0)])
    with pytest.raises(
        CallOrderError, match=f"{what}: the training that this event comes from is over"
    ):
        getattr(events[0], what)(tmp_path / "a.npz")
    assert [] == [*tmp_path.iterdir()]


# -- hooks that are no observers -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "event"), [("on_fit_begin", "FitBegin"), ("before_step", "Step of step 0")]
)
def test_a_method_that_may_refuse_returns_nothing_either(method: str, event: str) -> None:
    """It thinks that it can change something: nothing is written."""
    hook = type("Returning", (mg.Hook,), {method: lambda self, event: 1})()
    training = descent(6.0)
    with pytest.raises(
        HookError,
        match=f"Returning failed in {event}: TypeError: {method} returned int; hooks only obs",
    ):
        training.fit(hooks=[hook])
    assert 6.0 == weight(training.model)


def test_a_name_of_a_method_under_which_there_is_none() -> None:
    """An error where it was put: in a class, in one beside Hook, or on the instance."""
    told = r"\.on_step is None, expected a method; leave it out"
    with pytest.raises(AttachError, match=f"Mine{told}"):
        type("Mine", (mg.Hook,), {"on_step": None})
    with pytest.raises(
        AttachError, match=r"Mine\.on_stepp would never be called: .*; is on_step meant\?"
    ):
        type("Mine", (type("Mixin", (), {"on_stepp": lambda self, event: None}), mg.Hook), {})
    hook = mg.Hook()
    vars(hook)["on_step"] = None
    with pytest.raises(AttachError, match=f"Hook{told}"):
        descent().optimizer.attach(hook)


def test_what_only_looks_like_a_method_of_a_hook_is_let_alone() -> None:
    """Settings, and functions that a hook keeps."""

    class Mine(mg.Hook):
        on_terminal = True

        def __init__(self) -> None:
            self.on_done = print

        @staticmethod
        def on_epoch(event: mg.Epoch) -> None:
            seen.append(event.epoch)

    seen: list[int] = []
    descent().fit(2, hooks=[Mine()])
    assert [0, 1] == seen
