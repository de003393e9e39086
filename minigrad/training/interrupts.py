"""`Interrupts`, which lets Ctrl-C take effect between steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Self, final


@final
class Interrupts:
    """While this context lasts, Ctrl-C is noted in `arrived`; a second one raises `KeyboardInterrupt` at once.

    A handler of the program's own stays, and outside the main thread, where there are no signals, nothing happens.
    """

    def __init__(self) -> None:
        self.arrived: bool = False
        self._before: Any = None

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.arrived:
            raise KeyboardInterrupt
        self.arrived = True

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
