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
from minigrad.layer import Layer, untouched
from minigrad.losses import Loss
from minigrad.training.metrics import Running


@contextmanager
def without_trace(model: Layer, loss: Loss) -> Iterator[None]:
    """Afterwards layers, loss and the model's random generators are as they were. What is not finite raises no warning."""
    kept = dict(vars(loss))
    generators = [(generator, generator.bit_generator.state) for _, generator in model.named_generators()]
    try:
        with untouched(model), quiet():
            yield
    finally:
        vars(loss).clear()
        vars(loss).update(kept)
        for generator, state in generators:
            generator.bit_generator.state = state


def evaluate(model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, Running]) -> dict[str, float]:
    """The loss and the metrics of all data as a whole, in eval mode; leaves no trace.

    The model sees the data in parts; the loss and the metrics then see all outputs at once, so their figures do not
    depend on how the parts were made.
    """
    with without_trace(model, loss):
        outputs, targets = outputs_of(model, data)
        figures = {"loss": float(loss.forward(outputs, targets))}
        return figures | {name: metric.of(outputs, targets) for name, metric in metrics.items()}


def outputs_of(model: Layer, data: Batches, every: int = 1) -> tuple[Array, npt.NDArray[Any]]:
    """The outputs of every so manieth sample in eval mode, and the targets."""
    model.eval()
    pairs = [(model.forward(x), y) for x, y in data.in_order(every)]
    return np.concatenate([outputs for outputs, _ in pairs]), np.concatenate([targets for _, targets in pairs])


def check(model: Layer, loss: Loss, data: Batches, metrics: Mapping[str, Running], what: str) -> None:
    """Find out before the first step whether model, loss, metrics and data go together; leaves no trace.

    A few samples go through the model, and all targets through the loss.

    Raises:
        MinigradError: They do not, and what is said of it; of the kind that training would have met.
    """
    with without_trace(model, loss), naming(what):
        model.eval()
        x, y = next(data.in_order())
        x, y = x[:8], y[:8]
        outputs = model.forward(x)
        loss.forward(outputs, y)
        for metric in metrics.values():
            metric.of(outputs, y)
        size = max(1, min(8192, (1 << 20) * len(outputs) // outputs.size))
        one = outputs[:1].repeat(size, axis=0)
        for first in range(0, len(data.y), size):
            targets = np.asarray(data.y[first : first + size])
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
