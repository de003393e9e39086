"""What may happen to a record on disk: kills, damage, a full disk, wrong paths, readers at the same time."""

# ruff: noqa: PT017 - an error may come, or not; if it comes, it must be the right one

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk_children import MODES as KILLED
from disk_support import (
    EVERYTHING,
    ROW,
    SIZE,
    Notes,
    Settings,
    Training,
    consistent,
    contents,
    flat_value,
    in_gaps,
    opened,
    put,
    some,
    wrong,
)
from recording_support import bits, dense

import minigrad as mg
from minigrad.errors import BudgetError, HookError, MinigradError, OutOfBandWrite, RunError
from minigrad.recording import disk
from minigrad.recording.disk import DiskStore

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
HERE = Path(__file__).parent


def sampled(settings: Settings) -> bool:
    """Whether only some steps are kept by these settings, or none."""
    return "every" in settings or "update" not in settings.get("keep", ("update",))


def flush_each(monkeypatch: pytest.MonkeyPatch, steps: int = 1) -> None:
    """Have every so manieth step count for readers at once; no clock takes part."""
    monkeypatch.setattr(disk, "_FLUSH_STEPS", steps)
    monkeypatch.setattr(disk, "_FLUSH_SECONDS", 1e9)


# -- (a) kills -------------------------------------------------------------------------------------------------------


@contextmanager
def children(directory: Path, count: int, steps: int = 0) -> Iterator[subprocess.Popen[str]]:
    """The program that makes children and kills them."""
    program = [sys.executable, "-W", "error", str(HERE / "disk_children.py"), str(directory), str(count), str(steps)]
    paths = os.pathsep.join([str(Path(mg.__file__).parent.parent), str(HERE)])
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    with subprocess.Popen(program, env={**os.environ, **threads, "PYTHONPATH": paths}, text=True) as process:
        yield process
    assert 0 == process.returncode


@needs_fork
def test_a_killed_run_is_whole_up_to_its_last_flush(tmp_path: Path) -> None:
    """A writer killed at any moment, 110 times, leaves a run that opens, verifies, holds what was live, and goes on."""
    with children(tmp_path, 110):
        pass
    lengths = []
    for number in range(110):
        place, settings = tmp_path / str(number), KILLED[number % len(KILLED)]
        crcs = np.fromfile(place / "values", "<u4").tolist() if (place / "values").exists() else []
        told = np.fromfile(place / "told", "<u4").tolist() if (place / "told").exists() else []
        run = opened(place / "run")
        if isinstance(run, RunError):
            assert not crcs, f"{number}: {run}"
            continue
        steps, exact = list(run.steps), run.exact_steps.tolist()
        lengths.append(len(steps))
        assert not run.complete
        assert list(range(len(steps))) == steps
        assert (told or [0])[-1] <= len(steps) <= len(crcs), number
        assert [] == consistent(run, sampled(settings)), number
        assert [] == [s for s in exact if zlib.crc32(flat_value(run, s).tobytes()) != crcs[s]], (number, settings)
        if settings in ({}, {"keyframe_every": 1}, {"keyframe_every": 2}):
            assert steps == exact
            assert () == run.gaps
        training = Training(seed=number)
        if exact:
            run.restore(training.model, exact[-1])
        notes = Notes(training, len(steps))
        with training.recorder(place / "run", resume=True, **settings):
            training.go(3)
        later = mg.Run.open(place / "run")
        assert list(range(len(steps) + 3)) == list(later.steps)
        assert [] == wrong(later, notes.values, steps), number
        assert [] == [
            s for s in later.exact_steps.tolist()[:-3] if s < len(steps) and zlib.crc32(flat_value(later, s).tobytes()) != crcs[s]
        ]  # fmt: skip
        assert later.verify().mismatch is None
        assert not later.verify().damaged
        shutil.rmtree(place)
    assert len(lengths) >= 80
    assert max(lengths) > 20


class _Snapping(io.FileIO):
    """A file that lets somebody look before and in the middle of each write."""

    look: Callable[[], None]

    def write(self, data: Any, /) -> int:
        self.look()
        data = bytes(data)
        if len(data) > 512 or not data.startswith(b"\x93NUMPY"):  # a header lies in one page, which is written at once
            half = len(data) // 2
            super().write(data[:half])
            self.look()
            super().write(data[half:])
        else:
            super().write(data)
        self.look()
        return len(data)

    def truncate(self, size: int | None = None, /) -> int:
        self.look()
        found = super().truncate(size)
        self.look()
        return found


