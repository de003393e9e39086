"""What the tests of the record on disk share: a small training, what it noted, and what any
directory must hold to.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from loop_support import take_step
from recording_support import Array

import minigrad as mg
from minigrad.errors import RunError

T = TypeVar("T")
Settings = dict[str, Any]
Make = Callable[[mg.Layer], mg.Optimizer]

SIZE = 5 * 4 + 4 + 4 + 4 + 4 * 3 + 3  # entries of `normed`
EVERYTHING = bool(os.environ.get("MINIGRAD_ALL_ACCIDENTS"))
"""Whether to run every case.

Otherwise a part of those that are many and alike, to keep the tests short.
"""


def some(cases: Iterable[T], every: int = 3) -> list[T]:
    """Every third case, or all."""
    return list(cases)[:: 1 if EVERYTHING else every]


ROW = SIZE * 4  # bytes of a row of them in float32


def momentum(model: mg.Layer) -> mg.Optimizer:
    """An optimizer whose state goes on from step to step."""
    return mg.SGD(model, 0.05, momentum=0.9)


def normed(dtype: npt.DTypeLike = np.float32, seed: int = 0) -> mg.Sequential:
    """A small network with batch norm, whose running statistics are state that is not learnt."""
    rng = np.random.default_rng(seed)
    return mg.Sequential(
        mg.Dense(5, 4, rng=rng, dtype=dtype),
        mg.BatchNorm(4, dtype=dtype),
        mg.Activation("relu"),
        mg.Dense(4, 3, rng=rng, dtype=dtype),
    )


class Training:
    """A training of `normed` in steps that can be made one by one.

    Args:
        make: Makes the optimizer.
        dtype: Of the model.
        seed: For the data.
    """

    def __init__(
        self, make: Make = momentum, dtype: npt.DTypeLike = np.float32, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.model = normed(dtype)
        self.x = (rng.normal(size=(40, 5)) * (rng.random((40, 5)) < 0.5)).astype(dtype)
        self.x[:, 1] = 0  # an input that is always dark
        self.data = mg.Batches(self.x, rng.integers(0, 3, 40), 8, rng=rng)
        self.loss = mg.SoftmaxCrossEntropy()
        self.optimizer = make(self.model)
        self._batches = iter(self.data)

    def recorder(self, path: Path | str | None = None, **settings: Any) -> mg.Recorder:
        """A recorder of this training."""
        return mg.Recorder(self.optimizer, loss=self.loss, data=self.data, path=path, **settings)

    def go(self, steps: int, before: Callable[[int], None] | None = None) -> None:
        """Make some steps."""
        for number in range(steps):
            if before is not None:
                before(number)
            batch = next(self._batches, None)
            if batch is None:
                self._batches = iter(self.data)
                batch = next(self._batches)
            take_step(self.model, self.loss, self.optimizer, batch[0], batch[1])

    @property
    def flat(self) -> Array:
        """The live values."""
        return mg.ParameterVector.of(self.model).values

    @property
    def crc(self) -> int:
        """The CRC-32 of the live values."""
        return zlib.crc32(self.flat.tobytes())


class Notes(mg.Hook):
    """Writes down what is true after each step: values, predictions and what the layers hold that
    is not learnt.

    Attached before a recorder, so that it knows of each step before the recorder does.
    """

    def __init__(self, training: Training, offset: int = 0, predict: bool = False) -> None:
        self._training = training
        self._offset = offset
        self._predict = predict
        self.values: dict[int, Array] = {}
        self.predictions: dict[int, Array] = {}
        self.buffers: dict[int, list[Array]] = {}
        self.lr: list[float] = []
        self.clip: list[float] = []
        self.loss: list[float] = []
        self.indices: list[Any] = []
        self.updates: dict[int, Array] = {}
        self.grads: dict[int, Array] = {}
        training.optimizer.attach(self)

    def on_step(self, event: mg.Step) -> None:
        training, step = self._training, event.step + self._offset
        self.values[step] = training.flat.copy()
        self.updates[step] = event.flat.update.copy()
        self.grads[step] = event.flat.grads.copy()
        self.lr.append(event.lr)
        self.clip.append(event.clip_factor)
        assert training.loss.value is not None
        self.loss.append(training.loss.value)
        self.indices.append(training.data.indices)
        self.buffers[step] = [
            getattr(layer, buffer).copy()
            for _, layer in training.model.layers()
            for buffer in layer.buffers
        ]
        if self._predict:
            self.predictions[step] = training.model.predict(training.x)


def flat_value(run: mg.Run, step: int) -> Array:
    """All values after a step, as the run knows them."""
    return np.concatenate([run[name].value(step).ravel() for name in run])


def wrong(run: mg.Run, values: Mapping[int, Array], but: Iterable[int] = ()) -> list[int]:
    """The steps that the run calls exact, and whose values are not what they were."""
    steps = [step for step in run.exact_steps.tolist() if step not in set(but)]
    return [step for step in steps if flat_value(run, step).tobytes() != values[step].tobytes()]


def in_gaps(run: mg.Run) -> set[int]:
    """The steps of all gaps."""
    return {step for gap in run.gaps for step in range(gap.first, gap.last + 1)}


def consistent(run: mg.Run, sampled: bool = False) -> list[str]:
    """What contradicts itself in a run; nothing should.

    Args:
        run: The run.
        sampled: Whether it keeps only some steps, or none.
    """
    steps, exact = set(run.steps), set(run.exact_steps.tolist())
    found = []
    if list(run.steps) != sorted(steps):
        found.append(f"steps not in order: {run.steps}")
    if not exact <= steps:
        found.append(f"exact, but not recorded: {sorted(exact - steps)}")
    first, last = (run.steps[0], run.steps[-1]) if steps else (0, -1)
    if run.gaps and not in_gaps(run) <= set(range(first, last + 1)):
        found.append(f"gaps {run.gaps} outside of the steps {first} to {last}")
    if not sampled and steps - exact - in_gaps(run):
        found.append(f"neither exact nor in a gap: {sorted(steps - exact - in_gaps(run))}")
    if any(len(array) != len(steps) for array in (run.lr, run.loss, run.clip_factor)):
        found.append("a loss, a rate or a factor is missing")
    for name in run:
        if not set(run[name].updates.steps.tolist()) <= steps:
            found.append(f"updates of {name} that are not of the run's steps")
        try:
            last_move = int(run[name].last_move.max())
        except RuntimeError:
            continue
        if last_move > last:
            found.append(f"{name} moved in step {last_move}, and the last step is {last}")
        if sum(run[name].why.counts.values()) != run[name].size:
            found.append(f"the reasons of {name} do not add up")
    checked = run.verify()
    if checked.mismatch is not None or checked.damaged:
        found.append(str(checked))
    if not run.report():
        found.append("no report")
    return found


def contents(directory: Path) -> dict[str, bytes]:
    """Every file of a directory by its name, as it is now."""
    found: dict[str, bytes] = {}
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            found[path.relative_to(directory).as_posix()] = path.read_bytes()
    return found


def put(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make a directory of these files, and of no others."""
    for path in sorted(directory.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(directory).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = directory / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def opened(path: Path) -> mg.Run | RunError:
    """The run at a path, or the error that says why there is none."""
    try:
        return mg.Run.open(path)
    except RunError as error:
        return error
