"""The loop that every training by hand makes: forward, loss, backward, step."""

from __future__ import annotations

import numpy.typing as npt

import minigrad as mg
from minigrad.arrays import Array


def take_step(
    model: mg.Layer, loss: mg.Loss, optimizer: mg.Optimizer, x: Array, targets: npt.ArrayLike
) -> float:
    """One step on a batch; the loss before it."""
    value = loss.forward(model(x), targets)
    model.backward(loss.backward())
    optimizer.step()
    return value