@contextmanager
def snapshots(path: Path, monkeypatch: pytest.MonkeyPatch, note: Callable[[], Any]) -> Iterator[list[Any]]:
    """What a kill would leave of a directory, between and in the middle of all that the writer asks the system for.

    Each is a pair: the files, and what `note` said at that moment.
    """
    taken: list[tuple[dict[str, bytes], Any]] = []

    def look() -> None:
        if path.is_dir():
            found = contents(path)
            if not taken or taken[-1][0] != found:
                taken.append((found, note()))

    _Snapping.look = staticmethod(look)
    with monkeypatch.context() as patch:
        real_open = Path.open

        def watched(self: Path, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
            if "b" in mode and set(mode) & set("wxa+") and self.is_relative_to(path):
                look()
                return _Snapping(self, mode.replace("b", ""))
            return real_open(self, mode, buffering, *rest, **more)

        patch.setattr(Path, "open", watched)
        for name in ("replace", "rename", "unlink", "mkdir"):
            patch.setattr(Path, name, _before_and_after(getattr(Path, name), look))
        yield taken
    look()


def _before_and_after(function: Callable[..., Any], look: Callable[[], None]) -> Callable[..., Any]:
    def call(*arguments: Any, **settings: Any) -> Any:
        look()
        found = function(*arguments, **settings)
        look()
        return found

    return call


STRIDE = 1 if EVERYTHING else 10  # how many of the possible accidents are left out
STORIES: dict[str, Settings] = {
    "small blocks": {"keyframe_every": 2},
    "thinned": {"keyframe_every": 2, "budget": 8 * ROW},
    "ring": {"keyframe_every": 2, "budget": 8 * ROW, "on_full": "ring"},
    "stopped": {"keyframe_every": 2, "budget": 8 * ROW, "on_full": "stop"},
    "every third": {"every": 3, "keyframe_every": 2},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 3},
    "counts alone": {"keep": ()},
}


