"""Which output a gradient belongs to: losses note it, so that a model is not given the gradient of another output."""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import ref

import numpy as np

from minigrad.arrays import Array

_latest: deque[tuple[ref[Array], ref[Array]]] = deque(
    maxlen=16
)  # gradients and their outputs; a model asks soon


def note(grad: Any, output: Any) -> None:
    """This gradient is one with respect to this output."""
    if isinstance(grad, np.ndarray) and isinstance(output, np.ndarray):
        _latest.append((ref(grad), ref(output)))


def output_of(grad: Any) -> Array | None:
    """The output to which a gradient belongs; None if it is not known."""
    for known, output in tuple(_latest):
        if known() is grad:
            return output()
    return None
