"""Ctrl-C takes effect between steps: the training ends, and what it has so far is returned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from training_support import Act, Diary, Training, classifier, descent, samples, towards, weight

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import HookError

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _as_in_a_program() -> Iterator[None]:
    """Python's own handler, which a shell that runs tests in the background takes away."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press(event: object = None) -> None:
    """Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


class Pressing(mg.Layer):
    """Gives on what it gets; in its n-th forward, or backward, somebody presses Ctrl-C."""

    def __init__(self, *, forward: int = -1, backward: int = -1) -> None:
        self.at = {"forward": forward, "backward": backward}

    def _count(self, which: str) -> None:
        self.at[which] -= 1
        if self.at[which] == 0:
            press()

    def forward(self, x: Array) -> Array:
        self._count("forward")
        return x.copy()

    def backward(self, grad: Array) -> Array:
        self._count("backward")
        return grad.copy()


def with_layer(layer: mg.Layer) -> Training:
    """Statistics and dropout, and this layer in the middle."""
    rng = np.random.default_rng(0)
    model = mg.Sequential(
        mg.Dense(4, 6, rng=rng),
        layer,
        mg.BatchNorm(6),
        mg.Dropout(0.3, rng=rng),
        mg.Dense(6, 3, rng=rng),
    )
    return Training(
        model, mg.SoftmaxCrossEntropy(), mg.Adam(model), mg.Batches(*samples(), 5, rng=rng)
    )


# -- between steps -------------------------------------------------------------------------------


def test_it_ends_after_the_step() -> None:
    """All hooks are told of the step; the history has the epochs that are complete."""
    training, diary = descent(9.0, steps=3), Diary()
    history = training.fit(9, hooks=[Act(press, step=4), diary])
    assert "Ctrl-C" == history.stopped
    assert [0, 1, 2, 3, 4] == diary.of("step")
    assert ([8.0], 4.0) == (history["loss"], weight(training.model))


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_step_that_has_begun_is_made_whole(where: Any) -> None:
    """Pressed in the middle of the fourth: the bits are those of four steps by hand.

    One forward more is the check before the first.
    """
    straight, pressed = (
        with_layer(Pressing()),
        with_layer(Pressing(**{where: 5 if where == "forward" else 4})),
    )
    straight.by_hand(1, steps=4)
    history = pressed.fit(9)
    assert "Ctrl-C" == history.stopped
    assert 4 == pressed.optimizer.step_count
    assert {**straight.bits(), "data": 0} == {**pressed.bits(), "data": 0}
    assert 20 == pressed.data.state_dict()["stop"]


def test_at_the_end_of_an_epoch() -> None:
    """The epoch is complete, with its validation, and there is no step more."""
    training = descent(9.0, steps=3)
    history = training.fit(9, hooks=[Act(press, epoch=1)], validation_data=towards(0.0))
    assert ("Ctrl-C", 3.0) == (history.stopped, weight(training.model))
    assert ([8.0, 5.0], [6.0, 3.0]) == (history["loss"], history["val_loss"])


def test_in_validation() -> None:
    """It is carried through, and its figures are in the history."""
    calls: list[int] = []

    def metric(outputs: Array, targets: npt.NDArray[Any]) -> float:
        calls.append(len(outputs))
        if calls.count(4) == 2:  # the first is the check before the first step
            press()
        return 1.0

    history = descent(9.0, steps=3).fit(
        9, metrics=metric, validation_data=(np.ones((4, 1)), np.zeros((4, 1)))
    )
    assert ("Ctrl-C", [6.0]) == (history.stopped, history["val_loss"])


def test_in_the_last_epoch() -> None:
    """Nothing is lost where there was nothing left to do."""
    history = descent(9.0).fit(2, hooks=[Act(press, epoch=1)])
    assert ("Ctrl-C", [9.0, 8.0]) == (history.stopped, history["loss"])


def test_a_hook_that_asked_first() -> None:
    """The first reason counts."""
    stop = Act(lambda event: event.stop("enough"), step=1)
    assert "enough" == descent().fit(9, hooks=[stop, Act(press, step=1)]).stopped


def test_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """As the last line."""
    descent(9.0).fit(9, hooks=[Act(press, step=1)], progress=True)
    assert "stopped: Ctrl-C" == capsys.readouterr().out.splitlines()[-1]


# -- handlers ------------------------------------------------------------------------------------


def test_pythons_own_handler_is_back_afterwards() -> None:
    """After an end of any kind, Ctrl-C is a KeyboardInterrupt again."""
    endings: list[tuple[mg.Hook, type[BaseException] | None]] = [
        (Diary(), None),
        (Act(press, step=0), None),
        (Act(lambda event: 1 / 0, step=0), HookError),
    ]
    for hook, error in endings:
        if error is None:
            descent().fit(2, hooks=[hook])
        else:
            with pytest.raises(error):
                descent().fit(2, hooks=[hook])
        assert signal.default_int_handler is signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            press()


def test_a_second_one_ends_the_program() -> None:
    """It raises KeyboardInterrupt at once; hooks are removed, and the handler is back."""
    training, diary = descent(9.0), Diary()

    def twice(event: object) -> None:
        press()
        press()

    with pytest.raises(KeyboardInterrupt):
        training.fit(9, hooks=[Act(twice, step=1), diary])
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)
    training.by_hand(1)
    assert [0] == diary.of("step")


def test_each_training_counts_its_own() -> None:
    """One in each of two trainings is not a second one."""
    training = descent(9.0)
    for _ in range(2):
        assert (
            "Ctrl-C"
            == training.fit(9, hooks=[Act(press, step=training.optimizer.step_count)]).stopped
        )
    assert 7.0 == weight(training.model)


def test_a_handler_of_ones_own_stays() -> None:
    """It is called, and the training goes on."""
    calls: list[int] = []

    def own(number: int, frame: FrameType | None) -> None:
        calls.append(number)

    signal.signal(signal.SIGINT, own)
    history = descent(9.0).fit(3, hooks=[Act(press, step=1)])
    assert ("", 3) == (history.stopped, history.epochs)
    assert [signal.SIGINT] == calls
    assert own is signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert "" == descent(9.0).fit(3, hooks=[Act(press, step=1)]).stopped
    assert signal.SIG_IGN == signal.getsignal(signal.SIGINT)


def test_another_thread() -> None:
    """There, where no handler can be set, it trains as it does here."""
    here, there = classifier(), classifier()
    found: list[mg.History] = []
    thread = threading.Thread(target=lambda: found.append(there.fit(2)))
    thread.start()
    thread.join()
    expected = here.fit(2)
    assert [dict(expected)] == [dict(history) for history in found]
    assert here.bits() == there.bits()
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)


# -- going on ------------------------------------------------------------------------------------


@sparse(
    pytest.mark.parametrize(
        "when",
        [{"step": 0}, {"step": 2}, {"step": 4}, {"step": 7}, {"epoch": 0}, {"epoch": 1}],
        ids=str,
    ),
    every=2,
)
def test_going_on_is_as_never_stopping(when: dict[str, int], tmp_path: Path) -> None:
    """With a Checkpoint one is written of the end: at the first step, in an epoch, at its last
    step, after it.
    """
    path, validation = tmp_path / "a.npz", samples(7)
    straight, first, second = classifier(), classifier(), classifier()
    history = straight.fit(3, validation_data=validation)
    stopped = first.fit(
        3, hooks=[mg.Checkpoint(path), Act(press, **when)], validation_data=validation
    )
    resumed = second.fit(3, resume_from=path, validation_data=validation)
    assert ("Ctrl-C", "") == (stopped.stopped, resumed.stopped)
    assert {name: figures[: stopped.epochs] for name, figures in history.items()} == dict(stopped)
    assert dict(history) == dict(resumed)
    assert straight.bits() == second.bits()


def test_again_and_again(tmp_path: Path) -> None:
    """Interrupted after each single step, and built anew each time: the same bits after two
    epochs.
    """
    path = tmp_path / "a.npz"
    straight, training = classifier(batch_size=10), classifier(batch_size=10)
    history = straight.fit(2)
    found = training.fit(2, hooks=[mg.Checkpoint(path), Act(press, step=0)])
    for step in range(1, 6):
        training = classifier(
            batch_size=10, seed=step
        )  # its generator too takes the state of the file
        found = training.fit(
            2, hooks=[mg.Checkpoint(path), Act(press, step=step)], resume_from=path
        )
    found = training.fit(2, resume_from=path)
    assert dict(history) == dict(found)
    assert straight.bits() == training.bits()


PROGRAM = """
import signal
import numpy as np
import minigrad as mg

signal.signal(signal.SIGINT, signal.default_int_handler)
model = mg.Sequential(mg.Dense(2, 1, rng=0))
data = mg.Batches(np.ones((8, 2)), np.ones((8, 1)), 4, rng=0)


class Ready(mg.Hook):
    def on_step(self, event):
        if event.step == 3:
            print("ready", flush=True)


loss, optimizer = mg.MeanSquaredError(), mg.SGD(model, 1e-3)
history = mg.fit(model, loss, optimizer, data, epochs=10**9, hooks=[Ready()])
print(history.stopped, history.epochs >= 1, np.isfinite(model[0].weight.value).all(), flush=True)
"""


@pytest.mark.skipif(
    os.name != "posix", reason="elsewhere a process cannot be sent Ctrl-C without the whole console"
)
def test_a_program() -> None:
    """A process that trains for ever is interrupted from outside, goes on after `fit`, and ends
    without an error.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            assert "ready\n" == process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert ("Ctrl-C True True\n", "", 0) == (out, err, process.returncode)
