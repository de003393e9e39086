"""`Activation`, a layer that applies a function to each entry, or to each row."""

from __future__ import annotations

from typing import final

from typing_extensions import override

from minigrad.activations import FUNCTIONS, ActivationFunction
from minigrad.arrays import Array, batch
from minigrad.errors import KindError, ModelError
from minigrad.layer import Layer


@final
class Activation(Layer):
    """An activation function as a layer.

    Args:
        function: The name of one, "linear", "relu", "sigmoid", "tanh" or "softmax", or an `ActivationFunction`.

    Attributes:
        function: The `ActivationFunction`.
        x: The last input, (batch, ...).
        y: The last output, same shape.

    Raises:
        ModelError: There is no function of this name.
        KindError: It is neither a name nor an `ActivationFunction`.
    """

    def __init__(self, function: str | ActivationFunction) -> None:
        if isinstance(function, str):
            if function not in FUNCTIONS:
                raise ModelError(f"no activation '{function}'; there are {', '.join(FUNCTIONS)}")
            function = FUNCTIONS[function]
        if not isinstance(function, ActivationFunction):
            raise KindError(f"activation is {function!r}, expected a name or an ActivationFunction")
        self.function: ActivationFunction = function
        self.x: Array
        self.y: Array

    @override
    def forward(self, x: Array) -> Array:
        """(batch, ...) -> (batch, ...).

        Raises:
            KindError: The input holds no real numbers.
            ShapeError: The input has no rows.
        """
        x = self.x = batch(x, None, self)
        self.y = self.function.forward(x)
        self._awaited = self.y
        return self.y.copy()  # backward still needs `y`, and the caller may write into the copy

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, ...) -> (batch, ...): dL/dx = dL/dy dy/dx; the derivatives stand beside the functions.

        Raises:
            OrderError: No forward came before, or backward was already called for it.
            ShapeError: The gradient does not have the output's shape.
        """
        grad = self._arrived(grad)
        return self.function.backward(grad, self.x, self.y)

    @override
    def __repr__(self) -> str:
        known = FUNCTIONS.get(self.function.name) == self.function
        return f"Activation('{self.function.name}')" if known else f"Activation({self.function!r})"
