"""A recorded training that is interrupted at a line of the recorder's own code, and what must be
true of its record.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import minigrad as mg

STEPS = 14
X = np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
X[:, 0] = 0  # an input that is always 0
X[:, 1] *= np.arange(12) > 8  # and one that mostly is
Y = np.arange(12) % 3

WRITING = (
    "minigrad.recording",
    "minigrad.files",
    "minigrad.file_lock",
    "minigrad.runs.block",
    "minigrad.runs.counts_file",
    "minigrad.runs.file_block",
)
"""Where lines are counted and interrupted: what takes part in writing a record."""


class Training:
    """The same training each time: every step is made once, whatever is interrupted.

    Args:
        path: Where to record; None records into memory.
        normed: Whether the model has running statistics. A forward that is repeated after an
            interrupt changes them.
        after: How many steps were made before, by a training that is gone.
        resume: Whether to go on with its record.
        settings: Further settings of the recorder.
    """

    def __init__(
        self,
        path: Path | None,
        settings: dict[str, Any],
        *,
        normed: bool,
        after: int = 0,
        resume: bool = False,
    ) -> None:
        norm = [mg.BatchNorm(4)] if normed else []
        self.model = mg.Sequential(
            mg.Dense(5, 4, rng=0), mg.Activation("relu"), *norm, mg.Dense(4, 3, rng=1)
        )
        self.normed = normed
        self.loss = mg.SoftmaxCrossEntropy()
        self.optimizer = mg.SGD(self.model, 0.1)
        self.data = mg.Batches(X, Y, 3, rng=5)
        self._batches = self._endless()
        if after:
            self.model.load_state_dict(truth(normed)[after - 1].state)
        for _ in range(after):
            next(self._batches)
        self.recorder = mg.Recorder(
            self.optimizer,
            loss=self.loss,
            data=self.data,
            path=path,
            resume=resume,
            **settings,
        )

    def _endless(self) -> Iterator[tuple[Any, Any]]:
        while True:
            yield from self.data

    def steps(self, count: int, again: Callable[[Callable[[], Any]], None]) -> None:
        """Make steps, and now and then look at the record and publish it.

        Args:
            count: How many.
            again: Does something, and again if it was interrupted.
        """
        for step in range(count):
            inputs, targets = next(self._batches)

            def make(step: int = step, inputs: Any = inputs, targets: Any = targets) -> None:
                if self.optimizer.step_count == step:
                    self.loss.forward(self.model(inputs), targets)
                    self.model.backward(self.loss.backward())
                    self.optimizer.step()

            again(make)
            if step % 5 == 3:
                again(self.optimizer.flush)
            if step == 6:
                again(lambda: self.recorder.run)


@dataclass(frozen=True)
class Made:
    """What a step really did."""

    state: dict[str, Any]
    updates: dict[str, Any]
    grads: dict[str, Any]
    indices: Any
    loss: float


class _Witness(mg.Hook):
    def __init__(self, training: Training) -> None:
        self.training = training
        self.made: list[Made] = []

    def on_step(self, event: mg.Step) -> None:
        training = self.training
        assert training.loss.value is not None
        self.made.append(
            Made(
                training.model.state_dict(),
                dict(event.updates),
                dict(event.grads),
                training.data.indices.copy(),
                training.loss.value,
            )
        )


def once(action: Callable[[], Any]) -> None:
    """Do something."""
    action()


@cache
def truth(normed: bool) -> list[Made]:
    """What each step of the training does that nothing interrupts."""
    training = Training(None, {}, normed=normed)
    witness = _Witness(training)
    training.optimizer.attach(witness)
    with training.recorder:
        training.steps(STEPS, once)
    return witness.made


@cache
def undisturbed(normed: bool, count: int) -> mg.Run:
    """The record of so many steps that nothing interrupts."""
    training = Training(None, {}, normed=normed)
    with training.recorder:
        training.steps(count, once)
    return training.recorder.run


def check(run: mg.Run, normed: bool, *, gaps: bool = False) -> None:
    """What a record says is the truth, of every step that it has.

    Args:
        run: The run.
        normed: Whether its model has running statistics.
        gaps: Whether a step may be missing; otherwise the record is the beginning of the training,
            and its counts and reasons are those of the undisturbed one.
    """
    made = truth(normed)
    verification = run.verify()
    assert verification.mismatch is None, verification
    assert not verification.damaged
    if not gaps:
        assert run.steps == tuple(range(len(run.steps)))
        assert all("budget" in gap.why for gap in run.gaps)
    missing = set(range(run.steps[-1] + 1 if run.steps else 0)) - set(run.steps)
    in_gaps = {step for gap in run.gaps for step in range(gap.first, gap.last + 1)}
    assert missing <= in_gaps
    for step in run.exact_steps.tolist():
        model = Training(None, {}, normed=normed).model
        run.restore(model, step)
        for name, array in model.state_dict().items():
            assert np.array_equal(made[step].state[name], array), (step, name)
    for place, step in enumerate(run.steps):
        indices = run.indices(step)
        assert indices is not None
        assert np.array_equal(made[step].indices, indices), step
        assert made[step].loss == run.loss[place]
    for name in run:
        for kind, tensors in (("updates", run[name].updates), ("grads", run[name].grads)):
            for step, row in zip(tensors.steps, tensors, strict=True):
                assert np.array_equal(getattr(made[step], kind)[name], row), (step, name, kind)
    if run.counted_steps is not None:
        check_counts(run, normed, gaps=gaps)


def check_counts(run: mg.Run, normed: bool, *, gaps: bool) -> None:
    """The counts are those of the undisturbed training; where steps are missing, not higher."""
    assert run.counted_steps is not None
    whole = undisturbed(normed, STEPS if gaps else run.counted_steps)
    for name in run:
        ours, theirs = run[name], whole[name]
        reasons, true = ours.why.reasons, theirs.why.reasons
        if gaps:
            assert (ours.moves <= theirs.moves).all()
            assert ((reasons == true) | (reasons == mg.Reason.UNKNOWN)).all(), (name, reasons)
        else:
            for what in ("moves", "swallowed", "first_move", "last_move"):
                assert np.array_equal(getattr(theirs, what), getattr(ours, what)), (name, what)
            # Where counts were saved in between, it was added up in another order.
            assert np.allclose(theirs.movement, ours.movement, rtol=1e-6)
            assert np.array_equal(true, reasons), (name, reasons, true)


class Interrupter:
    """Counts the lines that run in some modules, and raises at one of them, once.

    Args:
        line: Which of them; 0 for none.
        error: What to raise.
        modules: How the names of these modules begin.
    """

    def __init__(
        self, line: int, error: type[BaseException], modules: tuple[str, ...] = WRITING
    ) -> None:
        self.line = line
        self.error = error
        self.modules = modules
        self.seen = 0
        self.where = ""

    @property
    def has_struck(self) -> bool:
        """Whether there were as many lines."""
        return 0 < self.line <= self.seen

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While it counts."""
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        name = frame.f_globals.get("__name__", "")
        return self._count if name.startswith(self.modules) else None

    def _count(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.seen += 1
            if self.seen == self.line:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise self.error(f"at line {self.line}")
        return self._count
