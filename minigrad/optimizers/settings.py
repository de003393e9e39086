"""Settings of an optimizer that are one number, or differ by parameter.

And what was set elsewhere is other than here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from copy import copy
from functools import wraps
from typing import Any, TypeAlias

import numpy as np

from minigrad._validation import number
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ModelError, SettingsChanged
from minigrad.optimizers.transforms import matching, name_of
from minigrad.parameters.vector import Slot

_RUNNING = ("step_count", "update_count", "current_lr", "clip_factor", "lr")  # what is no setting


Schedule: TypeAlias = Callable[[int], float]
"""A learning rate that changes: `step -> rate`, where steps count from 0."""

Rate: TypeAlias = float | Schedule | Mapping[str, float]
"""A learning rate: a number, a schedule, or numbers by pattern, `{"0.*": 0.01, "*": 0.1}`."""


def limit(value: float | None, name: str) -> float | None:
    """A limit, above 0, or None."""
    return None if value is None else number(value, name, above=0)


def per_entry(
    setting: object, name: str, slots: Mapping[str, Slot], like: Array, default: float | None
) -> float | Array:
    """A setting as a float, or as an array of one number for each entry.

    Args:
        setting: A number, or numbers by pattern. Of several patterns that fit a parameter the last
            counts; but "*" is for the rest, wherever it stands.
        name: Its name, for errors.
        slots: The parameters.
        like: An array of all entries.
        default: What parameters have that no pattern fits; None if that is an error.

    Raises:
        KindError: It is neither a number nor a mapping of numbers.
        RangeError: A number is negative.
        ModelError: A pattern matches no parameter, or a parameter no pattern, where there is no
            default.
    """
    if not isinstance(setting, Mapping):
        return number(setting, name, least=0)
    entries, left = np.zeros_like(like), dict(slots)
    for pattern, value in sorted(setting.items(), key=lambda item: item[0] != "*"):
        rate = number(value, f"{name}['{pattern}']", least=0)
        for own, slot in matching(slots, str(pattern), name):
            left.pop(own, None)
            entries[slot.slice] = rate
    if left and default is None:
        raise ModelError(
            f"{name} has nothing for {', '.join(left)}; add a pattern for the rest, '*'"
        )
    for slot in left.values():
        entries[slot.slice] = default or 0.0
    return entries


def set_up(init: Callable[..., None]) -> Callable[..., None]:
    """An `__init__` of an optimizer, after which it is made sure that it has called that of `Optimizer`."""

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if "_vector" not in vars(self):
            raise CallOrderError(
                f"the __init__ of {type(self).__name__} must call super().__init__(model, lr)"
            )

    return checked


def settings_of(optimizer: Any) -> dict[str, Any]:
    """The numbers, booleans and arrays that an optimizer was made with: what it holds in public attributes."""
    found: dict[str, Any] = {}
    for name, value in vars(optimizer).items():
        inside = (
            value.values()
            if isinstance(value, dict)
            else value
            if isinstance(value, tuple)
            else (value,)
        )
        plain = isinstance(value, str | np.ndarray) or all(
            isinstance(item, bool | int | float) for item in inside
        )
        if plain and not name.startswith("_") and name not in (*_RUNNING, "name"):
            found[name] = list(value) if isinstance(value, tuple) else copy(value)
    for name in ("grad_transforms", "update_transforms"):
        if transforms := getattr(optimizer, name):
            found[name] = ", ".join(_told(one) for one in transforms)
    if optimizer._lr_factors is not None:
        found["lr by pattern"] = optimizer._lr_factors.copy()
    return found


def _told(transform: object) -> str:
    """A transform with its settings, where its repr tells them and no address, which is another in each process."""
    told = repr(transform)
    return name_of(transform) if " at 0x" in told else told


def warn_of_settings(optimizer: Any, before: Mapping[str, Any] | None) -> None:
    """Say so, where a state comes from an optimizer of other settings."""
    if before is None:  # written before settings were
        return
    now = settings_of(optimizer)
    other = [
        f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if not _same(before.get(name), now.get(name))
    ]
    if other:
        warnings.warn(
            f"the state comes from {type(optimizer).__name__} of other settings, and this one "
            f"keeps its own: {'; '.join(other)}",
            SettingsChanged,
            stacklevel=3,
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    return bool(a == b)


def _shown(value: Any) -> str:
    return "by parameter" if isinstance(value, np.ndarray) else repr(value)
