"""A `fit` that stops at any step, and goes on in new objects, gives the bits and figures of one
that never stopped.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from checkpoint_support import (
    EVERYTHING,
    PLAIN,
    Array,
    Plan,
    Signs,
    Training,
    X,
    Y,
    bits,
    bits_of_all,
    first_difference,
    some,
)

import minigrad as mg

EPOCHS = 4


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls a plug here, so nobody needs to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def spread(outputs: Array, targets: npt.NDArray[Any]) -> float:
    """A metric of somebody's own."""
    return float(outputs.max() - outputs.min())


class Fitting:
    """A training by `fit`, with the hooks that have a state.

    Args:
        plan: How it is built.
        seed: For the weights and all generators.
        regression: Whether it learns numbers, with a batch of rows as targets, and not classes.
        patience: That of `EarlyStopping`.
    """

    def __init__(
        self, plan: Plan = PLAIN, seed: int = 0, *, regression: bool = False, patience: int = 50
    ) -> None:
        training = Training(plan, seed)
        self.model, self.optimizer, self.data, self.rng = (
            training.model,
            training.optimizer,
            training.data,
            training.rng,
        )
        self.loss: mg.Loss = training.loss
        self.validation: tuple[Any, Any] = X, Y
        self.metrics: Any = ["accuracy", spread]
        if regression:
            rows = np.random.default_rng(4).normal(size=(len(X), 3)).astype(plan.dtype)
            self.data = mg.Batches(self.data.x, rows, 4, rng=self.data.rng)
            self.loss, self.validation = mg.Huber(), (X, rows)
            self.metrics = ["r2", "mean_absolute_error", spread]
        self.early = mg.EarlyStopping("val_loss", patience=patience)
        self.hooks: list[mg.Hook] = [self.early]
        if not callable(self.optimizer.lr):
            self.hooks.append(
                mg.ReduceOnPlateau(self.optimizer, patience=0, threshold=0.1, factor=0.5)
            )

    def fit(self, epochs: int, *hooks: mg.Hook, resume_from: Path | None = None) -> mg.History:
        """Train."""
        self.history = mg.fit(
            self.model,
            self.loss,
            self.optimizer,
            self.data,
            epochs=epochs,
            validation_data=self.validation,
            metrics=self.metrics,
            hooks=[
                *hooks,
                *self.hooks,
            ],  # so that a `Checkpoint` is told of an epoch before those that it saves
            progress=False,
            resume_from=resume_from,
        )
        return self.history

    @property
    def parts(self) -> dict[str, Any]:
        """What is given to `save` and to `load`."""
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "data": self.data,
            "history": self.history,
        }

    @property
    def bits(self) -> Any:
        """Everything, bit by bit."""
        found = bits_of_all(
            self.model, self.optimizer, self.data, self.rng, self.history, self.hooks
        )
        return {**found, "under way": bits(self.history.under_way), "stopped": self.history.stopped}


class Saves(mg.Hook):
    """Asks for a checkpoint after each step and each epoch, or after those of these names."""

    def __init__(self, directory: Path, names: set[str] | None = None) -> None:
        self._directory, self._names = directory, names
        self.moments = 0
        self.paths: list[Path] = []

    def on_step(self, event: mg.Step) -> None:
        self._save(event, f"step {event.step}")

    def on_epoch(self, event: mg.Epoch) -> None:
        self._save(event, f"epoch {event.epoch}")

    def _save(self, event: mg.Step | mg.Epoch, name: str) -> None:
        self.moments += 1
        if self._names is None or name in self._names:
            self.paths.append(self._directory / f"{name}.npz")
            event.save(self.paths[-1])


