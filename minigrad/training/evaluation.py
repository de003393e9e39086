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
from minigrad.inside import generators_of, untouched
from minigrad.layer import Layer
from minigrad.losses import Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minigrad.training.metrics import MeanLoss, Running, one_number

_FEW = 32  # samples that are looked at before the first step, or a batch of them
_LOT = 1 << 22  # numbers in the outputs that the loss and the metrics see at once


@contextmanager
def without_trace(model: Layer, loss: Loss) -> Iterator[None]:
    """Afterwards layers, loss and the model's random generators are as they were. What is not finite raises no warning."""
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


def evaluate(model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, Running]) -> dict[str, float]:
    """The loss and the metrics of all data, in eval mode; leaves no trace.

    The model sees the data in parts. The loss and the metrics then see all outputs at once, up to four million numbers;
    beyond, their figures are means over such lots, weighted by size.
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


def check(model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, Running], what: str) -> None:
    """Find out before the first step whether model, loss, metrics and data go together; leaves no trace.

    As many samples as a batch holds, from all over the data, go through model, loss and metrics. All labels go through
    the cross-entropies, which say which of them is out of range.

    Raises:
        MinigradError: They do not, and what is said of it; of the kind that training would have met.
    """
    with without_trace(model, loss), naming(what):
        model.eval()
        x, y = next(data.in_order(max(1, len(data.x) // max(data.batch_size, _FEW))))
        x, y = x[: max(data.batch_size, _FEW)], y[: max(data.batch_size, _FEW)]
        outputs = model.forward(x)
        one_number(loss.forward(outputs, y), type(loss).__name__)
        for metric in metrics.values():
            metric.of(outputs, y)
        if not isinstance(loss, SoftmaxCrossEntropy | SigmoidCrossEntropy):
            return  # a loss of one's own may be anything: of pairs of samples, say
        size = max(1, min(8192, (1 << 20) * len(outputs) // outputs.size))
        one = outputs[:1].repeat(size, axis=0)
        for first, targets in data.targets_in_order(size):
            with naming(f"rows {first} to {first + len(targets) - 1}") if first else nullcontext():
                loss.forward(one[: len(targets)], targets)


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
