"""Files that are written as a whole or not at all: readers see the old content or the new.

Only regular files: what else may have a name, such as a FIFO or a device, is neither read nor
replaced.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from io import BufferedReader
from pathlib import Path

from minigrad.errors import DataFileError

_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str]) -> BufferedReader:
    """Open a regular file to read its bytes; what is none is refused at once, and never waited for.

    Errors are those of the system, so that callers say in one place, with an error of their own,
    what cannot be read: `error.strerror` is the reason, "Is a FIFO, expected a regular file" too.

    Raises:
        OSError: The system refuses, or it is a directory, a FIFO, a socket or a device.
        ValueError: The path is none: it has a zero in it.
    """
    _check_regular(Path(path).stat(), path)  # opening a device may already do something
    file = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115 - the caller closes it
    try:
        _check_regular(os.fstat(file.fileno()), path)  # another one may have taken the name
    except BaseException:
        file.close()
        raise
    return file


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a FIFO would wait for its writer


def _check_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    """Make sure that this is a regular file.

    Raises:
        OSError: It is something else.
    """
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise DataFileError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    if kind != stat.S_IFREG:
        what = _KINDS.get(kind, "something else")
        raise DataFileError(errno.EINVAL, f"Is {what}, expected a regular file", os.fspath(path))


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A temporary file in the same directory to write the new content to; it becomes `path`.

    Args:
        path: The file. One that exists is replaced; after an error it is unchanged.
        durable: Whether to wait until the disk has it, so that it survives a power cut too.

    Raises:
        OSError: The system refuses.
    """
    path = Path(os.path.realpath(path))  # what a link points to is replaced, and not the link
    part = path.with_name(f"{_stem(path)}{os.urandom(4).hex()}.{os.getpid()}.part")
    try:
        yield part
        if durable:
            with part.open("r+b") as file:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    if durable:
        _flush_directory(path.parent)


def _stem(path: Path) -> str:
    """How the names of the temporary files begin; no longer than the file's own name may be."""
    return f".{path.name[:40]}."


def _flush_directory(directory: Path) -> None:
    """Wait until the disk has the new name, where the system can be asked to."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(path: Path) -> None:
    """Remove what processes that were killed while they wrote this file have left behind."""
    if os.name != "posix":  # elsewhere asking whether a process lives may end it
        return
    path = Path(os.path.realpath(path))
    for part in path.parent.glob(f"{escape(_stem(path))}*.part"):
        process = part.name.split(".")[-2]
        with suppress(OSError):
            if process.isdigit() and not _lives(int(process)):
                part.unlink()


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)  # signal 0 only asks
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass  # somebody else's
    return True


def replace(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one.

    Raises:
        OSError: The system refuses; what was there is unchanged.
    """
    with replacing(path) as part:
        part.write_bytes(content)


def save(path: str | os.PathLike[str], content: bytes, what: str) -> None:
    """`replace`, for a file that a user has asked for.

    Args:
        path: The file. One that exists is replaced.
        content: All of it.
        what: What it is, for the error: "the report".

    Raises:
        DataFileError: It cannot be written: its directory is missing or not writable, the disk is
            full.
    """
    with named_errors(path, what):
        replace(Path(path), content)


@contextmanager
def named_errors(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Say which file cannot be written, and what to do.

    Raises:
        DataFileError: For the system's own errors.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # a path with a zero in it is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise DataFileError(
            f"{what} '{os.fspath(path)}' cannot be written: {why}; give a file in a directory that "
            f"exists and is writable"
        ) from error
