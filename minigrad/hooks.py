"""`Hook`, the events that hooks are given, and `Handle`. This module knows neither layers nor optimizers.

Hooks only observe. What an event hands out is a copy made on access, so a hook may keep it and nothing that it does
can change the training. An exception in a hook is raised as `HookError` once the pass or the step is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self, final

import numpy as np
from typing_extensions import override

from minigrad.arrays import Array, Integers
from minigrad.errors import AttachError, HookError, KindError, OrderError, UnknownName


class Hook:
    """Override the methods you want; the others do nothing and cost nothing.

    `model.attach(hook)` calls `on_forward` and `on_backward`, `optimizer.attach(hook)` calls `on_step`.
    """

    def on_forward(self, event: Forward) -> None:
        """A layer has run forward."""

    def on_backward(self, event: Backward) -> None:
        """A layer has run backward."""

    def on_step(self, event: Step) -> None:
        """The optimizer has made a step; the parameters are already changed."""

    def on_epoch(self, event: Epoch) -> None:
        """An epoch has ended."""

    _before_step: Callable[[], None] | None = None  # for the recorder alone: called before each step is written


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


@final
@dataclass(frozen=True, slots=True)
class Step:
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
class Epoch:
    """An epoch has ended.

    Attributes:
        epoch: The number of the epoch, counted from 0.
        metrics: The epoch's figures by name: "loss", "accuracy", ...
    """

    epoch: int
    metrics: Mapping[str, float]


@final
@dataclass(eq=False, slots=True)
class Listener:
    """A hook in one of the places where it is attached.

    Attributes:
        hook: The hook.
        methods: The names of the methods that it wants called here.
        prefix: What comes before the names of this place, to make them names of the model that was asked.
    """

    hook: Hook
    methods: frozenset[str]
    prefix: str


def attach(hook: Hook, methods: tuple[str, ...], places: list[tuple[list[Listener], str]], where: str) -> Handle:
    """Attach a hook to some places.

    Args:
        hook: The hook.
        methods: The names of the methods that these places call.
        places: The listeners of each place, and the prefix of its names; none, if nothing is ever called.
        where: What the hook is attached to, for the error.

    Raises:
        KindError: `hook` is not a Hook.
        AttachError: None of the hook's methods would ever be called here.
    """
    if not isinstance(hook, Hook):
        raise KindError(f"cannot attach {hook!r}: expected an instance of a subclass of minigrad.Hook")
    own = frozenset(name for name in vars(Hook) if name.startswith("on_") and _overrides(hook, name))
    wanted = own.intersection(methods)
    name = type(hook).__name__
    if not wanted:
        has = f"has only {', '.join(sorted(own))}" if own else "overrides no method of Hook"
        raise AttachError(f"{where} calls {' and '.join(methods)}, but {name} {has}: it would never be called")
    if not places:
        raise AttachError(
            f"{where}: there is no Sequential inside, which is what tells hooks: {name} would never be called"
        )
    attached = []
    for listeners, prefix in places:
        listener = Listener(hook, wanted, prefix)
        listeners.append(listener)
        attached.append((listeners, listener))
    return Handle(attached)


def _overrides(hook: Hook, name: str) -> bool:
    return name in vars(hook) or getattr(type(hook), name) is not getattr(Hook, name)


class Passes(Protocol):
    """Where it is counted how many passes are running, one inside the other, and kept what went wrong in hooks."""

    passes: int
    failures: list[Any]


def tell(listeners: list[Listener], method: str, event: Callable[[str], object], failures: list[Any]) -> None:
    """Tell all listeners, in order of attachment; those added or removed meanwhile count from the next event on.

    Args:
        listeners: The listeners of this place.
        method: The name of the method to call.
        event: Makes the event, given the listener's prefix.
        failures: Where to put what goes wrong.
    """
    for listener in tuple(listeners):
        if method in listener.methods:
            told = event(listener.prefix)
            try:
                result: object = getattr(listener.hook, method)(told)
                if result is not None:
                    raise TypeError(f"{method} returned {type(result).__name__}; hooks only observe and return nothing")
            except Exception as error:  # noqa: BLE001 - whatever a hook raises is reported, after the others were told
                failures.append((listener.hook, error, told))


@final
class telling:
    """A pass, or a step: what goes wrong in hooks is raised at the end of the outermost one that is running.

    Raises:
        HookError: With the hook, the event, the step, and the original exception as `__cause__`.
    """

    __slots__ = ("_passes",)

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    def __enter__(self) -> None:
        self._passes.passes += 1

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._passes.passes -= 1
        if self._passes.passes == 0 and self._passes.failures:
            failures, self._passes.failures = self._passes.failures, []
            if error is None:
                _raise(failures)


def _raise(failures: list[tuple[Hook, Exception, object]]) -> NoReturn:
    hook, error, event = failures[0]
    step: int | None = getattr(event, "step", None)
    when = f"layer '{getattr(event, 'name', '')}'" if step is None else f"step {step}"
    more = f" ({len(failures) - 1} more failures in hooks)" if len(failures) > 1 else ""
    message = f"{type(hook).__name__} failed in {type(event).__name__} of {when}: {type(error).__name__}: {error}{more}"
    raise HookError(message, hook, event, step) from error


@final
class Handle:
    """Removes one attachment of a hook: by `remove()`, any number of times, or at the end of a `with`."""

    def __init__(self, attachments: list[tuple[list[Listener], Listener]]) -> None:
        self._attachments = attachments

    def remove(self) -> None:
        """Remove the hook; also while hooks are being called, and again without effect."""
        for listeners, listener in self._attachments:
            if listener in listeners:
                listeners.remove(listener)
        self._attachments = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
