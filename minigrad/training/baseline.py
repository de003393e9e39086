"""What guessing would give: the loss of always the same outputs, the best ones.

A model that learns is soon below it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.layers.layer import Layer
from minigrad.losses import (
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minigrad.training.evaluation import lots, without_trace
from minigrad.training.metrics import MeanLoss

_MOST = 8192  # samples that are looked at, evenly spread over the data
_MOST_NUMBERS = 1 << 24  # and numbers in them
_LEAST_SHARE = 1e-12  # a class that never occurs has the share 0, whose logarithm is no number


def guess(loss: Loss, targets: npt.NDArray[Any], like: Array) -> tuple[Array, str] | None:
    """The same outputs for every sample, and what they are called; None for a loss of one's own.

    Args:
        loss: The loss.
        targets: Targets, shape (n, ...).
        like: Outputs of the model for them, shape (n, ...).

    Returns:
        Outputs of the shape of `like`, and "the class shares", "the mean" or "the median".
    """
    match loss:
        case SoftmaxCrossEntropy():
            if targets.ndim == 1:
                labels = (
                    targets if loss.ignore_index is None else targets[targets != loss.ignore_index]
                )
                shares = np.bincount(labels, minlength=like.shape[1]) / max(len(labels), 1)
            else:
                shares = targets.mean(axis=0, dtype=np.float64)
            shares = shares * (1 - loss.label_smoothing) + loss.label_smoothing / len(shares)
            weights = loss.weights_for(like.shape[1])
            if weights is not None:  # a sample that counts twice is as good as two
                shares = shares * weights
            row, name = np.log(np.maximum(shares, _LEAST_SHARE)), "the class shares"
        case SigmoidCrossEntropy():
            shares = np.clip(targets.mean(axis=0, dtype=np.float64), _LEAST_SHARE, 1 - _LEAST_SHARE)
            row, name = np.log(shares) - np.log1p(-shares), "the shares"
            if loss.pos_weight is not None:
                row = row + np.log(np.maximum(loss.pos_weight, _LEAST_SHARE))
        case MeanSquaredError():
            row, name = targets.mean(axis=0, dtype=np.float64), "the mean"
        case MeanAbsoluteError() | Huber():
            row, name = np.median(targets, axis=0), "the median"
        case _:
            return None
    return np.broadcast_to(np.asarray(row, like.dtype), like.shape).copy(), name


def opening(model: Layer, loss: Loss, data: Batches) -> str:
    """The loss before the first step, and that of guessing: "loss 2.41.

    Always guessing the class shares gives 2.30".
    """
    every = max(-(-len(data.x) // _MOST), -(-data.x.size // _MOST_NUMBERS))
    with without_trace(model, loss):
        outputs, targets = next(lots(model, data, every))
        told = f"loss {_mean(loss, outputs, targets)}"
        guessed = guess(loss, targets, outputs)
        if guessed is None:
            return told
        return f"{told}; always guessing {guessed[1]} gives {_mean(loss, guessed[0], targets)}"


def _mean(loss: Loss, outputs: Array, targets: npt.NDArray[Any]) -> str:
    """The loss of a sample, on the mean, as text."""
    mean = MeanLoss()
    mean.add(loss, loss.forward(outputs, targets), len(outputs))
    figure = mean.value()
    return f"{figure:.2f}" if 0.1 <= abs(figure) < 1000 else f"{figure:.3g}"
