"""`EntryRange`, neighbouring entries that are updated together; and which there are in a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from minigrad.arrays import Array, Mask
from minigrad.errors import MissingGradientError
from minigrad.parameters.live_gradient import read_only
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import ParameterVector


class EntryRange(NamedTuple):
    """Neighbouring entries that are updated together, as views of the flat arrays.

    Attributes:
        part: Where they lie in those.
        values: Their values, read-only.
        grads: Their gradients, read-only.
        update: Their update.
        live: Their values, to be written.
        skips: How many steps have left them out.
        frozen: The places in the flat arrays of those that may not move; None if all may.
    """

    part: slice
    values: Array
    grads: Array
    update: Array
    live: Array
    skips: int = 0
    frozen: Any = None

    @classmethod
    def of(
        cls, vector: ParameterVector, update: Array, part: slice, skips: int = 0, frozen: Any = None
    ) -> Self:
        """The entries in a part of a vector."""
        live, grads = vector.values[part], vector.computed_grads[part]
        return cls(part, read_only(live), grads, update[part], live, skips, frozen)

    def frozen_states(self, states: Mapping[str, Array]) -> dict[str, Array]:
        """What the optimizer's arrays hold where nothing may move."""
        return {name: state[self.frozen] for name, state in states.items()}

    def freeze(self, update: Array, states: Mapping[str, Array], kept: Mapping[str, Array]) -> None:
        """Leave out the update of what may not move, and of what the optimizer remembers of it.

        Args:
            update: The update of all entries.
            states: The optimizer's arrays, of all entries; those that are new began at 0.
            kept: What they held before.
        """
        update[self.frozen] = -0.0
        for name, state in states.items():
            state[self.frozen] = kept.get(name, 0)


def ranges_to_update(
    vector: ParameterVector, update: Array, skips: Mapping[str, int], copied: bool
) -> tuple[list[EntryRange], dict[str, str]]:
    """Which entries are updated together in a step, and why the other parameters are left out.

    Together are neighbours that are trainable, have a new gradient and were left out of equally
    many steps. A parameter of which only some entries may move is alone.

    Args:
        vector: The parameters.
        update: The update of all entries.
        skips: How many steps have left a parameter out, where any has.
        copied: Whether the optimizer is a copy, which is easily given the gradients of the
            original.

    Raises:
        MissingGradientError: No gradient has arrived.
    """
    if all(parameter.arrival is None for parameter in vector.parameters):
        hint = (
            "; this optimizer is a copy, and changes a copy of the model of its own "
            "(optimizer.model): copy both at once, model, optimizer = copy.deepcopy((model, "
            "optimizer))"
        )
        raise MissingGradientError(
            "step() needs a new gradient, and none has arrived since the last step: call "
            f"model.backward(grad) first (a layer of one's own assigns its gradients, weight.grad "
            f"= ...){hint if copied else ''}"
        )
    together: list[tuple[slice, int, Parameter | None]] = []
    skipped: dict[str, str] = {}
    for (name, (part, _)), parameter in zip(vector.slots.items(), vector.parameters, strict=True):
        own = skips.get(name, 0)
        if parameter.trainable is False:
            skipped[name] = "frozen"
        elif parameter.arrival is None:
            skipped[name] = "no gradient"
        elif parameter.frozen_entries is not None:
            together.append((part, own, parameter))
        elif together and together[-1] == (slice(together[-1][0].start, part.start), own, None):
            together[-1] = slice(together[-1][0].start, part.stop), own, None
        else:
            together.append((part, own, None))
    ranges = [
        EntryRange.of(vector, update, part, own, None if one is None else _places(one, part.start))
        for part, own, one in together
    ]
    return ranges, skipped


def frozen_entries(vector: ParameterVector, skipped: Mapping[str, str]) -> dict[str, Mask]:
    """Of parameters that are updated, but not in all entries, those that may not move.

    Flat booleans by the parameter's name.
    """
    return {
        name: parameter.frozen_entries.ravel()
        for name, parameter in zip(vector.slots, vector.parameters, strict=True)
        if parameter.holds_still and parameter.frozen_entries is not None and name not in skipped
    }


def _places(parameter: Parameter, start: int) -> Any:
    """Where the entries that may not move lie in the flat arrays."""
    assert parameter.frozen_entries is not None
    return start + np.flatnonzero(parameter.frozen_entries)
