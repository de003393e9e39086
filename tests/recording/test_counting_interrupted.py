"""Ctrl-C or a lack of memory at any line of the counting costs at most the step that is being made,
and what is counted of all others is what a counter that nobody interrupts has counted.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np
import pytest
from case_support import slow
from disk_support import EVERYTHING

import minigrad as mg
from minigrad.errors import HookError
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.observers import Writer
from minigrad.parameters.vector import ParameterVector, Slot
from minigrad.recording import entry_counter, nonzero_counter
from minigrad.recording.coactivity import coactivities_of
from minigrad.recording.entry_counter import EntryCounter
from minigrad.runs.counts import Counts

# An unused backward is one of the cases.
pytestmark = pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")

MODULES = {
    f"minigrad.recording.{name}"
    for name in ("entry_counter", "coactivity", "nonzero_counter", "step_rows", "journal")
}
STEPS = 13
UNSEEN = "its gradient arrived before it was recorded"


class Interrupts:
    """Raises an error at some line of the counting, once."""

    def __init__(self, line: int, error: type[BaseException]) -> None:
        self.left = line
        self.error = error

    @property
    def came(self) -> bool:
        return self.left <= 0

    def _count(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise self.error
        return self._count

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._count if frame.f_globals.get("__name__") in MODULES else None

    @contextmanager
    def here(self) -> Iterator[None]:
        """They may come now."""
        if self.came:
            yield
            return
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)


class OfSteps(mg.Hook):
    """Tells a driver of steps."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def before_step(self, event: mg.Step) -> None:
        self.driver.before_step(event)

    def on_step(self, event: mg.Step) -> None:
        self.driver.on_step(event)


class Driver:
    """Drives two counters as a recorder does: one that is interrupted, and one that is not, which
    is not told of steps that an interrupt has cut off.
    """

    def __init__(self, model: mg.Sequential, optimizer: mg.Optimizer, line: int, error: Any):
        self.vector = ParameterVector.of(model)
        self.interrupts = Interrupts(line, error)
        self.counter, self.truth = (
            EntryCounter(
                self.vector.slots,
                self.vector.values.dtype,
                coactivities_of(model, self.vector.slots, dict(model.parameters()), True),
            )
            for _ in range(2)
        )
        self.whole = -1  # the last step that is wholly recorded
        self.before = self.vector.values.copy()
        self.vector.observers.add(self)
        optimizer.attach(OfSteps(self))

    def arrived(self, latest: Arrival, adds: bool) -> None:
        self.truth.arrived(latest, adds)
        with self.interrupts.here():
            self.counter.arrived(latest, adds)

    def overwritten(self, names: object) -> None:
        """Nothing."""

    def written(self, writer: Writer) -> None:
        """Nothing."""

    def before_step(self, event: mg.Step) -> None:
        self.before = self.vector.values.copy()
        grads = (self.vector.computed_grads,)
        try:
            with self.interrupts.here():
                self.counter.look(grads, event.transforms)
        except MemoryError:  # which the recorder keeps for later; the step is counted as lost
            return
        self.truth.look(grads, event.transforms)

    def on_step(self, event: mg.Step) -> None:
        facts = (
            event.step,
            self.before,
            self.vector.values,
            event.flat.update,
            dict(event.skipped),
            dict(event.held),
        )
        with self.interrupts.here():
            self.counter.add(*facts)
        self.whole = event.step
        self.truth.add(*facts)

    def counts(self) -> Counts:
        truth = self.truth.counts()
        with self.interrupts.here():
            counts = self.counter.counts()
        check(truth, counts)
        return counts

    def unseen(self) -> set[str]:
        """What is not explained, though the other counter explains it."""
        return self.counter.counts().unexplained.keys() - self.truth.counts().unexplained.keys()

    def after_interrupt(self) -> None:
        self.counter.drop_after(self.whole)


