"""A disk that fails once, at any write or rename: nothing that was there before is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow
from disk_support import EVERYTHING, Notes, Training, wrong

import minigrad as mg
from minigrad.errors import HookError, RunError
from minigrad.recording.column import FileColumn


class BadDisk:
    """Refuses one write or rename, counted from when it is armed.

    Args:
        monkeypatch: What puts it in place.
        number: Which one; 0 for none.
        partly: Whether half of what is to be written is, before the error comes.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int, *, partly: bool) -> None:
        self.number = number
        self.seen = 0
        write: Any = FileColumn._write  # noqa: SLF001 - where rows meet the file
        rename = Path.replace

        def bad_write(column: Any, offset: int, data: memoryview) -> None:
            if self._strikes():
                # What is there already, a header or the last row, is so short that it is written
                # whole or not at all.
                size = os.fstat(column._file.fileno()).st_size  # noqa: SLF001
                if partly and offset >= size:
                    write(column, offset, data[: len(data) // 2])
                column.close()
                raise OSError(errno.EIO, "Input/output error")
            write(column, offset, data)

        def bad_rename(path: Path, target: Any) -> Path:
            if self._strikes():
                raise OSError(errno.EIO, "Input/output error")
            return rename(path, target)

        monkeypatch.setattr(FileColumn, "_write", bad_write)
        monkeypatch.setattr(Path, "replace", bad_rename)

    def _strikes(self) -> bool:
        self.seen += 1
        return self.seen == self.number

    @property
    def has_struck(self) -> bool:
        """Whether there were as many writes."""
        return 0 < self.number <= self.seen


@pytest.mark.parametrize("partly", [False, True])
@pytest.mark.parametrize(
    "settings", [{"keyframe_every": 3}, {"keep": ()}, slow({"every": 3, "keyframe_every": 2})]
)
def test_at_any_write(
    settings: dict[str, Any], partly: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear error, which training survives; all steps that were published stay readable, with
    their batches and buffers; and the run goes on.
    """
    number = 1
    while True:
        path, training = tmp_path / str(number), Training()
        notes = Notes(training)
        flushed = failures = 0
        with monkeypatch.context() as patch:
            disk = BadDisk(patch, number, partly=partly)
            recorder = training.recorder(path, **settings)
            try:
                recorder.start()
                for _ in range(6):
                    try:
                        training.go(2)
                        training.optimizer.flush()
                        flushed = 2 + flushed if not failures else flushed
                    except (HookError, RunError):
                        failures += 1
                recorder.stop()
            except RunError:
                failures += 1
        if not disk.has_struck:
            assert failures == 0
            assert number > 30
            break
        assert failures == 1
        made = training.optimizer.step_count
        assert made in (0, 11, 12)  # the error comes out of a step that is made
        recorded = 0
        if (path / "run.json").exists():
            run = mg.Run.open(path)
            recorded = len(run.steps)
            assert recorded >= flushed
            assert [] == wrong(run, notes.values)
            check_facts(run, notes)
            assert run.verify().mismatch is None
        again = Training()
        with again.recorder(path, resume=recorded > 0 or (path / "run.json").exists(), **settings):
            again.go(2)
        assert recorded + 2 == len(mg.Run.open(path).steps)
        number += 1 if EVERYTHING else 13


def check_facts(run: mg.Run, notes: Notes) -> None:
    """The batches and buffers of all steps are those that they had."""
    model = Training().model
    for step in run.steps:
        given = run.indices(step)
        assert given is not None
        assert np.array_equal(notes.indices[step], given)
    for step in run.exact_steps.tolist():
        run.restore(model, step)
        buffers = [
            getattr(layer, buffer) for _, layer in model.layers() for buffer in layer.buffers
        ]
        assert all(map(np.array_equal, notes.buffers[step], buffers))
