"""`Interrupts`, which lets Ctrl-C take effect between steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self, final


@final
class Interrupts:
    """While this context lasts, Ctrl-C calls a function.

    A second one raises `KeyboardInterrupt` at once. A handler of the program's own stays, and
    outside the main thread, where there are no signals, nothing happens.

    Args:
        stop: Is called with the reason.
    """

    def __init__(self, stop: Callable[[str], None]) -> None:
        self._stop = stop
        self._arrived = False
        self._before: Any = None

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._arrived:
            raise KeyboardInterrupt
        self._arrived = True
        self._stop("Ctrl-C")

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
