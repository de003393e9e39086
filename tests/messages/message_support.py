"""What the tests of messages share: the check of one, a small model, and a layer that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import MinigradError


def fails(
    act: Callable[[], object], error: type[MinigradError], builtin: type[Exception], *contents: str
) -> MinigradError:
    """`act` raises exactly this error, which is the built-in one too, with a message that contains
    all of these.
    """
    with pytest.raises(MinigradError) as caught:
        act()
    assert error is type(caught.value)
    assert isinstance(caught.value, builtin)
    message = str(caught.value)
    assert [] == [content for content in contents if content not in message], message
    assert "\n" not in message
    assert "object at 0x" not in message
    return caught.value


def small() -> mg.Sequential:
    return mg.Sequential(mg.Dense(6, 4, rng=0), mg.Activation("relu"), mg.Dense(4, 3, rng=1))


def snapshot(model: mg.Layer) -> list[bytes]:
    return [array.tobytes() for _, p in model.parameters() for array in (p.value, p.grad)]


class Wrong(mg.Layer):
    """A layer that returns what it is told to."""

    def __init__(self, forward: Any = None, backward: Any = None) -> None:
        self.results = forward, backward

    def forward(self, x: Array) -> Array:
        return x.copy() if self.results[0] is None else self.results[0]

    def backward(self, grad: Array) -> Array:
        return grad.copy() if self.results[1] is None else self.results[1]
