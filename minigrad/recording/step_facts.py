"""`StepFacts`: finds out what is kept of a step besides its tensors."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.data import Batches
from minigrad.hooks.events import Step
from minigrad.layers.layer import Layer
from minigrad.layers.state import buffer_places
from minigrad.losses import Loss
from minigrad.runs.kept_steps import KeptStep
from minigrad.runs.nan_loss import kept_loss


@final
class StepFacts:
    """Finds out the loss, the batch and the layers' buffers of each step.

    Args:
        model: The model, whose buffers are looked at.
        loss: The loss, if it is known.
        data: The data, if they are known.
    """

    def __init__(self, model: Layer, loss: Loss | None, data: Batches | None) -> None:
        self._loss = loss
        self._data = data
        self._buffers = [
            (layer.place_of(attribute), layer, attribute)
            for _, layer, attribute in buffer_places(model)
        ]
        # The value whose gradient has arrived last, since the last step.
        self._differentiated: float | None = None

    def arrived(self) -> None:
        """A backward is done; later ones that leave no gradients may differentiate the loss too."""
        if self._loss is not None:
            self._differentiated = self._loss.differentiated

    def of(self, event: Step, step: int) -> KeptStep:
        """What is kept of a step.

        Args:
            event: The step that was made; what it says comes first.
            step: Its number in the record.
        """
        loss, indices = event.loss, event.indices
        if loss is None and self._loss is not None:
            loss = self._differentiated
            if loss is None:
                loss = self._loss.differentiated
            self._differentiated = None
        if indices is None and self._data is not None and self._data.has_given:
            indices = self._data.indices
        if indices is not None:
            indices = indices.astype(np.int32)
        return KeptStep(step, event.lr, kept_loss(loss), event.clip_factor, indices, self.buffers())

    def buffers(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of the layers' buffers, such as running statistics, by name in the whole model."""
        return {name: np.array(getattr(layer, buffer)) for name, layer, buffer in self._buffers}

    @property
    def nbytes(self) -> int:
        """How many bytes the row indices and the buffers of a step take."""
        indices = 0 if self._data is None else 4 * self._data.batch_size
        return indices + sum(array.nbytes for array in self.buffers().values())
