"""What `fit` shows while it runs: a line for each epoch, and with tqdm a bar inside each."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, final

from minigrad._messages import described
from minigrad._printable import printable
from minigrad.errors import KindError
from minigrad.training.history import short

Shown: TypeAlias = Literal["auto"] | bool
"""Whether progress is shown; "auto" shows it on a terminal or in a notebook."""


@final
class Progress:
    """Lines on the standard output; on a terminal with tqdm also a bar.

    Args:
        shown: Whether anything is shown.
        epochs: The number of the last epoch.
        steps: The number of steps in an epoch.

    Raises:
        KindError: `shown` is something else.
    """

    def __init__(self, shown: Shown, epochs: int, steps: int) -> None:
        if not isinstance(shown, bool | str) or shown not in (True, False, "auto"):
            raise KindError(f"progress is {described(shown)}, expected True, False or 'auto'")
        self.shown: bool = (
            (_on_terminal() or "ipykernel" in sys.modules) if shown == "auto" else shown
        )
        self._epochs = epochs
        self._steps = steps
        self._make_bar = _tqdm() if self.shown and _on_terminal() else None
        self._bar: Any = None
        self._began = 0.0

    def say(self, line: str) -> None:
        """Show a line."""
        if self.shown:
            print(printable(line), flush=True)

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins."""
        self._began = time.perf_counter()
        if self._make_bar is not None:
            self._bar = self._make_bar(
                total=self._steps, desc=self._name(epoch), leave=False, unit="step", file=sys.stdout
            )

    def step(self, loss: float) -> None:
        """A step was made."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.3g}", refresh=False)
            self._bar.update()

    def end_epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """An epoch is complete."""
        self.close()
        text = ", ".join(f"{name} {short(figure)}" for name, figure in figures.items())
        seconds = time.perf_counter() - self._began
        self.say(f"{self._name(epoch)}: {text} ({seconds:.{1 if seconds >= 1 else 2}f} s)")

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _name(self, epoch: int) -> str:
        return f"epoch {epoch + 1:>{len(str(self._epochs))}}/{self._epochs}"


def _on_terminal() -> bool:
    try:
        return bool(sys.stdout.isatty())
    except (AttributeError, ValueError):  # what stands for it cannot say, or is closed
        return False


def _tqdm() -> Any:
    """The bar of tqdm, if it is installed."""
    try:
        return importlib.import_module("tqdm").tqdm
    except ImportError:
        return None
