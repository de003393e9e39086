"""What is refused is named: the setting, and what was given for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from recording_support import network

import minigrad as mg
from minigrad.errors import KindError, MinigradError


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: mg.MaxNorm(1.0, 7), "params of MaxNorm is 7"),  # type: ignore[arg-type]
        (lambda: mg.ReduceOnPlateau("sgd"), "ReduceOnPlateau got 'sgd'"),  # type: ignore[arg-type]
        (lambda: mg.SGD(network(2, 2), 0.1, lr_factors={"0.*": -1.0}), "lr_factors"),
        (lambda: mg.SGD(network(2, 2), 0.1, lr_factors={"9.*": 1.0}), "lr_factors"),
        (lambda: mg.SGD(network(2, 2), 0.1, weight_decay={"9.*": 1.0}), "weight_decay"),
    ],
    ids=["MaxNorm", "ReduceOnPlateau", "factor", "pattern", "decay"],
)
def test_the_error_names_what_was_given(make: Callable[[], Any], said: str) -> None:
    """So that one finds it in a call with many settings."""
    with pytest.raises(MinigradError, match=said) as caught:
        make()
    assert isinstance(caught.value, (KindError, ValueError))
