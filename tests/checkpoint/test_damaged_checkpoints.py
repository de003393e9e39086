"""Files that are truncated, damaged, foreign or of a later version: one clear error each, and
nothing is changed.
"""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from checkpoint_support import EVERYTHING, Plan, Training, bits, members_of, sealed
from irregular_support import IRREGULAR, irregular

import minigrad as mg
from minigrad.display.png import png
from minigrad.errors import DataFileError


class Small:
    """The smallest training that there is."""

    def __init__(self, seed: int) -> None:
        self.model = mg.Sequential(mg.Dense(1, 1, rng=seed))
        self.optimizer = mg.SGD(self.model, 0.1, momentum=0.5)
        self.data = mg.Batches([[1.0], [2.0]], [[1.0], [2.0]], 1, rng=seed)

    @property
    def bits(self) -> object:
        """Everything, bit by bit."""
        return bits([part.state_dict() for part in (self.model, self.optimizer, self.data)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small checkpoint."""
    mg.save(tmp_path / "x.npz", **vars(Small(0)))
    return tmp_path / "x.npz"


def refused(path: Path, content: bytes | None, small: Small) -> str:
    """Load a file of this content, which must fail; the message, without the path."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        mg.load(path, **vars(small))
    message, shown = str(caught.value), str(path).replace("\0", r"\x00")
    assert message.startswith(f"the checkpoint '{shown}' ")
    assert "\n" not in message
    return message.removeprefix(f"the checkpoint '{shown}' ")


def sampled(length: int) -> list[int]:
    """All numbers from 1 to below this; in the usual run each eighth, and all of the end."""
    return [
        number
        for number in range(1, length)
        if EVERYTHING or number % 8 == 0 or number > length - 120
    ]


def test_truncated_anywhere(path: Path) -> None:
    """Of every length that is less than the whole: it is never loaded, and what to expect is
    said.
    """
    content, small = path.read_bytes(), Small(1)
    before = small.bits
    for length in sampled(len(content)):
        told = refused(path, content[:length], small)
        assert (
            "is truncated, or no checkpoint of minigrad; expected a file that minigrad.save has "
            "written" in told
        )
        assert f"({length:,} bytes found)" in told
    assert "is empty; expected a file that minigrad.save has written (0 bytes found)" == refused(
        path, b"", small
    )
    assert before == small.bits


def test_damaged_anywhere(path: Path) -> None:
    """One bit of any byte is changed: it is never loaded."""
    content, small = path.read_bytes(), Small(1)
    before, found = small.bits, set()
    for place in sampled(len(content)):
        for bit in range(8) if EVERYTHING else [place % 8]:
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            told = refused(path, bytes(damaged), small)
            found.add(told)
            if place < len(content) - 93:
                assert "is damaged: its content does not have the checksum that it names" == told
    assert (
        3 <= len(found) <= 12
    )  # in the comment itself it may look like another version, or like no checkpoint
    assert before == small.bits


@pytest.mark.parametrize("place", ["at the end", "at the beginning", "in the middle"])
def test_more_than_there_was(place: str, path: Path) -> None:
    """Bytes that were added, or a whole checkpoint more."""
    content, small = path.read_bytes(), Small(1)
    for more in (b"\0", b"\n", content, content[-93:]):
        half = {
            "at the end": len(content),
            "at the beginning": 0,
            "in the middle": len(content) // 2,
        }[place]
        told = refused(path, content[:half] + more + content[half:], small)
        assert "is damaged: " in told or "is truncated, or no checkpoint" in told


def test_two_blocks_that_changed_places(path: Path) -> None:
    """The checksum depends on the order."""
    content = path.read_bytes()
    told = refused(path, content[512:1024] + content[:512] + content[1024:], Small(1))
    assert "is damaged: its content does not have the checksum that it names" == told


# -- foreign -------------------------------------------------------------------------------------


def npz(**settings: object) -> bytes:
    """A file of `numpy.savez`."""
    stream = io.BytesIO()
    np.savez(stream, weight=np.ones(3), **settings)  # type: ignore[arg-type]
    return stream.getvalue()


def zipped(comment: bytes = b"") -> bytes:
    """A ZIP file."""
    stream = io.BytesIO()
    with ZipFile(stream, "w") as file:
        file.writestr("a.txt", "text")
        file.comment = comment
    return stream.getvalue()


FOREIGN: dict[str, Callable[[], bytes]] = {
    "one byte": lambda: b"\0",
    "text": lambda: b"weights = 1, 2, 3\n" * 50,
    "the comment alone": lambda: b"minigrad checkpoint 1 sha256 " + b"0" * 64,
    "JSON": lambda: json.dumps({"model": {"0.weight": [1.0]}}).encode(),
    "a picture": lambda: png(np.zeros((28, 28, 3), np.uint8)),
    "an array": lambda: npz()[30:],
    "numpy.savez": npz,
    "numpy.savez, with objects": lambda: npz(thing=np.array([None])),
    "a zip": zipped,
    "a zip with another comment": lambda: zipped(b"minigrad checkpoint"),
    "a zip that says it is one": lambda: zipped(b"minigrad checkpoint 1 sha256 " + b"a" * 64),
    "a pickle": lambda: pickle.dumps({"0.weight": np.ones(3)}),
    "zeros": lambda: bytes(5000),
    "noise": lambda: np.random.default_rng(0).bytes(5000),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_files(name: str, path: Path) -> None:
    """Other kinds of files are told apart from checkpoints by their end."""
    small = Small(1)
    before = small.bits
    told = refused(path, FOREIGN[name](), small)
    named = name in ("the comment alone", "a zip that says it is one")
    assert told.startswith(
        "is damaged: "
        if named
        else "is truncated, or no checkpoint of minigrad; expected a file that"
    )
    assert before == small.bits


def test_no_file(tmp_path: Path) -> None:
    """A file that is missing, a directory, and a name that leads nowhere."""
    (tmp_path / "folder").mkdir()
    assert "cannot be read: No such file or directory" == refused(
        tmp_path / "missing", None, Small(1)
    )
    assert "cannot be read: Is a directory" == refused(tmp_path / "folder", None, Small(1))
    assert "cannot be read: No such file or directory" == refused(
        tmp_path / "missing" / "x", None, Small(1)
    )
    if hasattr(os, "symlink"):
        (tmp_path / "link").symlink_to(tmp_path / "missing")
        assert "cannot be read: No such file or directory" == refused(
            tmp_path / "link", None, Small(1)
        )


@pytest.mark.parametrize("what", IRREGULAR)
def test_what_is_no_regular_file(what: str, tmp_path: Path) -> None:
    """A FIFO is not waited for, a device is not read to its end."""
    told = refused(irregular(what, tmp_path), None, Small(1))
    assert f"cannot be read: {IRREGULAR[what]}" == told


def test_a_path_that_is_none(tmp_path: Path) -> None:
    """No file has a zero in its name."""
    told = refused(tmp_path / "x\0y", None, Small(1))
    assert told.startswith("cannot be read: embedded null")


@pytest.mark.parametrize("version", [0, 2, 3, 17, 4_000_000_000])
def test_other_versions(version: int, path: Path) -> None:
    """A file of a later format is none that is damaged: the error says which version it has, and
    what to do.
    """
    told = refused(path, sealed(members_of(path), version), Small(1))
    advice = (
        f"has version {version} of the format, and this minigrad reads version 1; update minigrad"
    )
    assert advice == told


def test_a_fit_that_cannot_resume_begins_nothing(path: Path) -> None:
    """`resume_from` a damaged file: the error comes before the first step, and nothing is as if it
    had begun.
    """
    path.write_bytes(path.read_bytes()[:-1])
    training = Training(Plan())
    before = training.bits
    with pytest.raises(DataFileError, match="is truncated"):
        mg.fit(
            training.model,
            training.loss,
            training.optimizer,
            training.data,
            epochs=1,
            resume_from=path,
            progress=False,
        )
    assert before == training.bits
