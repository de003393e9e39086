"""`EarlyStopping`, which ends a training that no longer improves, and `Best`, what better means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, final

from minigrad._messages import described
from minigrad._types import override
from minigrad._validation import number, whole
from minigrad.display.words import counted
from minigrad.errors import KindError, RangeError
from minigrad.hooks import Epoch, FitBegin, FitEnd, Hook
from minigrad.hooks.fit_events import InFit

Mode: TypeAlias = Literal["auto", "min", "max"]
"""Whether less or more of a figure is better; "auto" knows it of those of minigrad."""

_LESS = ("loss", "mean_absolute_error")
_MORE = ("accuracy", "r2")


@final
class Best:
    """The best value of a figure so far.

    Args:
        monitor: The name of the figure.
        mode: Whether less or more is better.
        min_delta: By how much a value must be better to count.

    Attributes:
        value: The best; None before the first. NaN is never better.
    """

    def __init__(self, monitor: str, mode: Mode, min_delta: float = 0.0) -> None:
        if not isinstance(monitor, str):
            raise KindError(
                f"monitor is {described(monitor)}, expected the name of a figure, such as "
                f"'val_loss'"
            )
        if not isinstance(mode, str) or mode not in ("auto", "min", "max"):
            raise RangeError(f"mode is {described(mode)}, expected 'min', 'max' or 'auto'")
        kind = monitor.removeprefix("val_")
        if mode == "auto" and kind not in (*_LESS, *_MORE):
            raise RangeError(
                f"whether less or more of '{monitor}' is better is not known; give mode='min' or "
                f"mode='max'"
            )
        self.monitor: str = monitor
        self.mode: Mode = mode
        self.min_delta: float = number(min_delta, "min_delta", least=0)
        self.value: float | None = None
        self._sign = -1 if mode == "max" or (mode == "auto" and kind in _MORE) else 1

    def improved(self, event: Epoch) -> bool:
        """Take in an epoch; whether it is the best so far."""
        figure = float(event.metrics[self.monitor])
        # equal also where both are infinite, and have no difference
        if math.isnan(figure) or figure == self.value:
            return False
        if self.value is not None and self._sign * (self.value - figure) <= self.min_delta:
            return False
        self.value = figure
        return True


@final
class EarlyStopping(Hook):
    """Ends a training after `patience` epochs in a row that have brought nothing.

        stopping = minigrad.EarlyStopping("val_loss", patience=5)
        minigrad.fit(..., validation_data=(x, y), hooks=[stopping])

    A checkpoint keeps what it has seen, so a training that goes on counts on.

    Args:
        monitor: The name of the figure: "val_loss", "val_accuracy", "loss", ...
        patience: After how many epochs in a row that are not better it ends.
        min_delta: By how much an epoch must be better than the best to count.
        restore_best: Whether the model is given the values and buffers of its best epoch when `fit`
            ends, early or after the last epoch; not where it ends in the middle of an epoch, after
            Ctrl-C, say.
        mode: "min" if less is better, "max" if more is; "auto" knows it of the loss and the metrics
            that have names.

    Attributes:
        best: The best figure so far; None before the first epoch.
        best_epoch: Its epoch, counted from 0; None before the first.
        bad_epochs: How many epochs in a row have not been better.

    Raises:
        KindError: A setting is of the wrong kind.
        RangeError: A setting is out of range, or "auto" does not know the figure.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        restore_best: bool = True,
        *,
        mode: Mode = "auto",
    ) -> None:
        self._best = Best(monitor, mode, min_delta)
        self.patience: int = whole(patience, "patience")
        self.restore_best: bool = bool(restore_best)
        self.best_epoch: int | None = None
        self.bad_epochs: int = 0
        self._best_state: Mapping[str, Any] | None = None
        self._fit: FitBegin | None = None  # while a training runs

    @property
    def monitor(self) -> str:
        """The name of the figure."""
        return self._best.monitor

    @property
    def best(self) -> float | None:
        """The best figure so far; None before the first epoch."""
        return self._best.value

    @override
    def on_fit_begin(self, event: FitBegin) -> None:
        """Begin anew.

        Raises:
            UnknownNameError: The epochs have no such figure.
        """
        event.check_monitor(self.monitor, type(self).__name__)
        self._best.value, self.best_epoch, self.bad_epochs, self._best_state = None, None, 0, None
        self._fit = event

    @override
    def on_epoch(self, event: Epoch) -> None:
        """Look at the figure, and end the training if it is time.

        Raises:
            CallOrderError: No `fit` is running.
        """
        event.check_fit(type(self).__name__)
        if self._best.improved(event):
            self.best_epoch, self.bad_epochs = event.epoch, 0
            self._best_state = event.model.state_dict() if self.restore_best else None
        else:
            self.bad_epochs += 1
        self._stop_in_time(event)

    def _stop_in_time(self, event: InFit) -> None:
        if self.bad_epochs >= self.patience:
            best = (
                "never a number"
                if self.best is None
                else f"best {self.best:.4g} in epoch {(self.best_epoch or 0) + 1}"
            )
            event.stop(
                f"{self._best.monitor} has not become better for "
                f"{counted(self.bad_epochs, 'epoch')} ({best})"
            )

    @override
    def on_fit_end(self, event: FitEnd) -> None:
        """Restore the best values, once a checkpoint may have been written of the last."""
        self._fit = None
        if event.error is None and event.between_epochs and self._best_state is not None:
            event.restore(self._best_state, "EarlyStopping, which restored the best")

    @override
    def state_dict(self) -> dict[str, Any]:
        """What it has seen so far, with the best values."""
        counts = {
            "monitor": self.monitor,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "bad_epochs": self.bad_epochs,
        }
        return {**counts, "best_state": self._best_state}

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; if it was at its end, the training ends again."""
        best, epoch, values = state["best"], state["best_epoch"], state["best_state"]
        self._best.value = None if best is None else float(best)
        self.best_epoch = None if epoch is None else whole(epoch, "best_epoch", least=0)
        self.bad_epochs = whole(state["bad_epochs"], "bad_epochs", least=0)
        self._best_state = None if values is None else dict(values)
        if self._fit is not None:
            self._stop_in_time(self._fit)
