"""Ctrl-C, or no memory left, at any line of saving: the old file or the new one, nothing else, and
the interrupt is not lost.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from checkpoint_support import EVERYTHING

import minigrad as mg
from minigrad import file_lock, files
from minigrad.checkpoint import archive

WRITING = {module.__file__ for module in (archive, files, file_lock, zipfile)}


def model(seed: int) -> mg.Sequential:
    return mg.Sequential(mg.Dense(2, 2, rng=seed))


def interrupted_at(line: int, error: type[BaseException], path: Path) -> bool:
    """Whether saving has that many lines, and ended by this error, which was raised there."""
    seen = 0

    def count(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal seen
        seen += event == "line"
        if seen == line and event == "line":
            raise error
        return count

    def enter(frame: FrameType, event: str, arg: object) -> Any:
        callers = (frame.f_code.co_name, frame.f_back and frame.f_back.f_code.co_name)
        if "__del__" in callers:  # where Python itself ignores all errors
            return None
        return count if frame.f_code.co_filename in WRITING else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        mg.save(path, model=model(1))
    except error:
        return True
    finally:
        sys.settrace(before)
    assert seen < line, "the error is lost"
    return False


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_at_any_line(error: type[BaseException], tmp_path: Path) -> None:
    """At every line of the modules that write; in the usual run at some."""
    path = tmp_path / "x"
    contents = []
    for seed in (0, 1):
        mg.save(path, model=model(seed))
        contents.append(path.read_bytes())
    line, seen = 1, set[bytes]()
    path.write_bytes(contents[0])
    while interrupted_at(line, error, path):
        assert path.read_bytes() in contents
        assert [path] == list(tmp_path.iterdir())
        seen.add(path.read_bytes())
        path.write_bytes(contents[0])
        line += 1 if EVERYTHING else 41
    assert line > 400
    assert set(contents) == seen or not EVERYTHING
