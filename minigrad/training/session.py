"""`Session`, everything that one call of `fit` works with."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias, final

import numpy.typing as npt

from minigrad import checkpoint
from minigrad._messages import described
from minigrad.arrays import Array
from minigrad.checkpoint.arguments import check_optimizer
from minigrad.data import Batches
from minigrad.errors import AttachError, KindError, ModelError, NonFiniteError, ShapeError
from minigrad.hooks import Epoch, FitBegin, FitEnd, Hook
from minigrad.hooks.dispatch import ask, tell, telling
from minigrad.hooks.handle import attach
from minigrad.hooks.listener import Listener, is_attached, methods_of
from minigrad.layers.layer import Layer
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameters.vector import ParameterVector, announce
from minigrad.training.callbacks.stop_on_non_finite import first_of_backward, first_of_forward
from minigrad.training.evaluation import about, check_data, evaluate, quiet
from minigrad.training.history import History
from minigrad.training.metrics import Mean, MeanLoss, Metrics, metrics_for
from minigrad.training.snapshot import Snapshot

Validation: TypeAlias = tuple[npt.ArrayLike, npt.ArrayLike] | Batches | None
"""What `fit` takes as `validation_data`."""


@final
class Session:
    """One training.

    Attributes:
        model: The model.
        loss: The loss.
        optimizer: The optimizer.
        data: The data to train on.
        validation: The data to validate with, if any.
        hooks: The hooks, in order.
        history: The figures of the epochs so far.
        epochs: How many epochs there are to be in all.
        steps_per_epoch: How many steps an epoch has.
        stopping: Why the training is to end; empty as long as it is not.
        between_epochs: Whether no epoch is under way.
        ending: Whether hooks are told of the end.
        over: Whether they were.

    Raises:
        MinigradError: Something is of the wrong kind, or does not fit together; as `fit` says.
    """

    def __init__(
        self,
        model: Layer,
        loss: Loss,
        optimizer: Optimizer,
        data: Batches,
        validation_data: Validation,
        metrics: Metrics,
        hooks: Iterable[Hook],
        epochs: int,
    ) -> None:
        _check_kinds(model, loss, optimizer, data)
        self.model: Layer = model
        self.loss: Loss = loss
        self.optimizer: Optimizer = optimizer
        self.data: Batches = data
        self.hooks: list[Hook] = list(hooks)
        self.epochs: int = epochs
        self.steps_per_epoch: int = len(data)
        self.stopping: str = ""
        self.between_epochs: bool = True
        self.ending: bool = False
        self.over: bool = False
        self._mean_loss = MeanLoss()
        self._metrics = metrics_for(metrics, loss)
        self._validation_metrics = metrics_for(metrics, loss)
        self._before_step = Snapshot(model)
        self._listeners: list[Listener] = []
        self._later: list[Callable[[], object]] = []
        self._to_restore: tuple[Mapping[str, Any], str] | None = None
        self._non_finite: NonFiniteError | None = None
        with about("data"):
            loss.prepare(data.y)
        check_data(model, loss, data, self._validation_metrics, "data")
        _check_batch_sizes(model, data)
        self.validation: Batches | None = _as_batches(validation_data, data.scale)
        if self.validation is not None:
            check_data(model, loss, self.validation, self._validation_metrics, "validation_data")
        for hook in self.hooks:
            if not methods_of(hook):
                raise AttachError(
                    f"{type(hook).__name__} overrides no method of Hook: it would never be called"
                )
        self.history: History = History({name: [] for name in self._names()})

    def _names(self) -> list[str]:
        """The names of the figures that each epoch will have."""
        names = ["loss", *self._metrics]
        return names + ([f"val_{name}" for name in names] if self.validation is not None else [])

    # -- beginning and end ------------------------------------------------------------------------

    @contextmanager
    def running(self, resume_from: str | os.PathLike[str] | None) -> Iterator[None]:
        """Hooks told of the beginning and attached, a checkpoint loaded, training mode on.

        Afterwards all is as before, and whoever was told of the beginning is told of the end.
        """
        begun: list[Listener] = []
        with ExitStack() as stack:
            names, resumes = tuple(self._names()), resume_from is not None
            event = FitBegin(self, self.loss, self.data, names, tuple(self.hooks), resumes)
            try:
                for hook in self.hooks:
                    listener = Listener(hook, methods_of(hook), "")
                    ask([listener], Hook.on_fit_begin, event)
                    begun.append(listener)
                    # now, so that hooks that attach themselves come in this order, too
                    self._attach(hook, stack)
                if resume_from is not None:
                    self._load(resume_from)
                self._switch_to_training(stack)
                self.carry_out()
                self._check_trainable()
                with quiet():
                    yield
            except BaseException as error:
                self._end(begun, error)
                raise
            self._end(begun, None)

    def _attach(self, hook: Hook, stack: ExitStack) -> None:
        """Attach a hook until the stack ends.

        Where it is attached already, as recorders are, it stays so.
        """
        methods = methods_of(hook)
        if methods.keys() & {Hook.before_step, Hook.on_step, Hook.flush} and not is_attached(
            hook, self.optimizer.listeners
        ):
            stack.enter_context(self.optimizer.attach(hook))
        if methods.keys() & {Hook.on_forward, Hook.on_backward}:
            every = self.model.places()
            places = [place for place in every if not is_attached(hook, place[0])]
            if places or not every:
                where = f"{type(self.model).__name__}.attach"
                stack.enter_context(
                    attach(hook, (Hook.on_forward, Hook.on_backward), places, where)
                )
        if Hook.on_epoch in methods:
            stack.enter_context(attach(hook, (Hook.on_epoch,), [(self._listeners, "")], "fit"))

    def _switch_to_training(self, stack: ExitStack) -> None:
        """The model in training mode, and the optimizer in this session, until the stack ends."""
        if not self.model.training:  # a part alone may be in eval mode on purpose
            for _, layer in self.model.layers():
                stack.callback(setattr, layer, "training", layer.training)
            self.model.train()
        self.optimizer.session = self
        stack.callback(setattr, self.optimizer, "session", None)

    def _check_trainable(self) -> None:
        parameters = self.optimizer.model.parameters()
        if self.history.epochs < self.epochs and not any(own.moving for _, own in parameters):
            raise ModelError(
                f"fit has nothing to train: all parameters of {self.optimizer!r} are frozen; "
                f"unfreeze() what is to learn"
            )

    def _end(self, begun: list[Listener], error: BaseException | None) -> None:
        """Tell the hooks that the training is over; after an error, that error is what counts."""
        self.ending, self._later, self._to_restore = True, [], None
        event = FitEnd(self, self.stopping, error or self._non_finite, self.between_epochs)
        try:
            with telling(), ExitStack() as stack:
                stack.callback(self.carry_out)
                # as callbacks, so that each is told even if another one is interrupted
                for listener in reversed(begun):
                    stack.callback(tell, [listener], Hook.on_fit_end, lambda prefix: event)
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"and when fit had ended: {failure}")
        finally:
            self.over = True

    # -- a step -----------------------------------------------------------------------------------

    def begin_step(self) -> None:
        """A step begins."""
        self._before_step.take()

    def measure(self, value: float, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in the loss and the outputs of a batch."""
        self.between_epochs = False
        self._mean_loss.add(self.loss, value, len(outputs))
        for metric in self._metrics.values():
            metric.add(outputs, targets)

    def fail(self, error: NonFiniteError, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        """End the training because of a batch whose loss or update is not finite."""
        self._non_finite = error
        # so that the search begins where the step began, with the same random numbers
        self._before_step.restore()
        gradients = ParameterVector.of(self.model).gradients
        gradients.forget()  # so that nobody makes a step of them
        message = str(error)
        if math.isfinite(self.loss.value):  # then it is the update
            cause = first_of_backward(self.model, self.loss, x, y)
            message = f"the update is not finite: {cause}" if cause else message
        else:
            cause = first_of_forward(self.model, self.loss, x, y, self.data.indices)
            message = f"{message}: {cause}"
        self._before_step.restore()  # also what the search has changed in place
        gradients.forget()
        step = self.optimizer.step_count
        self.stop(f"step {step}: {message}; the weights are those before this step")
        logging.getLogger("minigrad").warning("fit stopped at %s", self.stopping)

    # -- an epoch ---------------------------------------------------------------------------------

    def end_epoch(self) -> dict[str, float]:
        """Validate, add the figures to the history, tell the hooks."""
        figures = {name: mean.value() for name, mean in self._means().items()}
        for mean in self._means().values():
            mean.clear()
        if self.validation is not None:
            result = evaluate(self.model, self.loss, self.validation, self._validation_metrics)
            figures |= {f"val_{name}": figure for name, figure in result.items()}
        self.history.add(figures)
        self.between_epochs = True
        event = Epoch(self.history.epochs - 1, MappingProxyType(figures), self)
        with telling():
            tell(self._listeners, Hook.on_epoch, lambda prefix: event)
        self.carry_out()
        return figures

    def _means(self) -> dict[str, Mean]:
        """What grows with each batch, by the name of its figure."""
        return {"loss": self._mean_loss, **self._metrics}

    # -- what hooks ask for -----------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the training after this event; the first reason counts."""
        self.stopping = self.stopping or str(reason) or "a hook asked for it"

    def later(self, action: Callable[[], object]) -> None:
        """Do something once all hooks were told."""
        self._later.append(action)

    def restore(self, state: Mapping[str, Any], by: str) -> None:
        """Put values and buffers back into the model, after everything else."""
        self._to_restore = state, by

    def carry_out(self) -> None:
        """Do what was asked for: all hooks were told."""
        try:
            while self._later:
                self._later.pop(0)()
        finally:
            if self._to_restore is not None:
                (state, by), self._to_restore = self._to_restore, None
                self.model.load_state_dict(state)
                announce(self.model, by)

    # -- checkpoints ------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint of this moment."""
        self.history.under_way = {name: list(mean.sums) for name, mean in self._means().items()}
        try:
            checkpoint.save(
                path,
                model=self.model,
                optimizer=self.optimizer,
                data=self.data,
                history=self.history,
                hooks=self.hooks,
            )
        finally:
            self.history.under_way = {}

    def _load(self, path: str | os.PathLike[str]) -> None:
        checkpoint.load(
            path,
            model=self.model,
            optimizer=self.optimizer,
            data=self.data,
            history=self.history,
            hooks=self.hooks,
        )
        for name, sums in self.history.under_way.items():
            if name in self._means():
                self._means()[name].sums = list(sums)
        self.history.under_way = {}
        self.between_epochs = not self._mean_loss.sums[1]


# -- before the first step ------------------------------------------------------------------------


def _check_kinds(model: object, loss: object, optimizer: object, data: object) -> None:
    expected = {
        "model": (model, Layer, "a layer, such as a Sequential"),
        "loss": (loss, Loss, "a loss, such as SoftmaxCrossEntropy()"),
        "optimizer": (optimizer, Optimizer, "an optimizer, such as SGD(model, lr=0.1)"),
        "data": (data, Batches, "minigrad.Batches(x, y, batch_size)"),
    }
    for name, (given, kind, description) in expected.items():
        if not isinstance(given, kind):
            raise KindError(f"fit got {described(given)} as {name}, expected {description}")
    assert isinstance(optimizer, Optimizer)
    assert isinstance(model, Layer)
    check_optimizer(optimizer, model, "fit")


def _check_batch_sizes(model: Layer, data: Batches) -> None:
    """Say now that a batch is too small for a layer, and not at the end of the first epoch."""
    rest = 0 if data.drop_last else len(data.x) % data.batch_size
    smallest = rest or data.batch_size
    for _, layer in model.layers():
        trains = layer.training or not model.training
        if trains and smallest < layer.min_batch_size:
            raise ShapeError(
                f"data: {data!r} gives a batch of {smallest}, and {layer.called} needs at least "
                f"{layer.min_batch_size} samples in training; use another batch_size, or "
                f"drop_last=True"
            )


def _as_batches(given: Validation, scale: float | None) -> Batches | None:
    """The data to validate with."""
    if given is None or isinstance(given, Batches):
        return given
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise KindError(
            f"validation_data is a {type(given).__name__}, expected (x, y), or minigrad.Batches"
        )
    with about("validation_data"):
        return Batches(given[0], given[1], 1, shuffle=False, scale=scale)
