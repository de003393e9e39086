"""`Gradients`, which knows how each gradient of a model has arrived: the one owner of freshness and
of provenance.

A gradient arrives in a backward, or when somebody assigns one; a step uses it, and then it is gone.
Reading one is never an
action: the arrays that are handed out are read-only, and each way to write leaves an `Arrival`
behind.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Protocol, final

from minigrad.arrays import Array
from minigrad.errors import CallOrderError, GradientOverwritten


@final
class Arrival:
    """How a gradient has arrived that no step has used yet.

    Args:
        passes: The numbers of the backwards that went in, in order, from 1 on; 0 stands for those
            of another model, from which the parameter has come.
        by_hand: Whether somebody assigned it outside a backward, in place of what backward had
            left.
    """

    __slots__ = ("by_hand", "passes")

    def __init__(self, passes: tuple[int, ...] = (), by_hand: bool = False) -> None:
        self.passes: tuple[int, ...] = passes
        self.by_hand: bool = by_hand

    def edited(self) -> Arrival:
        """The same, after somebody has assigned another array."""
        return Arrival(self.passes, by_hand=True)

    def plus(self, later: Arrival) -> Arrival:
        """Both, added up."""
        return Arrival(self.passes + later.passes, self.by_hand or later.by_hand)

    def __repr__(self) -> str:
        return f"Arrival(passes={self.passes}, by_hand={self.by_hand})"


class _Running(threading.local):
    """Whose backward is running in this thread."""

    def __init__(self) -> None:
        self.models: set[Gradients] = set()


_running = _Running()


def adopt(parameter: HasGradient) -> None:
    """A parameter that no model owns gets a gradient: have those know whose backward is running."""
    for gradients in _running.models:
        if not any(one is parameter for one in gradients.orphans):
            gradients.orphans.append(parameter)


class HasGradient(Protocol):
    """A parameter, as far as its gradient is concerned."""

    name: str
    arrival: Arrival | None
    expected: bool

    @property
    def size(self) -> int:
        """The number of entries."""
        ...

    @property
    def moving(self) -> int:
        """How many entries optimizers may change."""
        ...


class Witness(Protocol):
    """Somebody who wants to know what gradients are made of, at the moment when they arrive."""

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward is done. Of the parameters that it has reached, this is the arrival; layers
        can still explain them.

        Args:
            latest: The arrival.
            adds: Whether it will be added to what had arrived before.
        """
        ...

    def overwritten(self, names: Sequence[str]) -> None:
        """Gradients of these parameters were replaced by another backward before any step used them."""
        ...


