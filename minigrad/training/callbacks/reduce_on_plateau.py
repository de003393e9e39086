"""`ReduceOnPlateau`, which lowers the learning rate when a figure no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, final

from minigrad._messages import described
from minigrad._types import override
from minigrad._validation import number, whole
from minigrad.errors import KindError, RangeError, UnknownNameError
from minigrad.hooks import Epoch, FitBegin, Hook
from minigrad.optimizers.optimizer import Optimizer


@final
class ReduceOnPlateau(Hook):
    """Lowers the rate of an optimizer when a figure has not improved for some epochs.

    It looks at the end of each epoch of `minigrad.fit(..., hooks=[plateau])`; a checkpoint keeps
    what it has seen. In a loop by hand:

        plateau = minigrad.ReduceOnPlateau(optimizer, monitor="val_loss")
        ...
        plateau.on_epoch(minigrad.Epoch(epoch, {"val_loss": value}))

    The rules are those of PyTorch's ReduceLROnPlateau
    (https://docs.pytorch.org/docs/stable/optim.html): an epoch is better if its figure is less than
    best (1 - threshold), or with mode "max" more than best (1 + threshold); after more than
    `patience` epochs in a row that are not, the rate is multiplied by `factor`.

    Args:
        optimizer: Whose rate is lowered; it must be a number, not a schedule.
        monitor: The name of the figure.
        mode: "min" if less is better, "max" if more is.
        factor: What the rate is multiplied by, between 0 and 1.
        patience: How many epochs in a row may bring nothing.
        threshold: How much better, relative to the best, counts as better.
        cooldown: After a change, how many epochs go by before the next ones are counted.
        minimum: The rate never falls below this; changes of 1e-8 or less are left out.

    Attributes:
        best: The best figure so far; None before the first.
        bad_epochs: How many epochs in a row have not been better.
        resting: How many epochs of the cooldown are left.

    Raises:
        KindError: `optimizer` is none, its rate is a schedule, or a setting is no number.
        RangeError: A setting is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        monitor: str = "val_loss",
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        minimum: float = 0.0,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise KindError(f"ReduceOnPlateau got {described(optimizer)}, expected an optimizer")
        if callable(optimizer.lr):
            raise KindError(
                f"ReduceOnPlateau cannot lower the rate of {described(optimizer)}, which is a "
                f"schedule; give the optimizer a number"
            )
        if not isinstance(mode, str) or mode not in ("min", "max"):
            raise RangeError(f"mode is {described(mode)}, expected 'min' or 'max'")
        self.optimizer: Optimizer = optimizer
        self.monitor: str = monitor
        self.mode: Literal["min", "max"] = mode
        self.factor: float = number(factor, "factor", above=0, below=1)
        self.patience: int = whole(patience, "patience", least=0)
        self.threshold: float = number(threshold, "threshold", least=0)
        self.cooldown: int = whole(cooldown, "cooldown", least=0)
        self.minimum: float = number(minimum, "minimum", least=0)
        self.best: float | None = None
        self.bad_epochs: int = 0
        self.resting: int = 0

    @override
    def on_fit_begin(self, event: FitBegin) -> None:
        """Make sure that it is of this training.

        Raises:
            ModelError: It is of another optimizer.
            UnknownNameError: The epochs have no such figure.
        """
        event.check_optimizer(self.optimizer, type(self).__name__)
        event.check_monitor(self.monitor, type(self).__name__)

    @override
    def on_epoch(self, event: Epoch) -> None:
        """Look at the figure, and lower the rate if it is time.

        Raises:
            UnknownNameError: The epoch has no such figure.
            KindError: The optimizer's rate has become a schedule.
        """
        if self.monitor not in event.metrics:
            known = ", ".join(event.metrics) or "none"
            raise UnknownNameError(
                f"ReduceOnPlateau monitors '{self.monitor}', but this epoch has only: {known}"
            )
        figure = float(event.metrics[self.monitor])
        if self._is_better(figure):
            self.best, self.bad_epochs = figure, 0
        else:
            self.bad_epochs += 1
        if self.resting > 0:
            self.resting, self.bad_epochs = self.resting - 1, 0
        if self.bad_epochs > self.patience:
            self._reduce()
            self.resting, self.bad_epochs = self.cooldown, 0

    @override
    def state_dict(self) -> dict[str, Any]:
        """What it has seen so far; the rate itself is part of the optimizer's state."""
        return {
            "monitor": self.monitor,
            "best": self.best,
            "bad_epochs": self.bad_epochs,
            "resting": self.resting,
        }

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        best, bad_epochs, resting = state["best"], state["bad_epochs"], state["resting"]
        self.best = None if best is None else float(best)
        self.bad_epochs, self.resting = (
            whole(bad_epochs, "bad_epochs", least=0),
            whole(resting, "resting", least=0),
        )

    def _is_better(self, figure: float) -> bool:
        if self.best is None:
            return not math.isnan(figure)
        margin = self.threshold if self.mode == "max" else -self.threshold
        limit = self.best * (1 + margin)
        return figure > limit if self.mode == "max" else figure < limit

    def _reduce(self) -> None:
        lr = self.optimizer.lr
        if callable(lr):
            raise KindError(
                f"the rate of {self.optimizer!r} has become a schedule, which ReduceOnPlateau "
                f"cannot lower"
            )
        lower = max(lr * self.factor, self.minimum)
        if lr - lower > 1e-8:
            self.optimizer.lr = lower