def trains(line: int, error: type[BaseException], *, again: bool) -> tuple[Driver, Counts]:
    """A training that is interrupted at some line of the counting.

    Args:
        line: At which.
        error: By what.
        again: Whether a backward that was interrupted is made again; otherwise a step uses what it
            has left.
    """
    model = mg.Sequential(mg.Dense(5, 4, rng=0), mg.Activation("relu"), mg.Dense(4, 3, rng=1))
    optimizer = mg.SGD(model, 0.1)
    driver, rng = Driver(model, optimizer, line, error), np.random.default_rng(0)

    def carefully(act: Callable[..., object], *arguments: Any, **keywords: Any) -> bool:
        try:
            act(*arguments, **keywords)
        except (KeyboardInterrupt, MemoryError):
            driver.after_interrupt()
            return False
        except HookError as failure:
            if not isinstance(failure.__cause__, MemoryError):
                raise
            driver.after_interrupt()
            return False
        return True

    def backward(*, accumulate: bool = False) -> None:
        x = rng.normal(size=(3, 5)).astype(np.float32)
        x[rng.random(x.shape) < 0.85], x[:, 2] = 0, 0
        grad = rng.normal(size=(3, 3)).astype(np.float32)
        grad[:, 1] = 0
        model(x)
        if not carefully(model.backward, grad, accumulate=accumulate) and again:
            model(x)
            model.backward(grad)

    for step in range(STEPS):
        model[0].bias.trainable = step % 4 != 1
        model[2].weight.trainable = np.arange(12).reshape(4, 3) % 5 > 0 if step % 3 == 1 else True
        backward(accumulate=step % 3 == 2)
        if step % 3 == 1:
            backward()  # in place of the first one
        if step % 3 == 2:
            backward(accumulate=True)
        if step == STEPS - 3:
            model[2].bias.grad = np.ones(3, np.float32)
        carefully(optimizer.step)
        if step % 5 == 4 and not carefully(driver.counts):
            driver.counts()
    carefully(driver.counts)
    counts = driver.counter.counts()
    check(driver.truth.counts(), counts)
    return driver, counts


def check(expected: Counts, counts: Counts) -> None:
    """They are the same, but that less may be explained."""
    arrays = ("grads", "updates", "moves", "first_move", "last_move", "movement")
    for name in arrays:
        assert getattr(expected, name).tobytes() == getattr(counts, name).tobytes(), name
    for name in ("frozen", "unreached", "steps", "uncounted"):
        assert getattr(expected, name) == getattr(counts, name), name
    assert {name: held.tolist() for name, held in expected.frozen_entries.items()} == {
        name: held.tolist() for name, held in counts.frozen_entries.items()
    }
    assert (
        expected.unexplained.items()
        <= {
            name: expected.unexplained[name]
            if name in expected.unexplained and why == UNSEEN
            else why
            for name, why in counts.unexplained.items()
        }.items()
    )
    for name in counts.unexplained.keys() - expected.unexplained.keys():
        assert UNSEEN == counts.unexplained[name]
    assert expected.activity.keys() - counts.unexplained.keys() == counts.activity.keys()
    for name, activity in counts.activity.items():
        true = expected.activity[name]
        assert (true.samples, true.units.tolist()) == (activity.samples, activity.units.tolist())
        for own, other in ((true.inputs, activity.inputs), (true.together, activity.together)):
            assert (own is None) == (other is None)
            assert own is None or other is None or own.tolist() == other.tolist()


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps and samples are gathered, so that each line is reached within few steps."""
    monkeypatch.setattr(entry_counter, "_ENTRIES", 2 * 39)
    monkeypatch.setattr(entry_counter, "_WINDOW", 5)
    monkeypatch.setattr(nonzero_counter, "_ROWS", 7)


@pytest.mark.parametrize("stride", [997, slow(9 if EVERYTHING else 97)])
@pytest.mark.parametrize("gathered", [1, 2])
@pytest.mark.parametrize("again", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_at_any_line_costs_at_most_one_step(
    error: type[BaseException],
    again: bool,
    gathered: int,
    stride: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All counts are those of the steps that are wholly recorded, bit by bit.

    Where a step used gradients whose backward was interrupted, nothing is said about its samples;
    where it was made again, nothing is lost.
    """
    monkeypatch.setattr(entry_counter, "_ENTRIES", gathered * 39)
    line = 1
    while True:
        driver, counts = trains(line, error, again=again)
        if not driver.interrupts.came:
            break
        assert STEPS - 1 <= counts.steps + counts.uncounted <= STEPS, line
        assert not (again and driver.unseen()), line
        line += stride
    assert line > 1000
    assert STEPS == counts.steps


