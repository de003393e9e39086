"""What a model gives for data, in eval mode and without a trace: for validation, and for checks before the first step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.errors import KindError, LabelError, RangeError, ShapeError
from minigrad.layers.layer import Layer, untouched
from minigrad.losses import (
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minigrad.losses.targets import Wrong
from minigrad.randomness import generators_of
from minigrad.training.metrics import MeanLoss, Running

_OURS = (SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError, MeanAbsoluteError, Huber)
_FEW = 32  # samples that are looked at before the first step, or a batch of them
_PART = 1 << 20  # numbers in the targets that are looked at at once
_LOT = 1 << 22  # numbers in the outputs that the loss and the metrics see at once


@contextmanager
def without_trace(model: Layer, loss: Loss) -> Iterator[None]:
    """Afterwards layers, loss and the model's random generators are as they were.

    What is not finite raises no warning.
    """
    kept = dict(vars(loss))
    every = [*model.named_generators(), *generators_of(loss)]
    generators = [(generator, generator.bit_generator.state) for _, generator in every]
    try:
        with untouched(model), quiet():
            yield
    finally:
        vars(loss).clear()
        vars(loss).update(kept)
        for generator, state in generators:
            generator.bit_generator.state = state


def evaluate(
    model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, Running]
) -> dict[str, float]:
    """The loss and the metrics of all data, in eval mode; leaves no trace.

    The model sees the data in parts. The loss and the metrics then see all outputs at once, up to
    four million numbers; beyond, their figures are means over such lots, weighted by size.
    """
    mean = MeanLoss()
    for metric in metrics.values():
        metric.clear()
    with without_trace(model, loss):
        for outputs, targets in lots(model, data):
            mean.add(loss, float(loss.forward(outputs, targets)), len(outputs))
            for metric in metrics.values():
                metric.add(outputs, targets)
    return {"loss": mean.value()} | {name: metric.value() for name, metric in metrics.items()}


def lots(model: Layer, data: Batches, every: int = 1) -> Iterator[tuple[Array, npt.NDArray[Any]]]:
    """The outputs of every so manieth sample in eval mode, with the targets: all at once, if they are not too many."""
    model.eval()
    outputs: list[Array] = []
    targets: list[npt.NDArray[Any]] = []
    for x, y in data.in_order(every):
        if outputs and sum(part.size for part in outputs) + outputs[0].size > _LOT:
            yield np.concatenate(outputs), np.concatenate(targets)
            outputs, targets = [], []
        outputs.append(model.forward(x))
        targets.append(y)
    yield np.concatenate(outputs), np.concatenate(targets)


def ready(loss: Loss, data: Batches) -> None:
    """Tell a loss that balances its classes how often they occur.

    Raises:
        LabelError: The targets are no labels.
        ShapeError: They are rows.
    """
    if isinstance(loss, SoftmaxCrossEntropy) and loss.balanced:
        with naming("data"):
            loss.balance(data.y)


def check(
    model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, Running], what: str
) -> None:
    """Find out before the first step whether model, loss, metrics and data go together; leaves no
    trace.

    As many samples as a batch holds, from all over the data, go through model, loss and metrics.
    The losses that come with minigrad look at all targets besides, and say which row of the data
    has the first that is wrong.

    Raises:
        MinigradError: They do not, and what is said of it; of the kind that training would have
            met.
    """
    with without_trace(model, loss), naming(what):
        model.eval()
        x, y = next(data.in_order(max(1, len(data.x) // max(data.batch_size, _FEW))))
        x, y = x[: max(data.batch_size, _FEW)], y[: max(data.batch_size, _FEW)]
        outputs = model.forward(x)
        try:
            loss.forward(outputs, y)
        except LabelError:  # of one of these samples; which row of the data it is, is found below
            _check_targets(loss, data, outputs)
            raise
        for metric in metrics.values():
            metric.of(outputs, y)
        _check_targets(loss, data, outputs)


def _check_targets(loss: Loss, data: Batches, outputs: Array) -> None:
    """Look at all targets of the data, where it is known of a loss what it can use: one of one's
    own may take anything.

    Raises:
        LabelError: Some are wrong; with the row of the first, and how many they are.
    """
    if not isinstance(loss, _OURS):
        return
    found: Wrong | None = None
    count = size = 0
    rows = len(data.y) if data.y.ndim == 1 else max(1, _PART * len(data.y) // data.y.size)
    for first, targets in data.targets_in_order(rows):
        if isinstance(loss, SoftmaxCrossEntropy):
            wrong = loss.wrong_targets(targets, outputs.shape[1])
            size += len(targets)
        else:
            with np.errstate(
                over="ignore"
            ):  # a target beyond the range of the outputs' dtype is infinite for the loss
                wrong = loss.wrong_targets(targets.astype(outputs.dtype, copy=False))
            size += targets.size
        if wrong is not None:
            row, *columns = wrong.place
            found = found or wrong._replace(place=(first + row, *columns))
            count += wrong.wrong
    if found is not None:
        raise found._replace(wrong=count, size=size).error()


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Say in errors which data they are about."""
    try:
        yield
    except (KindError, LabelError, RangeError, ShapeError) as error:
        raise type(error)(f"{what}: {error}") from error


def quiet() -> AbstractContextManager[object]:
    """NumPy without its warnings, except where somebody has asked for errors.

    What it would warn of ends the training, with a better word of where it comes from.
    """
    asked = "raise" in np.geterr().values()
    return nullcontext() if asked else np.errstate(over="ignore", invalid="ignore", divide="ignore")
