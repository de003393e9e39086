"""`MeanAbsoluteError`: the mean of absolute differences."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array
from minigrad.losses.elementwise import ElementwiseLoss
from minigrad.losses.loss import BestConstant


@final
class MeanAbsoluteError(ElementwiseLoss):
    """The absolute difference of each entry, |d|, with slope sign(d), 0 at 0.

    As PyTorch's [L1Loss](https://docs.pytorch.org/docs/stable/generated/torch.nn.L1Loss.html).

    Args:
        reduction: "mean" or "sum", over all entries of the batch.

    Attributes:
        value: The last value; NaN before the first.

    Raises:
        RangeError: The reduction is another one.
    """

    @override
    def entries(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """|d| and sign(d)."""
        difference: Array = outputs - targets
        return np.abs(difference), np.sign(difference)

    @override
    def best_constant(
        self, targets: npt.NDArray[Any], n_outputs: int | None = None
    ) -> BestConstant:
        """The median of the targets."""
        median: Array = np.asarray(np.median(targets, axis=0), np.float64)
        return BestConstant(median, "the median")
