"""`Gradients`, the one owner of how fresh a model's gradients are, and where they come from."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, final

from minigrad.arrays import Array
from minigrad.errors import CallOrderError, GradientOverwritten
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.observers import Observers


class HasGradient(Protocol):
    """A parameter, as far as its gradient is concerned."""

    name: str
    arrival: Arrival | None

    @property
    def called(self) -> str:
        """What errors call it."""
        ...

    @property
    def size(self) -> int:
        """The number of entries."""
        ...

    @property
    def moving(self) -> int:
        """How many entries optimizers may change."""
        ...


class Snapshot(NamedTuple):
    """All gradients of a model at one moment.

    Attributes:
        flat: A copy of them.
        arrivals: How each of them had arrived.
    """

    flat: Array
    arrivals: tuple[Arrival | None, ...]


@final
class Gradients:
    """Says of each gradient of a model whether a step may use it, and where it comes from.

    A gradient arrives when somebody writes it, and is gone when a step has used it; between the two
    its parameter has an `arrival`. What a write counts as depends on when it happens:

        in a backward pass     it is a part of that pass, whose arrival is `running`
        in `before_step`       it is an error: `closed`, because the step has read the gradients
        at any other time      it is done by hand

    Reading is never an action.

    Args:
        parameters: The parameters of the model.
        flat: Their gradients, as one flat array.
        observers: Who is told of each backward pass.

    Attributes:
        observers: The same.
        running: The arrival of the backward pass that is running; None between passes, and while
            hooks are told of one.
        overwritten: Parameters whose gradient that pass has overwritten before a step used it.
        closed: Whether a step has read the gradients and is about to be written.
        orphans: Parameters outside the model that got a gradient in one of its backward passes.
    """

    def __init__(
        self, parameters: Sequence[HasGradient], flat: Array, observers: Observers
    ) -> None:
        self._parameters = parameters
        self._flat = flat
        self._count = 0  # of the backward passes so far
        self._expected: set[HasGradient] = set()  # which some optimizer is to use
        self._warned = False
        self.observers: Observers = observers
        self.running: Arrival | None = None
        self.overwritten: list[HasGradient] = []
        self.closed: bool = False
        self.orphans: dict[HasGradient, None] = {}  # in order, each once

    def check_open(self, what: str, parameter: HasGradient) -> None:
        """Make sure that values and gradients may be written now.

        Args:
            what: Which of the two is.
            parameter: Of which parameter.

        Raises:
            CallOrderError: A hook's `before_step` writes it.
        """
        if self.closed:
            raise CallOrderError(
                f"a hook's before_step has changed the {what} of {parameter.called}; it may stop "
                f"the step by raising, and changes nothing: use a transform of the optimizer "
                f"(grad_transforms, update_transforms)"
            )

    # -- backward passes --------------------------------------------------------------------------

    def begin(self) -> Arrival:
        """A backward pass begins; what it writes arrives like this."""
        self._count += 1
        self.overwritten = []
        self.running = latest = Arrival((self._count,))
        _in_this_thread.running.add(self)
        return latest

    def end(self) -> None:
        """It is over."""
        self.running = None
        _in_this_thread.running.discard(self)

    def forget(self) -> None:
        """No gradient has arrived: those that have belong to other values, or are half written."""
        for parameter in (*self._parameters, *self.orphans):
            parameter.arrival = None
        self.orphans.clear()

    def snapshot(self) -> Snapshot:
        """All gradients as they are now."""
        return Snapshot(self._flat.copy(), tuple(one.arrival for one in self._parameters))

    def restore(self, snapshot: Snapshot) -> None:
        """All gradients as they were then."""
        self._flat[...] = snapshot.flat
        for parameter, arrival in zip(self._parameters, snapshot.arrivals, strict=True):
            parameter.arrival = arrival

    def add(self, snapshot: Snapshot) -> None:
        """Add what had arrived then to what has arrived since, where both have."""
        start = 0
        for parameter, before in zip(self._parameters, snapshot.arrivals, strict=True):
            stop = start + parameter.size
            now = parameter.arrival
            if before is not None and now is not None and now is not before:
                parameter.arrival = now.edited()  # if an interrupt comes here, it is neither
                self._flat[start:stop] += snapshot.flat[start:stop]
                parameter.arrival = before.plus(now)
            start = stop

    def tell_overwritten(self, latest: Arrival) -> None:
        """Say so, if the latest backward pass has overwritten gradients that a step was to use."""
        missed = self._expected.intersection(self.overwritten)
        names = [
            parameter.name
            for parameter in self._parameters
            if parameter in missed and parameter.arrival is latest and parameter.moving
        ]
        if not names:
            return
        for observer in self.observers.all:
            observer.overwritten(names)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"backward has overwritten the gradient of "
                f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''} before any step used "
                f"it: to add both up, call model.backward(grad, accumulate=True); if only the "
                f"gradient of the input is wanted, model.backward(grad, parameters=False), which "
                f"leaves the others as they are (this is said once)",
                GradientOverwritten,
                stacklevel=5,
            )

    # -- steps ------------------------------------------------------------------------------------

    def expect(self, parameters: Iterable[HasGradient]) -> None:
        """An optimizer is there, which is to use the gradients of these parameters."""
        self._expected.update(parameters)

    def used(self, parameters: Iterable[HasGradient]) -> None:
        """A step has used the gradients of these parameters."""
        if self.running is not None:  # an interrupt has left a backward pass open
            self.end()
        for parameter in parameters:
            parameter.arrival = None
        self.closed = False


class _InThisThread(threading.local):
    """Whose backward pass is running in this thread."""

    def __init__(self) -> None:
        self.running: set[Gradients] = set()


_in_this_thread = _InThisThread()


def note_orphan(parameter: HasGradient) -> None:
    """Tell the models whose backward pass is running that one of no model got a gradient in it."""
    for gradients in _in_this_thread.running:
        gradients.orphans[parameter] = None
