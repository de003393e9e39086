"""What a classification loss takes as targets: labels, or rows of probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Integers, float_array, real_array
from minigrad.errors import LabelError, ShapeError


def class_targets(targets: npt.ArrayLike, shape: tuple[int, ...], ignore_index: int | None) -> Array | Integers:
    """Targets for logits of a shape (n, classes): int64 labels, or float64 rows of probabilities.

    Args:
        targets: Labels 0 ... classes - 1, integers of shape (n,); or probabilities, shape (n, classes).
        shape: The shape of the logits.
        ignore_index: A label that is allowed besides, or None.

    Raises:
        KindError: They hold no real numbers.
        ShapeError: They have another length or width.
        LabelError: Labels out of range or not integers; probabilities negative, or rows that do not sum to 1.
    """
    found = real_array(targets, "the targets")
    n, classes = shape
    if found.ndim == 1 and len(found) == n:
        return _labels(found, classes, ignore_index)
    if found.shape == shape:
        return _probabilities(found)
    expected = f"the targets have shape {found.shape}, expected labels ({n},) or probabilities ({n}, {classes})"
    if found.shape == (n, 1):
        raise ShapeError(f"{expected}: pass targets[:, 0]")
    if found.ndim and len(found) != n:
        raise ShapeError(f"{expected}: {len(found)} targets for {n} samples")
    raise ShapeError(expected)


def _labels(labels: npt.NDArray[Any], classes: int, ignore_index: int | None) -> Integers:
    if labels.dtype.kind not in "iu":
        raise LabelError(
            f"labels of dtype {labels.dtype}, expected integers from 0 to {classes - 1}: pass labels.astype(np.int64)"
        )
    found = labels.astype(np.int64, copy=False)
    # Seen as unsigned, negative labels are huge: one look finds both kinds of wrong.
    unsigned = found.view(np.uint64)
    if unsigned[unsigned.argmax()] >= classes:
        wrong = np.flatnonzero((unsigned >= classes) & (found != ignore_index))
        if len(wrong):
            raise LabelError(
                f"label {found[wrong[0]]} of sample {wrong[0]} is out of range: there are {classes} classes, so labels "
                f"go from 0 to {classes - 1} ({len(wrong)} of {len(found)} labels are out of range)"
            )
    return found


def _probabilities(targets: npt.NDArray[Any]) -> Array:
    found = float_array(targets, np.dtype(np.float64), "the targets")
    sums = found.sum(axis=1)
    wrong = np.flatnonzero(~(np.abs(sums - 1) <= 1e-4) | (found < 0).any(axis=1))
    if len(wrong):
        row, low = int(wrong[0]), float(found[wrong[0]].min())
        told = f"contains {low:g}" if low < 0 else f"sums to {sums[row]:g}"
        raise LabelError(
            f"target row {row} {told}, expected probabilities of 0 or more that sum to 1 "
            f"({len(wrong)} of {len(found)} rows are wrong); labels are integers of shape ({len(found)},)"
        )
    return found
