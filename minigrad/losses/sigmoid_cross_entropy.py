"""`SigmoidCrossEntropy`, for questions of yes or no, one for each output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad._validation import float_array
from minigrad.activations import sigmoid, softplus
from minigrad.arrays import Array, Mask
from minigrad.display.words import in_words
from minigrad.errors import RangeError, ShapeError
from minigrad.losses.elementwise import ElementwiseLoss
from minigrad.losses.loss import BestConstant, Reduction
from minigrad.losses.targets import LEAST_SHARE, Wrong, unfit


@final
class SigmoidCrossEntropy(ElementwiseLoss):
    """The cross-entropy of answers yes or no, which are given as logits.

    Sigmoid and -log are computed in one, so that nothing overflows. With logit z, target t, s =
    sigmoid(z) and the weight w of a yes, an entry's loss and slope are

        L = - w t log s - (1 - t) log(1 - s)            dL/dz = (1 - t) s - w t (1 - s)

    where -log s = softplus(-z) and -log(1 - s) = softplus(z). These are PyTorch's definitions
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html).

    Args:
        pos_weight: What a yes counts, 0 or more; one number, or one for each column of the outputs.
        reduction: "mean" or "sum", over all entries of the batch.

    Attributes:
        value: The last value; NaN before the first.

    Raises:
        KindError: `pos_weight` holds no real numbers.
        RangeError: A setting is out of range.
    """

    default_metric: str | None = "accuracy"

    def __init__(
        self,
        *,
        pos_weight: float | Sequence[float] | Array | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        self.pos_weight: Array | None = None
        if pos_weight is not None:
            weights = np.array(float_array(pos_weight, np.dtype(np.float64), "pos_weight"))
            if weights.ndim > 1 or not np.all(np.isfinite(weights)) or np.any(weights < 0):
                raise RangeError(
                    f"pos_weight is {in_words(weights)}, expected a finite number of 0 or more, or "
                    f"one for each column"
                )
            self.pos_weight = weights

    @override
    def wrong_targets(self, targets: npt.NDArray[Any], outputs: Array) -> Wrong | None:
        """Those that are not between 0 and 1, in the outputs' dtype."""
        rounded = targets.astype(outputs.dtype, copy=False)
        mask = ~((rounded >= 0) & (rounded <= 1))  # NaN too
        return unfit("SigmoidCrossEntropy", "0 (no) to 1 (yes)", "out of range", rounded, mask)

    @override
    def entries(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """L and dL/dz.

        Raises:
            LabelError: A target is not between 0 and 1.
            ShapeError: The number of weights is not that of the columns.
        """
        wrong = self.wrong_targets(targets, outputs)
        if wrong is not None:
            raise wrong.error()
        yes, no = targets, 1 - targets
        if self.pos_weight is not None:
            if self.pos_weight.ndim and self.pos_weight.shape != outputs.shape[1:][-1:]:
                columns = (
                    f"each of the {outputs.shape[-1]} columns"
                    if outputs.ndim > 1
                    else "all, as there are no columns"
                )
                raise ShapeError(
                    f"pos_weight has {len(self.pos_weight)} weights for outputs of shape "
                    f"{outputs.shape}, expected one for {columns}"
                )
            yes = targets * self.pos_weight.astype(outputs.dtype)
        losses = yes * softplus(-outputs) + no * softplus(outputs)
        slopes = no * sigmoid(outputs) - yes * sigmoid(-outputs)
        return losses, slopes

    @override
    def best_constant(
        self, targets: npt.NDArray[Any], n_outputs: int | None = None
    ) -> BestConstant:
        """The logits of the share of yes in each column, with the weight of a yes."""
        share = np.clip(targets.mean(axis=0, dtype=np.float64), LEAST_SHARE, 1 - LEAST_SHARE)
        logits: Array = np.log(share) - np.log1p(-share)
        if self.pos_weight is not None:
            logits = logits + np.log(np.maximum(self.pos_weight, LEAST_SHARE))
        return BestConstant(logits, "the shares")

    @override
    def correct(self, outputs: Array, targets: npt.NDArray[Any]) -> Mask:
        """Where the logit is above 0 for a target above one half, and not above 0 for the others.

        Args:
            outputs: The logits, shape (batch, ...).
            targets: Shape (batch, ...).

        Returns:
            One entry for each target.

        Raises:
            ShapeError: The shapes differ.
        """
        if outputs.shape != targets.shape:
            raise ShapeError(
                f"accuracy got outputs of shape {outputs.shape} and targets of shape "
                f"{targets.shape}; nothing is broadcast"
            )
        correct: Mask = (outputs > 0) == (targets > 0.5)
        return correct

    @override
    def _settings(self) -> str:
        weight = [] if self.pos_weight is None else [f"pos_weight=<{in_words(self.pos_weight)}>"]
        return ", ".join([*weight, *filter(None, [super()._settings()])])
