"""The events of passes and steps; the arrays that they hand out are copies made on access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, final

import numpy as np

from minigrad._printable import printable
from minigrad._types import override
from minigrad.arrays import Array, Integers, Mask
from minigrad.errors import CallOrderError, UnknownNameError
from minigrad.hooks.event import Event
from minigrad.hooks.fit_events import InFit, RunningFit


class _OfLayer(Event):
    """Something that has happened to a layer."""

    __slots__ = ("_layer", "_name")

    _name: str
    _layer: Any

    @property
    def name(self) -> str:
        """The layer's name in the model that the hook is attached to: "0", nested "1.0"."""
        return self._name

    @property
    def layer(self) -> Any:
        """The layer itself."""
        return self._layer

    @property
    @override
    def where(self) -> str:
        """The layer's name, in words."""
        return f"layer '{self.name}'"


@final
class Forward(_OfLayer):
    """A layer has run forward."""

    __slots__ = ("_input", "_output", "_training")

    def __init__(self, name: str, layer: Any, training: bool, input: Array, output: Array) -> None:
        self._name = name
        self._layer = layer
        self._training = training
        self._input = input
        self._output = output

    @property
    def training(self) -> bool:
        """Whether it ran in training mode, not in eval mode."""
        return self._training

    @property
    def input(self) -> Array:
        """A copy of what went in, shape (batch, ...)."""
        return self._input.copy()

    @property
    def output(self) -> Array:
        """A copy of what came out, shape (batch, ...)."""
        return self._output.copy()

    @override
    def __repr__(self) -> str:
        return f"Forward(name={self.name!r}, layer={self.layer!r}, training={self.training})"


@final
class Backward(_OfLayer):
    """A layer has run backward."""

    __slots__ = ("_input_grad", "_output_grad")

    def __init__(self, name: str, layer: Any, output_grad: Array, input_grad: Array | None) -> None:
        self._name = name
        self._layer = layer
        self._output_grad = output_grad
        self._input_grad = input_grad

    @property
    def output_grad(self) -> Array:
        """A copy of the gradient of the layer's output, which arrived from above."""
        return self._output_grad.copy()

    @property
    def input_grad(self) -> Array | None:
        """A copy of the gradient of the layer's input, which goes on below.

        None where nobody needs it.
        """
        return None if self._input_grad is None else self._input_grad.copy()

    @override
    def __repr__(self) -> str:
        return f"Backward(name={self.name!r}, layer={self.layer!r})"


@final
class FlatArrays:
    """An optimizer's flat arrays, read-only and live, while an event lasts.

    For hooks that look at everything at once.

    Args:
        slots: Where each parameter lies in them.
        values: All values.
        grads: All gradients, as backward left them.
        update: What the last step added to the values.

    In `before_step` the values are those before the update, in `on_step` those after it.

    Attributes:
        transformed: The gradients after the optimizer's transforms; those that backward left, where
            it has none.
        step: The number of the step whose event lasts; None between steps.
    """

    __slots__ = ("grads", "slots", "step", "transformed", "update", "values")

    def __init__(
        self,
        slots: Mapping[str, tuple[slice, tuple[int, ...]]],
        values: Array,
        grads: Array,
        update: Array,
    ) -> None:
        self.slots: Mapping[str, tuple[slice, tuple[int, ...]]] = slots
        self.values: Array = values
        self.grads: Array = grads
        self.update: Array = update
        self.transformed: Array = grads
        self.step: int | None = None


@final
class NamedCopies(Mapping[str, Array]):
    """Maps each parameter's name to a copy of its part of a flat array, made on access."""

    def __init__(self, flat: FlatArrays, step: int, array: Array) -> None:
        self._flat = flat
        self._step = step
        self._array = array

    @override
    def __getitem__(self, name: str) -> Array:
        """A copy, in the parameter's shape.

        Raises:
            UnknownNameError: There is no such parameter.
            CallOrderError: The event is over, and the arrays have gone on to another step.
        """
        if self._flat.step != self._step:
            raise CallOrderError(
                "this event is over; read its arrays inside before_step or on_step, and keep those "
                "that you need"
            )
        if name not in self._flat.slots:
            raise UnknownNameError(
                f"no parameter '{name}'; there are {', '.join(self._flat.slots)}"
            )
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
        return printable(f"<copies on access: {', '.join(self)}>")


