"""The events of `fit`: its beginning, its end, its epochs; and what all of its events offer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Protocol, final

from minigrad._types import override
from minigrad.errors import CallOrderError, ModelError, UnknownNameError
from minigrad.hooks.event import Event


class RunningFit(Protocol):
    """The training that `fit` runs, as its events know it."""

    model: Any
    optimizer: Any
    data: Any
    history: Any
    epochs: int
    steps_per_epoch: int
    ending: bool  # hooks are told of the end
    over: bool  # and were

    def stop(self, reason: str) -> None:
        """End it, once all hooks were told."""
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write a checkpoint of it, now."""
        ...

    def later(self, action: Callable[[], object]) -> None:
        """Do something once all hooks were told."""
        ...

    def restore(self, state: Mapping[str, Any], by: str) -> None:
        """Put values and buffers back into the model."""
        ...


class InFit(Event):
    """What the events of `fit` offer: to ask for the end of the training, or for a checkpoint.

    In a loop by hand, `model`, `optimizer`, `history`, `epochs` and `steps_per_epoch` are None.
    """

    __slots__ = ()
    _session: RunningFit | None

    @property
    def model(self) -> Any:
        """The model that is trained."""
        return None if self._session is None else self._session.model

    @property
    def optimizer(self) -> Any:
        """The optimizer that trains it."""
        return None if self._session is None else self._session.optimizer

    @property
    def history(self) -> Any:
        """The `History` so far, a copy."""
        if self._session is None:
            return None
        history = self._session.history
        copied = type(history)(history)
        copied.stopped = history.stopped
        return copied

    @property
    def epochs(self) -> int | None:
        """How many epochs the training is to have in all."""
        return None if self._session is None else self._session.epochs

    @property
    def steps_per_epoch(self) -> int | None:
        """How many steps an epoch has."""
        return None if self._session is None else self._session.steps_per_epoch

    def stop(self, reason: str) -> None:
        """End the training. It is carried out once all hooks were told of this event.

        Args:
            reason: Why, for `history.stopped`.

        Raises:
            CallOrderError: No `fit` is running, or it has ended; a loop by hand ends with `break`.
        """
        session = self._running("stop")
        if session.ending:
            raise CallOrderError("stop: this training has ended already")
        session.stop(reason)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a checkpoint of the whole training, for `resume_from`.

        It holds model, optimizer, data, history and hooks, and is written once all hooks were told
        of this event.

        Args:
            path: The file.

        Raises:
            CallOrderError: No `fit` is running; a loop by hand calls `minigrad.save`.
        """
        session = self._running("save")
        session.later(lambda: session.save(path))

    def restore(
        self, state: Mapping[str, Any], by: str = "a hook, which restored what it had kept"
    ) -> None:
        """Put values and buffers that a hook has kept back into the model.

        They are what `event.model.state_dict()` gave. It is carried out once all hooks were told of
        this event, and after all that `save` and `later` ask for.

        Args:
            state: The values and buffers.
            by: Who does it, for the notes of a record.

        Raises:
            CallOrderError: No `fit` is running; a loop by hand calls `model.load_state_dict`.
        """
        self._running("restore").restore(state, by)

    def later(self, action: Callable[[], object]) -> None:
        """Do something once all hooks were told of this event, so that their states are complete.

        Args:
            action: Is called without arguments, and may write a checkpoint by
                `event.save_now(path)`.

        Raises:
            CallOrderError: No `fit` is running.
        """
        self._running("later").later(action)

    def save_now(self, path: str | PathLike[str]) -> None:
        """Write a checkpoint as `save` does, but at once.

        For an action of `later`, and at the end of a training.

        Raises:
            DataFileError: It cannot be written.
            CallOrderError: No `fit` is running.
        """
        self._running("save_now").save(path)

    def check_fit(self, who: str) -> None:
        """Make sure that `fit` is running.

        Raises:
            CallOrderError: It is not.
        """
        if self._session is None:
            raise CallOrderError(f"{who} works only in minigrad.fit(..., hooks=[...])")

    def _running(self, what: str) -> RunningFit:
        if self._session is None:
            raise CallOrderError(
                f"{what}: this event comes from a loop by hand, not from minigrad.fit; use break, "
                f"or minigrad.save"
            )
        if self._session.over:
            raise CallOrderError(
                f"{what}: the training that this event comes from is over; use minigrad.save, say"
            )
        return self._session


@final
class FitBegin(InFit):
    """A training by `fit` begins; a checkpoint to go on from is loaded after this."""

    __slots__ = ("_data", "_hooks", "_loss", "_names", "_resumes", "_session")

    def __init__(
        self,
        session: RunningFit,
        loss: Any,
        data: Any,
        names: tuple[str, ...],
        hooks: tuple[Any, ...],
        resumes: bool,
    ) -> None:
        self._session = session
        self._loss = loss
        self._data = data
        self._names = names
        self._hooks = hooks
        self._resumes = resumes

    @property
    def loss(self) -> Any:
        """The loss."""
        return self._loss

    @property
    def data(self) -> Any:
        """The `Batches` to train on."""
        return self._data

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the figures of each epoch: "loss", "accuracy", "val_loss", ..."""
        return self._names

    @property
    def validates(self) -> bool:
        """Whether there is validation data, and so figures "val_..."."""
        return "val_loss" in self._names

    @property
    def hooks(self) -> tuple[Any, ...]:
        """All hooks of this training, in order."""
        return self._hooks

    @property
    def resumes(self) -> bool:
        """Whether it goes on from a checkpoint, whose state hooks are given after this."""
        return self._resumes

    def check_monitor(self, monitor: str, who: str) -> None:
        """Make sure that the epochs have a figure.

        Args:
            monitor: Its name.
            who: The hook that looks at it, for the error.

        Raises:
            UnknownNameError: They do not.
        """
        if monitor not in self._names:
            why = (
                " (there is no validation data)"
                if monitor.startswith("val_") and not self.validates
                else ""
            )
            raise UnknownNameError(
                f"{who} monitors '{monitor}', but the epochs have only "
                f"{', '.join(self._names)}{why}"
            )

    def check_optimizer(self, optimizer: object, who: str) -> None:
        """Make sure that a hook is of the optimizer that trains.

        Raises:
            ModelError: It is of another one.
        """
        if optimizer is not self.optimizer:
            raise ModelError(
                f"{who} among the hooks is of another optimizer than {self.optimizer!r}; make one "
                f"of this"
            )

    @override
    def __repr__(self) -> str:
        return (
            f"FitBegin(epochs={self.epochs}, steps_per_epoch={self.steps_per_epoch}, "
            f"names={self.names})"
        )


