"""A lock lasts as long as the process that has it, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from child_support import surroundings
from irregular_support import IRREGULAR, irregular

from minigrad import files
from minigrad.errors import DataFileError

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A file that nobody has locked, before the test and after it."""
    yield tmp_path / "lock"
    assert is_free(tmp_path / "lock")


def is_free(path: Path) -> bool:
    """Whether it can be locked now."""
    with files.lock(path) as lock:
        return lock.acquire()


class Holder:
    """A process that has a lock until it is killed."""

    def __init__(self, path: Path, more: str = "") -> None:
        code = f"""
            import os, time
            from minigrad import files
            lock = files.lock({str(path)!r})
            assert lock.acquire()
            {more}
            print("locked", flush=True)
            time.sleep(600)
        """
        self.process = subprocess.Popen(
            [sys.executable, "-c", dedent(code)],
            env=surroundings(Path(__file__)), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        assert "locked\n" == self.process.stdout.readline()

    def kill(self) -> None:
        """End it without a chance to let go."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def test_one_at_a_time(path: Path) -> None:
    """Within a process, too; and a lock that is let go of is free."""
    with files.lock(path) as lock:
        assert lock.acquire()
        assert not is_free(path)
        lock.release()
        assert is_free(path)
        lock.release()


def test_a_lock_ends_with_its_process(path: Path) -> None:
    """However it ends."""
    holder = Holder(path)
    assert not is_free(path)
    holder.kill()
    assert is_free(path)


def test_reading_and_writing_the_file_keeps_the_lock(path: Path) -> None:
    """Opening and closing it by its name does not let go of it, and needs no lock."""
    with files.lock(path) as lock:
        assert lock.acquire()
        path.write_text("process 1 on host a")
        assert "process 1 on host a" == path.read_text()
        assert not is_free(path)


def test_a_lock_that_nobody_holds_any_more(path: Path) -> None:
    """It is let go of when it is garbage; of an interrupted function, say."""
    lock = files.lock(path)
    assert lock.acquire()
    with pytest.warns(ResourceWarning):
        del lock
    assert is_free(path)


@needs_fork
def test_a_forked_child_does_not_have_it(path: Path) -> None:
    """It may let go of it as it likes, and end: the parent's stays."""
    with files.lock(path) as lock:
        assert lock.acquire()
        child = os.fork()
        if child == 0:
            free = is_free(path)
            lock.release()
            os._exit(free or is_free(path))
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert not is_free(path)


@needs_fork
def test_a_child_that_outlives_its_parent_does_not_keep_it(path: Path) -> None:
    """The parent is killed while a child that it forked goes on: the lock is free."""
    child = path.with_name("child")
    more = f"""
            if (pid := os.fork()) == 0:
                time.sleep(600)
            with open({str(child)!r}, "w") as file:
                file.write(str(pid))
    """.strip()
    holder = Holder(path, more)
    pid = int(child.read_text())
    try:
        assert not is_free(path)
        holder.process.kill()
        holder.process.wait()
        os.kill(pid, 0)  # it lives
        assert is_free(path)
    finally:
        os.kill(pid, signal.SIGKILL)
    holder.kill()


@pytest.mark.parametrize("what", IRREGULAR)
def test_what_is_no_regular_file(what: str, tmp_path: Path) -> None:
    """It is refused at once."""
    with pytest.raises(DataFileError) as caught:
        files.lock(irregular(what, tmp_path))
    assert IRREGULAR[what] == caught.value.strerror