@final
class Step(InFit):
    """An optimizer makes a step.

    `before_step` is given it before the update is written, `on_step` afterwards.
    """

    __slots__ = (
        "_clip_factor",
        "_flat",
        "_held",
        "_indices",
        "_loss",
        "_lr",
        "_place",
        "_session",
        "_skipped",
        "_step",
        "_transforms",
    )

    def __init__(
        self,
        step: int,
        lr: float,
        clip_factor: float,
        skipped: Mapping[str, str],
        flat: FlatArrays,
        loss: float | None = None,
        indices: Integers | None = None,
        session: RunningFit | None = None,
        transforms: str = "",
        held: Mapping[str, Mask] = MappingProxyType({}),
    ) -> None:
        self._held = held
        self._transforms = transforms
        self._step = step
        self._lr = lr
        self._clip_factor = clip_factor
        self._skipped = skipped
        self._flat = flat
        self._loss = loss
        self._indices = indices
        self._session = session
        self._place: tuple[int | None, int | None] = (None, None)
        if session is not None:
            self._place = session.history.epochs, session.data.given - 1

    @property
    def step(self) -> int:
        """The number of the step, counted from 0.

        It counts on over all epochs, and over a `fit` that goes on.
        """
        return self._step

    @property
    @override
    def where(self) -> str:
        """The number of the step, in words."""
        return f"step {self._step}"

    @property
    def epoch(self) -> int | None:
        """The number of the epoch, counted from 0; None in a loop by hand."""
        return self._place[0]

    @property
    def step_in_epoch(self) -> int | None:
        """The number of the step in its epoch, counted from 0; None in a loop by hand.

        So it is, too, where `fit` goes on in mid-epoch.
        """
        return self._place[1]

    @property
    def lr(self) -> float:
        """The learning rate of this step."""
        return self._lr

    @property
    def clip_factor(self) -> float:
        """What the gradients were multiplied by to clip them; 1.0 where they were not."""
        return self._clip_factor

    @property
    def transforms(self) -> str:
        """The names of the gradient transforms that may have changed which gradients are 0.

        Empty if there are none.
        """
        return self._transforms

    @property
    def skipped(self) -> Mapping[str, str]:
        """The parameters that got no update, each with "frozen" or "no gradient"."""
        return self._skipped

    @property
    def held(self) -> Mapping[str, Mask]:
        """Of parameters of which only some entries may move, those that may not.

        Flat booleans by the parameter's name.
        """
        return self._held

    @property
    def loss(self) -> float | None:
        """The value of the loss, where known."""
        return self._loss

    @property
    def indices(self) -> Integers | None:
        """The rows of the data in this step's batch, where known; a copy."""
        return None if self._indices is None else np.array(self._indices)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the optimizer's parameters, in definition order."""
        return tuple(self._flat.slots)

    @property
    def updates(self) -> Mapping[str, Array]:
        """What the optimizer added to each parameter, sign included.

        -0.0 everywhere where it was skipped.
        """
        return NamedCopies(self._flat, self._step, self._flat.update)

    @property
    def grads(self) -> Mapping[str, Array]:
        """Each parameter's gradient as backward left it, before clipping."""
        return NamedCopies(self._flat, self._step, self._flat.grads)

    @property
    def values(self) -> Mapping[str, Array]:
        """Each parameter's value: in `before_step` before the update, in `on_step` after it."""
        return NamedCopies(self._flat, self._step, self._flat.values)

    @property
    def flat(self) -> FlatArrays:
        """The flat arrays themselves: live, read-only, and only while the event lasts."""
        return self._flat

    @override
    def __repr__(self) -> str:
        return (
            f"Step(step={self.step}, lr={self.lr}, clip_factor={self.clip_factor}, "
            f"skipped={dict(self.skipped)}, loss={self.loss})"
        )
