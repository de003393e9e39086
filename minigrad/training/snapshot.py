"""`Snapshot`, what a forward changes in a model besides what its backward needs."""

from __future__ import annotations

import numpy as np

from minigrad.layers.layer import Layer
from minigrad.layers.state import buffer_places


class Snapshot:
    """Buffers and random generators of a model, as they were when it was taken.

    Args:
        model: The model.
    """

    def __init__(self, model: Layer) -> None:
        self._named_buffers = list(buffer_places(model))
        self._generators = [rng for _, rng in model.named_generators()]
        self.take()

    def take(self) -> None:
        """Take it again, now."""
        self._buffers = [np.array(getattr(layer, name)) for _, layer, name in self._named_buffers]
        self._states = [rng.bit_generator.state for rng in self._generators]

    def restore(self) -> None:
        """Put everything back, any number of times."""
        for (_, layer, name), value in zip(self._named_buffers, self._buffers, strict=True):
            setattr(layer, name, value.copy())
        for rng, state in zip(self._generators, self._states, strict=True):
            rng.bit_generator.state = state
