"""What the tests of NaN and infinity share: a training in which one is born at a chosen place, in a
step that is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from training_support import Training

import minigrad as mg
from minigrad.arrays import Array

ROW = 17
"""The row of the data that brings it about: with batches of 5 in order, the third of step 3."""

STEP = 3


class Born(mg.Layer):
    """Each feature times a scale; in a batch with a very large entry something goes wrong, at a
    place to be chosen.

    Args:
        where: "forward", "gradient" (of the scale), "backward", or "" for nowhere.
        value: What is born.
        features: The number of features.
        dtype: That of the model.
    """

    def __init__(
        self, where: str, value: float, features: int, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.scale = mg.Parameter(np.ones(features, dtype))
        self.where, self.value = where, value

    def forward(self, x: Array) -> Array:
        self.x = x
        self.wrong = bool(np.abs(x).max() > 50)
        output = x * self.scale.value
        if self.wrong and self.where == "forward":
            output[2, 1] = self.value
        return output

    def backward(self, grad: Array) -> Array:
        scale = (grad * self.x).sum(axis=0)
        below = grad * self.scale.value
        if self.wrong and self.where == "gradient":
            scale[3] = self.value
        if self.wrong and self.where == "backward":
            below[2, 0] = self.value
        self.scale.grad = scale
        return below

    def __repr__(self) -> str:
        return "Born()"


class BornInLoss(mg.Loss):
    """The mean of the squares, which may go wrong in a batch that has the target 9."""

    def __init__(self, where: str = "", value: float = float("nan")) -> None:
        self.where, self.wrong_value = where, value

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.difference = logits - np.asarray(targets)
        self.wrong = bool((np.asarray(targets) == 9).any())
        wrong = self.wrong and self.where == "value"
        return self.wrong_value if wrong else float((self.difference**2).mean())

    def backward(self) -> Array:
        grad: Array = 2 * self.difference / self.difference.size
        if self.wrong and self.where == "backward":
            grad[4, 1] = self.wrong_value
        return grad


class Plain(mg.Layer):
    """A model that is one layer, without any Sequential: x times a weight, scaled by `Born`."""

    def __init__(self, where: str, value: float, dtype: npt.DTypeLike = np.float32) -> None:
        self.weight = mg.Parameter(np.random.default_rng(0).normal(size=(4, 2)).astype(dtype))
        self.born = Born(where, value, 4, dtype)

    def forward(self, x: Array) -> Array:
        self.h = self.born.forward(x)
        return self.h @ self.weight.value

    def backward(self, grad: Array) -> Array:
        self.weight.grad = self.h.T @ grad
        return self.born.backward(grad @ self.weight.value.T)

    def __repr__(self) -> str:
        return "Plain()"


def data(dtype: npt.DTypeLike = np.float32, **settings: Any) -> mg.Batches:
    """Four features and two targets; row 17 has a very large feature, and a 9 among its targets."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(25, 4)).astype(dtype), rng.normal(size=(25, 2)).astype(dtype)
    x[ROW, 2], y[ROW, 0] = 100, 9
    return mg.Batches(x, y, 5, **{"shuffle": False, "rng": 0, **settings})


def training(
    where: str = "",
    value: float = float("nan"),
    *,
    loss: mg.Loss | None = None,
    dtype: npt.DTypeLike = np.float32,
    optimizer: Any = None,
    plain: bool = False,
) -> Training:
    """A training in which something is born in step 3.

    With statistics and dropout, or of one layer alone.
    """
    rng = np.random.default_rng(0)
    model: mg.Layer = Plain(where, value, dtype)
    if not plain:
        model = mg.Sequential(
            mg.Dense(4, 4, dtype=dtype, rng=rng),
            mg.Sequential(Born(where, value, 4, dtype), mg.Dropout(0.5, rng=rng)),
            mg.BatchNorm(4, momentum=0.5, dtype=dtype),
            mg.Dense(4, 2, dtype=dtype, rng=rng),
        )
    made = mg.SGD(model, 1e-3, momentum=0.9) if optimizer is None else optimizer(model)
    return Training(model, BornInLoss() if loss is None else loss, made, data(dtype))
