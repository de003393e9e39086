"""The record of a training that stopped and went on is that of the training that never stopped."""

from __future__ import annotations

import os
import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from checkpoint_support import Plan, Training, bits, first_difference, some

import minigrad as mg
from minigrad.checkpoint import archive
from minigrad.errors import RunError
from minigrad.recording.disk_store import DiskStore

EPOCHS = 2  # of six steps each
STOPS = some(range(1, 12), 5)  # 1, 6 at the end of an epoch, and 11; or all
STARTED = ["before the load", "after the load"]
PLANS = {
    "momentum": Plan(lambda model: mg.SGD(model, 0.1, momentum=0.9), frozen=True),
    "Adam, float64": Plan(dtype=np.float64),
    "a part": Plan(lambda model: mg.RMSprop(model, 0.01, max_grad_norm=0.1), part=True),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "all": {},
    "small blocks, gradients too": {"keyframe_every": 2, "keep": ("update", "grad")},
    "counts alone": {"keep": ()},
    "rows alone": {"aggregates": False},
}


CASES = some(product(PLANS, SETTINGS, STARTED), 11)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls a plug here, so nobody needs to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Stopped(Exception):  # noqa: N818
    """It stops here."""


def until(training: Training, steps: int, path: Path) -> None:
    """Train until so many steps are made in all, and write a checkpoint there."""

    def pause() -> None:
        if training.optimizer.step_count == steps:
            mg.save(path, **training.parts)
            raise Stopped

    with pytest.raises(Stopped):
        training.go(EPOCHS, pause)


def recorder(training: Training, path: Path | None = None, **settings: Any) -> mg.Recorder:
    """A recorder of a training."""
    return mg.Recorder(
        training.optimizer, loss=training.loss, data=training.data, path=path, **settings
    )


def rows(run: mg.Run, first: int) -> Any:
    """All that a run holds of the steps from one on, bit by bit."""
    steps = [step for step in run.steps if step >= first]
    return {
        "loss": bits(run.loss[-len(steps) :]),
        "lr": bits(run.lr[-len(steps) :]),
        "clip_factor": bits(run.clip_factor[-len(steps) :]),
        "indices": [bits(run.indices(step)) for step in steps],
        **{
            f"updates of {name}": [bits(run[name].updates[step - run.steps[0]]) for step in steps]
            for name in run
        },
        **{f"values of {name}": [bits(run[name].value(step)) for step in steps] for name in run},
        **{
            f"effective changes of {name}": [bits(run[name].effective(step)) for step in steps]
            for name in run
        },
    }


def check_counts(expected: mg.Run, found: mg.Run) -> None:
    """All that two runs have counted is the same.

    Movement is a sum of magnitudes in the parameters' own dtype, and each session adds up its own:
    it may be rounded otherwise.
    """
    for name in expected:
        for kind in ("moves", "swallowed", "first_move", "last_move"):
            assert bits(getattr(expected[name], kind)) == bits(getattr(found[name], kind)), (
                f"{kind} of {name}"
            )
        assert expected[name].why.counts == found[name].why.counts
        np.testing.assert_allclose(expected[name].movement, found[name].movement, rtol=1e-5)


def straight(name: str, path: Path | None = None, **settings: Any) -> mg.Run:
    """The run of a training that never stopped."""
    training = Training(PLANS[name])
    with recorder(training, path, **settings) as whole:
        training.go(EPOCHS)
    assert 12 == len(whole.run.steps)
    return whole.run


@sparse(
    pytest.mark.parametrize("started", STARTED),
    pytest.mark.parametrize("name", some(PLANS, 2)),
    every=2,
)
def test_in_memory(name: str, started: str, tmp_path: Path) -> None:
    """A recorder of the rest alone, wherever it stopped: its rows are those of the whole, under the
    same numbers.
    """
    whole = straight(name)
    for stop in STOPS:
        until(Training(PLANS[name]), stop, tmp_path / "x.npz")
        training = Training(PLANS[name], seed=100)
        rest = recorder(training)
        if started == "before the load":
            rest.start()
        mg.load(tmp_path / "x.npz", **training.parts)
        if started == "after the load":
            rest.start()
        training.go(EPOCHS)
        rest.stop()
        assert list(range(stop, 12)) == list(rest.run.steps)
        assert "" == first_difference(rows(whole, stop), rows(rest.run, stop)), (
            f"stopped after step {stop}"
        )
        assert ((), ()) == (rest.run.notes, rest.run.gaps)
        assert rest.run.verify()


@pytest.mark.parametrize("where", ["memory", slow("disk")])
def test_taken_back_while_it_is_recorded(where: str, tmp_path: Path) -> None:
    """A recorder that goes on over a load: its count goes on, a note says so, and the steps made
    again have the same rows.
    """
    whole = straight("momentum")
    training = Training(PLANS["momentum"])
    with recorder(training, tmp_path / "run" if where == "disk" else None) as again:
        until(training, 4, tmp_path / "x.npz")
        batches = iter(training.data)
        for _ in range(3):  # another epoch, which is to be forgotten
            training.step(*next(batches))
        mg.load(tmp_path / "x.npz", **training.parts)
        training.go(EPOCHS)
    run = again.run
    assert list(range(7 + 8)) == list(run.steps)
    assert "step 7 is the optimizer's step 4: it was taken back before" in run.notes
    assert () == run.gaps
    expected, found = rows(whole, 4), rows(run, 7)
    assert "" == first_difference(expected, found)
    assert run.verify()


