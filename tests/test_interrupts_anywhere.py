"""Ctrl-C at any line of a pass or a step: the training goes on afterwards as if it began from the
values that are there.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import numpy as np
import pytest
from case_support import slow

import minigrad as mg

# True where the interrupt came after the backward, and no subject of these tests.
pytestmark = pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
Y = np.array([0, 1, 1, 0, 1, 0])


class Watcher(mg.Hook):
    """So that hooks are asked and told."""

    def on_forward(self, event: mg.Forward) -> None:
        """Nothing."""

    def on_backward(self, event: mg.Backward) -> None:
        """Nothing."""

    def before_step(self, event: mg.Step) -> None:
        """Nothing."""

    def on_step(self, event: mg.Step) -> None:
        """Nothing."""


class Broken(mg.Hook):
    """Fails, which must be told."""

    def on_forward(self, event: mg.Forward) -> None:
        raise ValueError("oh")


def network() -> mg.Sequential:
    return mg.Sequential(mg.Dense(3, 4, rng=0), mg.Activation("tanh"), mg.Dense(4, 2, rng=1))


def backward(model: mg.Sequential, rows: slice, *, accumulate: bool) -> None:
    loss = mg.SoftmaxCrossEntropy()
    loss.forward(model(X[rows]), Y[rows])
    model.backward(loss.backward(), accumulate=accumulate)


def interrupted_at(
    line: int, model: mg.Sequential, optimizer: mg.Optimizer, *, accumulate: bool
) -> bool:
    """Whether a training step has that many lines of minigrad, and was interrupted there."""
    seen = 0

    def count(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal seen
        seen += event == "line"
        if seen == line and event == "line":
            raise KeyboardInterrupt
        return count

    def enter(frame: FrameType, event: str, arg: object) -> Any:
        return count if frame.f_globals.get("__name__", "").startswith("minigrad.") else None

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        backward(model, slice(0, 6), accumulate=accumulate)
        optimizer.step()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def goes_on(accumulate: bool, stride: int) -> int:
    """Interrupt at every n-th line, each in a training of its own; the number of lines."""
    line = 1
    while True:
        model = network()
        optimizer = mg.SGD(model, 0.1, grad_transforms=[mg.ClipNorm(1.0)])
        optimizer.attach(Watcher())
        model.attach(Watcher())
        backward(model, slice(0, 6), accumulate=False)
        optimizer.step()
        if not interrupted_at(line, model, optimizer, accumulate=accumulate):
            return line
        backward(model, slice(0, 6), accumulate=False)
        optimizer.step()

        fresh = network()
        fresh.load_state_dict(model.state_dict())
        other = mg.SGD(fresh, 0.1, grad_transforms=[mg.ClipNorm(1.0)])
        for one in (model, fresh):
            backward(one, slice(0, 3), accumulate=True)
            backward(one, slice(3, 6), accumulate=True)
        optimizer.step()
        other.step()
        for name, array in fresh.state_dict().items():
            assert np.array_equal(model.state_dict()[name], array), (line, name)
        model.attach(Broken())
        with pytest.raises(mg.errors.HookError, match="oh"):
            model(X)
        line += stride


@pytest.mark.parametrize("stride", [29, slow(1)])
@pytest.mark.parametrize("accumulate", [False, True])
def test_training_goes_on_after_an_interrupt_at_any_line(accumulate: bool, stride: int) -> None:
    """Later steps have the bits of a training that begins with the values that are there."""
    assert goes_on(accumulate, stride) > 100
