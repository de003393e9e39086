"""A run restores the exact model of a step, also state that is no parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from recording_support import Array, flat, network, same, train
from replay_support import recorded

import minigrad as mg
from minigrad.errors import ModelError


def test_restore_gives_the_model_of_that_step() -> None:
    """`restore(model, step)` puts the exact values of that step into a model.

    Without a step, those of the last.
    """
    run, tape, _ = recorded()
    model = network(5, 4, 3, seed=99)
    for step in (0, 1, 15, 16, 17, 38, 39):
        run.restore(model, step)
        for name, parameter in model.parameters():
            assert same(parameter.value, tape.values[step][name])
    run.restore(model, 3)
    run.restore(model)
    for name, parameter in model.parameters():
        assert same(parameter.value, tape.values[-1][name])


def test_restore_into_the_model_in_training() -> None:
    """Going back to an earlier step of the same training gives the same bits when it is repeated
    from there.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 5)
        train(model, optimizer, 10, seed=2)
    final = flat(model).copy()
    recorder.run.restore(model, 4)
    train(model, optimizer, 10, seed=2)
    assert same(flat(model), final)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: network(5, 4, 4), id="shape"),
        pytest.param(lambda: network(5, 4), id="fewer"),
        pytest.param(lambda: network(5, 4, 3, 2), id="more"),
        pytest.param(lambda: network(5, 4, 3, dtype=np.float64), id="dtype"),
    ],
)
def test_restore_refuses_another_model(other: Callable[[], mg.Sequential]) -> None:
    """A model whose parameters cannot hold the exact values is refused, and is unchanged."""
    if other().parameters().__next__()[1].dtype == np.float64:
        wide = network(5, 4, 3, dtype=np.float64)
        optimizer = mg.SGD(wide, 0.1)
        with mg.Recorder(optimizer) as recorder:
            train(wide, optimizer, 2)
        run, model = (
            recorder.run,
            network(5, 4, 3),
        )  # float64 values do not fit a float32 model to the bit
    else:
        run, model = recorded()[0], other()
    before = flat(model).copy()
    with pytest.raises((ModelError, TypeError)):
        run.restore(model, 1)
    assert same(flat(model), before)


class RunningMean(mg.Layer):
    """Takes away a mean that it keeps up to date: state that is not a parameter."""

    buffers = ("mean",)

    def __init__(self, features: int) -> None:
        self.mean = np.zeros(features, np.float32)

    def forward(self, x: Array) -> Array:
        if self.training:
            self.mean[...] = 0.5 * self.mean + 0.5 * x.mean(axis=0)
        return np.asarray(x - self.mean)

    def backward(self, grad: Array) -> Array:
        return grad.copy()


def test_restored_model_predicts_as_it_did_then() -> None:
    """State that is not a parameter comes back too: a restored model predicts as it did at that
    step.
    """
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dense(5, 4, rng=rng), RunningMean(4), mg.Dense(4, 3, rng=rng))
    optimizer = mg.SGD(model, 0.1)
    x = rng.normal(size=(6, 5)).astype(np.float32)
    then: list[Array] = []
    with mg.Recorder(optimizer) as recorder:
        for seed in range(6):
            train(model, optimizer, 1, seed=seed)
            then.append(model.predict(x))
    for step in (0, 3, 5):
        recorder.run.restore(model, step)
        assert same(model.predict(x), then[step])


class Counting(mg.Layer):
    """Has state without a dimension: an array, and plain numbers."""

    buffers = ("seen", "rate", "scale")

    def __init__(self) -> None:
        self.seen = 0
        self.rate = np.zeros((), np.float32)
        self.scale = 1.0

    def forward(self, x: Array) -> Array:
        if self.training:
            self.seen += len(x)
            self.rate = self.rate + np.float32(0.1)
            self.scale *= 0.5
        return np.asarray(x * x.dtype.type(self.scale))

    def backward(self, grad: Array) -> Array:
        return np.asarray(grad * grad.dtype.type(self.scale))


@pytest.mark.parametrize("on_disk", [False, True])
def test_state_without_a_dimension_is_restored(on_disk: bool, tmp_path: Path) -> None:
    """Plain numbers and 0-d arrays that layers keep come back with the values of their step, to the
    bit.
    """
    model = mg.Sequential(mg.Dense(5, 3, rng=0), Counting())
    optimizer = mg.SGD(model, 0.1)
    then = []
    with mg.Recorder(optimizer, path=tmp_path / "run" if on_disk else None) as recorder:
        for _ in range(4):
            train(model, optimizer, 1)
            then.append(model.state_dict())
    run = mg.Run.open(tmp_path / "run") if on_disk else recorder.run
    assert () == run.notes
    for step in (3, 0, 2):
        other = mg.Sequential(mg.Dense(5, 3, rng=1), Counting())
        run.restore(other, step)
        for name, array in other.state_dict().items():
            assert same(then[step][name], array)
        assert (4 * (step + 1), 0.5 ** (step + 1)) == (other[1].seen, other[1].scale)