@final
class FitEnd(InFit):
    """A training by `fit` is over: after its last epoch, early, by Ctrl-C, or after an error."""

    __slots__ = ("_between_epochs", "_error", "_session", "_stopped")

    def __init__(
        self, session: RunningFit, stopped: str, error: BaseException | None, between_epochs: bool
    ) -> None:
        self._session = session
        self._stopped = stopped
        self._error = error
        self._between_epochs = between_epochs

    @property
    def stopped(self) -> str:
        """Why it ended early; empty if it did not."""
        return self._stopped

    @property
    def error(self) -> BaseException | None:
        """The error that ended it; None if there is none.

        `fit` raises it after this, all but `NonFiniteError`. At a NaN or infinity `fit` returns,
        with `history.stopped`; but the optimizer's moments may have taken it in, so the training
        should not go on from its end.
        """
        return self._error

    @property
    def between_epochs(self) -> bool:
        """Whether it ended after an epoch, and not in the middle of one."""
        return self._between_epochs

    @override
    def __repr__(self) -> str:
        return (
            f"FitEnd(stopped={self.stopped!r}, error={self.error!r}, "
            f"between_epochs={self.between_epochs})"
        )


@final
class Epoch(InFit):
    """An epoch has ended."""

    __slots__ = ("_epoch", "_metrics", "_session")

    def __init__(
        self, epoch: int, metrics: Mapping[str, float], session: RunningFit | None = None
    ) -> None:
        self._epoch = epoch
        self._metrics = metrics
        self._session = session

    @property
    def epoch(self) -> int:
        """The number of the epoch, counted from 0."""
        return self._epoch

    @property
    @override
    def where(self) -> str:
        """The number of the epoch, in words."""
        return f"epoch {self._epoch}"

    @property
    def metrics(self) -> Mapping[str, float]:
        """The epoch's figures by name: "loss", "accuracy", ..."""
        return self._metrics

    @override
    def __repr__(self) -> str:
        return f"Epoch(epoch={self.epoch}, metrics={dict(self.metrics)})"
