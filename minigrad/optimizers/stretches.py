"""`Stretch`, neighbouring entries that are updated together, and which they are in a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from minigrad.arrays import Array, Mask
from minigrad.errors import MissingGradientError
from minigrad.parameters.live_gradient import read_only
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import ParameterVector


class Stretch(NamedTuple):
    """Neighbouring entries that are updated together, as views.

    Attributes:
        part: Where they lie in the flat arrays.
        values: Their values, read-only.
        grads: Their gradients, read-only.
        update: Their update.
        live: Their values, to be written.
        skips: How many steps have left these entries out.
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
        live = vector.values[part]
        return cls(
            part, read_only(live), vector.computed_grads[part], update[part], live, skips, frozen
        )

    def kept(self, states: Mapping[str, Array]) -> dict[str, Array]:
        """What the optimizer's arrays hold where nothing may move."""
        return {name: state[self.frozen] for name, state in states.items()}

    def hold(self, update: Array, states: Mapping[str, Array], kept: Mapping[str, Array]) -> None:
        """Entries that may not move get no update, and the optimizer's arrays stay there as they
        were.

        Args:
            update: The update of all entries.
            states: The optimizer's arrays, of all entries; those that are new began at 0.
            kept: What they held before.
        """
        update[self.frozen] = -0.0
        for name, state in states.items():
            state[self.frozen] = kept.get(name, 0)


def to_update(
    vector: ParameterVector, update: Array, skips: Mapping[str, int], copied: bool
) -> tuple[list[Stretch], dict[str, str]]:
    """Which neighbouring parameters are updated together, and why others are left out.

    Together are those that are trainable, have a new gradient and are equally old. A parameter of
    which only some entries may move is alone.

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
    runs: list[tuple[slice, int, Parameter | None]] = []
    skipped: dict[str, str] = {}
    for (name, (part, _)), parameter in zip(vector.slots.items(), vector.parameters, strict=True):
        own = skips.get(name, 0)
        partly = None if parameter.frozen_entries is None else parameter
        if parameter.trainable is False:
            skipped[name] = "frozen"
        elif parameter.arrival is None:
            skipped[name] = "no gradient"
        elif (
            runs
            and partly is None
            and runs[-1] == (slice(runs[-1][0].start, part.start), own, None)
        ):
            runs[-1] = slice(runs[-1][0].start, part.stop), own, None
        else:
            runs.append((part, own, partly))
    return [
        Stretch.of(
            vector, update, part, own, None if partly is None else _places(partly, part.start)
        )
        for part, own, partly in runs
    ], skipped


def held_entries(vector: ParameterVector, skipped: Mapping[str, str]) -> dict[str, Mask]:
    """Of parameters that are updated and of which only some entries may move, those that may not: flat booleans by name."""
    return {
        name: parameter.frozen_entries.ravel()
        for name, parameter in zip(vector.slots, vector.parameters, strict=True)
        if parameter.holds_still and parameter.frozen_entries is not None and name not in skipped
    }


def _places(parameter: Parameter, start: int) -> Any:
    """Where the entries that may not move lie in the flat arrays."""
    assert parameter.frozen_entries is not None
    return start + np.flatnonzero(parameter.frozen_entries)
