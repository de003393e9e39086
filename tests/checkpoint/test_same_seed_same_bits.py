"""The same seed gives the same bits: twice in one process, in two processes, and whatever else has
happened before.
"""

# ruff: noqa: NPY002 - what the global generator does is tested

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoint_support import EVERYTHING, Plan, Training, X, Y
from child_support import surroundings

import minigrad as mg


def digest(path: Path, seed: int = 0) -> str:
    """Train by `fit` with dropout, batch norm, Adam and all hooks with a state.

    The SHA-256 of the checkpoint of all of it.
    """
    training = Training(Plan(plateau=True), seed)
    hooks = [mg.EarlyStopping("val_loss"), *training.hooks]
    history = mg.fit(
        training.model,
        training.loss,
        training.optimizer,
        training.data,
        epochs=3,
        validation_data=(X, Y),
        hooks=hooks,
        progress=False,
    )
    parts = {**training.parts, "history": history, "hooks": hooks}
    mg.save(path, **parts)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_twice_in_one_process(tmp_path: Path) -> None:
    """Neither a training before it nor NumPy's global generator has an influence.

    Another seed has.
    """
    first = digest(tmp_path / "1")
    assert first != digest(tmp_path / "2", seed=1)
    before = np.random.get_state(legacy=True)
    try:
        np.random.seed(99)
        np.random.random(7)
        now = repr(np.random.get_state(legacy=True))
        assert first == digest(tmp_path / "3")
        assert now == repr(np.random.get_state(legacy=True))
    finally:
        np.random.set_state(before)


@pytest.mark.slow
def test_in_two_processes(tmp_path: Path) -> None:
    """No order of a set, no address, no time and no name of a file has an influence, neither on
    bits nor on bytes.
    """
    expected = digest(tmp_path / "here")
    for seed in ("1", "2", "3") if EVERYTHING else ("1",):
        program = (
            "import sys, pathlib, test_same_seed_same_bits as own\n"
            "print(own.digest(pathlib.Path(sys.argv[1])))"
        )
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", program, str(tmp_path / f"there {seed}")],
            env={**surroundings(Path(__file__)), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (f"{expected}\n", "") == (done.stdout, done.stderr)


def test_a_recorded_training_too(tmp_path: Path) -> None:
    """Two records of the same training have no first difference."""
    runs = []
    for name in ("1", "2"):
        training = Training()
        with mg.Recorder(
            training.optimizer, loss=training.loss, data=training.data, path=tmp_path / name
        ) as recorder:
            training.go(2)
        runs.append(recorder.run)
    assert runs[0].first_difference(runs[1]) is None
    assert runs[0].loss.tobytes() == runs[1].loss.tobytes()
