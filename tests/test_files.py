"""Files are written as a whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import pytest
from child_support import surroundings
from irregular_support import IRREGULAR, irregular

from minigrad import files
from minigrad.errors import DataFileError
from minigrad.file_lock import FileLock

EVERYTHING = bool(os.environ.get("MINIGRAD_ALL_ACCIDENTS"))


def started(code: str) -> subprocess.Popen[str]:
    """A process that does something with `files`."""
    imports = "from pathlib import Path\nfrom minigrad import files\n"
    return subprocess.Popen(
        [sys.executable, "-c", imports + dedent(code)],
        env=surroundings(Path(__file__)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def in_a_new_process(code: str) -> str:
    """What it prints."""
    with started(code) as process:
        told = process.communicate()[0]
    assert 0 == process.returncode, told
    return told.strip()


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


posix = pytest.mark.skipif(
    os.name != "posix", reason="permissions, and renaming what is open, are POSIX's"
)

# -- what the dead have left ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.npz", "[x]*?.npz", "a b.c.npz", ".hidden", "x" * 200])
def test_what_the_dead_have_left_is_swept(name: str, tmp_path: Path) -> None:
    """Temporary files of this file that nobody has locked, whatever process their names tell of,
    and by the next one that writes it.

    Not those of other files, and nothing else.
    """
    if os.name != "posix" and set(name) & set("*?"):
        pytest.skip("this system has no such names")
    path, start = tmp_path / name, f".{name[:40]}."
    left = [tmp_path / f"{start}0123abcd.{process}.part" for process in (1, os.getpid(), 10**30)]
    stay = [
        path,
        tmp_path / ".other.0123abcd.1.part",
        tmp_path / f"{start[1:]}0123abcd.1.part",
        tmp_path / f"{start}part",
        tmp_path / f"{start}1.part",
        tmp_path / f"{start}0123abcd.1.part.txt",
        tmp_path / f"{start}0123abcd.-1.part",
        tmp_path / f"{start}today.1.part",
    ]
    for sweep in (files.sweep, lambda path: files.replace(path, b"new")):
        for file in (*left, *stay):
            file.write_bytes(b"part")
        sweep(path)
        assert sorted(stay) == sorted(tmp_path.iterdir())
    files.sweep(tmp_path / "missing" / name)  # where nothing can be, nothing is swept


@posix
def test_what_the_living_write_is_not_swept(tmp_path: Path) -> None:
    """From when it is there until it has its name; and the numbers of their processes may be those
    of another container.
    """
    path = tmp_path / "x"
    with files.replacing(path) as part:
        other = part.with_name(part.name.replace(f".{os.getpid()}.", f".{10**9}."))
        part.rename(other)
        in_a_new_process(f"files.sweep(Path({str(path)!r}))")
        assert [other] == list(tmp_path.iterdir())
        other.rename(part)
        part.write_bytes(b"new")
        files.sweep(path)
    assert b"new" == path.read_bytes()


@posix
def test_a_part_that_is_swept_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its writer makes another one."""
    path, real, seen = tmp_path / "x", FileLock.acquire, list[Path]()

    def late(lock: FileLock) -> bool:
        if len(seen) < 3:
            (part,) = tmp_path.iterdir()
            seen.append(part)
            part.unlink()
            return len(seen) > 1 and real(lock)  # the sweeper still has it, or has let go of it
        return real(lock)

    monkeypatch.setattr(FileLock, "acquire", late)
    with files.replacing(path) as part:
        part.write_bytes(b"new")
        assert [part] == list(tmp_path.iterdir())
    assert (b"new", 3, 3) == (path.read_bytes(), len(seen), len(set(seen)))
    assert [path] == list(tmp_path.iterdir())


@posix
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are replaced all the same; what is left by somebody stays, as it may be the living."""
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    left = tmp_path / ".x.0123abcd.1.part"
    left.write_bytes(b"part")
    monkeypatch.setattr(fcntl, "flock", refuse)
    files.replace(tmp_path / "x", b"new")
    assert b"new" == (tmp_path / "x").read_bytes()
    assert [left, tmp_path / "x"] == sorted(tmp_path.iterdir())


def test_several_write_one_file_at_once(tmp_path: Path) -> None:
    """Three processes, of which one is killed again and again: none disturbs another, the file is
    always whole, and in the end nothing is left.
    """
    path = tmp_path / "x"
    rounds = 3000 if EVERYTHING else 150
    write = f"""
        for number in range({rounds}):
            files.replace(Path({str(path)!r}), bytes([number % 256]) * 10_000)
            content = Path({str(path)!r}).read_bytes()
            assert (10_000, 1) == (len(content), len(set(content))), len(content)
    """
    writers = [started(write) for _ in range(2)]
    killed = 0
    while any(writer.poll() is None for writer in writers):
        dying = started(write.replace(f"range({rounds})", "range(10**9)"))
        time.sleep(0.2)
        dying.kill()
        dying.communicate()
        killed += 1
    assert [("", 0)] * 2 == [(writer.communicate()[0], writer.returncode) for writer in writers]
    assert killed > 0
    files.sweep(path)
    assert [path] == list(tmp_path.iterdir())


def test_a_second_name_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link where there are links, and else a copy, in the place of what has the name; with the
    permissions of the first, and nothing is left over.
    """
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"content")
    old.chmod(0o600)
    new.write_bytes(b"else")
    files.link_or_copy(old, new)
    assert old.samefile(new)
    files.link_or_copy(old, new)  # once more
    assert [new, old] == sorted(tmp_path.iterdir())
    new.unlink()

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    for _ in range(2):
        files.link_or_copy(old, new)
        assert not old.samefile(new)
        assert b"content" == new.read_bytes()
        assert mode(old) == mode(new)
    assert [new, old] == sorted(tmp_path.iterdir())