@pytest.mark.parametrize(("flush", "again"), [(1, "resume"), (3, "start")][: 2 if STRIDE == 1 else 1])
@pytest.mark.parametrize("mode", some(STORIES))
def test_a_kill_between_any_two_writes(
    mode: str, flush: int, again: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After whatever the writer had asked the system for, and in the middle of it, what lies there is a true run."""
    flush_each(monkeypatch, flush)
    path, settings = tmp_path / "run", STORIES[mode]
    training = Training()
    notes = Notes(training)
    with snapshots(path, monkeypatch, lambda: len(notes.values)) as taken:
        recorder = training.recorder(path, **settings)
        with recorder:
            training.go(7)
            assert 7 == len(recorder.run.steps)
        if again == "resume":
            recorder = training.recorder(path, resume=True, **settings)
        with recorder:
            training.go(2)
    assert len(taken) > 40
    known = 0  # steps that a reader saw before
    for files, made in [*taken[:-1:STRIDE], taken[-1]]:
        put(tmp_path / "killed", files)
        run = opened(tmp_path / "killed")
        if isinstance(run, RunError):
            assert not made, run
            continue
        assert list(range(len(run.steps))) == list(run.steps)
        assert known <= len(run.steps) <= made
        assert made - len(run.steps) <= flush + 1
        known = len(run.steps)
        assert [] == wrong(run, notes.values)
        assert [] == consistent(run, sampled(settings))
        assert all("cut off" in note for note in run.notes), run.notes
    assert run.complete  # type: ignore[union-attr]
    assert 9 == known


# -- (b) damage ------------------------------------------------------------------------------------------------------

DAMAGED: dict[str, Settings] = {
    "small blocks": {"keyframe_every": 5},
    "gradients too, sampled": {"keep": ("update", "grad"), "every": 3, "keyframe_every": 2},
    "ring": {"keyframe_every": 2, "budget": 20 * ROW, "on_full": "ring"},
    "counts alone": {"keep": ()},
}


@pytest.fixture(scope="module", params=[*some(DAMAGED), "small blocks, killed"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Notes, Settings]:
    """A run, complete or killed, and what was true while it was made."""
    mode = request.param.removesuffix(", killed")
    killed = mode != request.param
    path = tmp_path_factory.mktemp("finished") / "run"
    training = Training()
    notes = Notes(training)
    with training.recorder(path, **DAMAGED[mode]) as recorder:
        training.go(23)
        if killed:
            assert isinstance(recorder._store, DiskStore)
            recorder._store.flush()
            recorder._save_counts()
            shutil.copytree(path, path.with_name("killed"))
    return path.with_name("killed") if killed else path, notes, DAMAGED[mode]


def read_all(run: mg.Run) -> None:
    """Ask a run for everything that it has."""
    assert run.report()
    assert len(run.steps) == len(run.lr) == len(run.loss) == len(run.clip_factor)
    for step in run.steps[:3]:
        run.indices(step)
    for name in run:
        history = run[name]
        assert history.size == sum(history.why.counts.values())
        np.asarray(history.updates)
        np.asarray(history.grads)
        assert len(history.ratio) == len(history.updates)
        history.why.at(*(0 for _ in history.shape))


def judge(path: Path, file: str, notes: Notes) -> str:
    """Look at a run with one damaged file, and say what became of it: "refused", "found" or "harmless".

    Whatever it is, no error but our own comes, and no wrong value after `verify` said that all is well.
    """
    try:
        run = mg.Run.open(path)
    except RunError as error:
        assert str(path) in str(error)
        # What the tables say of other files may be what is damaged.
        tables = ("run.json", "blocks.npy", "steps.npy")
        assert file in str(error) or file in tables, f"the error for {file} names something else: {error}"
        return "refused"
    try:
        checked = run.verify()
        fine = checked.mismatch is None and not checked.damaged
    except RunError as error:
        assert file in str(error)
        fine = False
    told = [*run.notes, *(gap.why for gap in run.gaps)]
    bad: list[int] = []
    for step in run.exact_steps.tolist():
        try:
            if step not in notes.values or bits(flat_value(run, step)) != bits(notes.values[step]):
                bad.append(step)
        except RunError as error:
            assert file in str(error)
            fine = False
    assert not (fine and bad), f"verify() finds nothing, and the values after steps {bad} are wrong"
    try:
        read_all(run)
    except MinigradError as error:
        assert file in str(error), error
        return "found"
    if any(file in note for note in told):
        assert not bad, "what is still there is right"
        return "found"
    return "harmless" if fine else "found"


def places(content: bytes) -> list[int]:
    """Offsets in all parts of a file: of an array the magic, the header, and the data."""
    size = len(content)
    rng = np.random.default_rng(size)
    some = {0, 1, 6, 7, 8, 9, 10, 60, 127, 128, size // 2, size - 1}
    return sorted(place for place in {*some, *rng.integers(0, size, 12).tolist()} if 0 <= place < size)


def some_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """Of each folder the first file, one in the middle and the last; and all that lie in none."""
    folders: dict[str, list[str]] = {}
    for name in sorted(files):
        folders.setdefault(name.rpartition("/")[0] or name, []).append(name)
    return {name: files[name] for names in folders.values() for name in {names[0], names[len(names) // 2], names[-1]}}


def test_truncated_files(finished: tuple[Path, Notes, Settings], tmp_path: Path) -> None:
    """A file cut off anywhere, or missing: one error that names it, or a note and a gap; all else stays readable."""
    path, notes, settings = finished
    files = contents(path)
    found: dict[str, set[str]] = {}
    put(tmp_path / "run", files)
    for name, content in some_of(files).items():
        for size in [*places(content)[:: 2 * STRIDE], len(content) - 1, None]:
            (tmp_path / "run" / name).unlink()
            if size is not None:
                (tmp_path / "run" / name).write_bytes(content[:size])
            found.setdefault(name, set()).add(judge(tmp_path / "run", name, notes))
            if name.startswith(("updates/", "grads/", "values/")):
                run = mg.Run.open(tmp_path / "run")
                whole = mg.Run.open(path)
                lost = set(whole["0.weight"].updates.steps.tolist()) - set(run["0.weight"].updates.steps.tolist())
                assert bool(lost) == any(name in note for note in run.notes), name
                assert lost <= in_gaps(run)
                assert [] == wrong(run, notes.values)
            (tmp_path / "run" / name).write_bytes(content)
    for name, what in found.items():
        empty = int(name[-10:-4]) not in np.load(path / "steps.npy")["segment"] if "updates" in name else "/" in name
        assert "harmless" not in what or empty or name == "aggregates.npz", name
    if not sampled(settings):
        assert any(name.startswith("updates/") for name in found)


def test_flipped_bits(finished: tuple[Path, Notes, Settings], tmp_path: Path) -> None:
    """A single bit that differs, anywhere in any file, never gives a wrong value that verify calls right."""
    path, notes, _ = finished
    files = contents(path)
    put(tmp_path / "run", files)
    for name, content in some_of(files).items():
        for place in places(content)[::STRIDE]:
            bit = (place * 7 + len(name)) % 8
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            (tmp_path / "run" / name).write_bytes(damaged)
            try:
                judge(tmp_path / "run", name, notes)
            except Exception as error:
                raise AssertionError(f"bit {bit} of byte {place} of {name}: {type(error).__name__}: {error}") from error
        (tmp_path / "run" / name).write_bytes(content)


@pytest.mark.parametrize("file", ["blocks.npy", "run.json", "steps.npy"])
def test_every_flipped_bit_of_the_tables(file: str, finished: tuple[Path, Notes, Settings], tmp_path: Path) -> None:
    """Not one bit of what says where things lie can flip so that wrong values are called right."""
    path, notes, _ = finished
    files = contents(path)
    put(tmp_path / "run", files)
    content = files[file]
    rng = np.random.default_rng(0)
    for place in range(0, len(content), 1 + len(content) * STRIDE // 200):
        bit = int(rng.integers(8))
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        (tmp_path / "run" / file).write_bytes(damaged)
        try:
            judge(tmp_path / "run", file, notes)
        except Exception as error:
            raise AssertionError(f"bit {bit} of byte {place} of {file}: {type(error).__name__}: {error}") from error


@pytest.mark.parametrize("folder", ["updates", "grads", "values"])
def test_a_flipped_bit_in_a_row_is_named(folder: str, tmp_path: Path) -> None:
    """One bit in any stored row, of whatever kind, is found by verify, which names the step."""
    training = Training()
    with training.recorder(tmp_path / "run", keep=("update", "grad"), every=2, keyframe_every=3):
        training.go(15)
    steps = np.load(tmp_path / "run" / "steps.npy")
    for step in steps[steps["segment"] >= 0]:
        file = tmp_path / "run" / folder / f"{step['segment']:06d}.npy"
        content = file.read_bytes()
        rows = len(np.load(file))
        for entry in (0, SIZE // 2, SIZE - 1):
            place = len(content) - (rows - int(step["row"])) * ROW + entry * 4
            damaged = bytearray(content)
            damaged[place + entry % 4] ^= 1 << (entry % 8)
            file.write_bytes(damaged)
            run = mg.Run.open(tmp_path / "run")
            checked = run.verify()
            assert (int(step["step"]),) == checked.damaged
            assert not checked
            assert f"are damaged: {step['step']}" in str(checked)
        file.write_bytes(content)


@pytest.mark.parametrize("mode", ["small blocks", "ring"])
def test_a_flipped_bit_in_a_keyframe_is_found(mode: str, tmp_path: Path) -> None:
    """One bit in any keyframe is found by verify, also where no replay leads to it; the file is named."""
    training = Training()
    with training.recorder(tmp_path / "run", **DAMAGED[mode]):
        training.go(60)
    for file in sorted((tmp_path / "run" / "keyframes").iterdir()):
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[-6] ^= 1
        file.write_bytes(damaged)
        run = mg.Run.open(tmp_path / "run")
        checked = run.verify()
        assert checked.mismatch is not None or checked.damaged or any(file.name in note for note in run.notes), (
            file.name
        )
        file.write_bytes(content)


def test_a_damaged_block_costs_itself_alone(tmp_path: Path) -> None:
    """Where a block's rows are cut off, its steps are a gap that names the file; the others are exact, and go on."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", keyframe_every=5):
        training.go(20)
    file = tmp_path / "run" / "updates" / "000001.npy"
    file.write_bytes(file.read_bytes()[:-1])
    run = mg.Run.open(tmp_path / "run")
    assert {5, 6, 7, 8, 9} == in_gaps(run)
    assert set(range(20)) - in_gaps(run) | {4, 9} == set(run.exact_steps.tolist()) | {4, 9}
    assert "updates/000001.npy" in run.notes[0]
    assert "updates/000001.npy" in run.gaps[0].why
    assert [] == wrong(run, notes.values)
    with training.recorder(tmp_path / "run", resume=True, keyframe_every=5):
        training.go(5)
    run = mg.Run.open(tmp_path / "run")
    assert {5, 6, 7, 8, 9} == in_gaps(run)
    assert 25 == len(run.steps)
    assert [] == wrong(run, notes.values)


def test_damaged_counts_cost_the_reasons_alone(tmp_path: Path) -> None:
    """Without its counts a run has its values, and UNKNOWN for every entry; a bit in a name inside is damage too."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", coactivation=True):
        training.go(8)
    file = tmp_path / "run" / "aggregates.npz"
    content = file.read_bytes()
    names = [b"grads.npy", b"inputs/0", b"together/0", b"units/1", b"about.npy", b"values.npy"]
    for damaged in [
        content[:-1],
        content[: len(content) // 2],
        b"",
        *(content[: (at := content.rindex(name)) + 1] + b"?" + content[at + 2 :] for name in names),
    ]:
        file.write_bytes(damaged)
        run = mg.Run.open(tmp_path / "run")
        assert any("aggregates.npz" in note for note in run.notes), run.notes
        assert {mg.Reason.UNKNOWN: 20} == run["0.weight"].why.counts
        assert [] == wrong(run, notes.values)
        assert run.report()


@pytest.mark.parametrize("file", ["indices.npy", "buffers/000000.npy", "buffers/000001.npy"])
def test_what_does_not_concern_the_values(file: str, tmp_path: Path) -> None:
    """A damaged file of indices or buffers is told of, and the values stay readable."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run"):
        training.go(8)
    path = tmp_path / "run" / file
    path.write_bytes(path.read_bytes()[:-1])
    run = mg.Run.open(tmp_path / "run")
    assert any(file in note for note in run.notes)
    assert 8 == len(run.exact_steps)
    assert [] == wrong(run, notes.values)


