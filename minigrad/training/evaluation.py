"""What a model gives for data, in eval mode and without a trace.

It serves validation, and the checks before the first step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.errors import KindError, LabelError, RangeError, ShapeError
from minigrad.layers.layer import Layer
from minigrad.layers.state import untouched
from minigrad.losses import Loss
from minigrad.randomness import generators_of
from minigrad.training.metrics import MeanLoss, RunningMetric

_FEW = 32  # samples that are looked at before the first step, or as many as a batch has
_CHUNK = 1 << 20  # numbers in the targets that are looked at at once
_MAX_OUTPUTS = 1 << 22  # numbers in the outputs that the loss and the metrics see at once


def evaluate(
    model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, RunningMetric]
) -> dict[str, float]:
    """The loss and the metrics of all data, in eval mode; leaves no trace.

    The model sees the data in chunks. The loss and the metrics then see all outputs at once, up to
    four million numbers; beyond, their figures are means over chunks of that size.
    """
    mean = MeanLoss()
    for metric in metrics.values():
        metric.clear()
    with without_trace(model, loss) as copied:
        for outputs, targets in outputs_in_chunks(model, data):
            mean.add(copied, float(copied.forward(outputs, targets)), len(outputs))
            for metric in metrics.values():
                metric.add(outputs, targets)
    return {"loss": mean.value()} | {name: metric.value() for name, metric in metrics.items()}


@contextmanager
def without_trace(model: Layer, loss: Loss) -> Iterator[Loss]:
    """Gives a copy of the loss; afterwards layers and random generators are as they were.

    What is not finite raises no warning.
    """
    named = [*model.named_generators(), *generators_of(loss)]
    states = [(rng, rng.bit_generator.state) for _, rng in named]
    try:
        with untouched(model), quiet():
            yield copy.copy(loss)
    finally:
        for rng, state in states:
            rng.bit_generator.state = state


def outputs_in_chunks(
    model: Layer, data: Batches, every: int = 1
) -> Iterator[tuple[Array, npt.NDArray[Any]]]:
    """The outputs and targets of every n-th sample in eval mode: all at once if not too many."""
    model.eval()
    outputs: list[Array] = []
    targets: list[npt.NDArray[Any]] = []
    for x, y in data.in_order(every):
        if outputs and sum(chunk.size for chunk in outputs) + outputs[0].size > _MAX_OUTPUTS:
            yield np.concatenate(outputs), np.concatenate(targets)
            outputs, targets = [], []
        outputs.append(model.forward(x))
        targets.append(y)
    yield np.concatenate(outputs), np.concatenate(targets)


# -- before the first step ------------------------------------------------------------------------


def check_data(
    model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, RunningMetric], what: str
) -> None:
    """Find out whether model, loss, metrics and data go together; leaves no trace.

    As many samples as a batch holds, from all over the data, go through model, loss and metrics.
    A loss that knows which targets it can use looks at all of them besides.

    Args:
        model: The model.
        loss: The loss.
        data: The data.
        metrics: The metrics, which are cleared when they are next used.
        what: What errors call the data.

    Raises:
        MinigradError: They do not; of the kind that training would have met.
    """
    count = max(data.batch_size, _FEW)
    with without_trace(model, loss) as copied, about(what):
        model.eval()
        x, y = next(data.in_order(max(1, len(data.x) // count)))
        x, y = x[:count], y[:count]
        outputs = model.forward(x)
        try:
            copied.forward(outputs, y)
        except LabelError:  # which row of the data that is, is found below
            _check_targets(copied, data, outputs)
            raise
        for metric in metrics.values():
            metric.add(outputs, y)
        _check_targets(copied, data, outputs)


def _check_targets(loss: Loss, data: Batches, outputs: Array) -> None:
    """Look at all targets of the data.

    Raises:
        LabelError: The loss cannot use some; with the row of the first, and how many there are.
    """
    first_wrong, count = None, 0
    rows = len(data.y) if data.y.ndim == 1 else max(1, _CHUNK * len(data.y) // data.y.size)
    for start, targets in data.targets_in_order(rows):
        wrong = loss.wrong_targets(targets, outputs)
        if wrong is not None:
            row, *columns = wrong.place
            first_wrong = first_wrong or wrong._replace(place=(start + row, *columns))
            count += wrong.wrong
    if first_wrong is None:
        return
    row = first_wrong.place[0]
    try:
        loss.forward(outputs[:1], data.y[row : row + 1])
    except (LabelError, RangeError) as error:
        size = prod(data.y.shape[: len(first_wrong.place)])  # of the rows, or of all numbers
        raise first_wrong._replace(wrong=count, size=size).error() from error


@contextmanager
def about(what: str) -> Iterator[None]:
    """Say in errors which data they are about."""
    try:
        yield
    except (KindError, LabelError, RangeError, ShapeError) as error:
        raise type(error)(f"{what}: {error}") from error


def quiet() -> AbstractContextManager[object]:
    """NumPy without its warnings, except where somebody has asked for errors.

    What it would warn about ends the training, with a better explanation of where it comes from.
    """
    raises = "raise" in np.geterr().values()
    return (
        nullcontext() if raises else np.errstate(over="ignore", invalid="ignore", divide="ignore")
    )
