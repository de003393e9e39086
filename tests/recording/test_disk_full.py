"""A disk that is full, and a budget: one error says so, training goes on, and what is there can be
read.
"""

# ruff: noqa: PT017 - an error may come, or not; if it comes, it must be the right one

from __future__ import annotations

import errno
import gc
import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from accident_support import HERE, STRIDE, flush_each, sampled
from case_support import sparse
from disk_support import ROW, Notes, Settings, Training, consistent, opened, wrong
from recording_support import bits

import minigrad as mg
from minigrad.errors import BudgetError, HookError, RunError
from minigrad.recording import disk_store as disk


class Refusing:
    """Makes the disk full for the n-th write from now on, and all after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.left = 10**9
        self.refused = 0
        real_open, real_bytes = Path.open, Path.write_bytes
        refusing = self

        class Full(io.FileIO):
            def write(self, data: Any, /) -> int:
                refusing.check()
                return super().write(data)

        def full_open(
            file: Path, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any
        ) -> Any:
            if "b" in mode and set(mode) & set("wxa+") and file.is_relative_to(path):
                if set(mode) & set("wxa"):
                    refusing.check()
                return Full(file, mode.replace("b", ""))
            return real_open(file, mode, buffering, *rest, **more)

        def full_bytes(file: Path, data: bytes) -> int:
            refusing.check()
            return real_bytes(file, data)

        monkeypatch.setattr(Path, "open", full_open)
        monkeypatch.setattr(Path, "write_bytes", full_bytes)

    def check(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@sparse(
    pytest.mark.parametrize(
        "settings",
        [
            {"keyframe_every": 3},
            {"keyframe_every": 3, "budget": 12 * ROW},
            {"every": 2, "keep": ("update", "grad")},
            {"keep": ()},
        ],
        ids=str,
    ),
    every=4,
)
def test_a_disk_that_is_full_from_the_nth_write_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write is refused: one error says so, training has the bits of training without,
    what is there opens.
    """
    flush_each(monkeypatch, 2)
    plain = Training()
    plain.go(14)
    writes, outcomes = 0, set()
    while True:
        path = tmp_path / str(writes)
        training = Training()
        notes = Notes(training)
        with monkeypatch.context() as patch:
            disk_is = Refusing(patch, path)
            recorder = training.recorder(path, **settings)
            errors: list[Exception] = []
            disk_is.left = writes
            try:
                recorder.start()
            except RunError as error:
                errors.append(error)
            for _ in range(14):
                try:
                    training.go(1)
                except (HookError, RunError) as error:
                    errors.append(error)
            try:
                recorder.stop()
            except RunError as error:
                errors.append(error)
            recorder.stop()
            refused = disk_is.refused
        assert 14 == training.optimizer.step_count, f"write {writes}: {errors}"
        assert bits(plain.flat) == bits(training.flat), f"write {writes}"
        assert len(errors) <= 1, f"write {writes}: {errors}"
        run = opened(path)
        if not refused:
            break
        if not errors:  # it would have written what was there already
            assert isinstance(run, mg.Run)
            assert run.complete, f"write {writes} was refused, and nobody heard of it"
            assert 14 == len(run.steps)
            assert [] == consistent(run, sampled(settings))
            writes += 1 if STRIDE == 1 else 3
            continue
        failure = errors[0]
        cause = failure.__cause__ if isinstance(failure, HookError) else failure
        assert isinstance(cause, RunError)
        assert os.strerror(errno.ENOSPC) in str(failure)
        assert str(path) in str(failure)
        outcomes.add(type(failure).__name__)
        if isinstance(run, mg.Run):
            assert [] == wrong(run, notes.values)
            assert [] == consistent(run, sampled(settings))
            assert not run.complete
        else:
            assert isinstance(failure, RunError), f"write {writes}: {run}"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del recorder, failure, errors, cause
        writes += STRIDE // 2 + 1 if writes < 40 else 5 * (STRIDE // 2 + 1)
    assert isinstance(run, mg.Run)
    assert run.complete
    assert {"RunError", "HookError"} == outcomes
    assert writes > 20


