"""A writer that is killed: whatever the moment, what lies there is a true run, which can go on."""

from __future__ import annotations

import io
import os
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accident_support import STORIES, STRIDE, children, flush_each, needs_fork, sampled
from case_support import slow
from disk_children import MODES as KILLED
from disk_support import (
    EVERYTHING,
    Notes,
    Training,
    consistent,
    contents,
    flat_value,
    opened,
    put,
    some,
    wrong,
)

import minigrad as mg
from minigrad.errors import RunError


@pytest.mark.slow
@needs_fork
def test_a_killed_run_is_whole_up_to_its_last_flush(tmp_path: Path) -> None:
    """A writer killed at any moment, 110 times, leaves a run that opens, verifies, holds what was
    live, and goes on.
    """
    times = 110 if EVERYTHING else 33
    with children(tmp_path, times):
        pass
    lengths = []
    for number in range(times):
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
        assert [] == [s for s in exact if zlib.crc32(flat_value(run, s).tobytes()) != crcs[s]], (
            number,
            settings,
        )
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
            step
            for step in later.exact_steps.tolist()[:-3]
            if step < len(steps) and zlib.crc32(flat_value(later, step).tobytes()) != crcs[step]
        ]
        assert later.verify().mismatch is None
        assert not later.verify().damaged
        shutil.rmtree(place)
    assert len(lengths) >= 0.7 * times
    assert max(lengths) > 20


class _Snapping(io.FileIO):
    """A file that lets somebody look before and in the middle of each write."""

    look: Callable[[], None]

    def write(self, data: Any, /) -> int:
        self.look()
        data = bytes(data)
        if len(data) > 512 or not data.startswith(
            b"\x93NUMPY"
        ):  # a header lies in one page, which is written at once
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
def snapshots(
    path: Path, monkeypatch: pytest.MonkeyPatch, note: Callable[[], Any]
) -> Iterator[list[Any]]:
    """What a kill would leave of a directory, between and in the middle of all that the writer asks
    the system for.

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

        def watched(
            self: Path, mode: str = "r", buffering: int = -1, *rest: Any, **more: Any
        ) -> Any:
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


@pytest.mark.parametrize(
    ("flush", "again"), [(1, "resume"), (3, "start")][: 2 if STRIDE == 1 else 1]
)
@pytest.mark.parametrize(
    "mode", [mode if mode == "counts alone" else slow(mode) for mode in some(STORIES)]
)
def test_a_kill_between_any_two_writes(
    mode: str, flush: int, again: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After whatever the writer had asked the system for, and in the middle of it, what lies there
    is a true run.
    """
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


@pytest.mark.slow
@needs_fork
def test_the_busy_child_is_gone(tmp_path: Path) -> None:
    """The program that kills leaves no process behind."""
    with children(tmp_path, 1, 2) as process:
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, signal.SIGCONT)
