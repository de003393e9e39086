"""`Activation`, a layer that applies a function to each entry, or to each row."""

from __future__ import annotations

from typing import final

from minigrad._types import override
from minigrad._validation import batch, vectors
from minigrad.activations import FUNCTIONS, OVER_ROWS, ActivationFunction, ActivationName, named
from minigrad.arrays import Array
from minigrad.layers.layer import Layer


@final
class Activation(Layer):
    """An activation function as a layer.

    These have names; c(x) is the share of the standard normal distribution below x, and s(x) = 1 /
    (1 + exp(-x)). The last two go over the last axis, the others over each entry.

    | Name | Function | Source |
    |---|---|---|
    | linear | x | |
    | relu | max(x, 0) | [Nair and Hinton 2010][relu] |
    | leaky_relu | x above 0, else 0.01 x | [Maas et al. 2013][leaky] |
    | elu | x above 0, else exp(x) - 1 | [Clevert et al. 2015][elu] |
    | selu | 1.0507 x above 0, else 1.7581 (exp(x) - 1) | [Klambauer et al. 2017][selu] |
    | gelu | x c(x) | [Hendrycks and Gimpel 2016][gelu] |
    | silu | x s(x) | [Elfwing et al. 2017][silu] |
    | sigmoid | s(x) | |
    | tanh | tanh(x) | |
    | softplus | log(1 + exp(x)) | [Glorot et al. 2011][softplus] |
    | softmax | exp(x) / sum of exp(x) | |
    | log_softmax | x - log(sum of exp(x)) | |

    [relu]: https://www.cs.toronto.edu/~hinton/absps/reluICML.pdf
    [leaky]: https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf
    [elu]: https://arxiv.org/abs/1511.07289
    [selu]: https://arxiv.org/abs/1706.02515
    [gelu]: https://arxiv.org/abs/1606.08415
    [silu]: https://arxiv.org/abs/1702.03118
    [softplus]: https://proceedings.mlr.press/v15/glorot11a.html

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

    def __init__(self, function: ActivationName | ActivationFunction) -> None:
        self.function: ActivationFunction = named(function)
        self._over_rows = self.function in OVER_ROWS
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
        self.x = vectors(x, None, None, self) if self._over_rows else batch(x, None, self)
        self.y = self.function.forward(self.x)
        return self.y.copy()  # backward still needs `y`, and the caller may write into the copy

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, ...) -> (batch, ...): dL/dx = dL/dy dy/dx.

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