@pytest.mark.parametrize("how", ["start", "resume"])
def test_going_on_after_the_disk_was_full(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is room again, a new session goes on.

    The recorder that failed does not write nonsense.
    """
    flush_each(monkeypatch, 2)
    training = Training()
    notes = Notes(training)
    recorder = training.recorder(tmp_path / "run", keyframe_every=3)
    with monkeypatch.context() as patch:
        disk_is = Refusing(patch, tmp_path / "run")
        recorder.start()
        training.go(5)
        disk_is.left = 0
        with pytest.raises(HookError, match="space"):
            training.go(2)
        training.go(5)
        recorder.stop()
    before = mg.Run.open(tmp_path / "run")
    if how == "resume":
        with training.recorder(tmp_path / "run", resume=True, keyframe_every=3):
            training.go(4)
        run = mg.Run.open(tmp_path / "run")
        assert len(before.steps) + 4 == len(run.steps)
        assert run.complete
    else:
        try:
            recorder.start()
            training.go(4)
            recorder.stop()
        except RunError as error:
            assert "space" in str(error)
        run = mg.Run.open(tmp_path / "run")
        assert set(before.steps) <= set(run.steps)
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run)


@sparse(pytest.mark.parametrize("error", [MemoryError, OSError]), every=2)
def test_a_stop_closes_the_record_whatever_its_counts_do(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the counts cannot be written at the end, `stop` says so, and leaves a run that opens,
    and no file open.
    """
    training = Training()
    notes = Notes(training)
    recorder = training.recorder(tmp_path / "run", every=5)
    recorder.start()
    training.go(8)

    def fails(*arguments: Any) -> bytes:
        raise error("no room for the counts")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "packed", fails)
        with pytest.raises((error, RunError), match="no room for the counts"):
            recorder.stop()
    recorder.stop()  # it is over
    training.go(2)
    run = mg.Run.open(tmp_path / "run")
    assert list(range(8)) == list(run.steps)
    assert [0, 5, 7] == run["0.weight"].updates.steps.tolist()
    assert [] == wrong(run, notes.values)
    assert bits(run["0.weight"].final) == bits(notes.values[7][: 5 * 4])
    assert (error is MemoryError) == run.complete  # a system that refuses is not asked again
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del recorder
        gc.collect()


# Run with -B: a module that Python cannot write whole into its cache would be broken for whoever
# comes next.
LIMITED = """
import resource, signal, sys, zlib
from pathlib import Path
from disk_support import Training
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import minigrad as mg
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
training = Training()
errors = []
recorder = training.recorder(sys.argv[1], keyframe_every=50, keep=("update", "grad"))
recorder.start()
for _ in range(100):
    try:
        training.go(1)
    except mg.errors.HookError as error:
        errors.append(str(error))
recorder.stop()
print(training.crc, len(errors), errors)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is the system's own")
def test_a_limit_of_the_system(tmp_path: Path) -> None:
    """A file that may not grow further, by the system's own limit, is one error.

    Training goes on, the run opens.
    """
    paths = os.pathsep.join(map(str, (Path(mg.__file__).parent.parent, HERE, HERE.parent)))
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", LIMITED, str(tmp_path / "run"), str(20 * ROW)],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "" == done.stderr
    plain = Training()
    notes = Notes(plain)
    plain.go(100)
    crc, count, told = done.stdout.split(" ", 2)
    assert (plain.crc, 1) == (int(crc), int(count)), told
    assert os.strerror(errno.EFBIG) in told
    run = mg.Run.open(tmp_path / "run")
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run)
    assert not run.complete


def test_a_budget_too_small(tmp_path: Path) -> None:
    """A budget that does not hold one step is refused before anything is made."""
    with pytest.raises(BudgetError, match="too small"):
        Training().recorder(tmp_path / "run", budget=ROW)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_budget_holds_on_disk(tmp_path: Path) -> None:
    """With every way of staying within it, files of tensors take no more than the budget, and a
    little for headers.
    """
    for on_full in ("thin", "ring", "stop"):
        path = tmp_path / on_full
        training = Training()
        with training.recorder(path, budget=40 * ROW, on_full=on_full):
            for _ in range(150):
                training.go(1)
                files = [*path.glob("updates/*"), *path.glob("keyframes/*")]
                taken = sum(max(0, file.stat().st_size - 128) for file in files)
                assert taken <= 40 * ROW
        files = [*path.glob("updates/*"), *path.glob("keyframes/*")]
        assert (
            sum(file.stat().st_size - 128 for file in files) <= 41 * ROW
        )  # and the values at the end