@posix
def test_a_link_is_not_swept_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the link and its name somebody else sweeps."""
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"content")
    real = Path.replace

    def late(part: Path, target: Path) -> Path:
        in_a_new_process(f"files.sweep(Path({str(new)!r}))")
        return real(part, target)

    monkeypatch.setattr(Path, "replace", late)
    files.link_or_copy(old, new)
    assert old.samefile(new)


# -- permissions ---------------------------------------------------------------------------------


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


@posix
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o644, 0o664, 0o777, 0o200])
def test_the_permissions_of_a_file_stay(permissions: int, tmp_path: Path) -> None:
    """Also where a link leads to it; and the temporary file is its owner's alone until then."""
    path, link = tmp_path / "x", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(permissions)
    link.symlink_to(path)
    for given in (path, link):
        with files.replacing(given) as part:
            part.write_bytes(b"new")
            assert 0o600 == mode(part)
        assert permissions == mode(path)
        assert link.is_symlink()


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_usual_permissions(umask: int, tmp_path: Path) -> None:
    """Those that a file has that is opened to be written; its temporary file has no more."""
    before = os.umask(umask)
    try:
        with files.replacing(tmp_path / "x") as part:
            part.write_bytes(b"new")
            assert 0o666 & ~umask == mode(part)
    finally:
        os.umask(before)
    assert 0o666 & ~umask == mode(tmp_path / "x")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anything"
)
def test_a_file_that_is_read_only(tmp_path: Path) -> None:
    """It is protected: its owner has to make it writable first, or give another name."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o444)
    with pytest.raises(DataFileError, match="Permission denied, the file is read-only; give"):
        files.save(path, b"new", "the report")
    assert (b"old", 0o444) == (path.read_bytes(), mode(path))
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the superuser gives files away"
)
def test_the_owner_of_a_file_stays(tmp_path: Path) -> None:
    """The superuser saves what belongs to somebody else: it still does, and he can read it."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    path.chmod(0o640)
    files.replace(path, b"new")
    found = path.stat()
    assert (12345, 23456, 0o640) == (found.st_uid, found.st_gid, mode(path))


@posix
def test_another_group_gets_no_more_than_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the group cannot be kept, the new one may do only what everybody may."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    path, real = tmp_path / "x", os.fstat
    path.write_bytes(b"old")

    def elsewhere(handle: int) -> os.stat_result:
        found = real(handle)
        return os.stat_result((*found[:5], found.st_gid + 1, *found[6:10]))

    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "fstat", elsewhere)
    for before, after in ((0o640, 0o600), (0o664, 0o644), (0o777, 0o777), (0o604, 0o604)):
        path.chmod(before)
        files.replace(path, b"new")
        assert after == mode(path)


# -- what is no regular file ---------------------------------------------------------------------


@pytest.mark.parametrize("what", IRREGULAR)
def test_what_is_no_regular_file_is_not_replaced(what: str, tmp_path: Path) -> None:
    """It is refused, is what it was, and nothing is left over."""
    path = irregular(what, tmp_path)
    before, names = path.stat(), sorted(tmp_path.iterdir())
    reason = re.escape(IRREGULAR[what])
    with pytest.raises(DataFileError, match=f"the report '{path}' cannot be written: {reason}; "):
        files.save(path, b"new", "the report")
    assert (before.st_mode, before.st_ino) == (path.stat().st_mode, path.stat().st_ino)
    assert names == sorted(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no such name")
def test_the_standard_output_is_no_file(tmp_path: Path) -> None:
    """A pipe has no content that could be replaced; and a file that it goes into would lose what
    is printed.
    """
    told = in_a_new_process(
        "try: files.save('/dev/stdout', b'new', 'the report')\n"
        "except OSError as error: print(error)"
    )
    assert "the report '/dev/stdout' cannot be written: Is a FIFO, expected a regular" in told
    with (tmp_path / "output").open("w+") as output:
        code = "from minigrad import files\nprint('printed', flush=True)\n"
        code += "files.save('/dev/stdout', b'new', 'the report')"
        done = subprocess.run(
            [sys.executable, "-c", code], env=surroundings(Path(__file__)), stdout=output,
            stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        assert "Is the output of this process, expected another file; give a" in done.stderr
    assert "printed\n" == (tmp_path / "output").read_text()


@pytest.mark.parametrize("what", IRREGULAR)
def test_what_is_no_regular_file_is_not_read(what: str, tmp_path: Path) -> None:
    """It is refused at once, with its path, by an error that is the system's and minigrad's too."""
    path = irregular(what, tmp_path)
    with pytest.raises(DataFileError) as caught:
        files.open_regular(path)
    assert IRREGULAR[what] == caught.value.strerror
    assert str(path) in str(caught.value)


def test_a_fifo_that_takes_the_name_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a look and the opening the file may become another: that is not waited for either."""
    fifo = irregular("a FIFO", tmp_path)
    path = tmp_path / "x"
    path.write_bytes(b"content")
    real = os.open

    def late(name: object, *rest: int) -> int:
        fifo.replace(path)
        return real(path, *rest)

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(DataFileError) as caught:
        files.open_regular(path)
    assert IRREGULAR["a FIFO"] == caught.value.strerror


def test_a_regular_file_is_read(tmp_path: Path) -> None:
    """By its path or by a link, given as text too."""
    path = tmp_path / "x"
    path.write_bytes(b"content")
    (tmp_path / "link").symlink_to(path)
    for given in (path, str(path), tmp_path / "link"):
        with files.open_regular(given) as file:
            assert b"content" == file.read()
    with pytest.raises(FileNotFoundError):
        files.open_regular(tmp_path / "missing")
