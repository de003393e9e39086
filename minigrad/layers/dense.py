"""`Dense`, the fully connected layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np
import numpy.typing as npt

from minigrad._kernels import sum_rows
from minigrad._types import override
from minigrad._validation import float_dtype, rows, whole
from minigrad.arrays import Array, Seed
from minigrad.init import Initializer, InitName, draw
from minigrad.layers.factors import Factors
from minigrad.layers.layer import Layer
from minigrad.parameters.parameter import Parameter
from minigrad.randomness import generator


@final
class Dense(Layer):
    """A fully connected layer: `x @ weight + bias`.

    Args:
        n_in: The number of features of a sample.
        n_out: The number of units.
        bias: Whether there is a bias; it starts at 0.
        init: The initial weight: a name (see `minigrad.init`) or a callable `(shape, rng) ->
            array`.
        dtype: float32 or float64.
        rng: A seed or a generator for the initial weight.

    Attributes:
        weight: Shape (n_in, n_out).
        bias: Shape (n_out,), or None.
        x: The last input, (batch, n_in).
        factors: The input and the output gradient of the last backward, or None. The gradient of
            the weight is `factors[0].T @ factors[1]`.

    Raises:
        KindError: A size is not a whole number, or the dtype is another one.
        RangeError: A size is less than 1.
        ModelError: There is no initializer of this name.
    """

    factors: tuple[Array, Array] | None = None

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        bias: bool = True,
        init: InitName | Initializer = "he_normal",
        dtype: npt.DTypeLike = np.float32,
        rng: Seed = None,
    ) -> None:
        self.n_in: int = whole(n_in, "n_in")
        self.n_out: int = whole(n_out, "n_out")
        kind = float_dtype(dtype)
        self.weight: Parameter = Parameter(
            draw(init, (self.n_in, self.n_out), generator(rng), kind)
        )
        self.bias: Parameter | None = Parameter(np.zeros(self.n_out, kind)) if bias else None
        self.x: Array

    @override
    def forward(self, x: Array) -> Array:
        """(batch, n_in) -> (batch, n_out).

        Raises:
            KindError: The input holds no real numbers.
            ShapeError: The input has another width or rank, or no rows.
        """
        weight = self.weight.value
        x = self.x = rows(x, self.n_in, weight.dtype, self)
        output: Array = x.dot(weight)  # x @ weight
        if self.bias is not None:
            output += self.bias.value  # + bias
        return output

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, n_out) -> (batch, n_in).

        With y = x W + b, and the chain rule for a loss L:

            dL/dW = x.T (dL/dy)       each input meets each unit, summed over the batch
            dL/db = sum of dL/dy      the bias has the input 1 in every sample
            dL/dx = (dL/dy) W.T       each input gets its share from all units

        Raises:
            CallOrderError: No forward came before, or backward was already called for it.
            ShapeError: The gradient does not have the output's shape.
        """
        self._assign(grad)
        below: Array = grad.dot(self.weight.value.T)  # dL/dx
        return below

    @override
    def backward_parameters(self, grad: Array) -> None:
        """dL/dW and dL/db alone."""
        self._assign(grad)

    def _assign(self, grad: Array) -> None:
        self.factors = self.x, grad
        self.x.T.dot(grad, out=self.weight.new_grad)  # dL/dW
        if self.bias is not None:
            sum_rows(grad, out=self.bias.new_grad)  # dL/db

    @override
    def explain(self) -> Mapping[str, Factors]:
        """The weight's gradient is inputs.T @ units, the bias's the sum of the same units."""
        if self.factors is None:
            return {}
        x, grad = self.factors
        weight = {"weight": Factors(x, grad, "in_out")}
        return weight if self.bias is None else {**weight, "bias": Factors(None, grad)}

    @override
    def __repr__(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        dtype = "" if self.weight.dtype == np.float32 else f", dtype={self.weight.dtype}"
        return f"Dense({self.n_in}, {self.n_out}{bias}{dtype})"
