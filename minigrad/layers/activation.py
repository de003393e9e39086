"""`Activation`, a layer that applies a function to each entry, or to each row."""

from __future__ import annotations

from typing import final

from minigrad._types import override
from minigrad.activations import FUNCTIONS, ActivationFunction
from minigrad.arrays import Array, batch, described
from minigrad.errors import KindError, ModelError, ShapeError
from minigrad.layers.layer import Layer

_OVER_ROWS = (FUNCTIONS["softmax"], FUNCTIONS["log_softmax"])


@final
class Activation(Layer):
    """An activation function as a layer.

    These have names; c(x) is the share of the standard normal distribution below x, and s(x) = 1 /
    (1 + exp(-x)). The last two go over the last axis, the others over each entry.

    | Name | Function | Source |
    |---|---|---|
    | linear | x | |
    | relu | max(x, 0) | [Nair and Hinton
    2010](https://www.cs.toronto.edu/~hinton/absps/reluICML.pdf) |
    | leaky_relu | x above 0, else 0.01 x | [Maas et al.
    2013](https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf) |
    | elu | x above 0, else exp(x) - 1 | [Clevert et al. 2015](https://arxiv.org/abs/1511.07289) |
    | selu | 1.0507 x above 0, else 1.7581 (exp(x) - 1) | [Klambauer et al.
    2017](https://arxiv.org/abs/1706.02515) |
    | gelu | x c(x) | [Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415) |
    | silu | x s(x) | [Elfwing et al. 2017](https://arxiv.org/abs/1702.03118) |
    | sigmoid | s(x) | |
    | tanh | tanh(x) | |
    | softplus | log(1 + exp(x)) | [Glorot et al.
    2011](https://proceedings.mlr.press/v15/glorot11a.html) |
    | softmax | exp(x) / sum of exp(x) | |
    | log_softmax | x - log(sum of exp(x)) | |

    Args:
        function: An `ActivationFunction`, or the name of one.

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
            raise KindError(
                f"activation is {described(function)}, expected a name or an ActivationFunction"
            )
        self.function: ActivationFunction = function
        self.x: Array
        self.y: Array

    @override
    def forward(self, x: Array) -> Array:
        """(batch, ...) -> (batch, ...).

        Raises:
            KindError: The input holds no real numbers.
            ShapeError: The input has no rows; for softmax and log_softmax, it has no axis of
                classes.
        """
        x = batch(x, None, self)
        if x.ndim == 1 and self.function in _OVER_ROWS:
            raise ShapeError(
                f"{self.called} got an input of shape {x.shape}, expected (batch, classes): it "
                f"goes over the last axis, which must not be that of the samples; for one sample "
                f"pass x[np.newaxis]"
            )
        self.x = x
        self.y = self.function.forward(x)
        return self.y.copy()  # backward still needs `y`, and the caller may write into the copy

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, ...) -> (batch, ...): dL/dx = dL/dy dy/dx; the derivatives stand beside the
        functions.

        Raises:
            CallOrderError: No forward came before, or backward was already called for it.
            ShapeError: The gradient does not have the output's shape.
        """
        return self.function.backward(grad, self.x, self.y)

    @override
    def __repr__(self) -> str:
        known = FUNCTIONS.get(self.function.name) == self.function
        name = repr(self.function.name)  # alone: a function's address is another in each process
        return f"Activation({name})" if known else f"Activation(ActivationFunction({name}, ...))"
