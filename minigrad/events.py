"""The events that hooks are given: frozen, and what they hand out is a copy made on access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Protocol, final

import numpy as np
from typing_extensions import override

from minigrad.arrays import Array, Integers
from minigrad.errors import OrderError, UnknownName


@final
@dataclass(frozen=True, slots=True)
class Forward:
    """A layer has run forward.

    Attributes:
        name: The layer's name in the model that the hook is attached to: "0", nested "1.0".
        layer: The layer itself.
        training: Whether it ran in training mode, not in eval mode.
    """

    name: str
    layer: Any
    training: bool
    _input: Array = field(repr=False)
    _output: Array = field(repr=False)

    @property
    def input(self) -> Array:
        """A copy of what went in, shape (batch, ...)."""
        return self._input.copy()

    @property
    def output(self) -> Array:
        """A copy of what came out, shape (batch, ...)."""
        return self._output.copy()


@final
@dataclass(frozen=True, slots=True)
class Backward:
    """A layer has run backward.

    Attributes:
        name: The layer's name in the model that the hook is attached to: "0", nested "1.0".
        layer: The layer itself.
    """

    name: str
    layer: Any
    _output_grad: Array = field(repr=False)
    _input_grad: Array | None = field(repr=False)

    @property
    def output_grad(self) -> Array:
        """A copy of the gradient of the layer's output, which arrived from above."""
        return self._output_grad.copy()

    @property
    def input_grad(self) -> Array | None:
        """A copy of the gradient of the layer's input, which goes on below; None where nobody needs it."""
        return None if self._input_grad is None else self._input_grad.copy()


@final
class FlatArrays:
    """An optimizer's flat arrays, read-only: for the recorder alone.

    Args:
        slots: Where each parameter lies in them.
        values: All values.
        grads: All gradients, as backward left them.
        update: What the last step added to the values.

    Attributes:
        told: The number of the step that hooks are being told about; None between steps.
    """

    __slots__ = ("grads", "slots", "told", "update", "values")

    def __init__(
        self, slots: Mapping[str, tuple[slice, tuple[int, ...]]], values: Array, grads: Array, update: Array
    ) -> None:
        self.slots: Mapping[str, tuple[slice, tuple[int, ...]]] = slots
        self.values: Array = values
        self.grads: Array = grads
        self.update: Array = update
        self.told: int | None = None


@final
class NamedCopies(Mapping[str, Array]):
    """Maps each parameter's name to a copy of its part of a flat array, made on access while the event lasts."""

    def __init__(self, flat: FlatArrays, step: int, array: Array) -> None:
        self._flat = flat
        self._step = step
        self._array = array

    @override
    def __getitem__(self, name: str) -> Array:
        """A copy, in the parameter's shape.

        Raises:
            UnknownName: There is no such parameter.
            OrderError: The event is over, and the arrays have gone on to another step.
        """
        if self._flat.told != self._step:
            raise OrderError("this event is over; read its arrays inside on_step, and keep those that you need")
        if name not in self._flat.slots:
            raise UnknownName(f"no parameter '{name}'; there are {', '.join(self._flat.slots)}")
        part, shape = self._flat.slots[name]
        return self._array[part].reshape(shape).copy()

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._flat.slots)

    @override
    def __len__(self) -> int:
        return len(self._flat.slots)

    @override
    def __repr__(self) -> str:
        return f"<copies on access: {', '.join(self)}>"


class RunningFit(Protocol):
    """The training that `fit` runs, as its events know it."""

    def stop(self, reason: str) -> None:
        """End it, once all hooks were told."""
        ...

    def save(self, path: str | PathLike[str]) -> None:
        """Write a checkpoint of it, once all hooks were told."""
        ...


class InFit:
    """What the events of `fit` offer: hooks do not change a training, but may ask for its end or for a checkpoint."""

    __slots__ = ()
    _session: RunningFit | None

    def stop(self, reason: str) -> None:
        """End the training. It is carried out once all hooks were told of this event.

        Args:
            reason: Why, for `history.stopped`.

        Raises:
            OrderError: No `fit` is running; a loop by hand ends with `break`.
        """
        self._running("stop").stop(reason)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a checkpoint of the whole training: model, optimizer, data, history and hooks, for `resume_from`.

        It is carried out once all hooks were told of this event.

        Args:
            path: The file.

        Raises:
            OrderError: No `fit` is running; a loop by hand calls `minigrad.save`.
        """
        self._running("save").save(path)

    def _running(self, what: str) -> RunningFit:
        if self._session is None:
            raise OrderError(
                f"{what}: this event comes from a loop by hand, not from minigrad.fit; use break, or minigrad.save"
            )
        return self._session


@final
@dataclass(frozen=True, slots=True)
class Step(InFit):
    """The optimizer has made a step.

    Attributes:
        step: The number of the step, counted from 0.
        lr: The learning rate of this step.
        clip_factor: What the gradients were multiplied by to clip them; 1.0 where they were not.
        skipped: The parameters that got no update, each with "frozen" or "no gradient".
        loss: The value of the loss, where known.
        flat: The flat arrays themselves, for the recorder.
    """

    step: int
    lr: float
    clip_factor: float
    skipped: Mapping[str, str]
    flat: FlatArrays = field(repr=False)
    loss: float | None = None
    _indices: Integers | None = field(default=None, repr=False)
    _session: RunningFit | None = field(default=None, repr=False, compare=False)

    @property
    def indices(self) -> Integers | None:
        """The rows of the data in this step's batch, where known; a copy."""
        return None if self._indices is None else np.array(self._indices)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the optimizer's parameters, in definition order."""
        return tuple(self.flat.slots)

    @property
    def updates(self) -> Mapping[str, Array]:
        """What the optimizer added to each parameter, sign included. -0.0 everywhere where it was skipped."""
        return NamedCopies(self.flat, self.step, self.flat.update)

    @property
    def grads(self) -> Mapping[str, Array]:
        """Each parameter's gradient as backward left it, before clipping."""
        return NamedCopies(self.flat, self.step, self.flat.grads)

    @property
    def values(self) -> Mapping[str, Array]:
        """Each parameter's value after the step."""
        return NamedCopies(self.flat, self.step, self.flat.values)


@final
@dataclass(frozen=True, slots=True)
class Epoch(InFit):
    """An epoch has ended.

    Attributes:
        epoch: The number of the epoch, counted from 0.
        metrics: The epoch's figures by name: "loss", "accuracy", ...
    """

    epoch: int
    metrics: Mapping[str, float]
    _session: RunningFit | None = field(default=None, repr=False, compare=False)
