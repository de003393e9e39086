"""What several tests of the recording share: small models, a loop, and a hook that writes down what
really happened.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

import minigrad as mg
from minigrad.activations import ActivationName

Array = npt.NDArray[np.floating[Any]]
Act = Callable[[int], None]
"""Something to do before a step, given the number of the step in this loop."""


class Tape(mg.Hook):
    """Keeps copies of everything that each step of an optimizer hands out by name."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.lr: list[float] = []
        self.clip: list[float] = []
        self.values: list[dict[str, Array]] = []
        self.updates: list[dict[str, Array]] = []
        self.grads: list[dict[str, Array]] = []

    def on_step(self, event: mg.Step) -> None:
        self.steps.append(event.step)
        self.lr.append(event.lr)
        self.clip.append(event.clip_factor)
        self.values.append(dict(event.values))
        self.updates.append(dict(event.updates))
        self.grads.append(dict(event.grads))


class Conv1D(mg.Layer):
    """A convolution over one axis, with a bias for each filter, and no `explain`: (n, width) -> (n,
    places * filters).
    """

    def __init__(
        self, size: int, filters: int, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.kernel = mg.Parameter(rng.normal(size=(size, filters)).astype(dtype))
        self.shift = mg.Parameter(np.zeros(filters, dtype))

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        self.windows = np.lib.stride_tricks.sliding_window_view(
            x, self.kernel.shape[0], axis=1
        ).copy()
        return (self.windows @ self.kernel.value + self.shift.value).reshape(len(x), -1)

    def backward(self, grad: Array) -> Array:
        grad = grad.reshape(*self.windows.shape[:2], -1)
        self.kernel.grad = np.tensordot(self.windows, grad, ((0, 1), (0, 1)))
        self.shift.grad = grad.sum(axis=(0, 1))
        below = np.zeros(self.shape, grad.dtype)
        for place in range(grad.shape[1]):
            below[:, place : place + self.kernel.shape[0]] += grad[:, place] @ self.kernel.value.T
        return below


class Scale(mg.Layer):
    """Each feature times a factor; no `explain`."""

    def __init__(self, features: int, dtype: npt.DTypeLike = np.float32) -> None:
        self.scale = mg.Parameter(np.ones(features, dtype))

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.scale.value

    def backward(self, grad: Array) -> Array:
        self.scale.grad = (grad * self.x).sum(axis=0)
        return grad * self.scale.value


class Switch(mg.Layer):
    """Runs one of its branches, `which`; backward reaches only that one."""

    def __init__(self, *branches: mg.Layer) -> None:
        self.branches = [mg.Sequential(branch) for branch in branches]
        self.which = 0

    def forward(self, x: Array) -> Array:
        return self.branches[self.which](x)

    def backward(self, grad: Array) -> Array:
        below = self.branches[self.which].backward(grad)
        assert below is not None
        return below


def network(
    *sizes: int,
    activation: ActivationName = "tanh",
    dtype: npt.DTypeLike = np.float32,
    seed: int = 0,
    **settings: Any,
) -> mg.Sequential:
    """Dense layers of these sizes, with activations between."""
    rng = np.random.default_rng(seed)
    layers: list[mg.Layer] = []
    for n_in, n_out in pairwise(sizes):
        if layers:
            layers.append(mg.Activation(activation))
        layers.append(mg.Dense(n_in, n_out, dtype=dtype, rng=rng, **settings))
    return mg.Sequential(*layers)


def dense(model: mg.Layer, index: int) -> mg.Dense:
    """The Dense layer at a place of a Sequential."""
    assert isinstance(model, mg.Sequential)
    layer = model[index]
    assert isinstance(layer, mg.Dense)
    return layer


def bias(layer: mg.Dense) -> mg.Parameter:
    """The bias of a Dense layer that has one."""
    assert layer.bias is not None
    return layer.bias


def train(
    model: mg.Sequential,
    optimizer: mg.Optimizer,
    steps: int,
    before: Act | None = None,
    *,
    n_in: int = 5,
    rows: int = 4,
    seed: int = 1,
) -> None:
    """Steps with random samples and random gradients of the output: fast, and any direction may
    come.
    """
    rng = np.random.default_rng(seed)
    for number in range(steps):
        if before is not None:
            before(number)
        x = rng.normal(size=(rows, n_in)) * (rng.random((rows, n_in)) < 0.7)
        one(model, optimizer, x, rng)


def one(model: mg.Sequential, optimizer: mg.Optimizer, x: npt.ArrayLike, grad: object) -> None:
    """One step, with this gradient of the output, or a random one."""
    _, parameter = next(model.parameters())
    output = model(np.asarray(x, parameter.dtype))
    if isinstance(grad, np.random.Generator):
        grad = grad.normal(size=output.shape)
    model.backward(np.asarray(grad, output.dtype).reshape(output.shape))
    optimizer.step()


def flat(model: mg.Layer) -> Array:
    """The live values of a model as one array."""
    return mg.ParameterVector.of(model).values


def bits(array: npt.ArrayLike) -> bytes:
    """The bits of an array: -0.0 is not 0.0, and a NaN is the same as itself."""
    return np.ascontiguousarray(array).tobytes()


def same(a: npt.ArrayLike, b: npt.ArrayLike) -> bool:
    """Whether two arrays have the same shape, dtype and bits."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and a.dtype == b.dtype and bits(a) == bits(b)


SIZE = 5 * 4 + 4 + 4 * 3 + 3  # entries of the network 5-4-3
ROW = SIZE * 4


def small(lr: Any = 0.1, **settings: Any) -> tuple[mg.Sequential, mg.SGD]:
    """The network 5-4-3 and its optimizer."""
    model = network(5, 4, 3)
    return model, mg.SGD(model, lr, **settings)
