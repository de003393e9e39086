"""`Factors`, what the gradient of a parameter is made of, as its layer explains it."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from minigrad.arrays import Array
from minigrad.parameters.parameter import Parameter

Layout: TypeAlias = Literal["in_out", "out_in"]
"""How a weight lies: (n_in, n_out), its units along the last axis.

Or (n_out, n_in) or (out, in, k, k), along the first one.
"""


class Factors(NamedTuple):
    """What a parameter's gradient is made of: `inputs.T @ units`, summed over the rows.

    Attributes:
        inputs: What fed the parameter, shape (rows, n_in); None for a bias, whose input is always
            1.
        units: The gradients that arrived at its units, shape (rows, n_out).
        layout: How the parameter lies: "in_out" for (n_in, n_out), "out_in" for (n_out, n_in) or
            (out, in, k, k). None: the one of both that fits its shape, or where both do, its first
            gradient; if that leaves it open, nothing is read.
    """

    inputs: Array | None
    units: Array
    layout: Layout | None = None


def layout_of(factors: Factors, parameter: Parameter) -> Layout | None:
    """How a parameter lies, by what explains its gradient; None if that does not fit it.

    Args:
        factors: What its layer says.
        parameter: The parameter, with the gradient that it explains.
    """
    inputs, units, layout = factors
    if not _is_table(units) or not (inputs is None or _is_table(inputs)):
        return None
    n_out = units.shape[1]
    if inputs is None:
        return "in_out" if parameter.size == n_out else None
    n_in, shape = inputs.shape[1], parameter.shape
    if len(inputs) != len(units) or n_in * n_out != parameter.size or len(shape) < 2:
        return None
    fits: dict[Layout, bool] = {"in_out": shape[-1] == n_out, "out_in": shape[0] == n_out}
    if layout is not None:
        return layout if fits.get(layout, False) else None
    possible = [name for name, fit in fits.items() if fit]
    if len(possible) < 2:
        return possible[0] if possible else None
    # A square says nothing; the gradient itself does, unless it fits both ways.
    product = inputs.T.astype(np.float64) @ units
    grad = parameter.grad.reshape(n_in, n_out)
    scale = float(np.abs(product).max(initial=0.0))
    own, turned = (float(np.abs(table - product).max(initial=0.0)) for table in (grad, grad.T))
    off: dict[Layout, float] = {"in_out": own, "out_in": turned}
    fitting = [name for name, distance in off.items() if distance <= 1e-3 * scale]
    return fitting[0] if len(fitting) == 1 else None


def _is_table(array: object) -> bool:
    return isinstance(array, np.ndarray) and array.ndim == 2