def counter_and_steps() -> tuple[EntryCounter, Callable[[int], None]]:
    """A counter without layers, and what makes a step of some number."""
    slots = {"a": Slot(slice(0, 3), (3,))}
    counter = EntryCounter(slots, np.dtype(np.float32), [])

    def step(number: int) -> None:
        update = np.array([number + 1, 0, number % 2], np.float32)
        before = np.array([number, 2, 0], np.float32)
        counter.look((update,), "")
        counter.add(number, before, before + update, update, {}, {"a": update == 0})

    return counter, step


@pytest.mark.parametrize("gathered", [1, 2, 3])
@pytest.mark.parametrize("steps", range(1, 13))
def test_the_newest_step_can_be_taken_back(
    steps: int, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it stands in what is gathered; what was taken back once is not taken back twice."""
    monkeypatch.setattr(entry_counter, "_ENTRIES", gathered * 3)
    counter, step = counter_and_steps()
    truth, true_step = counter_and_steps()
    for number in range(steps):
        step(number)
        counter.drop_after(number)  # nothing
        if number % 3 == 1:
            step(number + 100)
            counter.drop_after(number)
            counter.drop_after(number)
        true_step(number)
    check(truth.counts(), counter.counts())


@pytest.mark.parametrize("rows", [1, 3, 9])
def test_samples_of_a_step_that_is_taken_back_do_not_count(rows: int) -> None:
    """Neither which inputs and units were active, nor which have met."""
    model = mg.Sequential(mg.Dense(6, 2, rng=0))
    vector = ParameterVector.of(model)
    counter, truth = (
        EntryCounter(
            vector.slots,
            vector.values.dtype,
            coactivities_of(model, vector.slots, dict(model.parameters()), True),
        )
        for _ in range(2)
    )
    for step in range(12):
        model(np.eye(6, dtype=np.float32)[[step // 2] * rows])
        model.backward(np.eye(2, dtype=np.float32)[[step % 2] * rows])
        arrival = vector.parameters[0].arrival
        assert arrival is not None
        for one in (counter, truth):
            one.arrived(arrival, adds=False)
            if one is counter or step % 3:
                one.look((vector.computed_grads,), "")
                one.add(step, vector.values, vector.values, 0 * vector.values, {}, {})
        counter.drop_after(step if step % 3 else step - 1)
        vector.gradients.forget()
    check(truth.counts(), counter.counts())
    assert 8 * rows == counter.counts().activity["0.weight"].samples


def test_steps_can_be_lost() -> None:
    """They are added to those whose counts are lost, and change no other count."""
    counter, step = counter_and_steps()
    step(0)
    counter.lose(3)
    step(4)
    counter.lose(2)
    counts = counter.counts()
    assert (2, 5) == (counts.steps, counts.uncounted)
    assert [0, -1, -1] == counts.first_move.tolist()


def test_a_step_whose_gradients_nobody_saw_is_lost() -> None:
    """It is counted as one whose counts are lost, and not with the gradients of another."""
    counter, step = counter_and_steps()
    step(0)
    values = np.ones(3, np.float32)
    counter.add(1, values, values + 1, values, {}, {})
    step(2)
    counts = counter.counts()
    assert (2, 1) == (counts.steps, counts.uncounted)
    assert [2, 0, 0] == counts.moves.tolist() == counts.grads.tolist() == counts.updates.tolist()
