"""What the tests of checkpoints share: trainings of all kinds, the bits of everything in them,
files that look genuine.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from zipfile import ZIP_STORED, ZipFile

import numpy as np
import numpy.typing as npt
import pytest
from loop_support import take_step

import minigrad as mg
from minigrad.errors import ModelError

T = TypeVar("T")
Array = npt.NDArray[np.floating[Any]]
Make = Callable[[mg.Layer], mg.Optimizer]

EVERYTHING = bool(os.environ.get("MINIGRAD_ALL_ACCIDENTS"))
"""Whether to run every case.

Otherwise a part of those that are many and alike, to keep the tests short.
"""

_DATA = np.random.default_rng(20)
X = _DATA.normal(size=(22, 5))
Y = _DATA.integers(0, 3, 22)
BATCH = 4  # so the last batch of an epoch holds two samples, or is dropped


def some(cases: Iterable[T], every: int = 4) -> list[T]:
    """Every fourth case, or all."""
    return list(cases)[:: 1 if EVERYTHING else every]


# -- trainings -----------------------------------------------------------------------------------


class Signs(mg.Optimizer):
    """An optimizer of somebody's own: the sign of a slow mean of the gradients, which it keeps in a
    state.
    """

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        mean = self.state("mean")
        mean += (grads - mean) / np.float32(4)
        np.multiply(np.sign(mean), -self.current_lr, out=update)


class Noisy(mg.Optimizer):
    """An optimizer that draws random numbers, from a generator that its owner gives to `save` as
    `rng`.
    """

    def __init__(self, model: mg.Layer, rng: np.random.Generator) -> None:
        super().__init__(model, 0.05)
        self.rng = rng

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(grads + self.rng.normal(size=grads.size), -self.current_lr, out=update)


class FreezesForAWhile(mg.Hook):
    """Freezes the first layer after some steps, and lets it go again after some more."""

    def __init__(self, model: mg.Sequential) -> None:
        self._model = model

    def on_step(self, event: mg.Step) -> None:
        if event.step == 3:
            self._model[0].freeze()
        if event.step == 9:
            self._model[0].unfreeze()


def adam(model: mg.Layer) -> mg.Optimizer:
    """An optimizer whose state goes on from step to step, and counts them."""
    return mg.Adam(model, 0.02)


@dataclass(frozen=True)
class Plan:
    """How to build a training, again and again.

    Attributes:
        make: Makes the optimizer.
        dtype: Of the model.
        kind: The kind of the random generators.
        shared: Whether dropout and data draw from one generator.
        batches: Settings of the data.
        part: Whether the optimizer is of the last layer alone.
        noisy: Whether the optimizer draws random numbers, from a third generator.
        frozen: Whether a hook freezes a layer for a while.
        plateau: Whether the rate falls where the validation loss does not.
    """

    make: Make = adam
    dtype: npt.DTypeLike = np.float32
    kind: str = "PCG64"
    shared: bool = True
    batches: dict[str, Any] = field(default_factory=dict)
    part: bool = False
    noisy: bool = False
    frozen: bool = False
    plateau: bool = False


PLAIN = Plan()
"""Adam in float32, with one generator for all."""


class Training:
    """A training with dropout, batch norm and shuffling, made by a loop by hand.

    Args:
        plan: How it is built.
        seed: For the weights and all generators; the data are always the same.
    """

    def __init__(self, plan: Plan = PLAIN, seed: int = 0) -> None:
        kind = getattr(np.random, plan.kind)
        rng = np.random.Generator(kind(seed))
        rng.standard_normal(dtype=np.float32)
        rng.integers(9, dtype=np.uint32)  # so half of a number may be left over in the generator
        self.rng = np.random.Generator(kind(seed + 1)) if plan.noisy else None
        weights = np.random.default_rng(seed + 2)
        self.model = mg.Sequential(
            mg.Dense(5, 6, rng=weights, dtype=plan.dtype),
            mg.BatchNorm(6, dtype=plan.dtype),
            mg.Activation("tanh"),
            mg.Dropout(0.3, rng=rng),
            mg.Dense(6, 3, rng=weights, dtype=plan.dtype),
        )
        self.loss = mg.SoftmaxCrossEntropy()
        self.optimizer = (
            plan.make(self.model[4] if plan.part else self.model)
            if self.rng is None
            else Noisy(self.model, self.rng)
        )
        own = rng if plan.shared else np.random.Generator(kind(seed + 3))
        self.data = mg.Batches(X.astype(plan.dtype), Y, BATCH, rng=own, **plan.batches)
        self.history: dict[str, list[float]] = {"loss": [], "val_loss": []}
        self.hooks: list[mg.Hook] = []
        if plan.plateau:
            self.hooks.append(
                mg.ReduceOnPlateau(self.optimizer, patience=0, threshold=0.2, factor=0.5)
            )
        if plan.frozen:
            self.optimizer.attach(FreezesForAWhile(self.model))

    @property
    def parts(self) -> dict[str, Any]:
        """What is given to `save` and to `load`."""
        kept = {
            "model": self.model,
            "optimizer": self.optimizer,
            "data": self.data,
            "history": self.history,
        }
        return {**kept, "hooks": self.hooks, **({} if self.rng is None else {"rng": self.rng})}

    def step(self, x: Array, y: npt.NDArray[Any]) -> None:
        """One step."""
        self.history["loss"].append(take_step(self.model, self.loss, self.optimizer, x, y))

    def go(self, epochs: int, pause: Callable[[], None] = lambda: None) -> None:
        """Go on until so many epochs are complete, with a pause after each step, and after each
        epoch.
        """
        while len(self.history["val_loss"]) < epochs:
            for x, y in self.data:
                self.step(x, y)
                pause()
            figure = mg.SoftmaxCrossEntropy().forward(self.model.predict(X), Y)
            self.history["val_loss"].append(figure)
            for hook in self.hooks:
                hook.on_epoch(mg.Epoch(len(self.history["val_loss"]) - 1, {"val_loss": figure}))
            pause()

    def made(self, steps: int) -> Training:
        """After some steps, in the midst of an epoch."""
        batches = iter(self.data)
        for _ in range(steps):
            self.step(*next(batches))
        return self

    @property
    def bits(self) -> Any:
        """Everything that a checkpoint is about, for a comparison bit by bit."""
        return bits_of_all(
            self.model, self.optimizer, self.data, self.rng, self.history, self.hooks
        )


def bits_of_all(
    model: mg.Layer,
    optimizer: mg.Optimizer,
    data: mg.Batches,
    rng: np.random.Generator | None,
    history: Mapping[str, Any],
    hooks: Iterable[mg.Hook],
) -> Any:
    """Everything that a checkpoint is about, for a comparison bit by bit."""
    generators = [generator for _, generator in model.named_generators()] + (
        [] if rng is None else [rng]
    )
    return {
        "model": bits(model.state_dict()),
        "frozen": [name for name, parameter in model.parameters() if not parameter.trainable],
        "optimizer": bits(optimizer.state_dict()),
        "data": bits(data.state_dict()),
        "generators": [bits(generator.bit_generator.state) for generator in generators],
        "history": bits(dict(history)),
        "hooks": [bits(hook.state_dict()) for hook in hooks],
    }


def bits(thing: Any) -> Any:
    """Something that is equal only for the same bits, dtypes and shapes: -0.0 is not 0.0, and NaN
    is itself.
    """
    if isinstance(thing, np.ndarray):
        return thing.dtype.str, thing.shape, thing.tobytes()
    if isinstance(thing, Mapping):
        return {name: bits(inner) for name, inner in thing.items()}
    if isinstance(thing, list | tuple):
        return [bits(inner) for inner in thing]
    if isinstance(thing, float):
        return struct.pack("<d", thing)
    return type(thing).__name__, thing


def first_difference(expected: Any, found: Any, place: str = "") -> str:
    """Where two of these differ; empty if nowhere."""
    if isinstance(expected, dict) and isinstance(found, dict) and expected.keys() == found.keys():
        differences = (
            first_difference(expected[name], found[name], f"{place}/{name}") for name in expected
        )
        return next((one for one in differences if one), "")
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(expected, found, strict=True))
        return next(
            (
                one
                for number, (a, b) in pairs
                if (one := first_difference(a, b, f"{place}/{number}"))
            ),
            "",
        )
    return "" if expected == found else f"{place}: {expected!r:.300} and {found!r:.300}"


def refused(path: Path, training: Training, **changes: Any) -> str:
    """Load into a training, which must fail and change nothing; the message."""
    before = training.bits
    modes = [layer.training for _, layer in training.model.layers()]
    with pytest.raises(ModelError) as caught:
        mg.load(path, **{**training.parts, **changes})
    assert before == training.bits
    assert modes == [layer.training for _, layer in training.model.layers()]
    message = str(caught.value)
    assert str(path) in message or message.startswith("the checkpoint holds no")
    return message


# -- files ---------------------------------------------------------------------------------------


def members_of(path: Path) -> dict[str, bytes]:
    """The content of each member of a checkpoint, by the name that it has in the ZIP file."""
    with ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def npy(array: npt.ArrayLike, pickled: bool = False) -> bytes:
    """An array as a `.npy` file."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asanyarray(array), allow_pickle=pickled)
    return stream.getvalue()


