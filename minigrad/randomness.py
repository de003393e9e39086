"""Random generators: what `rng` arguments stand for, and which generators an object holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from minigrad._containers import found_in
from minigrad._messages import described
from minigrad._validation import whole
from minigrad.arrays import Seed
from minigrad.errors import KindError, ModelError, RangeError


def generator(rng: Seed) -> np.random.Generator:
    """The generator that `rng` stands for; NumPy's global random state is never touched.

    Raises:
        KindError: It is neither a seed, nor a generator, nor None.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    if isinstance(rng, bool) or not hasattr(rng, "__index__"):
        raise KindError(
            f"rng is {described(rng)}, expected a seed (0, 1, ...) or np.random.default_rng(seed)"
        )
    return np.random.default_rng(whole(rng, "rng", least=0))


def set_generator(rng: np.random.Generator, state: Any, what: str) -> None:
    """Set the state of a generator to one that `rng.bit_generator.state` gave.

    Args:
        rng: The generator.
        state: The state.
        what: Whose generator it is, for the error.

    Raises:
        ModelError: It is the state of another kind of generator, or none; the generator is
            unchanged.
    """
    before = rng.bit_generator.state
    try:
        rng.bit_generator.state = deepcopy(state)
        # MT19937 and Philox stand somewhere in a buffer; NumPy does not look, and would read
        # outside of it.
        new = rng.bit_generator.state
        if not (0 <= new["state"].get("pos", 0) <= 624 and 0 <= new.get("buffer_pos", 0) <= 4):
            raise RangeError("it stands outside of its buffer")
    except (TypeError, ValueError, KeyError, OverflowError, IndexError) as error:
        rng.bit_generator.state = before
        own = before["bit_generator"]
        kind = state.get("bit_generator") if isinstance(state, Mapping) else described(state)
        problem = f"this is a state of {kind}; use a generator of the same kind"
        if kind == own:
            problem = f"this state of one is damaged ({error})"
        raise ModelError(f"{what} is a {own}, and {problem}") from error


def generators_of(thing: object) -> Iterator[tuple[str, np.random.Generator]]:
    """(name, generator) pairs of the random generators in the attributes of an object."""
    for name, attribute in vars(thing).items():
        yield from found_in(np.random.Generator, name, attribute)
