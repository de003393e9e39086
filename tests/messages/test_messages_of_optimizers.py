"""Rates and settings of an optimizer out of their range are shown, with the range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from message_support import fails, small, snapshot

import minigrad as mg
from minigrad._messages import described
from minigrad.errors import KindError, MinigradError, RangeError

BAD_RATES: dict[str, tuple[object, type[MinigradError]]] = {
    "negative": (-0.1, RangeError),
    "zero": (0, RangeError),
    "minus zero": (-0.0, RangeError),
    "NaN": (float("nan"), RangeError),
    "infinite": (float("inf"), RangeError),
    "far too large": (10**400, RangeError),
    "text": ("0.1", KindError),
    "none": (None, KindError),
    "boolean": (True, KindError),
    "complex": (0.1 + 0j, KindError),
    "NumPy's complex": (np.complex64(0.1), KindError),
    "list": ([0.1], KindError),
    "array": (np.array([0.1, 0.2]), KindError),
    "array of one": (np.array([0.1]), KindError),
}


@pytest.mark.parametrize(("lr", "error"), BAD_RATES.values(), ids=BAD_RATES.keys())
def test_rates(lr: Any, error: type[MinigradError]) -> None:
    """A rate is a finite number above 0, when it is given and when it is assigned later."""
    builtin = TypeError if error is KindError else ValueError
    shown = "lr is" if isinstance(lr, int | np.generic) else f"lr is {described(lr)}"
    fails(lambda: mg.SGD(small(), lr=lr), error, builtin, shown, "a finite number", "above 0")
    optimizer = mg.SGD(small(), lr=0.25)
    fails(lambda: setattr(optimizer, "lr", lr), error, builtin, shown)
    assert 0.25 == optimizer.lr


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.array, np.int64, int])
def test_numbers_of_other_types_are_rates(kind: Callable[[int], Any]) -> None:
    """NumPy's numbers and whole numbers are as good as Python's floats."""
    optimizer = mg.SGD(small(), lr=kind(2))
    assert (2.0, float) == (optimizer.lr, type(optimizer.lr))


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), "a", None], ids=str)
def test_rates_of_a_schedule(rate: Any) -> None:
    """A schedule that gives no rate is named with its step.

    The step is not made, and may be repeated.
    """
    model = small()
    optimizer = mg.SGD(model, lr=lambda step: 0.1 if step == 0 else rate, momentum=0.9)
    for _ in range(2):
        model.backward(model(np.ones((2, 6))))
        if optimizer.step_count == 0:
            optimizer.step()
    before = snapshot(model)
    error: type[MinigradError] = RangeError if isinstance(rate, float) else KindError
    builtin = ValueError if isinstance(rate, float) else TypeError
    fails(optimizer.step, error, builtin, f"lr(1) is {rate!r}", "at least 0")
    assert before == snapshot(model)
    assert 1 == optimizer.step_count
    optimizer.lr = 0.1
    optimizer.step()


SETTINGS: dict[str, tuple[dict[str, Any], type[MinigradError], list[str]]] = {
    "momentum 1": ({"momentum": 1}, RangeError, ["momentum is 1", "below 1"]),
    "momentum below 0": ({"momentum": -0.5}, RangeError, ["momentum is -0.5", "at least 0"]),
    "momentum NaN": ({"momentum": np.nan}, RangeError, ["momentum is nan"]),
    "momentum text": ({"momentum": "0.9"}, KindError, ["momentum is '0.9'"]),
    "Nesterov alone": ({"nesterov": True}, RangeError, ["nesterov=True", "momentum above 0"]),
    "decay": ({"weight_decay": -1}, RangeError, ["weight_decay is -1", "at least 0"]),
    "decay by name": (
        {"weight_decay": {"*.bias": -1}},
        RangeError,
        ["weight_decay['*.bias'] is -1"],
    ),
    "decay text": ({"weight_decay": "l2"}, KindError, ["weight_decay is 'l2'"]),
    "norm 0": ({"max_grad_norm": 0}, RangeError, ["max_grad_norm is 0", "above 0"]),
    "norm NaN": ({"max_grad_norm": np.nan}, RangeError, ["max_grad_norm is nan"]),
}


@pytest.mark.parametrize(("settings", "error", "contents"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_of_sgd(
    settings: dict[str, Any], error: type[MinigradError], contents: list[str]
) -> None:
    """Each setting has its range."""
    builtin = TypeError if error is KindError else ValueError
    fails(lambda: mg.SGD(small(), 0.1, **settings), error, builtin, *contents)
