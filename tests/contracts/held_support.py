"""What holds arrays, and what spoils them, for the tests of promise 4 at length.

A training is run twice. First everything that it hands out is held, by a view alone, so that nobody
could tell from its references that it is still needed; in the end all of it must be as it was. Then
all of it is written into at once; in the end the training must have the same bits as the first
time. Live on purpose, and left out, are the values and gradients of parameters and of their vector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from contract_table import FloatType, bits, in_bits, input_gradient, sample

import minigrad as mg
from minigrad.arrays import Array

AnyArray: TypeAlias = npt.NDArray[Any]
Hand: TypeAlias = Callable[..., None]
"""Takes what something is, and arrays of it, or None."""

VIEWS: list[Callable[[AnyArray], AnyArray]] = [
    lambda array: array,
    lambda array: array.T,
    lambda array: array[::-2],
    lambda array: array.reshape(-1) if array.flags.c_contiguous else array,
    lambda array: array[..., :1],
]


class Held:
    """Views of arrays, each of another kind, and what they were when they were handed out."""

    def __init__(self) -> None:
        self._held: list[tuple[str, AnyArray, bytes]] = []
        self._rng = np.random.default_rng(0)

    def hold(self, what: str, *arrays: AnyArray | None) -> None:
        for array in arrays:
            if array is not None:
                view = VIEWS[int(self._rng.integers(len(VIEWS)))](array)
                assert view.size == 0 or np.shares_memory(view, array)
                self._held.append((what, view, view.tobytes()))

    def changed(self) -> set[str]:
        return {what for what, view, before in self._held if before != view.tobytes()}

    def kinds(self) -> set[str]:
        return {what for what, _, _ in self._held}


def spoil(what: str, *arrays: AnyArray | None) -> None:
    for array in arrays:
        if array is not None:
            array.fill(99)


def leave(what: str, *arrays: AnyArray | None) -> None:
    """For a training of which nothing is held."""


def check(run: Callable[[Hand], object]) -> set[str]:
    """Both directions, for something that hands on all its arrays, and gives what came of it.

    Returns what there was.
    """
    held = Held()
    expected = run(held.hold)
    assert set() == held.changed()
    assert expected == run(spoil)
    return held.kinds()


class Thrifty(mg.Layer):
    """A layer of somebody's that keeps what it returns, and returns the same memory again: a chain
    may hold such ones.
    """

    def __init__(self) -> None:
        self.memory: dict[tuple[str, tuple[int, ...]], Array] = {}

    def reused(self, what: str, like: Array) -> Array:
        again: Array = self.memory.setdefault((what, like.shape), np.empty_like(like))
        return again

    def forward(self, x: Array) -> Array:
        self.y = np.tanh(x, out=self.reused("output", x))
        return self.y

    def backward(self, grad: Array) -> Array:
        below = self.reused("gradient", grad)
        np.multiply(grad, 1 - self.y * self.y, out=below)
        return below


def thrifty(dtype: FloatType) -> mg.Sequential:
    return mg.Sequential(
        Thrifty(),
        mg.Sequential(Thrifty(), mg.Dense(4, 3, dtype=dtype, rng=1), Thrifty()),
        Thrifty(),
    )


class Witness(mg.Hook):
    """Hands on every array of every event."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    def on_forward(self, event: mg.Forward) -> None:
        self.hand("event of forward", event.input, event.output)

    def on_backward(self, event: mg.Backward) -> None:
        self.hand("event of backward", event.output_grad, event.input_grad)

    def on_step(self, event: mg.Step) -> None:
        for arrays in (event.updates, event.grads, event.values):
            self.hand("event of step", *arrays.values())
        self.hand("indices of a step", event.indices)


def data_of(dtype: FloatType, n: int = 13) -> tuple[Array, AnyArray]:
    return sample(n, 4, dtype), np.random.default_rng(9).integers(0, 2, n)


def train(
    model: mg.Layer,
    loss: mg.Loss,
    optimizer: mg.Optimizer,
    data: mg.Batches,
    hand: Hand,
    epochs: int = 2,
) -> tuple[list[float], dict[str, bytes], object]:
    """A loop by hand, the second epoch in eval mode; hands on every array that it gets.

    Gives losses and final bits.
    """
    values: list[float] = []
    for epoch in range(epochs):
        model.eval() if epoch == 1 else model.train()
        for x, y in data:
            output = model(x)
            logits = output.copy()
            hand("output", output)  # before backward: that has what it needs
            values.append(loss.forward(logits, y))
            if isinstance(loss, mg.SoftmaxCrossEntropy):
                hand("loss of each sample", loss.per_sample(logits, y))
            hand("what the loss was given", logits)
            hand("targets", y)
            hand("gradient of the loss", loss.backward())
            grad = loss.backward()
            hand("gradient of the input", input_gradient(model, grad))
            hand("what backward was given", grad)
            hand("samples", x)
            optimizer.step()
            if isinstance(model, mg.Sequential):
                hand(
                    "prediction",
                    model.predict(sample(4, 4, x.dtype), batch_size=3),
                    model.predict(data.x[:2]),
                )
            hand("state of the model", *model.state_dict().values())
            for arrays in optimizer.state_dict()["state"].values():
                hand("state of the optimizer", *arrays.values())
            hand("state of the data", data.state_dict()["order"], data.indices)
    return values, bits(model), in_bits(optimizer.state_dict())
