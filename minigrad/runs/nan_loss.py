"""How a loss that was NaN is told apart from one that is not known: by the bits of its NaN."""

from __future__ import annotations

import math
import struct

import numpy as np

from minigrad.arrays import Array, Mask

_NAN_LOSS = 0x7FF8_0000_4C4F_5353  # the bits of a NaN that no calculation gives


def kept_loss(loss: float | None) -> float:
    """A loss as it is kept: NaN where it is not known, and another NaN where it was NaN itself."""
    if loss is None:
        return math.nan
    marked: float = struct.unpack("<d", struct.pack("<Q", _NAN_LOSS))[0]
    return marked if math.isnan(loss) else loss


def is_nan_loss(losses: Array) -> Mask:
    """Which of the losses that are kept were NaN; those that are not known are not among them."""
    return np.asarray(np.ascontiguousarray(losses, np.float64).view(np.uint64) == _NAN_LOSS)
