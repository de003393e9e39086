"""Rows that a thread writes: whatever the disk does meanwhile, each file holds what was added."""

from __future__ import annotations

import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import minigrad as mg
from minigrad.recording import row_writer as module
from minigrad.recording.column import FileColumn
from minigrad.recording.row_writer import RowWriter

SIZE = 1000
KINDS = ("update", "grad")


def rows_of(step: int) -> dict[str, npt.NDArray[Any]]:
    return {kind: np.full(SIZE, 10 * step + place, np.float32) for place, kind in enumerate(KINDS)}


SALT, BLOCK = 12345, 3


def sums_of(steps: range) -> dict[tuple[int, int], int]:
    """The checksums of steps, by block and row."""
    data = {step: b"".join(row.tobytes() for row in rows_of(step).values()) for step in steps}
    return {(BLOCK, step): zlib.crc32(data[step], SALT) for step in steps}


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    return {kind: tmp_path / f"{kind}.npy" for kind in KINDS}


def test_what_was_added_stays_as_it_was_while_the_disk_is_slow(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller uses its rows again at once, and adds more chunks, before the first one is
    written.
    """
    go = threading.Event()
    write = FileColumn.write

    def slow(file: FileColumn, start: int, array: npt.NDArray[Any]) -> None:
        assert go.wait(60)
        write(file, start, array)

    monkeypatch.setattr(FileColumn, "write", slow)
    monkeypatch.setattr(module, "_CHUNK_BYTES", 3 * 2 * SIZE * 4)
    writer = RowWriter(KINDS, SIZE, np.dtype(np.float32), SALT)
    writer.begin(BLOCK, paths)
    for step in range(8):  # two chunks of three, which wait, and two rows more
        rows = rows_of(step)
        writer.add(step, rows)
        for row in rows.values():
            row.fill(-1)
    go.set()
    writer.publish()
    assert sums_of(range(8)) == writer.sums
    writer.forget()
    for step in range(8, 40):
        writer.add(step, rows_of(step))
    writer.publish()
    assert sums_of(range(8, 40)) == writer.sums
    writer.close()
    for kind, path in paths.items():
        assert [rows_of(step)[kind].tolist() for step in range(40)] == np.load(path).tolist()


def test_what_the_disk_refuses_is_raised_and_what_was_published_stays(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error in the thread reaches the caller at the latest when it publishes.

    The file holds the rows before.
    """
    writer = RowWriter(KINDS, SIZE, np.dtype(np.float32), SALT)
    writer.begin(BLOCK, paths)
    for step in range(5):
        writer.add(step, rows_of(step))
    writer.publish()
    assert sums_of(range(5)) == writer.sums

    def full(file: FileColumn, start: int, array: npt.NDArray[Any]) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileColumn, "write", full)
    writer.add(5, rows_of(5))
    with pytest.raises(OSError, match="No space left"):
        writer.publish()
    writer.close()
    for kind, path in paths.items():
        assert [rows_of(step)[kind].tolist() for step in range(5)] == np.load(path).tolist()


def test_a_file_that_is_there_already_is_left_alone(paths: dict[str, Path]) -> None:
    """A block begins with new files."""
    paths["grad"].write_text("mine")
    writer = RowWriter(KINDS, SIZE, np.dtype(np.float32), SALT)
    with pytest.raises(FileExistsError):
        writer.begin(BLOCK, paths)
    writer.close()
    assert paths["grad"].read_text() == "mine"


def test_a_recorder_may_be_stopped_when_python_ends(tmp_path: Path) -> None:
    """Then threads begin nothing more, and the rows are written all the same."""
    program = """if True:
        import atexit, sys
        import numpy as np
        import minigrad as mg
        model = mg.Sequential(mg.Dense(3, 2, rng=0))
        optimizer = mg.SGD(model, lr=0.1)
        recorder = mg.Recorder(optimizer, path=sys.argv[1])
        recorder.start()
        atexit.register(recorder.stop)
        for _ in range(5):
            model.backward(model(np.ones((4, 3))))
            optimizer.step()
    """
    command = [sys.executable, "-W", "error", "-c", program, str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert (0, b"") == (ended.returncode, ended.stderr)
    run = mg.Run.open(tmp_path / "run")
    assert run.complete
    assert [0, 1, 2, 3, 4] == run.exact_steps.tolist()
    assert run.verify()
