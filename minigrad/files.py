"""Files that are written as a whole or not at all: whoever reads one sees either the old content or the new."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from minigrad.errors import DataFileError


def replace(path: Path, content: bytes) -> None:
    """Write a file under another name first, in the same directory, which is then changed.

    Raises:
        OSError: The system refuses; what was there is unchanged.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise


def save(path: str | os.PathLike[str], content: bytes, what: str) -> None:
    """`replace`, for a file that a user has asked for.

    Args:
        path: The file. One that exists is replaced.
        content: All of it.
        what: What it is, for the error: "the report".

    Raises:
        DataFileError: It cannot be written: its directory is missing or not writable, the disk is full.
    """
    try:
        replace(Path(path), content)
    except (OSError, ValueError) as error:  # a path with a zero in it is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise DataFileError(
            f"{what} '{os.fspath(path)}' cannot be written: {why}; give a file in a directory that exists and is writable"
        ) from error
