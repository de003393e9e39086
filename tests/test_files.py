"""Files are written as a whole or not at all."""

from __future__ import annotations

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
    """A missing directory, a file in its place, a directory in the file's: the error names the path and says what to do."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "missing" / "x", tmp_path / "file" / "x", tmp_path / "folder"):
        with pytest.raises(DataFileError, match="give a file in a directory that exists") as caught:
            files.save(path, b"new", "the picture")
        assert f"the picture '{path}'" in str(caught.value)
    assert b"old" == (tmp_path / "file").read_bytes()
    assert ["file", "folder"] == sorted(found.name for found in tmp_path.rglob("*"))


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
