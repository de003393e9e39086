"""Which output a gradient belongs to.

Losses note it, so that no model takes the gradient of another model's output for its own.
"""

from __future__ import annotations

from collections import deque
from typing import Any
from weakref import ref

import numpy as np

from minigrad.arrays import Array

# Gradients and their outputs, only the latest, as a model asks soon.
_latest: deque[tuple[ref[Array], ref[Array]]] = deque(maxlen=16)


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
