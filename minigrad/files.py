"""Files that are written as a whole or not at all: readers see the old content or the new.

Only regular files: what else may have a name, such as a FIFO or a device, is neither read nor
replaced.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from minigrad.errors import DataFileError
from minigrad.file_lock import FileLock

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


def _open_without_waiting(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of a file, or of a FIFO that nobody has at its other end."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def _check_regular(found: os.stat_result, path: str | os.PathLike[str]) -> None:
    """Make sure that this is a regular file.

    Raises:
        OSError: It is something else.
    """
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise _refusal(path, os.strerror(errno.EISDIR))
    if kind != stat.S_IFREG:
        raise _refusal(path, f"Is {_KINDS.get(kind, 'something else')}, expected a regular file")


def _refusal(path: str | os.PathLike[str], why: str) -> DataFileError:
    """An error like the system's own, whose `strerror` says why."""
    error = DataFileError(f"'{os.fspath(path)}': {why}")
    error.strerror = why
    return error


def lock(path: str | os.PathLike[str]) -> FileLock:
    """Open a file to lock it; one that does not exist is made, and is empty.

    Raises:
        OSError: The system refuses, or it is a directory, a FIFO, a socket or a device.
    """
    with suppress(FileNotFoundError):
        _check_regular(Path(path).stat(), path)
    found = FileLock(_open_without_waiting(path, os.O_RDWR | os.O_CREAT))
    try:
        _check_regular(os.fstat(found.fileno()), path)
    except BaseException:
        found.release()
        raise
    return found


@contextmanager
def replacing(path: Path, *, durable: bool = False, like: Path | None = None) -> Iterator[Path]:
    """A temporary file in the same directory to write the new content to; it becomes `path`.

    It is there, and empty, and locked as long as this process lives: what processes that died have
    left behind is removed here. It is no more readable than the file that it replaces.

    Args:
        path: The file. One that exists is replaced, and its permissions stay, on POSIX also owner
            and group where the system lets us give them; after an error it is unchanged.
        durable: Whether to wait until the disk has it, so that it survives a power cut too.
        like: A file that it is to have the permissions of, instead of the one that it replaces.

    Raises:
        OSError: The system refuses, or there is something that is no regular file, or that may not
            be written to.
    """
    replaced = _replaceable(path)
    model = replaced if like is None else like.stat()
    path = Path(os.path.realpath(path))  # what a link points to is replaced, and not the link
    sweep(path)
    part, held = _new_part(path), None
    try:
        while (held := _create(part, 0o666 if model is None else 0o600)) is None:
            part = _new_part(path)
        yield part
        if model is not None:
            _give_permissions(held, model)
        if durable:
            os.fsync(held.fileno())
        _close_on_windows(held)
        part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
    finally:
        if held is not None:
            held.release()
    if durable:
        _flush_directory(path.parent)


def _replaceable(path: Path) -> os.stat_result | None:
    """What is known of a file before it is replaced; None where there is none.

    Raises:
        OSError: It is no regular file; or it is where this process prints to, as "/dev/stdout" may
            be; or it may not be written to, which renaming would not ask for.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    _check_regular(found, path)
    if any(_is_open_as(descriptor, found) for descriptor in (1, 2)):
        raise _refusal(path, "Is the output of this process, expected another file")
    if not os.access(path, os.W_OK):
        raise _refusal(path, f"{os.strerror(errno.EACCES)}, the file is read-only")
    return found


def _is_open_as(descriptor: int, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file)
    except OSError:  # nothing is
        return False


def _stem(path: Path) -> str:
    """How the names of the temporary files begin; no longer than the file's own name may be."""
    return f".{path.name[:40]}."


def _new_part(path: Path) -> Path:
    """The name of a temporary file; nobody has had it, or will."""
    return path.with_name(f"{_stem(path)}{os.urandom(4).hex()}.{os.getpid()}.part")


def _create(part: Path, mode: int) -> FileLock | None:
    """Make a temporary file and lock it; None if it was swept before it was locked."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    held = FileLock(os.open(part, flags, mode))
    try:
        if held.acquire() and part.exists():
            return held
    except OSError:
        return held  # a file system without locks, where nobody sweeps
    held.release()
    return None


def _give_permissions(held: FileLock, model: os.stat_result) -> None:
    """Make an open file as readable and writable as another one is, and for the same people."""
    if sys.platform == "win32":
        return
    mode, handle = model.st_mode & 0o777, held.fileno()
    own = os.fstat(handle)
    if own.st_uid != model.st_uid:
        with suppress(OSError):
            os.fchown(handle, model.st_uid, -1)
    if own.st_gid != model.st_gid:
        try:
            os.fchown(handle, -1, model.st_gid)
        except OSError:
            mode &= 0o707 | (mode & 0o007) << 3  # another group may do what everybody may
    os.fchmod(handle, mode)


def _flush_directory(directory: Path) -> None:
    """Wait until the disk has the new name, where the system can be asked to."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(path: Path) -> None:
    """Remove the temporary files of this one that no living process has locked.

    Where the file system has no locks, they stay.
    """
    path = Path(os.path.realpath(path))
    form = re.compile(re.escape(_stem(path)) + r"[0-9a-f]{8}\.[0-9]+\.part")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for part in [path.with_name(entry.name) for entry in entries if form.fullmatch(entry.name)]:
            with suppress(OSError):
                _remove_if_dead(part)


def _remove_if_dead(part: Path) -> None:
    _check_regular(part.lstat(), part)
    with FileLock(_open_without_waiting(part, os.O_RDWR)) as held:
        if held.acquire():
            _close_on_windows(held)
            part.unlink()


def link_or_copy(old: Path, new: Path) -> None:
    """Give a file a second name, or where the file system has none, make a copy.

    Raises:
        OSError: The system refuses; what had the name before is unchanged.
    """
    # A part that is a link to a file is locked with that file.
    with suppress(OSError), FileLock(_open_without_waiting(old, os.O_RDWR)) as held:
        if held.acquire():
            _close_on_windows(held)
            _link(Path(os.path.realpath(old)), new)
            return
    import shutil  # which few programs need

    with replacing(new, like=old) as part:
        shutil.copyfile(old, part)


def _link(old: Path, new: Path) -> None:
    _replaceable(new)
    new = Path(os.path.realpath(new))
    sweep(new)
    part = _new_part(new)
    try:
        part.hardlink_to(old)
        part.replace(new)
    finally:
        part.unlink(missing_ok=True)  # it is there still if both were one file already


def _close_on_windows(held: FileLock) -> None:
    """Close a file that is to be renamed or removed: there nobody can while it is open."""
    if os.name == "nt":
        held.release()


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
            full, it is read-only, or no regular file.
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
