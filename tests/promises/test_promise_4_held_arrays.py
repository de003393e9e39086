"""Promise 4: an array that you hold never changes under you."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from promise_support import FloatType, bits, build, data_of, dtypes, train

import minigrad as mg
from minigrad.arrays import Array


class Collector(mg.Hook):
    """Keeps every array that events hand out by name."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []

    def on_forward(self, event: mg.Forward) -> None:
        self.arrays += [event.input, event.output]

    def on_backward(self, event: mg.Backward) -> None:
        self.arrays += [
            array for array in (event.output_grad, event.input_grad) if array is not None
        ]

    def on_step(self, event: mg.Step) -> None:
        self.arrays += [*event.updates.values(), *event.grads.values(), *event.values.values()]


@dtypes
def test_4_no_array_that_was_handed_out_ever_changes(dtype: FloatType) -> None:
    """Outputs, gradients, predictions, batches, events and states stay as they were while training
    goes on.
    """
    model, collector, loss = build(dtype), Collector(), mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, lr=0.1, momentum=0.9, weight_decay=0.01, max_grad_norm=1)
    x, y = data_of(dtype)
    data = mg.Batches(x, y, batch_size=16, rng=1)
    model.attach(collector)
    optimizer.attach(collector)
    held: list[npt.NDArray[Any]] = []
    kept: list[bytes] = []
    for _ in range(3):
        for batch, labels in data:
            output = model(batch)
            samples = loss.per_sample(output, labels)
            loss.forward(output, labels)
            grad = loss.backward()
            below = model.backward(grad, input_grad=True)
            assert below is not None
            optimizer.step()
            held += [
                batch,
                labels,
                output,
                samples,
                grad,
                below,
                model.predict(batch, batch_size=5),
                data.indices,
            ]
            held += [
                *model.state_dict().values(),
                *optimizer.state_dict()["state"]["velocity"].values(),
            ]
            held += [data.state_dict()["order"], *collector.arrays]
            collector.arrays.clear()
            kept += [array.tobytes() for array in held[len(kept) :]]
    assert len(held) > 100
    assert kept == [array.tobytes() for array in held]


def test_4_live_arrays_are_the_documented_ones() -> None:
    """`value`, `grad`, `values` and `grads` do change: they show what training does."""
    model = build(np.float32)
    vector = mg.ParameterVector.of(model)
    live = [vector.values, vector.grads, *(p.value for _, p in model.parameters() if p.trainable)]
    before = [array.copy() for array in live]
    train(model, mg.SGD(model, lr=0.5), 2)
    assert not any(np.array_equal(old, new) for old, new in zip(before, live, strict=True))


@dtypes
def test_4_writing_into_what_was_handed_out_spoils_nothing(dtype: FloatType) -> None:
    """The caller may write into outputs, predictions, states, batches and gradients.

    Training goes on alike.
    """
    ends = []
    for write in (False, True):
        model, loss = build(dtype), mg.SoftmaxCrossEntropy()
        optimizer = mg.SGD(model, lr=0.1, momentum=0.9)
        x, y = data_of(dtype)
        data = mg.Batches(x, y, batch_size=16, rng=1)
        for _ in range(2):
            for batch, labels in data:
                output = model(batch)
                loss.forward(output, labels)
                grad = loss.backward()
                below = model.backward(grad, input_grad=True)
                optimizer.step()
                if write:
                    mine: list[npt.NDArray[Any]] = [
                        batch,
                        labels,
                        output,
                        grad,
                        data.indices,
                        model.predict(batch),
                    ]
                    mine += [data.state_dict()["order"], *model.state_dict().values()]
                    mine += optimizer.state_dict()["state"]["velocity"].values()
                    for array in [*mine, *([] if below is None else [below])]:
                        array.fill(0)
        ends.append(bits(model))
    assert ends[0] == ends[1]
