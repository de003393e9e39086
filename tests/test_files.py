"""Files are written as a whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minigrad import files
from minigrad.errors import DataFileError


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """What was there is gone, and nothing else is left in the directory."""
    path = tmp_path / "a report.html"
    for content in (b"first", b"second, and longer", b""):
        files.save(path, content, "the report")
        assert content == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A missing directory, a file in its place, a directory in the file's: the error names the path
    and says what to do.
    """
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "x", tmp_path / "file" / "x", tmp_path / "folder"):
        with pytest.raises(DataFileError, match="give a file in a directory that exists") as caught:
            files.save(path, b"new", "the picture")
        assert f"the picture '{path}'" in str(caught.value)
    assert b"old" == (tmp_path / "file").read_bytes()
    assert ["file", "folder"] == sorted(found.name for found in tmp_path.rglob("*"))


def test_a_disk_that_is_full_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the new content was written; none of it is seen."""
    path = tmp_path / "x"
    files.save(path, b"old", "the report")

    def half(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(DataFileError, match="No space left on device"):
        files.save(path, b"new", "the report")
    assert b"old" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_only_what_is_to_last_is_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `durable` the file is flushed before it is renamed, and the directory afterwards.

    Without, nothing is.
    """
    told: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        told.append("directory" if os.path.samestat(os.fstat(handle), tmp_path.stat()) else "file")
        real_sync(handle)

    def replace(self: Path, target: Path) -> Path:
        told.append("renamed")
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    for durable, expected in ((False, ["renamed"]), (True, ["file", "renamed", "directory"])):
        with files.replacing(tmp_path / "x", durable=durable) as part:
            part.write_bytes(b"new")
            assert (tmp_path, []) == (part.parent, told)
        assert expected == told
        assert b"new" == (tmp_path / "x").read_bytes()
        told.clear()


def test_a_directory_that_cannot_be_flushed_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems flush files, and no directories: by then the file is complete and has its
    name.
    """
    real_sync = os.fsync

    def sync(handle: int) -> None:
        if os.path.samestat(os.fstat(handle), tmp_path.stat()):
            raise OSError(22, "Invalid argument")
        real_sync(handle)

    monkeypatch.setattr(os, "fsync", sync)
    with files.replacing(tmp_path / "x", durable=True) as part:
        part.write_bytes(b"new")
    assert b"new" == (tmp_path / "x").read_bytes()


@pytest.mark.parametrize("error", [OSError, ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_while_writing(error: type[BaseException], tmp_path: Path) -> None:
    """Whatever comes in between, Ctrl-C too: the old file stays, nothing is left, the error goes
    on.
    """
    path = tmp_path / "x"
    path.write_bytes(b"old")

    def write() -> None:
        with files.replacing(path, durable=True) as part:
            part.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write()
    assert b"old" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.skipif(
    os.name != "posix", reason="elsewhere nobody can be asked whether a process lives"
)
@pytest.mark.parametrize("name", ["x.npz", "[x]*?.npz", "a b.c.npz", ".hidden"])
def test_what_the_dead_have_left_is_swept(name: str, tmp_path: Path) -> None:
    """Parts of this file whose writers are gone.

    Not those of the living, not those of other files, and nothing else.
    """
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        dead = process.pid
    path = tmp_path / name
    of_the_dead = tmp_path / f".{name}.{dead}.part"
    stay = [
        path,
        tmp_path / f".{name}.{os.getpid()}.part",
        tmp_path / f".{name}.{os.getppid()}.part",
        tmp_path
        / f".{name}.1.part",  # that of the system's first process, which may be somebody else's
        tmp_path / f".other.{dead}.part",
        tmp_path / f"{name}.{dead}.part",
        tmp_path / f".{name}.part",
        tmp_path / f".{name}.{dead}.part.txt",
        tmp_path / f".{name}.-{dead}.part",
        tmp_path / f".{name}.today.part",
    ]
    for file in (of_the_dead, tmp_path / f".{name}.{10**30}.part", *stay):
        file.write_bytes(b"part")
    files.sweep(path)
    assert set(stay) == set(tmp_path.iterdir())  # two are one where the parent is the first
    files.sweep(tmp_path / "missing" / name)  # where nothing can be, nothing is swept
