"""What NumPy's own print of an array shows."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.arrays import Mask


def printed_entries(shape: tuple[int, ...]) -> Mask:
    """Which entries of an array NumPy's print shows, under the current print options.

    An array of more than `threshold` entries is printed as its corners: the first and last
    `edgeitems` of each axis.
    """
    options: dict[str, Any] = dict(np.get_printoptions())
    edge = options["edgeitems"]
    shown = np.ones(shape, bool)
    if shown.size > options["threshold"]:
        for axis, length in enumerate(shape):
            if length > 2 * edge:
                shown[(slice(None),) * axis + (slice(edge, length - edge),)] = False
    return shown
