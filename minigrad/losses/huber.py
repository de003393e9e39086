"""`Huber`: squared differences near the target, absolute ones far from it."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad._validation import number
from minigrad.arrays import Array
from minigrad.losses.elementwise import ElementwiseLoss
from minigrad.losses.loss import BestConstant, Reduction


@final
class Huber(ElementwiseLoss):
    """Squared near the target and absolute far from it, so that outliers do not dominate.

    The loss of an entry is d^2 / 2 up to |d| = delta, and delta (|d| - delta / 2) from there on;
    its slope is d, kept within -delta and delta. Huber 1964,
    https://doi.org/10.1214/aoms/1177703732; as PyTorch's
    [HuberLoss](https://docs.pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html).

    Args:
        delta: Where the loss turns from squared to absolute, above 0.
        reduction: "mean" or "sum", over all entries of the batch.

    Attributes:
        value: The last value; NaN before the first.

    Raises:
        KindError: `delta` is no number.
        RangeError: A setting is out of range.
    """

    def __init__(self, *, delta: float = 1.0, reduction: Reduction = "mean") -> None:
        super().__init__(reduction=reduction)
        self.delta: float = number(delta, "delta", above=0)

    @override
    def entries(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """Loss and slope, with s = d kept within -delta and delta: s (d - s / 2) and s."""
        difference: Array = outputs - targets
        slope = np.clip(difference, -self.delta, self.delta)
        return slope * (difference - slope / 2), slope

    @override
    def best_constant(
        self, targets: npt.NDArray[Any], n_outputs: int | None = None
    ) -> BestConstant:
        """The median of the targets, which is close to the minimum and has a name."""
        median: Array = np.asarray(np.median(targets, axis=0), np.float64)
        return BestConstant(median, "the median")

    @override
    def _settings(self) -> str:
        delta = [] if self.delta == 1.0 else [f"delta={self.delta:g}"]
        return ", ".join([*delta, *filter(None, [super()._settings()])])
