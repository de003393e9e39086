"""Settings of an optimizer that are one number, or differ by parameter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from minigrad._messages import described
from minigrad._validation import number
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError
from minigrad.optimizers.transforms import matching
from minigrad.parameters.vector import Slot

Schedule: TypeAlias = Callable[[int], float]
"""A learning rate that changes: `step -> rate`, where steps count from 0."""

Rate: TypeAlias = float | Schedule | Mapping[str, float]
"""A learning rate: a number, a schedule, or numbers by pattern, `{"0.*": 0.01, "*": 0.1}`."""


def limit(value: float | None, name: str) -> float | None:
    """A limit, above 0, or None."""
    return None if value is None else number(value, name, above=0)


def factors_by_pattern(factors: Mapping[str, float] | None, name: str) -> dict[str, float]:
    """Factors by pattern, `{"0.*": 0.1}`, or none.

    Raises:
        KindError: It is no mapping.
    """
    if not isinstance(factors, Mapping | None):
        raise KindError(
            f"{name} is {described(factors)}, expected factors by pattern, such as {{'0.*': 0.1}}"
        )
    return dict(factors or {})


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