# -- (c) what the system refuses -------------------------------------------------------------------------------------


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

        def full_open(file: Path, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any) -> Any:
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


@pytest.mark.parametrize(
    "settings",
    [{"keyframe_every": 3}, {"keyframe_every": 3, "budget": 12 * ROW}, {"every": 2, "keep": ("update", "grad")}, {"keep": ()}],
    ids=str,
)  # fmt: skip
def test_a_disk_that_is_full_from_the_nth_write_on(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever write is refused: one error says so, training has the bits of training without, what is there opens."""
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
def test_going_on_after_the_disk_was_full(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is room again, a new session goes on; the recorder that failed does not write nonsense."""
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


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is the system's own")
def test_a_limit_of_the_system(tmp_path: Path) -> None:
    """A file that may not grow further, by the system's own limit, is one error; training goes on, the run opens."""
    paths = os.pathsep.join([str(Path(mg.__file__).parent.parent), str(HERE)])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, str(tmp_path / "run"), str(20 * ROW)],
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
    assert resource.getrlimit(resource.RLIMIT_FSIZE) is not None


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    """A path below a file, and one on which there is a file: one error before training begins; what is there stays."""
    (tmp_path / "file").write_text("mine")
    training = Training()
    with pytest.raises(RunError, match="file"):
        training.recorder(tmp_path / "file" / "run").start()
    with pytest.raises(RunError, match="exists already"):
        training.recorder(tmp_path / "file")
    (tmp_path / "nowhere").symlink_to(tmp_path / "not" / "there")
    with pytest.raises(RunError, match="exists already"):
        training.recorder(tmp_path / "nowhere")
    training.go(2)
    assert "mine" == (tmp_path / "file").read_text()
    assert ["file", "nowhere"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    """A parent that may not be written is one error, and training goes on."""
    tmp_path.chmod(0o500)
    training = Training()
    try:
        with pytest.raises(RunError, match="cannot be written"):
            training.recorder(tmp_path / "run").start()
    finally:
        tmp_path.chmod(0o700)
    training.go(2)


def test_a_directory_that_holds_something(tmp_path: Path) -> None:
    """A directory with files, a run among them, is refused and left as it is, to the byte."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(3)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    for path in ("run", "mine"):
        before = contents(tmp_path / path)
        with pytest.raises(RunError, match=r"exists already.*resume=True"):
            training.recorder(tmp_path / path)
        assert before == contents(tmp_path / path)
    with pytest.raises(RunError, match=r"run\.json"):
        training.recorder(tmp_path / "mine", resume=True)
    assert {"letter.txt": b"dear"} == contents(tmp_path / "mine")


def test_two_recorders_of_one_path(tmp_path: Path) -> None:
    """Of two recorders made for one path, the second that starts is refused, and the first one's run is whole."""
    first, second = Training(), Training()
    notes = Notes(first)
    one, two = first.recorder(tmp_path / "run"), second.recorder(tmp_path / "run")
    with one:
        first.go(3)
        with pytest.raises(RunError):
            two.start()
        first.go(3)
    run = mg.Run.open(tmp_path / "run")
    assert 6 == len(run.exact_steps)
    assert run.complete
    assert [] == wrong(run, notes.values)


def test_a_budget_too_small(tmp_path: Path) -> None:
    """A budget that does not hold one step is refused before anything is made."""
    with pytest.raises(BudgetError, match="too small"):
        Training().recorder(tmp_path / "run", budget=ROW)
    assert [] == list(tmp_path.iterdir())


def test_the_budget_holds_on_disk(tmp_path: Path) -> None:
    """With every way of staying within it, files of tensors take no more than the budget, and a little for headers."""
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
        assert sum(file.stat().st_size - 128 for file in files) <= 41 * ROW  # and the values at the end


# -- what is no run --------------------------------------------------------------------------------------------------


class Bomb:
    """Something that runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle was executed')",)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"version": 2}, "version 2"),
        ({"version": "1"}, "version 1"),
        ({"version": None}, "version None"),
        ({"format": "somebody's run"}, "does not describe"),
        ({"parameters": 3}, "damaged"),
        ({"parameters": [{}]}, "damaged"),
        ({"dtype": "object"}, "damaged"),
        ({"dtype": "no such thing"}, "damaged"),
        ({"gaps": [[1]]}, "damaged"),
        ({"gaps": None}, "damaged"),
        ({"notes": 5}, "damaged"),
        ({"kinds": ["moments"]}, "damaged"),
        ({"buffers": [{"name": "x"}]}, "damaged"),
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\xff\xfe{}", "damaged"),
        (b"[]", "does not describe"),
        (b"[" * 100_000, "damaged"),
        (b"3", "does not describe"),
        (b'"minigrad run"', "does not describe"),
        (pickle.dumps(Bomb()), "damaged"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_run_json_may_say(content: Any, says: str, tmp_path: Path) -> None:
    """A run of the future, of another program or broken is one error that says which file, and what is wrong with it."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(3)
    file = tmp_path / "run" / "run.json"
    if isinstance(content, dict):
        content = json.dumps({**json.loads(file.read_text()), **content}).encode()
    file.write_bytes(content)
    before = contents(tmp_path / "run")
    for look in (lambda: mg.Run.open(tmp_path / "run"), lambda: training.recorder(tmp_path / "run", resume=True)):
        with pytest.raises(RunError, match=says) as error:
            look()
        assert str(tmp_path / "run") in str(error.value)
    assert before == contents(tmp_path / "run")


@pytest.mark.parametrize(
    "missing", ["format", "version", "parameters", "dtype", "kinds", "buffers", "gaps", "notes", "full", "complete"]
)
def test_run_json_without_a_key(missing: str, tmp_path: Path) -> None:
    """Each key that is needed and not there is one error."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(3)
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text())
    del told[missing]
    file.write_text(json.dumps(told))
    with pytest.raises(RunError, match=r"run\.json|version"):
        mg.Run.open(tmp_path / "run")


@pytest.mark.parametrize("what", ["nothing", "empty", "file", "arrays"])
def test_what_is_no_run(what: str, tmp_path: Path) -> None:
    """No directory, an empty one, a file, some arrays: an error that names the path and says what to give instead."""
    path = tmp_path / "x"
    if what == "file":
        path.write_bytes(b"text")
    elif what != "nothing":
        path.mkdir()
    if what == "arrays":
        np.save(path / "steps.npy", np.arange(3))
    with pytest.raises(RunError, match="no recorded run") as error:
        mg.Run.open(path)
    assert str(path) in str(error.value)


FILES = ["steps.npy", "blocks.npy", "indices.npy", "updates/000000.npy", "keyframes/000000.npy", "buffers/000000.npy", "aggregates.npz"]  # fmt: skip


@pytest.mark.parametrize("kind", ["pickle", "objects", "scalar", "text", "other shape", "fortran", "version 2"])
@pytest.mark.parametrize("file", FILES)
def test_a_foreign_file(file: str, kind: str, tmp_path: Path) -> None:
    """Something else in the place of a file, a pickle too, is refused by name, or a note; it is never executed."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", keyframe_every=3):
        training.go(6)
    path = tmp_path / "run" / file
    path.unlink()
    out = io.BytesIO()
    if kind == "pickle":
        out.write(pickle.dumps(Bomb()))
    elif kind == "objects":
        np.save(out, np.array([Bomb()], dtype=object), allow_pickle=True)
    elif kind == "scalar":
        np.save(out, np.float32(3))
    elif kind == "text":
        out.write("überall Text".encode() * 50)
    elif kind == "other shape":
        np.save(out, np.zeros((6, SIZE + 1), np.float32))
    elif kind == "fortran":
        np.save(out, np.asfortranarray(np.zeros((6, SIZE), np.float32)))
    else:
        np.lib.format.write_array(out, np.zeros((6, SIZE), np.float32), version=(2, 0))
    path.write_bytes(out.getvalue())
    assert judge(tmp_path / "run", file, notes) in ("refused", "found")


