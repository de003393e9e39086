"""Readers of a run that is being written: they see a true prefix, and it never becomes shorter."""

# ruff: noqa: PT017 - an error may come, or not; if it comes, it must be the right one

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accident_support import STORIES, children, flush_each, needs_fork, sampled
from case_support import sparse
from disk_children import MODES as KILLED
from disk_support import EVERYTHING, Notes, Training, consistent, flat_value, opened, some, wrong

import minigrad as mg
from minigrad.errors import RunError


@sparse(
    pytest.mark.parametrize("mode", some(STORIES)),
    pytest.mark.parametrize("flush", [1, 2, 3]),
    every=3,
)
def test_reading_between_steps(
    mode: str, flush: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader in the same process that opens after every step sees a prefix that never becomes
    shorter.
    """
    settings = STORIES[mode]
    flush_each(monkeypatch, flush)
    training = Training()
    notes = Notes(training)
    seen = 0
    with training.recorder(tmp_path / "run", **settings):
        for step in range(1, 31):
            training.go(1)
            run = mg.Run.open(tmp_path / "run")
            assert list(range(len(run.steps))) == list(run.steps)
            assert max(seen, step - 4) <= len(run.steps) <= step
            seen = len(run.steps)
            assert [] == wrong(run, notes.values)
            assert [] == consistent(run, sampled(settings))
    assert 30 == len(mg.Run.open(tmp_path / "run").steps)


@pytest.mark.slow
@sparse(pytest.mark.parametrize("mode", some(STORIES)), every=3)
def test_steps_in_the_middle_of_reading(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens while a reader looks from one file to the next, it sees a true prefix, and
    no damage.
    """
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

    with (
        training.recorder(tmp_path / "run", **settings) as recorder,
        monkeypatch.context() as patch,
    ):
        for name in (
            "open",
            "read_text",
            "read_bytes",
            "stat",
            "is_file",
            "rglob",
            "iterdir",
            "glob",
        ):
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
            # Blocks that were given up since then can no longer be read, and say so; all else must
            # be true.
            try:
                assert [] == consistent(run, sampled(settings)), at
                assert [] == wrong(run, notes.values)
            except RunError as error:
                assert "open it again" in str(error)
            if state["looks"] < at:
                break
        assert at > 5


def test_a_block_that_is_given_up_just_now(tmp_path: Path) -> None:
    """A block that the writer has given up since the run was opened: the error says to open the run
    again.
    """
    training = Training()
    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(12)
    run = mg.Run.open(tmp_path / "run")
    (tmp_path / "run" / "updates" / "000001.npy").unlink()
    with pytest.raises(
        RunError,
        match=r"updates.000001\.npy' is missing; if the run is still being written, open it again",
    ):
        run["0.weight"].value(5)


@pytest.mark.slow
@needs_fork
def test_reading_from_another_process(tmp_path: Path) -> None:
    """A reader in another process, as often as it can, sees prefixes that never become shorter, all
    true.
    """
    count = len(KILLED)
    opens = 0
    with children(tmp_path, count, 80 if EVERYTHING else 40) as process:
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
                crcs = (
                    np.fromfile(place / "values", "<u4").tolist()
                    if (place / "values").exists()
                    else []
                )
                assert list(range(len(run.steps))) == list(run.steps)
                assert len(run.steps) >= seen, settings
                assert not run.complete
                seen = len(run.steps)
                try:
                    assert [] == consistent(run, sampled(settings)), settings
                    for step in run.exact_steps.tolist()[-20:]:
                        assert crcs[step] == zlib.crc32(flat_value(run, step).tobytes()), (
                            settings,
                            step,
                        )
                except RunError as error:
                    assert "open it again" in str(error), settings
                    assert not over
                if over:
                    break
    assert opens > count


@pytest.mark.slow
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
                if (
                    isinstance(run, RunError)
                    or len(run.steps) < seen
                    or wrong(run, notes.values)
                    or consistent(run)
                ):
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
