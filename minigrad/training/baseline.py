"""The baseline: the loss of the best constant output. A model that learns is soon below it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.layers.layer import Layer
from minigrad.losses import Loss
from minigrad.training.evaluation import outputs_in_chunks, without_trace
from minigrad.training.metrics import MeanLoss

_MAX_SAMPLES = 8192  # that are looked at, evenly spread over the data
_MAX_NUMBERS = 1 << 24  # in them


def compare_with_baseline(model: Layer, loss: Loss, data: Batches) -> str:
    """The loss before the first step, beside the baseline, as text.

    Returns:
        "loss 2.41; always guessing the class shares gives 2.30"; the first half alone where the
        loss does not know its best constant.
    """
    every = max(-(-len(data.x) // _MAX_SAMPLES), -(-data.x.size // _MAX_NUMBERS))
    with without_trace(model, loss) as copied:
        outputs, targets = next(outputs_in_chunks(model, data, every))
        message = f"loss {_mean(copied, outputs, targets)}"
        n_outputs = outputs.shape[1] if outputs.ndim > 1 else None
        best = copied.best_constant(targets, n_outputs)
        if best is None:
            return message
        constant = np.broadcast_to(np.asarray(best.output, outputs.dtype), outputs.shape).copy()
        return f"{message}; always guessing {best.name} gives {_mean(copied, constant, targets)}"


def _mean(loss: Loss, outputs: Array, targets: npt.NDArray[Any]) -> str:
    """The mean loss of a sample, as text."""
    mean = MeanLoss()
    mean.add(loss, loss.forward(outputs, targets), len(outputs))
    figure = mean.value()
    return f"{figure:.2f}" if 0.1 <= abs(figure) < 1000 else f"{figure:.3g}"
