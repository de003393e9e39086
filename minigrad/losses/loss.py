"""`Loss`, the abstract base."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, final

import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.errors import RangeError

Reduction = Literal["mean", "sum"]
"""How the losses of the samples become one number."""


class Loss(ABC):
    """What training makes small: one number for a batch, and its gradient.

    A subclass writes `forward` and `backward`. `forward` keeps what `backward` needs.

    Attributes:
        value: The last value, for recorders; NaN where `forward` does not set it.
    """

    value: float = float("nan")

    @abstractmethod
    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        """The loss of a batch.

        Args:
            logits: What the model gave, shape (batch, ...).
            targets: What it should have given.
        """

    @abstractmethod
    def backward(self) -> Array:
        """The gradient of the last `forward`'s value with respect to its logits, same shape as those."""

    @final
    def __call__(self, logits: Array, targets: npt.ArrayLike) -> float:
        """`loss(logits, targets)` is `loss.forward(logits, targets)`."""
        return self.forward(logits, targets)


def checked_reduction(reduction: Reduction) -> Reduction:
    """`reduction`, if it is one.

    Raises:
        RangeError: It is neither "mean" nor "sum".
    """
    if reduction not in ("mean", "sum"):
        raise RangeError(f"reduction is {reduction!r}, expected 'mean' or 'sum'")
    return reduction
