"""What is kept of each step is read by position, as a list would be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from minigrad.runs.kept_steps import Batches, Buffers, Stretch

KEPT: dict[str, tuple[Sequence[Any], list[Any]]] = {
    "rows of batches": (
        Batches(np.array([3, 1, 4], np.int32), np.array([2, 2, 3]), np.array([True, False, True])),
        [[3, 1], None, [4]],
    ),
    "buffers that change their shape": (
        Buffers(
            [
                Stretch(0, {"a": np.array([[0.0]])}),
                Stretch(1, {"a": np.array([[1.0, 2.0], [3.0, 4.0]])}),
            ],
            3,
        ),
        [{"a": [0]}, {"a": [1, 2]}, {"a": [3, 4]}],
    ),
}


def plain(kept: Any) -> Any:
    if isinstance(kept, dict):
        return {name: array.tolist() for name, array in kept.items()}
    return None if kept is None else kept.tolist()


@pytest.mark.parametrize("what", KEPT)
def test_positions_are_those_of_a_list(what: str) -> None:
    """From the front and from the back, one or a slice; outside there is nothing."""
    kept, expected = KEPT[what]
    assert len(expected) == len(kept)
    for place in range(-3, 3):
        assert plain(kept[place]) == expected[place]
    for part in (slice(None), slice(1, 9), slice(None, None, -1), slice(-2, None)):
        assert [plain(one) for one in kept[part]] == expected[part]
    assert [plain(one) for one in kept] == expected
    for place in (3, -4):
        with pytest.raises(IndexError):
            kept[place]