# -- (d) reading while it is written ---------------------------------------------------------------------------------


def test_reading_between_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader in the same process that opens after every step sees a prefix that never becomes shorter."""
    for number, (mode, settings) in enumerate(STORIES.items()):
        flush_each(monkeypatch, 1 + number % 3)
        training = Training()
        notes = Notes(training)
        seen = 0
        with training.recorder(tmp_path / mode, **settings):
            for step in range(1, 31):
                training.go(1)
                run = mg.Run.open(tmp_path / mode)
                assert list(range(len(run.steps))) == list(run.steps)
                assert max(seen, step - 4) <= len(run.steps) <= step
                seen = len(run.steps)
                assert [] == wrong(run, notes.values)
                assert [] == consistent(run, sampled(settings)), mode
        assert 30 == len(mg.Run.open(tmp_path / mode).steps)


@pytest.mark.parametrize("mode", some(STORIES))
def test_steps_in_the_middle_of_reading(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens while a reader looks from one file to the next, it sees a true prefix, and no damage."""
    flush_each(monkeypatch)
    settings = STORIES[mode]
    training = Training()
    notes = Notes(training)
    state = {"looks": 0, "at": -1, "reading": False}

    def look() -> None:
        if state["reading"]:
            state["looks"] += 1
            if state["looks"] == state["at"]:
                state["reading"] = False
                training.go(9)
                recorder.run  # noqa: B018 - writes the counts
                state["reading"] = True

    def first(function: Any) -> Any:
        def call(*arguments: Any, **more: Any) -> Any:
            look()
            return function(*arguments, **more)

        return call

    with training.recorder(tmp_path / "run", **settings) as recorder, monkeypatch.context() as patch:
        for name in ("open", "read_text", "read_bytes", "stat", "is_file", "rglob", "iterdir", "glob"):
            patch.setattr(Path, name, first(getattr(Path, name)))
        patch.setattr(np, "load", first(np.load))
        patch.setattr(np, "memmap", first(np.memmap))
        training.go(10)
        for at in (1, 2, 3, 4, 5, 6, 7, 9, 13, 21, 34):
            state.update(looks=0, at=at, reading=True)
            before = len(notes.values)
            try:
                run = mg.Run.open(tmp_path / "run")
            finally:
                state["reading"] = False
            assert before <= len(run.steps) <= len(notes.values)
            assert not any("damaged" in note for note in run.notes), run.notes
            # Blocks that were given up since then can no longer be read, and say so; all else must be true.
            try:
                assert [] == consistent(run, sampled(settings)), at
                assert [] == wrong(run, notes.values)
            except RunError as error:
                assert "open it again" in str(error)
            if state["looks"] < at:
                break
        assert at > 5


