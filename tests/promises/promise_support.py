"""What the tests of the promises train."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from loop_support import take_step

import minigrad as mg
from minigrad.arrays import Array

FloatType = type[np.float32] | type[np.float64]
MakeOptimizer = Callable[[mg.Layer], mg.Optimizer]
State = dict[str, npt.NDArray[Any]]


class Residual(mg.Layer):
    """A composite with an inner chain and a parameter of its own, whose gradient it writes in
    place.
    """

    def __init__(self, features: int, dtype: FloatType) -> None:
        self.gain = mg.Parameter(np.ones(features, dtype))
        self.inner = mg.Sequential(
            mg.Dense(features, features, dtype=dtype, rng=3), mg.Activation("tanh")
        )

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.gain.value + self.inner(x)

    def backward(self, grad: Array) -> Array:
        np.sum(grad * self.x, axis=0, out=self.gain.grad)
        below = self.inner.backward(grad)
        assert below is not None
        return grad * self.gain.value + below


class Sometimes(mg.Layer):
    """A layer with two branches; backward reaches only the one that ran."""

    def __init__(self, features: int, dtype: FloatType) -> None:
        self.left = mg.Parameter(np.full(features, 1.5, dtype))
        self.right = mg.Parameter(np.full(features, 0.5, dtype))
        self.use_left = True

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * (self.left if self.use_left else self.right).value

    def backward(self, grad: Array) -> Array:
        used = self.left if self.use_left else self.right
        used.grad = (grad * self.x).sum(axis=0)
        return grad * used.value


class Drift(mg.Optimizer):
    """A custom optimizer with a state, one that moves entries whose gradient is 0 as well."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        speed = self.state("speed")
        speed *= 0.5
        speed -= self.current_lr * np.sign(grads + values)
        update[...] = speed


def build(dtype: FloatType, seed: int = 0) -> mg.Sequential:
    """A nested model with a composite and a frozen layer that holds -0.0."""
    rng = np.random.default_rng(seed)
    model = mg.Sequential(
        mg.Dense(6, 4, dtype=dtype, rng=rng),
        mg.Activation("sigmoid"),
        mg.Sequential(mg.Dense(4, 4, dtype=dtype, rng=rng), Residual(4, dtype)),
        mg.Dense(4, 4, dtype=dtype, rng=rng),
        mg.Dense(4, 3, dtype=dtype, rng=rng),
    )
    frozen = dict(model.parameters())["3.weight"]
    frozen.value[0] = -0.0
    model[3].freeze()
    for name, parameter in model.parameters():
        if name.endswith("weight"):
            parameter.value[-1, -1] = -0.0  # trainable entries too
    return model


def data_of(dtype: FloatType, n: int = 40) -> tuple[Array, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(8)
    x: Array = rng.normal(size=(n, 6)).astype(dtype)
    x[:, 2] = 0  # an input that is always 0: its entries of the first weight have the gradient 0
    return x, rng.integers(0, 3, size=n)


def steps(
    model: mg.Sequential, loss: mg.Loss, optimizer: mg.Optimizer, data: mg.Batches
) -> Iterator[int]:
    """Train without an end; yields after each step."""
    while True:
        for x, y in data:
            take_step(model, loss, optimizer, x, y)
            yield optimizer.step_count


def train(
    model: mg.Sequential, optimizer: mg.Optimizer, count: int, data: mg.Batches | None = None
) -> None:
    x, y = data_of(mg.ParameterVector.of(model).values.dtype.type)
    data = mg.Batches(x, y, batch_size=16, rng=1) if data is None else data
    for _, _ in zip(
        range(count), steps(model, mg.SoftmaxCrossEntropy(), optimizer, data), strict=False
    ):
        pass


def bits(model: mg.Layer) -> dict[str, bytes]:
    return {name: parameter.value.tobytes() for name, parameter in model.parameters()}


def halving(step: int) -> float:
    return 0.5 / (1 + step)


OPTIMIZERS: dict[str, MakeOptimizer] = {
    "plain": lambda model: mg.SGD(model, lr=0.3),
    "momentum": lambda model: mg.SGD(model, lr=0.1, momentum=0.9),
    "nesterov": lambda model: mg.SGD(model, lr=0.1, momentum=0.9, nesterov=True),
    "decay": lambda model: mg.SGD(model, lr=0.3, weight_decay=0.1),
    "decay by pattern": lambda model: mg.SGD(
        model, lr=0.3, momentum=0.5, weight_decay={"*weight": 0.1, "4.*": 0.01}
    ),
    "clipping": lambda model: mg.SGD(model, lr=0.3, max_grad_norm=0.05),
    "schedule": lambda model: mg.SGD(model, lr=halving),
    "all": lambda model: mg.SGD(
        model,
        lr=halving,
        momentum=0.9,
        nesterov=True,
        weight_decay={"*.weight": 0.1},
        max_grad_norm=0.1,
    ),
    "tiny rate": lambda model: mg.SGD(model, lr=1e-9),
    "custom": lambda model: Drift(model, lr=0.01, max_grad_norm=1.0),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def make_without_patterns(make: MakeOptimizer, model: mg.Layer) -> mg.Optimizer:
    try:
        return make(model)
    except mg.errors.ModelError:  # the patterns name a layer that this model does not have
        return mg.SGD(model, lr=0.3, weight_decay={"*weight": 0.1})
