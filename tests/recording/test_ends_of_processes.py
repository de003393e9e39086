"""A process that ends, in order or by SIGTERM, without having stopped its recorder."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from child_support import surroundings

import minigrad as mg

PROGRAM = """
import os, signal, sys
from disk_support import Training
training = Training()
recorder = training.recorder(sys.argv[1])
def own(number, frame):
    print("mine", flush=True)
    os._exit(5)
if sys.argv[2] == "own handler":
    signal.signal(signal.SIGTERM, own)
recorder.start()
training.go(50)
if sys.argv[2] == "an error":
    raise ValueError("oh")
if sys.argv[2] == "sys.exit":
    sys.exit(3)
if sys.argv[2] == "stopped":
    recorder.stop()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
if sys.argv[2] in ("SIGTERM", "own handler"):
    print("ready", flush=True)
    while True:
        training.go(1)
"""


def program(path: Path, how: str) -> subprocess.Popen[str]:
    """A process that records there, and ends so."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(path), how],
        env=surroundings(Path(__file__)),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("how", "status", "said"),
    [("falling off", 0, ""), ("an error", 1, "ValueError: oh"), ("sys.exit", 3, "")],
)
def test_what_was_in_memory_is_written_at_exit(
    how: str, status: int, said: str, tmp_path: Path
) -> None:
    """All steps and their counts are there; the run was not stopped, and goes on."""
    with program(tmp_path / "run", how) as process:
        _, errors = process.communicate(timeout=60)
    assert status == process.returncode
    assert errors.strip().endswith(said)
    assert said or errors == ""
    run = mg.Run.open(tmp_path / "run")
    assert tuple(range(50)) == run.steps
    assert not run.complete
    assert run.counted_steps == 50
    assert run.verify()
    assert "" == (tmp_path / "run" / "lock").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_what_was_in_memory_is_written_on_sigterm(tmp_path: Path) -> None:
    """And the process ends as it ends of SIGTERM."""
    with program(tmp_path / "run", "SIGTERM") as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert (-signal.SIGTERM, "") == (process.returncode, errors)
    run = mg.Run.open(tmp_path / "run")
    assert len(run.steps) >= 50
    assert run.counted_steps == len(run.steps)
    assert run.verify()
    assert list(run.steps) == run.exact_steps.tolist()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_who_handles_sigterm_keeps_to_that(tmp_path: Path) -> None:
    """A handler that is set before is left alone."""
    with program(tmp_path / "run", "own handler") as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        process.terminate()
        said, _ = process.communicate(timeout=60)
    assert (5, "mine\n") == (process.returncode, said)


def test_the_handler_goes_with_the_recorder(tmp_path: Path) -> None:
    """After `stop` SIGTERM does what it did before."""
    with program(tmp_path / "run", "stopped") as process:
        _, errors = process.communicate(timeout=60)
    assert (0, "") == (process.returncode, errors)


def test_a_recorder_in_another_thread_sets_no_handler(tmp_path: Path) -> None:
    """Python sets handlers in the main thread only; recording works there all the same."""
    source = f"""if True:
        import signal, sys, threading
        from disk_support import Training
        training = Training()
        def train():
            with training.recorder({str(tmp_path / "run")!r}):
                training.go(3)
                assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env=surroundings(Path(__file__)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (ended.returncode, ended.stderr)
    assert 3 == len(mg.Run.open(tmp_path / "run").steps)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
def test_sigterm_while_rows_are_handed_to_the_thread(tmp_path: Path) -> None:
    """The locks that were taken for that are waited for by nobody, and the rows are written."""
    source = f"""if True:
        import signal
        from concurrent.futures import ThreadPoolExecutor
        from disk_support import Training
        training = Training()
        training.recorder({str(tmp_path / "run")!r}).start()
        training.go(20)
        training.optimizer.flush()
        training.go(30)
        def submit(executor, *work):
            with executor._shutdown_lock:
                signal.raise_signal(signal.SIGTERM)
        ThreadPoolExecutor.submit = submit
        training.optimizer.flush()
    """
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env=surroundings(Path(__file__)),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (-signal.SIGTERM, "") == (ended.returncode, ended.stderr)
    run = mg.Run.open(tmp_path / "run")
    assert list(range(50)) == run.exact_steps.tolist()
    assert run.verify()