@needs_fork
def test_reading_from_another_process(tmp_path: Path) -> None:
    """A reader in another process, as often as it can, sees prefixes that never become shorter, all true."""
    count = len(KILLED)
    opens = 0
    with children(tmp_path, count, 80) as process:
        for number in range(count):
            place, settings = tmp_path / str(number), KILLED[number]
            seen = 0
            while True:
                over = process.poll() is not None or (tmp_path / str(number + 1)).exists()
                run = opened(place / "run")
                if isinstance(run, RunError):
                    assert seen == 0, f"{settings}: {run}"
                    assert not over
                    continue
                opens += 1
                crcs = np.fromfile(place / "values", "<u4").tolist() if (place / "values").exists() else []
                assert list(range(len(run.steps))) == list(run.steps)
                assert len(run.steps) >= seen, settings
                assert not run.complete
                seen = len(run.steps)
                try:
                    assert [] == consistent(run, sampled(settings)), settings
                    for step in run.exact_steps.tolist()[-20:]:
                        assert crcs[step] == zlib.crc32(flat_value(run, step).tobytes()), (settings, step)
                except RunError as error:
                    assert "open it again" in str(error), settings
                    assert not over
                if over:
                    break
    assert opens > count


def test_a_reader_in_another_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader in another thread of the writer's process disturbs nothing, and is not disturbed."""
    flush_each(monkeypatch)
    training = Training()
    notes = Notes(training)
    problems: list[object] = []
    done = threading.Event()
    with training.recorder(tmp_path / "run", keyframe_every=3):
        training.go(1)

        def read() -> None:
            seen = 0
            while True:
                over = done.is_set()
                run = opened(tmp_path / "run")
                if isinstance(run, RunError) or len(run.steps) < seen or wrong(run, notes.values) or consistent(run):
                    problems.append(run)
                    return
                seen = len(run.steps)
                if over:
                    return

        reader = threading.Thread(target=read)
        reader.start()
        training.go(150)
        done.set()
        reader.join()
    assert [] == problems


