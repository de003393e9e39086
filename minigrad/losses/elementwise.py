"""`ElementwiseLoss`, the abstract base of losses that are one of each entry."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad._validation import float_array, real_array
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ShapeError
from minigrad.losses.loss import Loss, Reduction, checked_reduction
from minigrad.losses.targets import Wrong, unfit


class ElementwiseLoss(Loss):
    """A loss of each entry, and their mean or sum over all entries. A subclass writes `entries`.

    Args:
        reduction: "mean" or "sum", over all entries of the batch.

    Attributes:
        value: The last value; NaN before the first.

    Raises:
        RangeError: The reduction is another one.
    """

    def __init__(self, *, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = checked_reduction(reduction)
        # The slopes of the last forward, and what its sum was divided by.
        self._last: tuple[Array, int] | None = None

    @abstractmethod
    def entries(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """The loss of each entry, and its derivative with respect to the output.

        Both are new arrays of the same shape.

        Args:
            outputs: What the model gave, shape (batch, ...).
            targets: What it should have given, same shape and dtype.
        """

    @final
    @override
    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        """The loss of a batch.

        Args:
            logits: What the model gave, shape (batch, ...).
            targets: What it should have given, exactly the same shape.

        Raises:
            KindError: Outputs or targets hold no real numbers.
            ShapeError: Their shapes differ, or there are no entries.
            LabelError: A target is NaN, infinite or out of the loss's range.
            RangeError: A target has more digits than the outputs' dtype, or is beyond its range.
        """
        outputs = float_array(logits, None, f"the outputs given to {type(self).__name__}")
        matching = self._matching(targets, outputs)
        losses, slopes = self.entries(outputs, matching)
        divisor = losses.size if self.reduction == "mean" else 1
        value = float(losses.sum(dtype=np.float64)) / divisor
        if not math.isfinite(value):  # the targets may be the reason
            wrong = self.wrong_targets(matching, outputs)
            if wrong is not None:
                raise wrong.error()
        self._last = slopes, divisor
        return value

    @override
    def wrong_targets(self, targets: npt.NDArray[Any], outputs: Array) -> Wrong | None:
        """Those that are NaN, infinite, or beyond the range of the outputs' dtype."""
        with np.errstate(over="ignore"):
            rounded = targets.astype(outputs.dtype, copy=False)
        return unfit(
            type(self).__name__, "finite numbers", "NaN or infinite", rounded, ~np.isfinite(rounded)
        )

    @final
    @override
    def backward(self) -> Array:
        """Shape (batch, ...): the slope of each entry, divided by their number for a mean.

        Raises:
            CallOrderError: No forward came before.
        """
        if self._last is None:
            raise CallOrderError(
                f"{type(self).__name__}: backward was called before forward(outputs, targets)"
            )
        slopes, divisor = self._last
        grad: Array = slopes / divisor
        return grad

    def _matching(self, targets: npt.ArrayLike, outputs: Array) -> Array:
        """The targets in the dtype of the outputs; nothing is broadcast."""
        name = type(self).__name__
        given = real_array(targets, f"the targets given to {name}")
        message = f"{name} got outputs of shape {outputs.shape} and targets of shape {given.shape}"
        if outputs.ndim == 0 or outputs.size == 0:
            raise ShapeError(f"{message}: expected at least one row of outputs")
        if given.shape == outputs.shape:
            return float_array(given, outputs.dtype, f"the targets given to {name}")
        if given.shape == (*outputs.shape, 1):
            raise ShapeError(f"{message}: nothing is broadcast, pass targets[..., 0]")
        if (*given.shape, 1) == outputs.shape:
            raise ShapeError(f"{message}: nothing is broadcast, pass targets[..., np.newaxis]")
        if (
            given.ndim == 1
            and given.dtype.kind in "iu"
            and len(given) == len(outputs)
            and outputs.ndim == 2
        ):
            raise ShapeError(
                f"{message}: these are labels; use SoftmaxCrossEntropy, or pass rows, "
                f"np.eye({outputs.shape[1]})[targets]"
            )
        raise ShapeError(
            f"{message}: targets must have exactly the outputs' shape, nothing is broadcast"
        )

    @override
    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._settings()})"

    def _settings(self) -> str:
        """The settings that are not the defaults."""
        return "reduction='sum'" if self.reduction == "sum" else ""