@sparse(pytest.mark.parametrize(("name", "mode", "started"), CASES), every=3)
def test_on_disk(name: str, mode: str, started: str, tmp_path: Path) -> None:
    """`Recorder(path, resume=True)`, wherever it stopped: one run, with rows, counts and reasons as
    if it never had.
    """
    settings = SETTINGS[mode]
    whole = straight(name, tmp_path / "straight", **settings)
    for stop in STOPS:
        path = tmp_path / str(stop)
        first = Training(PLANS[name])
        with recorder(first, path, **settings):
            until(first, stop, tmp_path / "x.npz")
        training = Training(PLANS[name], seed=100)
        if started == "after the load":
            mg.load(tmp_path / "x.npz", **training.parts)
        with recorder(training, path, resume=True, **settings):
            if started == "before the load":
                mg.load(tmp_path / "x.npz", **training.parts)
            training.go(EPOCHS)
        run = mg.Run.open(path)
        assert whole.first_difference(run) is None, f"stopped after step {stop}"
        assert list(range(12)) == list(run.steps)
        assert set(whole.exact_steps.tolist()) <= set(
            run.exact_steps.tolist()
        )  # the end of a session is known, too
        assert ((), ()) == (run.notes, run.gaps)
        if "keep" not in settings:
            assert "" == first_difference(rows(whole, 0), rows(run, 0)), (
                f"stopped after step {stop}"
            )
        if "aggregates" not in settings:
            check_counts(whole, run)
        assert run.verify() or mode == "counts alone"
        restored = Training(PLANS[name], seed=7)
        run.restore(restored.optimizer.model)
        assert bits(training.optimizer.model.state_dict()) == bits(
            restored.optimizer.model.state_dict()
        )


@pytest.mark.parametrize("where", [slow("memory"), "disk"])
def test_in_fit(where: str, tmp_path: Path) -> None:
    """The same with a recorder among the hooks of `fit`, which is started once the checkpoint is
    loaded.
    """

    class StopsAfter(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            if event.step == 7:
                event.stop("enough")

    def fit(training: Training, path: Path | None, *hooks: mg.Hook, **settings: Any) -> mg.Run:
        rec = recorder(training, path, **settings)
        resume = tmp_path / "x.npz" if (tmp_path / "x.npz").exists() else None
        mg.fit(
            training.model,
            training.loss,
            training.optimizer,
            training.data,
            epochs=EPOCHS,
            hooks=[rec, *hooks],
            progress=False,
            resume_from=resume,
        )
        return rec.run

    directory = tmp_path / "run" if where == "disk" else None
    whole = fit(Training(), tmp_path / "straight" if where == "disk" else None)
    fit(Training(), directory, mg.Checkpoint(tmp_path / "x.npz"), StopsAfter())
    rest = fit(Training(seed=100), directory, **({"resume": True} if where == "disk" else {}))
    first = 0 if where == "disk" else 8
    assert list(range(first, 12)) == list(rest.steps)
    assert "" == first_difference(rows(whole, first), rows(rest, first))
    assert () == rest.notes
    if where == "disk":
        check_counts(whole, rest)
        assert whole.first_difference(mg.Run.open(tmp_path / "run")) is None


def fitted(
    training: Training, epochs: int, *hooks: mg.Hook, resume_from: Path | None = None
) -> None:
    parts = (training.model, training.loss, training.optimizer, training.data)
    mg.fit(*parts, epochs=epochs, hooks=hooks, resume_from=resume_from)


def test_a_record_reaches_as_far_as_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is on the disk when a checkpoint is written is enough to go on from there, though the
    process is killed then.

    The record has no gap and no note, and its updates are those of the training that never stopped.
    """
    whole, killed, later = Training(), Training(), Training(seed=5)
    with recorder(whole) as expected:
        fitted(whole, 3)
    real = archive.write

    def write(path: Path, tree: Any) -> None:
        real(path, tree)
        if killed.optimizer.step_count == 10:
            shutil.copytree(tmp_path / "run", tmp_path / "then")
            shutil.copyfile(path, tmp_path / "then.npz")

    with monkeypatch.context() as patch:
        patch.setattr(archive, "write", write)
        fitted(
            killed,
            3,
            recorder(killed, tmp_path / "run"),
            mg.Checkpoint(tmp_path / "x.npz", every=5),
        )
    assert 10 == len(mg.Run.open(tmp_path / "then").steps)
    fitted(
        later, 3, recorder(later, tmp_path / "then", resume=True), resume_from=tmp_path / "then.npz"
    )
    found = mg.Run.open(tmp_path / "then")
    assert (expected.run.steps, (), ()) == (found.steps, found.gaps, found.notes)
    for name in found:
        assert bits(list(expected.run[name].updates)) == bits(list(found[name].updates))
    assert found.verify()


def test_so_it_does_where_somebody_saves_by_hand(tmp_path: Path) -> None:
    """In a loop by hand, too, all steps before `save` are on the disk after it."""
    training = Training()
    with recorder(training, tmp_path / "run"):
        training.made(4)
        mg.save(tmp_path / "x.npz", **training.parts)
        assert [0, 1, 2, 3] == list(mg.Run.open(tmp_path / "run").steps)


def test_a_record_that_cannot_be_written_costs_no_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is the record's, and the checkpoint is whole."""
    training, later = Training(), Training(seed=5)

    def full(store: DiskStore) -> None:
        raise RunError("No space left on device")

    with recorder(training, tmp_path / "run"):
        training.made(4)
        with monkeypatch.context() as patch:
            patch.setattr(DiskStore, "flush", full)
            with pytest.raises(RunError, match="No space left"):
                mg.save(tmp_path / "x.npz", **training.parts)
    mg.load(tmp_path / "x.npz", **later.parts)
    assert training.bits == later.bits
