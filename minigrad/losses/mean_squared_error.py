"""`MeanSquaredError`: the mean of squared differences."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array
from minigrad.losses.elementwise import ElementwiseLoss
from minigrad.losses.loss import BestConstant


@final
class MeanSquaredError(ElementwiseLoss):
    """The squared difference of each entry, d^2, with slope 2 d.

    As PyTorch's [MSELoss](https://docs.pytorch.org/docs/stable/generated/torch.nn.MSELoss.html).

    Args:
        reduction: "mean" or "sum", over all entries of the batch.

    Attributes:
        value: The last value; NaN before the first.

    Raises:
        RangeError: The reduction is another one.
    """

    @override
    def entries(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """d^2 and 2 d."""
        difference: Array = outputs - targets
        return difference * difference, 2 * difference

    @override
    def best_constant(
        self, targets: npt.NDArray[Any], n_outputs: int | None = None
    ) -> BestConstant:
        """The mean of the targets."""
        return BestConstant(targets.mean(axis=0, dtype=np.float64), "the mean")
