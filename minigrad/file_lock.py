"""`FileLock`: a file that one process has to itself, until it lets go of it or dies."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from io import FileIO
from typing import Self, final
from weakref import WeakSet

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_BEYOND = 1 << 62  # where Windows locks a byte, so that all that a file holds can still be read


@final
class FileLock:
    """An open file that can be locked, against other processes and within this one.

        lock = FileLock(os.open(path, os.O_RDWR | os.O_CREAT))
        if not lock.acquire():
            ...  # somebody else has it

    The system ends the lock with the process, however that ends, and does not care for process
    numbers, which mean nothing in another container. Other hosts see the lock where their file
    system tells them, as NFS does. It binds only those who ask for it.

    On POSIX it is `flock`, which belongs to the open file. A lock of `fcntl.lockf` would be lost as
    soon as this process closed the file under any other descriptor, after reading it, say. A
    forked child shares open files, and would keep the lock of a parent that has died: so it closes
    this one at once, and the parent's lock stays.

    Args:
        descriptor: Of a file that is open for reading and writing; it is the lock's from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self._file = FileIO(descriptor)
        _opened.add(self._file)

    def fileno(self) -> int:
        """The descriptor."""
        return self._file.fileno()

    @property
    def closed(self) -> bool:
        """Whether it was released, or stayed with the parent of this process."""
        return self._file.closed

    def acquire(self) -> bool:
        """Lock the file, unless somebody else has; whether that worked. It never waits.

        Raises:
            OSError: The file system has no locks.
        """
        try:
            _lock(self.fileno())
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

    def release(self) -> None:
        """Unlock the file and close it; more than once is no error, nor in a forked child."""
        if not self._file.closed:
            with suppress(OSError):
                _unlock(self.fileno())  # a child that something else than Python forked has it open
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


_opened: WeakSet[FileIO] = WeakSet()


def _leave() -> None:
    """Close the files of all locks, which stay with the parent of this process."""
    for file in list(_opened):
        file.close()


if sys.platform == "win32":

    def _lock(descriptor: int) -> None:
        _at_the_byte(descriptor, msvcrt.LK_NBLCK)

    def _unlock(descriptor: int) -> None:
        _at_the_byte(descriptor, msvcrt.LK_UNLCK)

    def _at_the_byte(descriptor: int, mode: int) -> None:
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _BEYOND, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, mode, 1)
        finally:
            os.lseek(descriptor, place, os.SEEK_SET)

else:

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    os.register_at_fork(after_in_child=_leave)
