"""`Session`, everything that one call of `fit` works with."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from minigrad import checkpoint
from minigrad._messages import described
from minigrad.arrays import Array
from minigrad.checkpoint.arguments import check_optimizer
from minigrad.data import Batches
from minigrad.errors import AttachError, KindError, NonFiniteError, ShapeError
from minigrad.hooks.fit_events import Epoch, FitBegin, FitEnd
from minigrad.hooks.hook import Hook, Listener, ask, attach, is_attached, methods_of, tell, telling
from minigrad.layers import BatchNorm
from minigrad.layers.layer import Layer
from minigrad.layers.state import buffer_places
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameters.vector import ParameterVector, announce
from minigrad.training.callbacks.stop_on_non_finite import first_of_backward, first_of_forward
from minigrad.training.evaluation import check, evaluate, naming, quiet, ready
from minigrad.training.history import History
from minigrad.training.metrics import Mean, MeanLoss, Metrics, Running, chosen

Validation: TypeAlias = tuple[npt.ArrayLike, npt.ArrayLike] | Batches | None
"""What `fit` takes as `validation_data`."""


@final
class Session:
    """One training.

    Attributes:
        history: The figures of the epochs so far.
        epochs: How many epochs there are to be in all.
        steps_per_epoch: How many steps an epoch has.
        stopping: Why the training is to end; empty as long as it is not.
        between_epochs: Whether no epoch is under way.
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
        self.model: Layer = model
        self.loss: Loss = loss
        self.optimizer: Optimizer = optimizer
        self.data: Batches = data
        self._check_kinds()
        self._mean_loss = MeanLoss()
        self._running: dict[str, Running] = chosen(metrics, loss)
        self.hooks: list[Hook] = list(hooks)
        self.stopping: str = ""
        self.between_epochs: bool = True
        self.ending: bool = False
        self.over: bool = False
        self._not_finite: NonFiniteError | None = None
        self._with_buffers = list(buffer_places(model))
        self._generators = [rng for _, rng in model.named_generators()]
        self.epochs: int = epochs
        self.steps_per_epoch: int = len(data)
        self._later: list[Callable[[], object]] = []
        self._restored: tuple[Mapping[str, Any], str] | None = None
        self._listeners: list[Listener] = []
        self._validating: dict[str, Running] = chosen(metrics, loss)
        ready(loss, data)
        check(model, loss, data, self._validating, "data")
        self._check_last_batch()
        self.validation: Batches | None = self._batches(validation_data)
        if self.validation is not None:
            check(model, loss, self.validation, self._validating, "validation_data")
        self._check_hooks()
        self.history: History = History({name: [] for name in self.names()})

    # -- before the first step --------------------------------------------------------------------

    def _check_kinds(self) -> None:
        expected = {
            "model": (Layer, "a layer, such as a Sequential"),
            "loss": (Loss, "a loss, such as SoftmaxCrossEntropy()"),
            "optimizer": (Optimizer, "an optimizer, such as SGD(model, lr=0.1)"),
            "data": (Batches, "minigrad.Batches(x, y, batch_size)"),
        }
        for name, (kind, told) in expected.items():
            if not isinstance(getattr(self, name), kind):
                raise KindError(
                    f"fit got {described(getattr(self, name))} as {name}, expected {told}"
                )
        check_optimizer(self.optimizer, self.model, "fit")

    def _check_last_batch(self) -> None:
        """A batch of one sample has no variance: say so now, and not at the end of the first epoch."""
        size = self.data.batch_size
        rest = 0 if self.data.drop_last else len(self.data.x) % size
        for _, layer in self.model.layers():
            trains = layer.training or not self.model.training
            if isinstance(layer, BatchNorm) and trains and 1 in (size, rest):
                raise ShapeError(
                    f"data: {self.data!r} gives a batch of 1, which {layer.called} cannot "
                    f"normalize in training; use another batch_size, or drop_last=True"
                )

    def _check_hooks(self) -> None:
        for hook in self.hooks:
            if not methods_of(hook):
                raise AttachError(
                    f"{type(hook).__name__} overrides no method of Hook: it would never be called"
                )

    def _batches(self, given: Validation) -> Batches | None:
        if given is None or isinstance(given, Batches):
            return given
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise KindError(
                f"validation_data is a {type(given).__name__}, expected (x, y), or minigrad.Batches"
            )
        with naming("validation_data"):
            return Batches(given[0], given[1], 1, shuffle=False, scale=self.data.scale)

    def names(self) -> list[str]:
        """The names of the figures that each epoch will have."""
        own = ["loss", *self._running]
        return own + ([f"val_{name}" for name in own] if self.validation is not None else [])

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from a checkpoint."""
        parts: dict[str, Any] = {
            "model": self.model,
            "optimizer": self.optimizer,
            "data": self.data,
        }
        checkpoint.load(path, **parts, history=self.history, hooks=self.hooks)
        for name, sums in self.history.under_way.items():
            if name in self._means():
                self._means()[name].sums = list(sums)
        self.history.under_way = {}
        self.between_epochs = not self._mean_loss.sums[1]

    # -- while it runs ----------------------------------------------------------------------------

    def fail(self, error: NonFiniteError, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> None:
        """End the training because of a batch whose loss or update is not finite."""
        self._not_finite = error
        # so that the search begins where the step began, with the same random numbers
        self._go_back()
        gradients = ParameterVector.of(self.model).gradients
        gradients.forget()  # so that nobody makes a step of them
        told = str(error)
        if math.isfinite(
            self.loss.value
        ):  # then it is the update, and the cause may lie between two layers
            found = first_of_backward(self.model, self.loss, x, y)
            told = f"the update is not finite: {found}" if found else told
        else:
            told = f"{told}: {first_of_forward(self.model, self.loss, x, y, self.data.indices)}"
        self._go_back()  # also what the search has changed in place
        gradients.forget()
        self.stop(
            f"step {self.optimizer.step_count}: {told}; the weights are those before this step"
        )
        logging.getLogger("minigrad").warning("fit stopped at %s", self.stopping)

    @contextmanager
    def running(self, resume_from: str | os.PathLike[str] | None) -> Iterator[None]:
        """All hooks told of the beginning and attached, a checkpoint loaded, and the model in
        training mode.

        Afterwards all is as before, and whoever was told of the beginning is told of the end.
        """
        begun: list[Listener] = []
        with ExitStack() as stack:
            names, resumes = tuple(self.names()), resume_from is not None
            event = FitBegin(self, self.loss, self.data, names, tuple(self.hooks), resumes)
            try:
                for hook in self.hooks:
                    listener = Listener(hook, methods_of(hook), "")
                    ask([listener], "on_fit_begin", event)
                    begun.append(listener)
                    self._attach(
                        hook, stack
                    )  # now, so that those that attach themselves come in this order, too
                if resume_from is not None:
                    self.load(resume_from)
                self._train(stack)
                self.carry_out()
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
        if methods & {"before_step", "on_step", "flush"} and not is_attached(
            hook, self.optimizer.listeners
        ):
            stack.enter_context(self.optimizer.attach(hook))
        if methods & {"on_forward", "on_backward"}:
            every = self.model.places()
            places = [place for place in every if not is_attached(hook, place[0])]
            if places or not every:
                where = f"{type(self.model).__name__}.attach"
                stack.enter_context(attach(hook, ("on_forward", "on_backward"), places, where))
        if "on_epoch" in methods:
            stack.enter_context(attach(hook, ("on_epoch",), [(self._listeners, "")], "fit"))

    def _train(self, stack: ExitStack) -> None:
        """The model in training mode, and its optimizer's events in this training, until the stack ends."""
        if not self.model.training:  # a part alone may be in eval mode on purpose
            for _, layer in self.model.layers():
                stack.callback(setattr, layer, "training", layer.training)
            self.model.train()
        self.optimizer.session = self
        stack.callback(setattr, self.optimizer, "session", None)

    def _end(self, begun: list[Listener], error: BaseException | None) -> None:
        """Tell the hooks that the training is over; after an error, that error is what counts."""
        self.ending, self._later, self._restored = True, [], None
        event = FitEnd(self, self.stopping, error or self._not_finite, self.between_epochs)
        try:
            with telling(), ExitStack() as stack:
                stack.callback(self.carry_out)
                for listener in reversed(
                    begun
                ):  # as callbacks, so that each is told though another one be interrupted
                    stack.callback(tell, [listener], "on_fit_end", lambda prefix: event)
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"and when fit had ended: {failure}")
        finally:
            self.over = True

    def remember(self) -> None:
        """A step begins: keep what a forward changes."""
        self._buffers = [
            (layer, name, np.array(getattr(layer, name))) for _, layer, name in self._with_buffers
        ]
        self._states = [rng.bit_generator.state for rng in self._generators]

    def _go_back(self) -> None:
        """Buffers and random generators as they were before the step."""
        for layer, name, value in self._buffers:
            setattr(layer, name, value.copy())
        for rng, state in zip(self._generators, self._states, strict=True):
            rng.bit_generator.state = state

    def measure(self, value: float, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in what a batch gave."""
        self.between_epochs = False
        self._mean_loss.add(self.loss, value, len(outputs))
        for metric in self._running.values():
            metric.add(outputs, targets)

    def _means(self) -> dict[str, Mean]:
        """What grows with each batch, by the name of its figure."""
        return {"loss": self._mean_loss, **self._running}

    def figures(self) -> dict[str, float]:
        """The figures of the epoch that is under way."""
        return {name: mean.value() for name, mean in self._means().items()}

    def end_epoch(self) -> dict[str, float]:
        """Validate, write the figures down, tell the hooks."""
        figures = self.figures()
        for mean in self._means().values():
            mean.clear()
        if self.validation is not None:
            found = evaluate(self.model, self.loss, self.validation, self._validating)
            figures |= {f"val_{name}": figure for name, figure in found.items()}
        self.history.add(figures)
        self.between_epochs = True
        event = Epoch(self.history.epochs - 1, MappingProxyType(figures), self)
        with telling():
            tell(self._listeners, "on_epoch", lambda prefix: event)
        self.carry_out()
        return figures

    # -- what events ask for ----------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the training after this event; the first reason counts."""
        self.stopping = self.stopping or str(reason) or "a hook asked for it"

    def later(self, action: Callable[[], object]) -> None:
        """Do something once all hooks were told."""
        self._later.append(action)

    def restore(self, state: Mapping[str, Any], by: str) -> None:
        """Put values and buffers back into the model, after all else."""
        self._restored = state, by

    def carry_out(self) -> None:
        """All hooks were told."""
        try:
            while self._later:
                self._later.pop(0)()
        finally:
            if self._restored is not None:
                (state, by), self._restored = self._restored, None
                self.model.load_state_dict(state)
                announce(self.model, by)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint of this moment."""
        self.history.under_way = {name: list(mean.sums) for name, mean in self._means().items()}
        parts: dict[str, Any] = {
            "model": self.model,
            "optimizer": self.optimizer,
            "data": self.data,
        }
        try:
            checkpoint.save(path, **parts, history=self.history, hooks=self.hooks)
        finally:
            self.history.under_way = {}
