"""minigrad: the loop by hand, without a recorder or with one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from workloads import ORDER_SEED, Workload, make_weights

import minigrad as mg
from peers import Program

RECORD_BYTES = 500_000_000
"""A record as large as this is ended, and a new one begun, between two slices: so none is ever
thinned, and all pay for the memory that a growing record takes."""


def parts(
    workload: Workload, x: Any, y: Any
) -> tuple[mg.Sequential, mg.SoftmaxCrossEntropy, mg.Optimizer, mg.Batches]:
    """The model with the weights that all begin with, loss, optimizer and data."""
    layers: list[mg.Layer] = []
    for weight in make_weights(workload):
        layers += [mg.Dense(*weight.shape, init=_given(weight)), mg.Activation(workload.activation)]
    model = mg.Sequential(*layers[:-1])
    optimizer: mg.Optimizer = mg.SGD(model, lr=workload.lr, momentum=workload.momentum)
    if workload.adam:
        optimizer = mg.Adam(model, lr=workload.lr)
    return (
        model,
        mg.SoftmaxCrossEntropy(),
        optimizer,
        mg.Batches(x, y, workload.batch_size, rng=ORDER_SEED),
    )


def _given(weight: npt.NDArray[np.float32]) -> mg.init.Initializer:
    return lambda shape, rng: weight


def make(workload: Workload, x: Any, y: Any, recorded: Mapping[str, Any] | None = None) -> Program:
    """The loop as the README has it.

    With `recorded`, which holds a `Recorder`'s settings, under a recorder.
    """
    model, loss, optimizer, data = parts(workload, x, y)

    def batches() -> Iterator[tuple[Any, Any]]:
        while True:
            yield from data

    stream = batches()

    def steps(count: int) -> float:
        total = 0.0
        for _ in range(count):
            inputs, labels = next(stream)
            total += loss.forward(model(inputs), labels)
            model.backward(loss.backward())
            optimizer.step()
        return total / count

    if recorded is None:
        return Program(steps)
    records = Records(optimizer, loss, data, dict(recorded))
    return Program(steps, prepare=records.prepare, close=records.close)


class Records:
    """One record after the other, each of them small enough."""

    def __init__(
        self, optimizer: mg.Optimizer, loss: mg.Loss, data: mg.Batches, settings: dict[str, Any]
    ) -> None:
        self.optimizer, self.loss, self.data = optimizer, loss, data
        self.directory = (
            Path(tempfile.mkdtemp(prefix="minigrad-")) if settings.pop("on_disk", False) else None
        )
        self.settings = settings
        self.recorder: mg.Recorder | None = None
        self.steps = 0  # of the present record
        self.count = 0  # of records

    def prepare(self, count: int) -> None:
        """Begin the first record, or a new one if the present one would grow too large."""
        self.steps += count
        if self.recorder is not None and self.recorder.estimate(self.steps).bytes < RECORD_BYTES:
            return
        self.end()
        path = None if self.directory is None else self.directory / "run"
        self.recorder = mg.Recorder(self.optimizer, self.loss, self.data, path, **self.settings)
        self.recorder.start()
        self.steps = count
        self.count += 1

    def end(self) -> None:
        """End the present record, and forget it."""
        if self.recorder is not None:
            self.recorder.stop()
            self.recorder = None
        if self.directory is not None:
            shutil.rmtree(self.directory / "run", ignore_errors=True)

    def close(self) -> None:
        """Leave nothing behind."""
        self.end()
        if self.directory is not None:
            self.directory.rmdir()
