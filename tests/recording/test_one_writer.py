"""One process at a time writes a run: a second one, on this host or another, and a forked child."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from accident_support import needs_fork
from child_support import surroundings
from disk_support import Notes, Training, wrong

import minigrad as mg
from minigrad.errors import HookError, RunError
from minigrad.recording import memory_store

PROGRAM = """
import sys, time
from disk_support import Training
training = Training()
recorder = training.recorder(sys.argv[1])
recorder.start()
training.go(5)
training.optimizer.flush()
print("ready", flush=True)
sys.stdin.readline()
training.go(5)
recorder.stop()
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """Another process that records there, and goes on when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(path)],
        env=surroundings(Path(__file__)),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert "ready\n" == process.stdout.readline()
    return process


def test_a_second_writer_is_refused_while_the_first_one_lives(tmp_path: Path) -> None:
    """The error names the process and the host; the first one loses nothing."""
    with writer(tmp_path / "run") as process:
        for resume in (True, False):
            with pytest.raises(RunError) as error:
                Training().recorder(tmp_path / "run", resume=resume).start()
            assert not resume or str(process.pid) in str(error.value)
        process.communicate("go on\n", timeout=60)
    assert 0 == process.returncode
    run = mg.Run.open(tmp_path / "run")
    assert tuple(range(10)) == run.steps
    assert run.complete
    assert run.verify()


def test_a_dead_writer_has_given_the_run_up(tmp_path: Path) -> None:
    """Whoever comes after a kill goes on at once."""
    with writer(tmp_path / "run") as process:
        process.kill()
    training = Training()
    training.go(5)
    with training.recorder(tmp_path / "run", resume=True):
        training.go(3)
    run = mg.Run.open(tmp_path / "run")
    assert tuple(range(8)) == run.steps
    assert run.verify()


def test_two_recorders_in_one_process(tmp_path: Path) -> None:
    """The second is refused until the first one has stopped."""
    training = Training()
    first = training.recorder(tmp_path / "run")
    second = training.recorder(tmp_path / "run")
    with first:
        training.go(2)
        with pytest.raises(RunError, match="is recorded by process"):
            second.start()
        training.go(2)
    with pytest.raises(RunError, match="another recorder has written"):
        second.start()
    with training.recorder(tmp_path / "run", resume=True):
        training.go(2)
    assert tuple(range(6)) == mg.Run.open(tmp_path / "run").steps


def test_a_recorder_does_not_overwrite_what_came_meanwhile(tmp_path: Path) -> None:
    """Another one has gone on with the run between this one's sessions."""
    training = Training()
    first = training.recorder(tmp_path / "run")
    with first:
        training.go(2)
    with training.recorder(tmp_path / "run", resume=True):
        training.go(2)
    with pytest.raises(RunError, match="another recorder has written"):
        first.start()
    training.go(1)  # nothing of the one that was refused is left behind
    assert tuple(range(4)) == mg.Run.open(tmp_path / "run").steps


@pytest.mark.parametrize("words", ["", "nonsense", "[]", '{"process": 3}'])
def test_a_writer_of_another_host(words: str, tmp_path: Path) -> None:
    """Whether it lives cannot be known here: the error names it, and the file to remove."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(3)
    lock = tmp_path / "run" / "lock"
    assert "" == lock.read_text()
    lock.write_text(words or json.dumps({"process": "12", "host": "elsewhere", "boot": "other"}))
    later = Training()  # whose optimizer counts from 0
    resumed = later.recorder(tmp_path / "run", resume=True)
    who = "another process" if words and "3" not in words else "process"
    with pytest.raises(RunError, match=f"{who}.*if it does not, remove '.*lock'"):
        resumed.start()
    lock.unlink()
    with resumed:
        later.go(3)
    assert tuple(range(6)) == mg.Run.open(tmp_path / "run").steps


@needs_fork
@pytest.mark.parametrize("what", ["ends", "leaves the with", "steps", "stops", "reads"])
def test_a_forked_child_never_writes_and_never_hangs(what: str, tmp_path: Path) -> None:
    """Whatever it does with the recorder; the parent's record is whole."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", keyframe_every=4) as recorder:
        training.go(10)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                if what == "leaves the with":
                    recorder.__exit__(None, None, None)
                elif what == "stops":
                    recorder.stop()
                elif what == "reads":
                    assert recorder.run.verify().mismatch is None
                elif what == "steps":
                    with pytest.raises(HookError, match="forked"):
                        training.go(1)
                    training.go(20)
                status = 0
            finally:
                os._exit(status)
        deadline = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (child, 0) == ended
        training.go(10)
    run = mg.Run.open(tmp_path / "run")
    assert tuple(range(20)) == run.steps
    assert [] == wrong(run, notes.values)
    assert run.verify()
    assert run.complete


@needs_fork
def test_a_forked_child_records_into_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on with what its parent had recorded, and waits for no thread of its parent."""
    go, touched = threading.Event(), memory_store._touched  # noqa: SLF001

    def slow(*arguments: Any) -> Any:
        assert threading.current_thread() is threading.main_thread() or go.wait(60)
        return touched(*arguments)

    monkeypatch.setattr(memory_store, "_touched", slow)
    training = Training()
    with training.recorder(keyframe_every=5) as recorder:
        training.go(3)  # and memory for the next block is still being made ready
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)
                go.set()
                training.go(30)
                recorder.stop()
                status = 0 if recorder.run.verify() and len(recorder.run.steps) == 33 else 2
            finally:
                os._exit(status)
        go.set()
        assert (child, 0) == os.waitpid(child, 0)
        training.go(2)
    assert tuple(range(5)) == recorder.run.steps