# -- (e) writes of others --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings", [{"keyframe_every": 4}, {"aggregates": False}, {"every": 3}, {"keep": ()}], ids=str
)
def test_a_write_of_somebody_else(settings: Settings, tmp_path: Path) -> None:
    """A write between two steps is a warning that names parameter and step; the run on disk stays true."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", **settings):
        training.go(6)
        dense(training.model, 3).weight.value[1, 2] += 1
        written = training.flat.copy()
        with pytest.warns(OutOfBandWrite, match=r"before step 6 .*3\.weight"):
            training.go(1)
        training.go(6)
    run = mg.Run.open(tmp_path / "run")
    assert 1 == len(run.notes)
    assert "before step 6" in run.notes[0]
    assert "3.weight" in run.notes[0]
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run, sampled(settings))
    if not sampled(settings):
        assert list(range(13)) == run.exact_steps.tolist()
        assert run.verify()
        effective = np.concatenate([run[name].effective(6).ravel() for name in run])
        assert bits(notes.values[6] - written) == bits(effective)


def test_a_write_that_nobody_noticed_is_found_later(tmp_path: Path) -> None:
    """Values that another program put into a keyframe are found by verify, or when it is opened."""
    training = Training()
    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(12)
    file = tmp_path / "run" / "keyframes" / "000001.npy"
    values = np.load(file)
    values[0, 3] += 1
    np.save(file, values)
    run = mg.Run.open(tmp_path / "run")
    told = run.verify().mismatch
    assert (3, "0.weight", (0, 3)) == told or "keyframes/000001.npy" in run.notes[0]


@needs_fork
def test_the_busy_child_is_gone(tmp_path: Path) -> None:
    """The program that kills leaves no process behind."""
    with children(tmp_path, 1, 2) as process:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)
