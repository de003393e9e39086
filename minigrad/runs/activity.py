"""`Activity`: how often the inputs and units of a parameter were not 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Integers, Mask
from minigrad.layers.factors import Layout


@final
@dataclass
class Activity:
    """How often the inputs and units of one parameter were not 0, over the samples of all batches.

    Attributes:
        inputs: For each input, in how many samples it was not 0; None for a bias, whose input is
            always 1.
        units: For each unit, in how many samples its gradient was not 0.
        together: For each (input, unit), whether both were ever not 0 in the same sample; None
            where that was not collected.
        samples: The number of samples.
        layout: The layout of the parameter: "in_out" if its units lie along its last axis, "out_in"
            if along its first.
    """

    inputs: Integers | None
    units: Integers
    together: Mask | None
    samples: int = 0
    layout: Layout = "in_out"

    def place(self, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, int]:
        """The input and the unit of an entry of a parameter of this shape."""
        flat = int(np.ravel_multi_index(index, shape)) if index else 0
        if self.inputs is None:
            return 0, flat
        if self.layout == "in_out":
            return divmod(flat, len(self.units))
        unit, own = divmod(flat, len(self.inputs))
        return own, unit

    def laid_out(self, table: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A table of shape (inputs, units), in the layout and shape of the parameter."""
        return (table if self.layout == "in_out" else table.T).reshape(shape)
