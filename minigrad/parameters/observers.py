"""`Observers`, who are told at once what happens to the gradients and values of a model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, final

from minigrad.parameters.arrival import Arrival


@final
class Writer:
    """Somebody who writes values on purpose: an optimizer, or a checkpoint that is loaded.

    Attributes:
        name: What it is called.
        parameters: What it writes.
    """

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: Collection[object]) -> None:
        self.name: str = name
        self.parameters: frozenset[object] = frozenset(parameters)


class Observer(Protocol):
    """Somebody who keeps account of a model, as recorders do."""

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward pass is done, and the layers can still explain what it has left.

        Args:
            latest: The arrival of the parameters that it has reached.
            adds: Whether it will be added to what had arrived before.
        """
        ...

    def overwritten(self, names: Sequence[str]) -> None:
        """A backward pass has replaced gradients of these parameters that no step had used."""
        ...

    def written(self, writer: Writer) -> None:
        """Somebody has written values on purpose."""
        ...


@final
class Observers:
    """The observers of a model.

    Attributes:
        all: They, in the order in which they came.
    """

    __slots__ = ("all",)

    def __init__(self) -> None:
        self.all: tuple[Observer, ...] = ()

    def add(self, observer: Observer) -> None:
        """From now on, tell an observer, too."""
        self.all += (observer,)

    def remove(self, observer: Observer) -> None:
        """Tell it no more."""
        self.all = tuple(one for one in self.all if one is not observer)
