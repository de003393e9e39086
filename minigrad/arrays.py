"""The types of arrays and seeds that appear in signatures."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
"""A float32 or float64 array."""

Integers: TypeAlias = npt.NDArray[np.integer[Any]]
"""An array of integers: labels, row indices."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""An array of booleans."""

Seed: TypeAlias = "int | np.random.Generator | None"  # as text: np.random takes long to load
"""What every `rng` argument takes: a seed, a generator, or None for an unpredictable seed."""
