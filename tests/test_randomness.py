"""Generators: what is no state of one is refused, and leaves it as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minigrad.errors import ModelError
from minigrad.randomness import set_generator


@pytest.mark.parametrize("place", [-1, 625, 700, 2**31 - 1])
def test_a_place_outside_of_the_buffer(place: int) -> None:
    """MT19937 has 624 words; NumPy would read beyond them without a word."""
    rng = np.random.Generator(np.random.MT19937(0))
    before = rng.random(3).tolist()
    state: dict[str, Any] = dict(np.random.MT19937(0).state)
    state["state"] = {**state["state"], "pos": place}
    again = np.random.Generator(np.random.MT19937(0))
    with pytest.raises(ModelError, match="the generator is a MT19937, and this state of one is"):
        set_generator(again, state, "the generator")
    assert before == again.random(3).tolist()


def test_the_end_of_the_buffer() -> None:
    """All 624 words may be used up: then the next number makes new ones."""
    state: dict[str, Any] = dict(np.random.MT19937(0).state)
    state["state"] = {**state["state"], "pos": 624}
    rng, other = (np.random.Generator(np.random.MT19937(seed)) for seed in (1, 2))
    set_generator(rng, state, "the generator")
    other.bit_generator.state = state
    assert other.random(3).tolist() == rng.random(3).tolist()
