"""Hooks that several tests attach: one that keeps all that it is told, and one that spoils it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

import minigrad as mg
from minigrad.arrays import Array


class Tape(mg.Hook):
    """Keeps the updates, gradients and values of each step by name."""

    def __init__(self) -> None:
        self.updates: list[dict[str, Array]] = []
        self.grads: list[dict[str, Array]] = []
        self.values: list[dict[str, Array]] = []

    def on_step(self, event: mg.Step) -> None:
        self.updates.append(dict(event.updates))
        self.grads.append(dict(event.grads))
        self.values.append(dict(event.values))

    def replayed(self, initial: dict[str, npt.NDArray[Any]]) -> dict[str, bytes]:
        """The initial values plus all updates, added in order.

        After each step they are the values of that step.
        """
        now = {name: array.copy() for name, array in initial.items()}
        for updates, values in zip(self.updates, self.values, strict=True):
            for name, update in updates.items():
                now[name] += update
                assert values[name].tobytes() == now[name].tobytes()
        return {name: array.tobytes() for name, array in now.items()}


class Vandal(mg.Hook):
    """Reads everything that events hand out, and writes into it."""

    def __init__(self) -> None:
        self.calls = 0

    def on_forward(self, event: mg.Forward) -> None:
        for array in (event.input, event.output):
            array.fill(np.nan)
        self.calls += 1

    def on_backward(self, event: mg.Backward) -> None:
        for array in (event.output_grad, event.input_grad):
            if array is not None:
                array.fill(np.nan)

    def on_step(self, event: mg.Step) -> None:
        for arrays in (event.updates, event.grads, event.values):
            for array in arrays.values():
                array.fill(np.nan)
        self.calls += 1
