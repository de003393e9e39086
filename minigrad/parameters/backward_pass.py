"""Backward passes, as contexts in which gradients arrive: `with backward_pass(gradients): ...`.

The family of them:

    AssigningPass       what arrives takes the place of what had arrived before
    AccumulatingPass    what arrives is added to it
    TracelessPass       what arrives is gone afterwards
    paused              hooks are told of a pass, and what they write is no part of it
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import final

from minigrad.errors import CallOrderError
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.observers import Observers

_INNER = nullcontext()  # a pass inside of another one is a part of that


def backward_pass(
    gradients: Gradients, accumulate: bool = False, parameters: bool = True
) -> AbstractContextManager[None]:
    """The context in which a backward runs.

    Args:
        gradients: Those of the model.
        accumulate: Whether to add to what has arrived, in place of overwriting it.
        parameters: Whether the gradients of the parameters are kept; otherwise everything is
            afterwards as it was before.

    Raises:
        CallOrderError: `accumulate` is asked for inside of another pass.
    """
    if not parameters:
        return TracelessPass(gradients)
    if gradients.running is None:
        return AccumulatingPass(gradients) if accumulate else AssigningPass(gradients)
    if accumulate:
        raise CallOrderError(
            "accumulate=True is for the backward of the whole model, and one is running: a "
            "layer's own backward calls backward(grad) of what is inside without it"
        )
    return _INNER


@final
class AssigningPass:
    """A backward that overwrites what had arrived; after one that fails, nothing has."""

    __slots__ = ("_gradients", "_latest")

    def __init__(self, gradients: Gradients) -> None:
        self._gradients = gradients

    def __enter__(self) -> None:
        self._latest = self._gradients.begin()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        gradients = self._gradients
        gradients.end()
        if kind is not None:  # half of a gradient is none
            gradients.forget()
            return
        for observer in gradients.observers.all:
            observer.arrived(self._latest, adds=False)
        if gradients.overwritten:
            gradients.tell_overwritten(self._latest)


@final
class AccumulatingPass:
    """A backward that adds to what had arrived; one that fails leaves that as it was."""

    __slots__ = ("_before", "_gradients", "_latest")

    def __init__(self, gradients: Gradients) -> None:
        self._gradients = gradients

    def __enter__(self) -> None:
        self._before = self._gradients.snapshot()
        self._latest = self._gradients.begin()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        gradients = self._gradients
        gradients.end()
        if kind is not None:
            gradients.restore(self._before)
            return
        for observer in gradients.observers.all:
            observer.arrived(self._latest, adds=True)
        gradients.add(self._before)


@final
class TracelessPass:
    """A backward, or a part of one, after which all gradients are as they were.

    Nobody is told of it.
    """

    __slots__ = ("_before", "_gradients", "_observers", "_overwritten", "_running")

    def __init__(self, gradients: Gradients) -> None:
        self._gradients = gradients

    def __enter__(self) -> None:
        gradients = self._gradients
        self._before = gradients.snapshot()
        self._running, self._observers = gradients.running, gradients.observers
        self._overwritten = gradients.overwritten
        gradients.running, gradients.observers = self._running or Arrival(), Observers()
        gradients.overwritten = []

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        gradients = self._gradients
        gradients.running, gradients.observers = self._running, self._observers
        gradients.overwritten = self._overwritten
        gradients.restore(self._before)


@contextmanager
def paused(gradients: Gradients) -> Iterator[None]:
    """While hooks are told of a pass that is running: what they write is written by hand."""
    running, gradients.running = gradients.running, None
    try:
        yield
    finally:
        gradients.running = running
