"""`Checkpoint`, which writes checkpoints while `fit` runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, final

from minigrad._messages import described
from minigrad._types import override
from minigrad._validation import whole
from minigrad.checkpoint import archive
from minigrad.errors import DataFileError, KindError, RangeError
from minigrad.files import link_or_copy
from minigrad.hooks import Epoch, FitBegin, FitEnd, Hook, Step
from minigrad.hooks.fit_events import InFit
from minigrad.training.callbacks.early_stopping import Best, Mode


@final
class Checkpoint(Hook):
    """Writes a checkpoint after each epoch, or every n steps, and when training is interrupted.

        minigrad.fit(..., epochs=20, hooks=[minigrad.Checkpoint("digits.npz")])
        minigrad.fit(..., epochs=40, resume_from="digits.npz")

    `path` is the newest; at any moment, also while the next is written, it is there and whole. With
    `keep=3`, the two before it are "digits-1.npz" and "digits-2.npz". With `monitor="val_loss"`,
    "digits-best.npz" is that of the best epoch. If one cannot be written while the training runs,
    because the disk is full, say, that is logged as a warning, the one before it stays, and the
    training goes on.

    Args:
        path: The file.
        every: "epoch", or a number of steps.
        keep: How many are kept, the newest included.
        monitor: The figure by which the best is kept, too.
        mode: "min" if less of it is better, "max" if more is; "auto" knows it of the loss and the
            metrics that have names.

    Attributes:
        path: The newest.
        monitor: The figure by which the best is kept; None where it is not.
        best_path: The best, with a `monitor`; None without.

    Raises:
        KindError: A setting is of the wrong kind.
        RangeError: A setting is out of range, or "auto" does not know the figure.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        every: Literal["epoch"] | int = "epoch",
        keep: int = 1,
        monitor: str | None = None,
        mode: Mode = "auto",
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise KindError(f"the path of a Checkpoint is {described(path)}, expected a path")
        if isinstance(every, str) and every != "epoch":
            raise RangeError(f"every is {described(every)}, expected 'epoch' or a number of steps")
        self.path: Path = Path(path).absolute()
        self.every: Literal["epoch"] | int = (
            every if isinstance(every, str) else whole(every, "every")
        )
        self.keep: int = whole(keep, "keep")
        self._worked = False  # whether anything happened since the newest was written
        self.monitor: str | None = monitor
        self._best = None if monitor is None else Best(monitor, mode)
        self.best_path: Path | None = None if monitor is None else self._beside("best")

    def _beside(self, ending: str) -> Path:
        return self.path.with_name(f"{self.path.stem}-{ending}{self.path.suffix}")

    @override
    def on_fit_begin(self, event: FitBegin) -> None:
        """Begin anew, if there can be such a file.

        Raises:
            DataFileError: The directory is missing or not writable.
            KindError: The state of a hook is nothing that a file can hold.
            UnknownNameError: The epochs have no such figure.
        """
        if self._best is not None:
            event.check_monitor(self._best.monitor, type(self).__name__)
            self._best.value = None
        for hook in event.hooks:
            archive.check(hook.state_dict(), f"the state of {type(hook).__name__}")
        directory = self.path.parent
        if not directory.is_dir() or not os.access(directory, os.W_OK) or self.path.is_dir():
            raise DataFileError(
                f"the checkpoint '{self.path}' cannot be written; give a file in a directory that "
                f"exists and is writable"
            )
        self._worked = False

    @override
    def on_step(self, event: Step) -> None:
        """Write one, if it is time."""
        self._worked = True
        if isinstance(self.every, int) and (event.step + 1) % self.every == 0:
            event.later(lambda: self._write(event))

    @override
    def on_epoch(self, event: Epoch) -> None:
        """Write one, if it is time; and keep it, if it is the best."""
        event.check_fit(type(self).__name__)
        best, self._worked = self._best is not None and self._best.improved(event), True
        if best or self.every == "epoch":
            event.later(lambda: self._write(event, best))

    @override
    def on_fit_end(self, event: FitEnd) -> None:
        """Write one of the end, if there is none yet; not after an error."""
        if self._worked and event.error is None:
            self._write(event)

    def _write(self, event: InFit, best: bool = False) -> None:
        try:
            self._keep_older()
            event.save_now(self.path)
            self._worked = False
            if best and self.best_path is not None:
                link_or_copy(self.path, self.best_path)
        except OSError as error:  # a DataFileError too
            logging.getLogger("minigrad").warning("%s; the training goes on", error)

    def _keep_older(self) -> None:
        """Give the newest another name as well, so that its own is never without a file."""
        older = [self.path, *(self._beside(str(age)) for age in range(1, self.keep))]
        if any(_are_one(newer, name) for newer, name in pairwise(older)):
            # one that could not be written has left it so; doing it again would cost the oldest
            return
        for newer, name in reversed(list(pairwise(older))):
            if newer.exists():
                link_or_copy(newer, name)

    @override
    def state_dict(self) -> dict[str, Any]:
        """The best figure so far."""
        return {} if self._best is None else {"monitor": self.monitor, "best": self._best.value}

    @override
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        if self._best is not None:
            self._best.value = None if state["best"] is None else float(state["best"])


def _are_one(a: Path, b: Path) -> bool:
    """Whether two names are of one file.

    Giving it one of its names again would change nothing, and leave a third.
    """
    return a.exists() and b.exists() and a.samefile(b)
