"""A hook that would never be called is refused, and told why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from message_support import fails, small

import minigrad as mg
from minigrad.errors import AttachError, KindError, MinigradError


class OnStep(mg.Hook):
    def on_step(self, event: mg.Step) -> None:
        raise AssertionError


class OnForward(mg.Hook):
    def on_forward(self, event: mg.Forward) -> None:
        raise AssertionError


class OnEpoch(mg.Hook):
    def on_epoch(self, event: mg.Epoch) -> None:
        raise AssertionError


HOOKS: dict[str, tuple[Callable[[], object], type[MinigradError], list[str]]] = {
    "on_step at a model": (
        lambda: small().attach(OnStep()),
        AttachError,
        [
            "Sequential.attach calls on_forward and on_backward",
            "OnStep has only on_step",
            "never be called",
        ],
    ),
    "on_forward at an optimizer": (
        lambda: mg.SGD(small(), 0.1).attach(OnForward()),
        AttachError,
        ["SGD.attach calls before_step, on_step and flush", "OnForward has only on_forward"],
    ),
    "on_epoch at an optimizer": (
        lambda: mg.SGD(small(), 0.1).attach(OnEpoch()),
        AttachError,
        ["OnEpoch has only on_epoch"],
    ),
    "nothing": (lambda: small().attach(mg.Hook()), AttachError, ["overrides no method"]),
    "a layer without Sequential": (
        lambda: mg.Dense(2, 2, rng=0).attach(OnForward()),
        AttachError,
        ["Dense.attach", "no Sequential", "OnForward would never be called"],
    ),
    "a function": (
        lambda: small().attach(print),  # type: ignore[arg-type]
        KindError,
        ["print", "subclass of minigrad.Hook"],
    ),
    "a class": (lambda: small().attach(OnForward), KindError, ["OnForward", "instance"]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("act", "error", "contents"), HOOKS.values(), ids=HOOKS.keys())
def test_hooks(act: Callable[[], object], error: type[MinigradError], contents: list[str]) -> None:
    """A hook that would never be called is refused, and told why."""
    fails(act, error, TypeError, *contents)