def meta_of(members: Mapping[str, bytes]) -> Any:
    """The JSON of a checkpoint."""
    return json.loads(np.load(io.BytesIO(members["meta.npy"])).tobytes())


def with_meta(members: Mapping[str, bytes], meta: Any) -> dict[str, bytes]:
    """The members with another JSON, given as a tree or as text."""
    text = meta if isinstance(meta, str) else json.dumps(meta)
    return {**members, "meta.npy": npy(np.frombuffer(text.encode(), np.uint8))}


def sealed(members: Mapping[str, bytes], version: int = 1, compression: int = ZIP_STORED) -> bytes:
    """A checkpoint of these members, with the right checksum.

    The tests' own, from the description of the format.
    """
    stream = io.BytesIO()
    with ZipFile(stream, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)
        file.comment = f"minigrad checkpoint {version} sha256 {'0' * 64}".encode()
    return resealed(stream.getvalue())


def resealed(content: bytes) -> bytes:
    """The same bytes with the right checksum at their end."""
    body = content[:-64]
    return body + hashlib.sha256(body).hexdigest().encode()


class Bomb:
    """Something that runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle was executed')",)


@cache
def genuine() -> bytes:
    """The bytes of a checkpoint of a training after three steps."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "x.npz"
        mg.save(path, **Training(Plan(plateau=True)).made(3).parts)
        return path.read_bytes()
