"""A session that makes no step changes nothing of what the record says of the steps before."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from accident_support import needs_fork
from disk_support import Notes, Training, wrong

import minigrad as mg


def changed(training: Training) -> Training:
    """Another training, whose values are not those that the first one has left."""
    other = Training()
    other.model.load_state_dict(
        {name: 2 * array for name, array in training.model.state_dict().items()}
    )
    return other


def holds(run: mg.Run, notes: Notes, steps: int) -> None:
    """Every step is exact, and has the values that it had."""
    assert list(range(steps)) == run.exact_steps.tolist()
    assert [] == wrong(run, notes.values)
    assert run.verify()
    assert run.complete
    for name in run:
        assert np.array_equal(run[name].value(steps - 1), run[name].final)


@pytest.mark.parametrize("on_disk", [False, True])
def test_in_one_process(on_disk: bool, tmp_path: Path) -> None:
    """The recorder is started and stopped after somebody has changed the values."""
    training = Training()
    notes = Notes(training)
    recorder = training.recorder(tmp_path / "run" if on_disk else None)
    with recorder:
        training.go(5)
    for _ in range(3):
        weight = mg.ParameterVector.of(training.model).parameters[0]
        weight.value = 2 * weight.value
        with recorder:
            pass
        holds(recorder.run, notes, 5)
        with recorder:
            holds_so_far = recorder.run
        assert [] == wrong(holds_so_far, notes.values)
    with recorder:
        training.go(3)
    assert [] == wrong(recorder.run, notes.values)
    assert recorder.run.verify()


@pytest.mark.parametrize("lives", [1, 3])
def test_in_another_one(lives: int, tmp_path: Path) -> None:
    """A run is gone on with, from other values, and left before the first step."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run"):
        training.go(5)
    for _ in range(lives):
        with changed(training).recorder(tmp_path / "run", resume=True):
            pass
        holds(mg.Run.open(tmp_path / "run"), notes, 5)
    last = Training()
    last.model.load_state_dict(training.model.state_dict())
    last_notes = Notes(last, 5)
    with last.recorder(tmp_path / "run", resume=True):
        last.go(4)
    run = mg.Run.open(tmp_path / "run")
    assert list(range(9)) == run.exact_steps.tolist()
    assert [] == wrong(run, {**notes.values, **last_notes.values})
    assert [] == list(run.gaps)


@needs_fork
def test_that_dies_before_its_first_step(tmp_path: Path) -> None:
    """It has written the keyframe of its own values already; the next one has the same values."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run"):
        training.go(5)

    class Death(mg.Hook):
        def before_step(self, event: mg.Step) -> None:
            dying.optimizer.flush()  # all that the recorder knows is on disk now
            os._exit(0)

    dying = changed(training)
    child = os.fork()
    if child == 0:
        dying.recorder(tmp_path / "run", resume=True).start()
        dying.optimizer.attach(Death())
        dying.go(1)
    assert (child, 0) == os.waitpid(child, 0)
    for values in (dying, training):
        later = Training()
        later.model.load_state_dict(values.model.state_dict())
        with later.recorder(tmp_path / "run", resume=True):
            pass
        holds(mg.Run.open(tmp_path / "run"), notes, 5)


def test_of_a_new_run(tmp_path: Path) -> None:
    """It holds the initial values, and can be gone on with."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        pass
    run = mg.Run.open(tmp_path / "run")
    assert run.steps == ()
    values = training.model.state_dict()
    assert all(np.array_equal(values[name], run[name].initial) for name in run)
    notes = Notes(training)
    with training.recorder(tmp_path / "run", resume=True):
        training.go(3)
    holds(mg.Run.open(tmp_path / "run"), notes, 3)


def test_while_a_later_session_goes_on_the_run_is_not_complete(tmp_path: Path) -> None:
    """In the same process or another: whoever reads it then, or after a kill, can tell."""
    training = Training()
    recorder = training.recorder(tmp_path / "run")
    for session in range(3):
        with recorder:
            assert not mg.Run.open(tmp_path / "run").complete
            training.go(session)
        assert mg.Run.open(tmp_path / "run").complete
    with training.recorder(tmp_path / "run", resume=True):
        assert not mg.Run.open(tmp_path / "run").complete
