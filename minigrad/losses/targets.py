"""What a classification loss takes as targets, and what is wrong with others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._validation import float_array, real_array
from minigrad.arrays import Array, Integers, Mask
from minigrad.errors import LabelError, ShapeError

Place = tuple[int, ...]
"""Where a target lies: its row, and in there its column, if there are any."""


LEAST_SHARE = 1e-12
"""What counts as the share of a class that never occurs: the logarithm of 0 is no number."""


class Wrong(NamedTuple):
    """Targets that a loss cannot use.

    Attributes:
        place: Where the first lies.
        wrong: How many there are.
        size: How many were looked at.
        message: `(place, "3 of 1,000") -> what is wrong`, for the error.
    """

    place: Place
    wrong: int
    size: int
    message: Callable[[Place, str], str]

    @staticmethod
    def among(mask: Mask, message: Callable[[Place, str], str]) -> Wrong | None:
        """Those where the mask is True, if there are any."""
        count = int(np.count_nonzero(mask))
        if not count:
            return None
        place = tuple(int(index) for index in np.unravel_index(int(mask.argmax()), mask.shape))
        return Wrong(place, count, mask.size, message)

    def error(self) -> LabelError:
        """The error that says so."""
        return LabelError(self.message(self.place, f"{self.wrong:,} of {self.size:,}"))


def class_targets(
    targets: npt.ArrayLike, shape: tuple[int, ...], ignore_index: int | None
) -> Array | Integers:
    """Targets for logits of a shape (n, classes): int64 labels, or float64 rows of probabilities.

    Args:
        targets: Labels 0 ... classes - 1, integers of shape (n,); or probabilities, shape (n,
            classes).
        shape: The shape of the logits.
        ignore_index: A label that is allowed besides, or None.

    Raises:
        KindError: They hold no real numbers.
        ShapeError: They have another length or width.
        LabelError: Labels out of range or not integers; probabilities negative, or rows that do not
            sum to 1; probabilities where a label is to be ignored.
    """
    given = real_array(targets, "the targets")
    n, classes = shape
    if given.ndim == 1 and len(given) == n:
        check_integers(given, classes)
        wrong = wrong_labels(given, classes, ignore_index)
        if wrong is not None:
            raise wrong.error()
        return given.astype(np.int64, copy=False)
    if given.shape == shape:
        if ignore_index is not None:
            raise LabelError(
                f"ignore_index is {ignore_index}, a label, but the targets are rows of shape "
                f"{shape}, in which nothing is ignored: pass labels, shape ({n},), or leave out "
                f"the samples that are not to count"
            )
        wrong = wrong_probabilities(given)
        if wrong is not None:
            raise wrong.error()
        return float_array(given, np.dtype(np.float64), "the targets")
    expected = (
        f"the targets have shape {given.shape}, expected labels ({n},) or probabilities ({n}, "
        f"{classes})"
    )
    if given.shape == (n, 1):
        raise ShapeError(f"{expected}: pass targets[:, 0]")
    if given.ndim and len(given) != n:
        raise ShapeError(f"{expected}: {len(given)} targets for {n} samples")
    if given.ndim == 2 and given.dtype.kind in "iu":
        raise ShapeError(f"{expected}; {_SEVERAL}")
    raise ShapeError(expected)


_SEVERAL = (
    "if a sample may have several labels, use SigmoidCrossEntropy, with a 1 in the column of each "
    "and 0 elsewhere"
)


def check_integers(labels: npt.NDArray[Any], classes: int | None = None) -> None:
    """Make sure that labels are integers.

    Args:
        labels: Shape (n,), of any real kind.
        classes: How many classes there are, for the error, where it is known.

    Raises:
        LabelError: They are of another dtype.
    """
    if labels.dtype.kind in "iu":
        return
    expected = "integers" if classes is None else f"integers from 0 to {classes - 1}"
    message = f"labels of dtype {labels.dtype}, expected {expected}"
    is_boolean = labels.dtype.kind == "b"  # and NaN is not itself
    wrong = np.zeros(len(labels), bool) if is_boolean else labels != np.rint(labels)
    if wrong.any():
        row = int(wrong.argmax())
        raise LabelError(
            f"{message}: label {labels[row]:g} of sample {row} is no whole number "
            f"({np.count_nonzero(wrong):,} of {len(labels):,} labels are none); leave out samples "
            f"whose label is missing, and of numbers to predict use MeanSquaredError"
        )
    raise LabelError(f"{message}: pass labels.astype(np.int64)")


def wrong_labels(labels: Integers, classes: int, ignore_index: int | None) -> Wrong | None:
    """Labels that are out of range."""
    # Seen as unsigned, negative labels are huge: one look finds both kinds of wrong.
    unsigned = labels.astype(np.int64, copy=False).view(np.uint64)
    if not len(labels) or unsigned[unsigned.argmax()] < classes:
        return None

    def message(place: Place, count: str) -> str:
        return (
            f"label {label} of sample {place[0]} is out of range: there are {classes} classes, so "
            f"labels go from 0 to {classes - 1} ({count} labels are out of range){advice}"
        )

    wrong = Wrong.among((unsigned >= classes) & (labels != ignore_index), message)
    if wrong is not None:
        label, counted = labels[wrong.place], labels[labels != ignore_index]
        low, high = int(counted.min()), int(counted.max())
        advice = ""
        if low >= 1 and high == classes:
            advice = f"; these labels go from {low} to {high}: subtract 1, pass labels - 1"
        elif (low, high) == (-1, 1):
            advice = (
                "; these labels go from -1 to 1: for yes and no pass (labels > 0).astype(np.int64)"
            )
    return wrong


def wrong_probabilities(targets: npt.NDArray[Any]) -> Wrong | None:
    """Rows that are no probabilities, shape (n, classes)."""
    sums = targets.sum(axis=1, dtype=np.float64)
    wrong = ~(np.abs(sums - 1) <= 1e-4) | (targets < 0).any(axis=1)
    if not wrong.any():
        return None
    row = int(wrong.argmax())
    # Numbers, not the arrays, which the message would keep.
    low, total = float(targets[row].min()), float(sums[row])
    several = bool(((targets == 0) | (targets == 1)).all())
    size = len(targets)

    def message(place: Place, count: str) -> str:
        says = f"contains {low:g}" if low < 0 or math.isnan(low) else f"sums to {total:g}"
        advice = _SEVERAL if several else f"labels are integers of shape ({size:,},)"
        return (
            f"target row {place[0]} {says}, expected probabilities of 0 or more that sum to 1 "
            f"({count} rows are wrong); {advice}"
        )

    return Wrong.among(wrong, message)


def unfit(
    who: str, expected: str, kind: str, targets: npt.NDArray[Any], mask: Mask
) -> Wrong | None:
    """Targets, of any shape, of which a loss cannot use those where the mask is True."""

    def message(place: Place, count: str) -> str:
        at = f", at {place}" if len(place) > 1 else ""
        return (
            f"{who} got the target {value} in row {place[0]}{at}, expected {expected} ({count} "
            f"targets are {kind})"
        )

    wrong = Wrong.among(mask, message)
    value = "" if wrong is None else described(targets[wrong.place])
    return wrong
