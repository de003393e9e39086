"""What the tests of accidents on disk share: stories to be interrupted, writers that are killed, a
pickle that explodes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from child_support import surroundings
from disk_support import EVERYTHING, ROW, Settings

from minigrad.recording import disk_store as disk

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
HERE = Path(__file__).parent
STRIDE = 1 if EVERYTHING else 10  # how many of the possible accidents are left out
STORIES: dict[str, Settings] = {
    "small blocks": {"keyframe_every": 2},
    "thinned": {"keyframe_every": 2, "budget": 8 * ROW},
    "ring": {"keyframe_every": 2, "budget": 8 * ROW, "on_full": "ring"},
    "stopped": {"keyframe_every": 2, "budget": 8 * ROW, "on_full": "stop"},
    "every third": {"every": 3, "keyframe_every": 2},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 3},
    "counts alone": {"keep": ()},
}


def sampled(settings: Settings) -> bool:
    """Whether only some steps are kept by these settings, or none."""
    return "every" in settings or "update" not in settings.get("keep", ("update",))


def flush_each(monkeypatch: pytest.MonkeyPatch, steps: int = 1) -> None:
    """Have every so manieth step count for readers at once; no clock takes part."""
    monkeypatch.setattr(disk, "_FLUSH_STEPS", steps)
    monkeypatch.setattr(disk, "_FLUSH_SECONDS", 1e9)


@contextmanager
def children(directory: Path, count: int, steps: int = 0) -> Iterator[subprocess.Popen[str]]:
    """The program that makes children and kills them."""
    program = HERE / "disk_children.py"
    command = [sys.executable, "-W", "error", str(program), str(directory), str(count), str(steps)]
    with subprocess.Popen(command, env=surroundings(program), text=True) as process:
        yield process
    assert 0 == process.returncode


class Bomb:
    """Something that runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle was executed')",)
