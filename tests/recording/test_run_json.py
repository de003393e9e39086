"""What run.json may say: descriptions that are whole by their checksum, and make no sense."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disk_support import Training

import minigrad as mg
from minigrad.errors import RunError
from minigrad.runs.run_json import checksum_of_json

Change = Callable[[dict[str, Any]], None]


def of(key: str, value: object) -> Change:
    """Have a key say something else."""
    return lambda said: said.update({key: value})


def of_first(what: str, key: str, value: object) -> Change:
    """Have the first of some things say something else."""
    return lambda said: said[what][0].update({key: value})


NONSENSE: dict[str, Change] = {
    "gaps that are a number": of("gaps", 3),
    "a gap without a reason": of("gaps", [[1, 2]]),
    "a gap that ends before it begins": of("gaps", [[5, 2, "why"]]),
    "a gap far away": of("gaps", [[0, 2**70, "why"]]),
    "notes by name": of("notes", {"a": 1}),
    "notes that are numbers": of("notes", [1]),
    "no id": of("id", None),
    "an id that is a number": of("id", 5),
    "kinds twice": of("kinds", ["update", "update"]),
    "other kinds": of("kinds", ["weight"]),
    "kinds in a text": of("kinds", "update"),
    "complete by a number": of("complete", 1),
    "an optimizer that is a list": of("optimizer", []),
    "no parameter": of("parameters", []),
    "parameters that are texts": of("parameters", ["0.weight"]),
    "a name that is a number": of_first("parameters", "name", 3),
    "a name twice": of_first("parameters", "name", "0.bias"),
    "a negative shape": of_first("parameters", "shape", [-5, -4]),
    "a shape of fractions": of_first("parameters", "shape", [2.5, 8]),
    "a huge shape": of_first("parameters", "shape", [10**30, 4]),
    "a shape that overlaps": of_first("parameters", "shape", [50, 4]),
    "an offset elsewhere": of_first("parameters", "offset", 3),
    "an offset that is true": of_first("parameters", "offset", True),
    "a huge buffer": of_first("buffers", "shape", [2**40, 0, 2**40]),
    "a buffer of objects": of_first("buffers", "dtype", "object"),
    "a buffer of nothing": of_first("buffers", "dtype", "float33"),
    "a buffer by number": of_first("buffers", "name", 0),
    "sessions by number": of("sessions", [1]),
    "a session that begins at true": of("sessions", [{"first_step": "0"}]),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on disk."""
    path = tmp_path_factory.mktemp("described") / "run"
    training = Training()
    with training.recorder(path):
        training.go(4)
    return path


@pytest.mark.parametrize("kind", NONSENSE)
def test_a_description_that_makes_no_sense(kind: str, run: Path) -> None:
    """It is refused by name, whatever its checksum says, and no memory is taken for it."""
    file = run / "run.json"
    before = file.read_text("utf-8")
    said = json.loads(before)
    NONSENSE[kind](said)
    said["crc32"] = checksum_of_json(said)
    file.write_text(json.dumps(said), "utf-8")
    try:
        with pytest.raises(RunError, match=r"run\.json' gives .*not as minigrad wrote it"):
            mg.Run.open(run)
    finally:
        file.write_text(before, "utf-8")


@pytest.mark.parametrize("key", ["gaps", "notes", "kinds", "parameters", "dtype", "full"])
def test_a_description_without_something(key: str, run: Path) -> None:
    """A key that is missing is told of, and is no error of Python's own."""
    file = run / "run.json"
    before = file.read_text("utf-8")
    said = json.loads(before)
    del said[key]
    said["crc32"] = checksum_of_json(said)
    file.write_text(json.dumps(said), "utf-8")
    try:
        with pytest.raises(RunError, match=r"run\.json' gives "):
            mg.Run.open(run)
    finally:
        file.write_text(before, "utf-8")


@pytest.mark.parametrize("place", ["nested", "number", "not text", "a zero", "a file", "a loop"])
def test_what_is_no_description(place: str, tmp_path: Path) -> None:
    """Nesting, numbers of thousands of digits, other bytes, strange paths: one error, with the
    path.
    """
    path = tmp_path / "run"
    path.mkdir()
    content = {
        "nested": b'{"a":' * 100_000,
        "number": b'{"format": ' + b"9" * 10_000 + b"}",
        "not text": b"\xff\xfe\x00",
    }
    if place in content:
        (path / "run.json").write_bytes(content[place])
    elif place == "a loop":
        (path / "run.json").symlink_to("run.json")
    elif place == "a file":
        path = path / "file"
        path.write_bytes(b"")
    else:
        path = tmp_path / "a\0b"
    with pytest.raises(RunError, match="run.json" if place in (*content, "a loop") else "a"):
        mg.Run.open(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFO")
@pytest.mark.parametrize(
    "file",
    ["run.json", "steps.npy", "blocks.npy", "keyframes/000000.npy", "updates/000000.npy",
     "indices.npy", "buffers/000000.npy", "aggregates.npz"],
)  # fmt: skip
def test_a_fifo_is_not_waited_for(file: str, tmp_path: Path) -> None:
    """A FIFO in place of a file is refused, or told of in a note, at once."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(3)
    (tmp_path / "run" / file).unlink()
    os.mkfifo(tmp_path / "run" / file)
    try:
        run = mg.Run.open(tmp_path / "run")
    except RunError as error:
        assert file.rpartition("/")[2] in str(error) or "keyframe" in str(error)  # noqa: PT017
    else:
        assert any(file in note for note in run.notes)
