"""`StopOnNonFinite`, which keeps NaN and infinity out of the weights, and says where they arose."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Integers
from minigrad.errors import NonFiniteError
from minigrad.hooks import Backward, Forward, Hook, Step
from minigrad.hooks.listener import Listener
from minigrad.layers.layer import Layer
from minigrad.losses import Loss
from minigrad.training.evaluation import without_trace


@final
class StopOnNonFinite(Hook):
    """Stops a training at the first NaN or infinity, before it gets into the weights.

    `fit` always has one. It looks at each loss, and at each update before that is written; `fit`
    then ends with `history.stopped`, which names the step, and the layer and the tensor where the
    first one appeared. In a loop by hand, after `optimizer.attach(minigrad.StopOnNonFinite())`,
    `optimizer.step()` raises `NonFiniteError` instead of writing.

    The weights are then those of the last finite step. If the loss was finite and only the update
    is not, the optimizer's moments have taken in that gradient all the same; go on from a
    checkpoint.
    """

    @override
    def before_step(self, event: Step) -> None:
        """Test the update before it is written.

        Raises:
            NonFiniteError: The values would not be finite any more.
        """
        flat = event.flat
        # One fast pass: where an entry is not finite, neither is the sum of squares. As long as
        # that is finite, each entry is below 2e19, the root of the largest float32, and too small
        # to lift a finite value to infinity.
        with np.errstate(over="ignore", invalid="ignore"):
            if math.isfinite(np.dot(flat.update, flat.update)):
                return
            after = flat.values + flat.update
        if np.isfinite(after).all():
            return
        for what, array in (
            ("gradient", flat.grads),
            ("update", flat.update),
            ("value after the update", after),
        ):
            # backward goes from the last to the first
            for name, slot in reversed([*flat.slots.items()]):
                own = array[slot.slice].reshape(slot.shape)
                if not np.isfinite(own).all():
                    cause = _describe(f"the {what} of '{name}'", own)
                    raise NonFiniteError(f"the update is not finite: {cause}")


def first_of_forward(
    model: Layer, loss: Loss, x: npt.NDArray[Any], y: npt.NDArray[Any], rows: Integers | None = None
) -> str:
    """Where in a forward the first NaN or infinity appears.

    The forward is done once more, and leaves no trace.

    Args:
        model: The model.
        loss: The loss.
        x: The samples of the batch.
        y: Its targets.
        rows: Which rows of the data they are.
    """
    for what, array in (("x of the batch", x), ("y of the batch", y)):
        if not np.isfinite(array).all():
            return _describe(what, array, rows)
    for name, array in model.state_dict().items():
        if not np.isfinite(array).all():
            return _describe(f"'{name}' of the model", array)
    tracer = _Tracer()
    with without_trace(model, loss), np.errstate(all="ignore"), _attached(tracer, model):
        outputs = model.forward(x)
    if tracer.cause:
        return tracer.cause
    if not np.isfinite(outputs).all():
        return _describe(f"the output of {model.called}", outputs)
    with without_trace(model, loss) as copied:
        copied.forward(outputs, y)
        if copied.weight is not None and not copied.weight > 0:  # NaN too
            return (
                "all samples of the batch are ignored, or have the weight 0, and the mean over "
                "nothing is NaN"
            )
    largest = np.abs(outputs).max()
    return f"the outputs of the model are finite, up to {largest:.3g}, and their loss is not"


def first_of_backward(model: Layer, loss: Loss, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> str:
    """Where in a backward the first NaN or infinity appears; empty if nowhere.

    It is done once more.
    """
    tracer = _Tracer()
    with without_trace(model, loss) as copied, np.errstate(all="ignore"), _attached(tracer, model):
        copied.forward(model.forward(x), y)
        grad = copied.backward()
        if not np.isfinite(grad).all():
            return _describe("the gradient that the loss returned", grad)
        model.backward(grad)
    return tracer.cause


@final
class _Tracer(Hook):
    """Notes the first tensor that is not finite."""

    def __init__(self) -> None:
        self.cause: str = ""

    def _look(self, what: str, array: npt.NDArray[Any] | None) -> None:
        if not self.cause and array is not None and not np.isfinite(array).all():
            self.cause = _describe(what, array)

    @override
    def on_forward(self, event: Forward) -> None:
        self._look(f"the output of {event.layer.called}", event.output)

    @override
    def on_backward(self, event: Backward) -> None:
        for name, parameter in event.layer.parameters():
            self._look(f"the gradient of '{name}' in {event.layer.called}", parameter.grad)
        self._look(f"the gradient of the input of {event.layer.called}", event.input_grad)


@contextmanager
def _attached(hook: Hook, model: Layer) -> Iterator[None]:
    """The hook attached where there is a `Sequential`, and no other: they know of this pass."""
    places: list[list[Listener]] = [listeners for listeners, _ in model.places()]
    others = [list(listeners) for listeners in places]
    for listeners in places:
        listeners.clear()
    try:
        with model.attach(hook) if places else nullcontext():
            yield
    finally:
        for listeners, before in zip(places, others, strict=True):
            listeners[:] = before


def _describe(what: str, array: npt.NDArray[Any], rows: Integers | None = None) -> str:
    """Which tensor, the first entry, and how many; of a batch, with the row of the data."""
    wrong = ~np.isfinite(array)
    place = tuple(map(int, np.unravel_index(int(wrong.argmax()), array.shape)))
    row = "" if rows is None else f" (row {rows[place[0]]} of the data)"
    count = f"{np.count_nonzero(wrong):,} of {array.size:,} entries"
    return f"{what}: {array[place]} at {place}{row}; not finite: {count}"
