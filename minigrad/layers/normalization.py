"""`BatchNorm` and `LayerNorm`: mean 0 and variance 1, and then a scale and a shift to learn."""

from __future__ import annotations

from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad._validation import float_dtype, number, rows, vectors, whole
from minigrad.arrays import Array
from minigrad.errors import ShapeError
from minigrad.layers.layer import Layer
from minigrad.parameters.parameter import Parameter


@final
class BatchNorm(Layer):
    """Normalizes each feature over the batch, `(x - mean) / sqrt(variance + eps) * weight + bias`.

    In training, mean and variance are those of the batch, and the running statistics move towards
    them; in eval mode they are the running statistics. Ioffe and Szegedy 2015,
    https://arxiv.org/abs/1502.03167; as in PyTorch
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.BatchNorm1d.html) a batch is normalized
    by its variance with the divisor n, and the running variance takes the one with the divisor n -
    1:

        running <- (1 - momentum) running + momentum (that of the batch)

    Args:
        features: The number of features of a sample.
        momentum: How far the running statistics move with each batch, 0 to 1.
        eps: Added to the variance, above 0.
        dtype: float32 or float64.

    Attributes:
        weight: The scale, shape (features,); starts at 1.
        bias: The shift, shape (features,); starts at 0.
        running_mean: Shape (features,); starts at 0. A buffer: saved, but not learnt.
        running_var: Shape (features,); starts at 1. A buffer.
        normalized: The last input with mean 0 and variance 1, shape (batch, features).
        std: The standard deviation that it was divided by, shape (features,).

    Raises:
        KindError: A setting is no number, or the dtype is another one.
        RangeError: A setting is out of range.
    """

    buffers: ClassVar[tuple[str, ...]] = ("running_mean", "running_var")
    min_batch_size: ClassVar[int] = 2  # one sample has no variance

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.1,
        eps: float = 1e-5,
        dtype: npt.DTypeLike = np.float32,
    ) -> None:
        self.features: int = whole(features, "features")
        self.momentum: float = number(momentum, "momentum", least=0, most=1)
        self.eps: float = number(eps, "eps", above=0)
        kind = float_dtype(dtype)
        self.weight: Parameter = Parameter(np.ones(self.features, kind))
        self.bias: Parameter = Parameter(np.zeros(self.features, kind))
        self.running_mean: Array = np.zeros(self.features, kind)
        self.running_var: Array = np.ones(self.features, kind)
        self.normalized: Array
        self.std: Array
        self._of_batch = False  # whether the last forward used the statistics of the batch

    @override
    def forward(self, x: Array) -> Array:
        """(batch, features) -> (batch, features).

        Raises:
            KindError: The input holds no real numbers.
            ShapeError: Another width or rank, no rows; or a single row in training, which has no
                variance.
        """
        x = rows(x, self.features, self.weight.dtype, self)
        self._of_batch = self.training
        if self.training:
            if len(x) == 1:
                raise ShapeError(
                    f"{self.called} got a batch of 1 in training: one sample has no variance; use "
                    f"larger batches (Batches(..., drop_last=True)), or call eval()"
                )
            mean, variance = x.mean(axis=0), x.var(axis=0)
            unbiased = variance * (len(x) / (len(x) - 1))
            self.running_mean = self.running_mean + self.momentum * (mean - self.running_mean)
            self.running_var = self.running_var + self.momentum * (unbiased - self.running_var)
        else:
            mean, variance = self.running_mean, self.running_var
        self.std = np.sqrt(variance + self.eps)
        self.normalized = (x - mean) / self.std
        return self.normalized * self.weight.value + self.bias.value

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, features) -> (batch, features).

        With y = n w + b, where n = (x - mean) / std:

            dL/dw = sum of n dL/dy            dL/db = sum of dL/dy            dL/dn = w dL/dy
            dL/dx = dL/dn / std               in eval mode: mean and std are constants
            dL/dx = (dL/dn - mean of dL/dn - n mean of (n dL/dn)) / std
                                              in training: mean and std depend on each sample, too

        Raises:
            CallOrderError: No forward came before, or backward was already called for it.
            ShapeError: The gradient does not have the output's shape.
        """
        self.weight.grad = (self.normalized * grad).sum(axis=0)
        self.bias.grad = grad.sum(axis=0)
        below = grad * self.weight.value
        return (_centred(below, self.normalized, axis=0) if self._of_batch else below) / self.std

    @override
    def __repr__(self) -> str:
        return f"BatchNorm({self.features}{_others(self.momentum, self.eps, self.weight.dtype)})"


@final
class LayerNorm(Layer):
    """Normalizes each sample over its features.

    The output is `(x - mean) / sqrt(variance + eps) * weight + bias`, in training and in eval mode.
    Ba et al. 2016, https://arxiv.org/abs/1607.06450; the variance has the divisor n, as in PyTorch
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.LayerNorm.html).

    Args:
        features: The size of the last axis.
        eps: Added to the variance, above 0.
        dtype: float32 or float64.

    Attributes:
        weight: The scale, shape (features,); starts at 1.
        bias: The shift, shape (features,); starts at 0.
        normalized: The last input with mean 0 and variance 1 over the last axis, shape (batch, ...,
            features).
        std: The standard deviation that it was divided by, shape (batch, ..., 1).

    Raises:
        KindError: A setting is no number, or the dtype is another one.
        RangeError: A setting is out of range.
    """

    def __init__(
        self, features: int, *, eps: float = 1e-5, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.features: int = whole(features, "features")
        self.eps: float = number(eps, "eps", above=0)
        kind = float_dtype(dtype)
        self.weight: Parameter = Parameter(np.ones(self.features, kind))
        self.bias: Parameter = Parameter(np.zeros(self.features, kind))
        self.normalized: Array
        self.std: Array

    @override
    def forward(self, x: Array) -> Array:
        """(batch, ..., features) -> (batch, ..., features).

        Raises:
            KindError: The input holds no real numbers.
            ShapeError: The last axis has another size, or there are no rows.
        """
        x = vectors(x, self.features, self.weight.dtype, self)
        self.std = np.sqrt(x.var(axis=-1, keepdims=True) + self.eps)
        self.normalized = (x - x.mean(axis=-1, keepdims=True)) / self.std
        return self.normalized * self.weight.value + self.bias.value

    @override
    def backward(self, grad: Array) -> Array:
        """(batch, ..., features) -> (batch, ..., features).

        As in `BatchNorm`, with mean and std over the features of each sample:

            dL/dw = sum of n dL/dy            dL/db = sum of dL/dy            dL/dn = w dL/dy
            dL/dx = (dL/dn - mean of dL/dn - n mean of (n dL/dn)) / std

        Raises:
            CallOrderError: No forward came before, or backward was already called for it.
            ShapeError: The gradient does not have the output's shape.
        """
        samples = tuple(range(grad.ndim - 1))
        self.weight.grad = (self.normalized * grad).sum(axis=samples)
        self.bias.grad = grad.sum(axis=samples)
        return _centred(grad * self.weight.value, self.normalized, axis=-1) / self.std

    @override
    def __repr__(self) -> str:
        return f"LayerNorm({self.features}{_others(0.1, self.eps, self.weight.dtype)})"


def _centred(grad: Array, normalized: Array, axis: int) -> Array:
    """A gradient without its parts that only shift or scale the input, which changes no output."""
    shift = grad.mean(axis=axis, keepdims=True)
    scale = (grad * normalized).mean(axis=axis, keepdims=True)
    centred: Array = grad - shift - normalized * scale
    return centred


def _others(momentum: float, eps: float, dtype: np.dtype[np.floating]) -> str:
    """The settings that are not the defaults, for a repr."""
    text = "" if momentum == 0.1 else f", momentum={momentum:g}"
    text += "" if eps == 1e-5 else f", eps={eps:g}"
    return text + ("" if dtype == np.float32 else f", dtype={dtype}")