class StopsAfter(mg.Hook):
    """Asks for the end once so many steps are made."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step(self, event: mg.Step) -> None:
        if event.step + 1 == self._steps:
            event.stop(f"after {self._steps} steps")


PLANS: dict[str, tuple[Plan, dict[str, Any]]] = {
    "momentum": (Plan(lambda model: mg.SGD(model, 0.1, momentum=0.9)), {}),
    "Adam": (Plan(), {}),
    "two generators, float64": (Plan(dtype=np.float64, shared=False), {}),
    "MT19937, frozen for a while": (Plan(kind="MT19937", frozen=True), {}),
    "last batch dropped": (Plan(batches={"drop_last": True}), {}),
    "regression": (Plan(lambda model: mg.RMSprop(model, 0.01)), {"regression": True}),
    "a schedule": (
        Plan(lambda model: mg.SGD(model, mg.LinearWarmup(mg.CosineDecay(0.1, 20), 5))),
        {},
    ),
    "a part of the model": (Plan(lambda model: mg.AdamW(model, 0.05), part=True), {}),
    "somebody's own optimizer": (Plan(lambda model: Signs(model, 0.05)), {"regression": True}),
    "one bad epoch is enough": (Plan(lambda model: mg.SGD(model, 2.0)), {"patience": 1}),
}
# Of 24 steps and 4 epochs: the second step, the last two of an epoch and its end, and the same of
# the last epoch.
CHOSEN = (
    None
    if EVERYTHING
    else {"step 1", "step 4", "step 5", "epoch 0", "step 15", "step 23", "epoch 3"}
)


@sparse(pytest.mark.parametrize("name", some(PLANS, 3)), every=4)
def test_stopping_anywhere(name: str, tmp_path: Path) -> None:
    """Whatever checkpoint it goes on from: all bits, all figures of all epochs, and the counters of
    the hooks.
    """
    plan, settings = PLANS[name]
    straight = Fitting(plan, **settings)
    straight.fit(EPOCHS)
    saves = Saves(tmp_path, CHOSEN)
    saved = Fitting(plan, **settings)
    saved.fit(EPOCHS, saves)
    assert "" == first_difference(straight.bits, saved.bits), "saving has changed something"
    epochs = straight.history.epochs
    assert epochs * (1 + len(straight.data)) == saves.moments
    for path in saves.paths:
        resumed = Fitting(plan, seed=100, **settings)
        resumed.fit(EPOCHS, resume_from=path)
        assert "" == first_difference(straight.bits, resumed.bits), f"stopped after {path.stem}"


@sparse(
    pytest.mark.parametrize(
        "steps",
        some([1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 17, 18, 23, 24], 3)
        + ([] if EVERYTHING else [6, 24]),
    ),
    every=8,
)
def test_a_hook_asks_for_the_end(steps: int, tmp_path: Path) -> None:
    """`event.stop` ends it at this very step.

    `Checkpoint` has then written it, and going on gives the same bits.
    """
    straight = Fitting()
    straight.fit(EPOCHS)
    stopped = Fitting()
    history = stopped.fit(EPOCHS, mg.Checkpoint(tmp_path / "x.npz", every=1000), StopsAfter(steps))
    assert f"after {steps} steps" == history.stopped
    assert (steps, (steps - 1) // 6) == (stopped.optimizer.step_count, history.epochs)
    resumed = Fitting(seed=100)
    assert "" == resumed.fit(EPOCHS, resume_from=tmp_path / "x.npz").stopped
    assert "" == first_difference(straight.bits, resumed.bits)


@pytest.mark.slow
def test_a_hook_asks_for_the_end_again_and_again(tmp_path: Path) -> None:
    """Sessions of five steps each, through the ends of epochs, add up to one training."""
    straight = Fitting()
    straight.fit(EPOCHS)
    path = tmp_path / "x.npz"
    for session in range(5):
        now = Fitting(seed=session)  # the first as the straight one
        now.fit(
            EPOCHS,
            mg.Checkpoint(path),
            StopsAfter(5 * session + 5),
            resume_from=path if session else None,
        )
        assert min(5 * session + 5, 24) == now.optimizer.step_count
    assert "" == first_difference(straight.bits, now.bits)


@sparse(pytest.mark.parametrize("every", some([1, 2, 3, 4, 5, 6, 7, 8, 23, 24, 25], 5)), every=3)
def test_every_so_many_steps(every: int, tmp_path: Path) -> None:
    """A training that breaks off, and goes on from the last checkpoint that was written, gives the
    same bits.
    """
    straight = Fitting()
    straight.fit(EPOCHS)

    class BreaksOff(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            if event.step == 16:
                raise InterruptedError("as if it was killed")

    path = tmp_path / "x.npz"
    broken = Fitting()
    with pytest.raises(mg.errors.HookError, match="as if it was killed"):
        broken.fit(EPOCHS, mg.Checkpoint(path, every=every), BreaksOff())
    assert (every <= 16) == path.exists()
    if path.exists():
        resumed = Fitting(seed=100)
        resumed.fit(EPOCHS, mg.Checkpoint(path, every=every), resume_from=path)
        assert "" == first_difference(straight.bits, resumed.bits)
        last = Fitting(seed=100)
        last.fit(EPOCHS, resume_from=path)  # what the resumed training has written at its end
        assert "" == first_difference(straight.bits, last.bits)


def test_more_epochs_than_were_planned(tmp_path: Path) -> None:
    """A training that was at its end goes on as one that was planned longer."""
    path = tmp_path / "x.npz"
    first = Fitting()
    first.early.restore_best = False
    first.fit(2, mg.Checkpoint(path))
    longer = Fitting(seed=100)
    longer.fit(EPOCHS, resume_from=path)
    straight = Fitting()
    straight.fit(EPOCHS)
    assert "" == first_difference(straight.bits, longer.bits)


def test_early_stopping_counts_on(tmp_path: Path) -> None:
    """Its best epoch lies before the stop, and its end after it: the best weights come out of the
    checkpoint.
    """
    plan = Plan(lambda model: mg.SGD(model, 2.0))
    straight = Fitting(plan, patience=2)
    straight.fit(20)
    best = straight.early.best_epoch
    assert best is not None
    assert best + 3 == straight.history.epochs < 20
    Fitting(plan, patience=2).fit(
        20, Saves(tmp_path, {f"epoch {epoch}" for epoch in range(best, best + 3)})
    )
    for after in (best, best + 1, best + 2):
        resumed = Fitting(plan, seed=100, patience=2)
        history = resumed.fit(20, resume_from=tmp_path / f"epoch {after}.npz")
        assert straight.history.stopped == history.stopped
        assert "val_loss has not become better for 2 epochs" in history.stopped
        assert "" == first_difference(straight.bits, resumed.bits), f"stopped after epoch {after}"


def test_fit_goes_on_from_a_loop_by_hand(tmp_path: Path) -> None:
    """What `save` has written of a loop by hand with a `History`, `fit` goes on from."""
    straight = Fitting()
    straight.early.restore_best = False
    straight.fit(EPOCHS)
    by_hand = Fitting()
    for x, y in by_hand.data:
        by_hand.loss.forward(by_hand.model(x), y)
        by_hand.model.backward(by_hand.loss.backward())
        by_hand.optimizer.step()
    first = {name: figures[0] for name, figures in straight.history.items()}
    assert first["val_loss"] == by_hand.loss.forward(by_hand.model.predict(X), Y)
    for hook in by_hand.hooks[1:]:
        hook.on_epoch(mg.Epoch(0, first))
    by_hand.history = mg.History({name: [figure] for name, figure in first.items()})
    mg.save(tmp_path / "x.npz", **by_hand.parts, hooks=by_hand.hooks[1:])
    resumed = Fitting(seed=100)
    resumed.early.restore_best = False
    resumed.fit(EPOCHS, resume_from=tmp_path / "x.npz")
    for what in ("model", "optimizer", "data", "generators", "history"):
        assert "" == first_difference(straight.bits[what], resumed.bits[what])


def test_a_loop_by_hand_goes_on_from_fit(tmp_path: Path) -> None:
    """A checkpoint of `fit` in the middle of an epoch: the loop gets the rest of it, and has the
    same bits at its end.
    """
    straight = Fitting()
    straight.early.restore_best = False
    straight.fit(1)
    Fitting().fit(1, Saves(tmp_path, {"step 2"}))
    by_hand = Fitting(seed=100)
    by_hand.history = mg.History()
    mg.load(tmp_path / "step 2.npz", **by_hand.parts)
    steps = 0
    for x, y in by_hand.data:
        by_hand.loss.forward(by_hand.model(x), y)
        by_hand.model.backward(by_hand.loss.backward())
        by_hand.optimizer.step()
        steps += 1
    assert 3 == steps
    assert 0 == by_hand.history.epochs
    assert "" == first_difference(straight.bits["model"], bits(by_hand.model.state_dict()))
