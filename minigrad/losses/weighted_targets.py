"""The targets of `SoftmaxCrossEntropy`, with what each class and each sample counts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad._kernels import places_in_rows
from minigrad.arrays import Array, Integers


class PlainLabels(NamedTuple):
    """Labels of which each counts once: t is 1 for the class of a sample, and 0 for the others.

    Attributes:
        places: Where the entries of these classes lie in the flat form of the logits.
        divisor: What the sum of the losses is divided by.
    """

    places: npt.NDArray[Any]
    divisor: float

    def losses(self, shifted: Array, log_sums: Array) -> Array:
        """-log p of the class of each sample, where log p = shifted - log_sums."""
        losses: Array = log_sums - shifted.take(self.places)
        return losses

    def gradient(self, probabilities: Array) -> Array:
        """(p - t) / divisor."""
        share = 1 / self.divisor
        gradient: Array = probabilities * share
        flat = gradient.reshape(-1)
        flat[self.places] = flat.take(self.places) - share
        return gradient


class WeightedRows(NamedTuple):
    """Any targets: w_c t_c for every sample and class.

    Attributes:
        rows: Shape (n, classes); smoothed, and 0 where a sample is ignored.
        divisor: What the sum of the losses is divided by.
    """

    rows: Array
    divisor: float

    def losses(self, shifted: Array, log_sums: Array) -> Array:
        """- sum_c w_c t_c log p_c of each sample, where log p = shifted - log_sums."""
        log_p = shifted - log_sums[:, np.newaxis]
        # A target of exactly 0 contributes nothing, also where the logarithm is -infinity.
        terms = np.multiply(self.rows, log_p, out=np.zeros_like(log_p), where=self.rows != 0)
        losses: Array = -terms.sum(axis=1)
        return losses

    def gradient(self, probabilities: Array) -> Array:
        """(p_c (sum_k w_k t_k) - w_c t_c) / divisor."""
        gradient: Array = probabilities * self.rows.sum(axis=1, keepdims=True) - self.rows
        gradient /= self.divisor
        return gradient


def weighted_rows(
    targets: Array | Integers,
    like: Array,
    *,
    class_weights: Array | None,
    smoothing: float,
    ignore_index: int | None,
    is_mean: bool,
) -> WeightedRows:
    """Targets as rows, smoothed and weighted.

    Args:
        targets: Labels, shape (n,); or probabilities, shape (n, classes).
        like: An array of the shape and dtype of the rows: the logits.
        class_weights: What each class counts, shape (classes,); None for the same.
        smoothing: How much of each target is spread evenly over the classes.
        ignore_index: The label of samples that do not count, or None.
        is_mean: Whether the loss is a mean. It is one over the weights of the labels, and over the
            samples for probabilities; over nothing it is NaN, as in PyTorch.
    """
    n, classes = like.shape
    dtype = like.dtype
    weights = np.ones(classes, dtype) if class_weights is None else class_weights.astype(dtype)
    if targets.ndim == 1:
        counted = targets != ignore_index
        labels = np.where(counted, targets, 0).astype(np.intp)
        rows = np.zeros(like.shape, dtype)
        rows.reshape(-1)[places_in_rows(labels, classes)] = 1
        total = float(weights[labels][counted].sum()) or float("nan")
    else:
        counted = np.ones(n, bool)
        rows = targets.astype(dtype)
        total = float(n)
    smooth = rows * (1 - smoothing) + smoothing / classes
    return WeightedRows(
        np.asarray(smooth * weights * counted[:, np.newaxis]), total if is_mean else 1.0
    )
