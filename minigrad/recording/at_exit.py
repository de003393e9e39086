"""What becomes of records on disk when the process ends, is told to end, or forks.

What only memory has is written when Python ends, and on SIGTERM, where nobody else handles it. A
forked child leaves the record to its parent.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from contextlib import suppress
from types import FrameType
from typing import Protocol
from weakref import WeakSet


class Recording(Protocol):
    """A recorder that has begun."""

    def leave(self) -> None:
        """Publish what is only in memory, and let go of the run: the process ends."""

    def forked(self) -> None:
        """This is a forked child: write no more to what belongs to its parent."""


_recording: WeakSet[Recording] = WeakSet()


def add(recorder: Recording, *, on_disk: bool) -> None:
    """This recorder has begun, and may have something to write when the process ends."""
    _recording.add(recorder)
    # Elsewhere than in the main thread Python sets no handlers.
    if (
        on_disk
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    ):
        signal.signal(signal.SIGTERM, _terminated)


def remove(recorder: Recording) -> None:
    """This recorder has stopped; again without effect."""
    _recording.discard(recorder)
    if (
        not _recording
        and threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGTERM) is _terminated
    ):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@atexit.register
def _leave() -> None:
    for recorder in list(_recording):
        with suppress(Exception):  # each has its own disk, and nobody is left to be told
            recorder.leave()


def _terminated(number: int, frame: FrameType | None) -> None:
    """Write what is in memory, and end as SIGTERM ends a process.

    A recorder may just have been writing. It can be interrupted anywhere, and nobody comes back to
    where it was.
    """
    _leave()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.raise_signal(signal.SIGTERM)


def _after_fork() -> None:
    for recorder in list(_recording):
        recorder.forked()
    _recording.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