@final
class Gradients:
    """Counts the backwards of a model, and says which of them the gradient of each parameter comes
    from.

    Args:
        parameters: The parameters of the model.
        flat: Their gradients, as one flat array.

    Attributes:
        running: The arrival of the backward that is running; None between backwards, and while
            hooks are told.
        witnesses: Who wants to know what gradients are made of.
        unused: Whether some may have arrived that no step has used.
        orphans: Parameters outside the model that got a gradient in its backward.
        closed: Whether a step has read them and is about to be written, so that nobody may change
            what it goes by.
    """

    def __init__(self, parameters: Sequence[HasGradient], flat: Array) -> None:
        self._parameters = parameters
        self._flat = flat
        self._count = 0
        self._warned = False
        self._latest = Arrival()
        self._pending: Sequence[HasGradient] = ()
        self.orphans: list[HasGradient] = []
        self.running: Arrival | None = None
        self.witnesses: tuple[Witness, ...] = ()
        self.unused: bool = False
        self.closed: bool = False

    def call(self, witness: Witness) -> None:
        """From now on, tell a witness of gradients."""
        self.witnesses += (witness,)

    def dismiss(self, witness: Witness) -> None:
        """Tell it no more."""
        self.witnesses = tuple(one for one in self.witnesses if one is not witness)

    def backward(
        self, accumulate: bool = False, parameters: bool = True
    ) -> AbstractContextManager[None]:
        """A context in which a backward runs; inside another one, it is a part of that.

        Args:
            accumulate: Add to the gradients that have arrived, in place of overwriting them.
            parameters: Whether the gradients are kept; otherwise everything is afterwards as it was
                before.

        Raises:
            CallOrderError: `accumulate` is asked for inside of another backward.
        """
        if not parameters:
            return PassWithoutTrace(self)
        if not accumulate:
            return self if self.running is None else _PART
        if self.running is not None:
            raise CallOrderError(
                "accumulate=True is for the backward of the whole model, and one is running: a "
                "layer's own backward calls backward(grad) of what is inside without it"
            )
        return AccumulatingPass(self)

    def __enter__(self) -> None:
        """The backward of a whole model, or of a part that is asked for by itself, begins."""
        self._pending = self.pending() if self.unused else ()
        self._latest = self.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """It is over; half of a gradient is none."""
        self.end()
        if kind is not None:
            self.forget()
            return
        if self.witnesses:
            self.tell(self._latest, adds=False)
        if self._pending:
            self.replaced(self._pending, self._latest)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """While hooks are told of a backward that is running, what they assign is assigned by hand."""
        running, self.running = self.running, None
        try:
            yield
        finally:
            self.running = running

    def begin(self) -> Arrival:
        """Number a backward that begins."""
        self._count += 1
        self.running = latest = Arrival((self._count,))
        _running.models.add(self)
        return latest

    def end(self) -> None:
        """The backward is over."""
        self.running, self.unused = None, True
        _running.models.discard(self)

    def tell(self, latest: Arrival, adds: bool) -> None:
        """Tell the witnesses of a backward that is done."""
        for witness in self.witnesses:
            witness.arrived(latest, adds)

    def pending(self) -> Sequence[HasGradient]:
        """The parameters whose gradient no step has used yet."""
        return [parameter for parameter in self._parameters if parameter.arrival is not None]

    def forget(self) -> None:
        """No gradient has arrived: those that have belong to other values, or are half written."""
        for parameter in (*self._parameters, *self.orphans):
            parameter.arrival = None
        self.orphans.clear()

    def used(self, parameters: Sequence[HasGradient]) -> None:
        """A step has used the gradients of these parameters."""
        if self.running is not None:  # an interrupt has left a backward open
            self.end()
        for parameter in parameters:
            parameter.arrival = None
        self.closed, self.unused = False, len(parameters) < len(self._parameters)

    def snapshot(self) -> tuple[Array, list[Arrival | None]]:
        """All gradients as they are now, and how they arrived."""
        return self._flat.copy(), [parameter.arrival for parameter in self._parameters]

    def restore(self, snapshot: tuple[Array, list[Arrival | None]]) -> None:
        """Everything as it was then."""
        self._flat[...], arrivals = snapshot
        for parameter, arrival in zip(self._parameters, arrivals, strict=True):
            parameter.arrival = arrival

    def add(self, snapshot: tuple[Array, list[Arrival | None]], latest: Arrival) -> None:
        """Add what had arrived before the latest backward to what that has left."""
        flat, arrivals = snapshot
        start = 0
        for parameter, before in zip(self._parameters, arrivals, strict=True):
            stop = start + parameter.size
            now = parameter.arrival
            if (
                before is not None and now is not None and now is not before
            ):  # the latest, or what a hook has made of it
                self._flat[start:stop] += flat[start:stop]
                parameter.arrival = before.plus(now)
            start = stop

    def replaced(self, pending: Sequence[HasGradient], latest: Arrival) -> None:
        """Say so, if the latest backward has overwritten gradients that a step was to use."""
        names = [
            parameter.name
            for parameter in pending
            if parameter.arrival is latest and parameter.expected and parameter.moving
        ]
        if not names:
            return
        for witness in self.witnesses:
            witness.overwritten(names)
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


@final
class AccumulatingPass:
    """A backward that adds to the gradients that have arrived.

    One that fails leaves them as they were.
    """

    __slots__ = ("_before", "_gradients", "_latest")

    def __init__(self, gradients: Gradients) -> None:
        self._gradients = gradients

    def __enter__(self) -> None:
        self._before = self._gradients.snapshot()
        self._latest = self._gradients.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gradients.end()
        if kind is not None:
            self._gradients.restore(self._before)
            return
        self._gradients.tell(self._latest, adds=True)
        self._gradients.add(self._before, self._latest)


@final
class PassWithoutTrace:
    """A backward, or a part of one, after which all gradients are as they were."""

    __slots__ = ("_before", "_gradients", "_running", "_witnesses")

    def __init__(self, gradients: Gradients) -> None:
        self._gradients = gradients

    def __enter__(self) -> None:
        gradients = self._gradients
        self._before, self._running, self._witnesses = (
            gradients.snapshot(),
            gradients.running,
            gradients.witnesses,
        )
        gradients.running, gradients.witnesses = self._running or Arrival(), ()

    def __exit__(self, *error: object) -> None:
        self._gradients.running, self._gradients.witnesses = self._running, self._witnesses
        self._gradients.restore(self._before)


@final
class _PartOfPass:
    """A backward inside of another one."""

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


_PART = _PartOfPass()
