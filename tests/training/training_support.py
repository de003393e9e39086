"""What the tests of training share: small trainings, all of their bits, the loop by hand, and
trainings that are known by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from loop_support import take_step

import minigrad as mg
from minigrad.arrays import Array

Optimizers = Callable[[mg.Layer], mg.Optimizer]


class Training(NamedTuple):
    """What `fit` takes."""

    model: mg.Layer
    loss: mg.Loss
    optimizer: mg.Optimizer
    data: mg.Batches

    def fit(self, epochs: int = 1, **settings: Any) -> mg.History:
        return mg.fit(self.model, self.loss, self.optimizer, self.data, epochs=epochs, **settings)

    def by_hand(self, epochs: int, *, steps: int | None = None) -> list[float]:
        """The loop of four lines, for some epochs or only for some steps; the loss of each step."""
        losses: list[float] = []
        for _ in range(epochs):
            for x, y in self.data:
                if len(losses) == steps:
                    return losses
                losses.append(take_step(self.model, self.loss, self.optimizer, x, y))
        return losses

    def bits(self) -> dict[str, object]:
        """All that a training is, to the bit: values, buffers, modes, generators, the optimizer's
        state, the loss, the data.
        """
        return {
            "model": plain(self.model.state_dict()),
            "modes": [layer.training for _, layer in self.model.layers()],
            "trainable": [parameter.trainable for _, parameter in self.model.parameters()],
            "generators": [rng.bit_generator.state for _, rng in self.model.named_generators()],
            "optimizer": plain(self.optimizer.state_dict()),
            "loss": plain(self.loss.value),
            "data": plain(self.data.state_dict()),
        }


def plain(thing: object) -> object:
    """The same in dicts, lists and bytes, which compare equal only if all bits are the same."""
    if isinstance(thing, np.ndarray):
        return str(thing.dtype), thing.shape, thing.tobytes()
    if isinstance(thing, float):
        return np.float64(thing).tobytes()
    if isinstance(thing, Mapping):
        return {name: plain(part) for name, part in thing.items()}
    return [plain(part) for part in thing] if isinstance(thing, list | tuple) else thing


def samples(
    n: int = 23, features: int = 4, classes: int = 3, seed: int = 5
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Random samples in float32, and labels."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)).astype(np.float32), rng.integers(0, classes, n)


def sgd(model: mg.Layer) -> mg.Optimizer:
    return mg.SGD(model, lr=0.1, momentum=0.9)


def classifier(
    optimizer: Optimizers = sgd,
    *,
    dtype: npt.DTypeLike = np.float32,
    seed: int = 0,
    **settings: Any,
) -> Training:
    """A network with BatchNorm and Dropout.

    Data, weights and dropout share one generator; the last batch is short.
    """
    rng = np.random.default_rng(seed)
    model = mg.Sequential(
        mg.Dense(4, 6, dtype=dtype, rng=rng),
        mg.BatchNorm(6, dtype=dtype),
        mg.Sequential(mg.Activation("tanh"), mg.Dropout(0.3, rng=rng)),
        mg.Dense(6, 3, dtype=dtype, rng=rng),
    )
    data = mg.Batches(*samples(), **{"batch_size": 5, "rng": rng, **settings})
    return Training(model, mg.SoftmaxCrossEntropy(), optimizer(model), data)


# -- a training that is known by hand ------------------------------------------------------------


class Downhill(mg.Loss):
    """The mean distance of outputs and targets, with a slope of 1 wherever they are: each step goes
    down by the rate.
    """

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.shape = logits.shape
        return float(np.abs(logits - np.asarray(targets)).mean())

    def backward(self) -> Array:
        return np.full(self.shape, 1 / math.prod(self.shape))


def descent(start: float = 5.0, *, steps: int = 1, lr: float = 1.0) -> Training:
    """One weight w with outputs w x, where x is 1: `steps` times in an epoch it goes down by `lr`.

    The loss is |w|.
    """
    model = mg.Sequential(mg.Dense(1, 1, bias=False, dtype=np.float64, rng=0))
    set_weight(model, start)
    data = mg.Batches(np.ones((steps, 1)), np.zeros((steps, 1)), 1, rng=0)
    return Training(model, Downhill(), mg.SGD(model, lr), data)


def weight(model: mg.Layer) -> float:
    """The one weight of `descent`."""
    (value,) = mg.ParameterVector.of(model).values.tolist()
    return float(value)


def set_weight(model: mg.Layer, value: float) -> None:
    mg.ParameterVector.of(model).values = np.array([value])


def towards(target: float) -> tuple[Array, Array]:
    """Validation data with which `descent` has a val_loss of |w - target|."""
    return np.ones((1, 1)), np.full((1, 1), target)


# -- a model that stays as it is -----------------------------------------------------------------


class Idle(mg.Layer):
    """Passes everything on, and has a parameter that is trained and used for nothing."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.unused = mg.Parameter(np.zeros(1, dtype))

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, grad: Array) -> Array:
        self.unused.grad = np.zeros(1)
        return grad.copy()


def identity(features: int = 1, dtype: npt.DTypeLike = np.float64) -> mg.Sequential:
    """Outputs are inputs, and no optimizer changes that: figures of training are those of the
    data.
    """
    dense = mg.Dense(features, features, bias=False, dtype=dtype, rng=0)
    dense.weight.value = np.eye(features)
    return mg.Sequential(dense.freeze(), Idle(dtype))


def constant(
    loss: mg.Loss, outputs: npt.ArrayLike, targets: npt.ArrayLike, batch_size: int, **settings: Any
) -> Training:
    """A training whose model gives these outputs for ever."""
    outputs = np.asarray(outputs, np.float64)
    model = identity(outputs.shape[1])
    return Training(
        model, loss, mg.SGD(model, 0.1), mg.Batches(outputs, targets, batch_size, rng=0, **settings)
    )


# -- hooks ---------------------------------------------------------------------------------------


class Diary(mg.Hook):
    """Writes down what it is told, with a name, in a list that several may share."""

    def __init__(self, entries: list[tuple[str, object]] | None = None, name: str = "") -> None:
        self.entries: list[tuple[str, object]] = [] if entries is None else entries
        self._name = name

    def on_forward(self, event: mg.Forward) -> None:
        self.entries.append((f"{self._name}forward", event.training))

    def on_step(self, event: mg.Step) -> None:
        self.entries.append((f"{self._name}step", event.step))

    def on_epoch(self, event: mg.Epoch) -> None:
        self.entries.append((f"{self._name}epoch", event.epoch))

    def of(self, kind: str) -> list[object]:
        return [what for name, what in self.entries if name == kind]


class Act(mg.Hook):
    """Does something after one step, or after one epoch."""

    def __init__(
        self, act: Callable[[Any], object], *, step: int | None = None, epoch: int | None = None
    ) -> None:
        self._act, self._step, self._epoch = act, step, epoch

    def on_step(self, event: mg.Step) -> None:
        if event.step == self._step:
            self._act(event)

    def on_epoch(self, event: mg.Epoch) -> None:
        if event.epoch == self._epoch:
            self._act(event)


class Losses(mg.Hook):
    """Keeps the loss and the rows of each step."""

    def __init__(self) -> None:
        self.losses: list[float | None] = []
        self.rows: list[list[int]] = []

    def on_step(self, event: mg.Step) -> None:
        self.losses.append(event.loss)
        assert event.indices is not None
        self.rows.append(event.indices.tolist())


def batches(n: int, size: int) -> Iterator[int]:
    """The sizes of the batches of an epoch."""
    for first in range(0, n, size):
        yield min(size, n - first)
