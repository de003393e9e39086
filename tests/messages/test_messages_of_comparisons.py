"""Arrays that cannot be compared say why."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from message_support import fails

import minigrad as mg
from minigrad.errors import KindError, MinigradError, ShapeError, SharedMemoryError


def test_compare_of_one_live_array_with_itself() -> None:
    """The trap of the story: what was kept from before is the live array."""
    weight = mg.Dense(4, 3, rng=0).weight
    for before, after in (
        (weight.value, weight.value),
        (weight.value[:], weight.value),
        (weight.value[::-1], weight.value),
    ):
        fails(
            lambda before=before, after=after: mg.compare(before, after),  # type: ignore[misc]
            SharedMemoryError,
            ValueError,
            "same live array",
            "keep a copy from before",
            ".copy()",
        )


COMPARISONS: dict[str, tuple[Callable[[], object], type[MinigradError], list[str]]] = {
    "shapes": (lambda: mg.compare(np.ones(3), np.zeros(4)), ShapeError, ["(3,)", "(4,)"]),
    "text": (lambda: mg.compare(["a"], ["b"]), KindError, ["before", "text"]),
    "inputs": (
        lambda: mg.compare(np.ones((3, 2)), np.zeros((3, 2)), inputs=np.ones((5, 4))),
        ShapeError,
        ["4 features", "(3, 2)", "no axis"],
    ),
    "inputs of one axis": (
        lambda: mg.compare(np.ones((3, 2)), np.zeros((3, 2)), inputs=np.ones(3)),
        ShapeError,
        ["inputs", "(3,)", "(n, features)"],
    ),
    "names": (
        lambda: mg.compare(np.ones((3, 2)), np.zeros((3, 2)), names=["a", "b", "c"]),
        ShapeError,
        ["3 names", "(3, 2)", "each axis"],
    ),
}


@pytest.mark.parametrize(("act", "error", "contents"), COMPARISONS.values(), ids=COMPARISONS.keys())
def test_compare(
    act: Callable[[], object], error: type[MinigradError], contents: list[str]
) -> None:
    """Arrays that cannot be compared say why."""
    fails(act, error, TypeError if error is KindError else ValueError, *contents)
