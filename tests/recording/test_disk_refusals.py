"""Paths that cannot be recorded into, and what is no run: one error each, and nothing that was
there is touched.
"""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accident_support import Bomb
from case_support import sparse
from disk_support import Notes, Training, contents, wrong

import minigrad as mg
from minigrad.errors import RunError
from minigrad.runs.run_json import checksum_of_json

# -- paths ----------------------------------------------------------------------------------------


def test_paths_that_cannot_be_written(tmp_path: Path) -> None:
    """A path below a file, and one on which there is a file: one error before training begins.

    What is there stays.
    """
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


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
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
    """Of two recorders made for one path, the second that starts is refused, and the first one's
    run is whole.
    """
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


# -- what is no run ------------------------------------------------------------------------------


@sparse(
    pytest.mark.parametrize(
        ("content", "says"),
        [
            ({"version": 3}, "version 3"),
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
    ),
    every=6,
)
def test_what_run_json_may_say(content: Any, says: str, tmp_path: Path) -> None:
    """A run of the future, of another program or broken is one error that says which file, and what
    is wrong with it.
    """
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(3)
    file = tmp_path / "run" / "run.json"
    if isinstance(content, dict):
        content = json.dumps({**json.loads(file.read_text()), **content}).encode()
    file.write_bytes(content)
    before = contents(tmp_path / "run")
    for look in (
        lambda: mg.Run.open(tmp_path / "run"),
        lambda: training.recorder(tmp_path / "run", resume=True),
    ):
        with pytest.raises(RunError, match=says) as error:
            look()
        assert str(tmp_path / "run") in str(error.value)
    assert before == contents(tmp_path / "run")


@sparse(
    pytest.mark.parametrize(
        "missing",
        [
            "format",
            "version",
            "parameters",
            "dtype",
            "kinds",
            "buffers",
            "gaps",
            "notes",
            "full",
            "complete",
        ],
    ),
    every=3,
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


def test_a_dtype_that_is_not_ours(tmp_path: Path) -> None:
    """A run of another dtype that a program wrote, checksum and all: the file is named, what it
    says, and what it may.
    """
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(3)
    file = tmp_path / "run" / "run.json"
    told = {**json.loads(file.read_text()), "dtype": "float16"}
    file.write_text(json.dumps({**told, "crc32": checksum_of_json(told)}))
    with pytest.raises(
        RunError, match=r"run\.json' gives the dtype float16, expected float32 or float64"
    ) as error:
        mg.Run.open(tmp_path / "run")
    assert str(file) in str(error.value)


@pytest.mark.parametrize("what", ["nothing", "empty", "file", "arrays"])
def test_what_is_no_run(what: str, tmp_path: Path) -> None:
    """No directory, an empty one, a file, some arrays: an error that names the path and says what
    to give instead.
    """
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
