"""The first difference of two runs is named by step, parameter, entry and both numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_support import sparse
from recording_support import ROW, Array, dense, network, train
from replay_support import run_of

import minigrad as mg
from minigrad.errors import ModelError


@sparse(
    pytest.mark.parametrize(
        "settings", [{}, {"every": 7}, {"keep": ()}, {"keyframe_every": 3, "budget": 20 * ROW}]
    ),
    every=4,
)
def test_equal_runs_have_no_difference(settings: dict[str, Any]) -> None:
    """The same training twice gives runs without a difference, however they were recorded."""
    assert run_of().first_difference(run_of(**settings)) is None
    assert run_of(**settings).first_difference(run_of()) is None
    assert run_of(**settings).first_difference(run_of(**settings)) is None


@pytest.mark.parametrize(
    ("name", "index"),
    [("0.weight", (3, 2)), ("0.bias", (1,)), ("2.weight", (0, 0)), ("2.bias", (2,))],
)
def test_difference_in_the_initial_values(name: str, index: tuple[int, ...]) -> None:
    """Runs that start one bit apart part before the first step, in that entry."""

    def nudge(model: mg.Sequential, step: int) -> None:
        parameter = dict(model.parameters())[name]
        parameter.value[index] = np.nextafter(parameter.value[index], np.float32(9))

    model = network(5, 4, 3)
    nudge(model, -1)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 5)
    found = run_of(steps=5).first_difference(recorder.run)
    assert found is not None
    assert (found.step, found.name, found.index, found.what) == (-1, name, index, "value")
    assert found.here < found.there


class Nudge(mg.Optimizer):
    """Plain descent, but for one entry in one step."""

    def __init__(self, model: mg.Layer, at: tuple[int, int] | None) -> None:
        super().__init__(model, 0.1)
        self.at = at

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(grads, -0.1, out=update)
        if self.at is not None and self.step_count == self.at[0]:
            update[self.at[1]] += np.float32(0.25)


@sparse(
    pytest.mark.parametrize(
        ("flat_index", "name", "index"),
        [
            (0, "0.weight", (0, 0)),
            (13, "0.weight", (3, 1)),
            (28, "2.weight", (1, 1)),
            (38, "2.bias", (2,)),
        ],
    ),
    pytest.mark.parametrize("step", [0, 1, 8, 19]),
)
def test_difference_in_one_update(
    step: int, flat_index: int, name: str, index: tuple[int, ...]
) -> None:
    """One update that differs in one entry is named: step, parameter, entry and both numbers."""
    runs: list[mg.Run] = []
    for at in (None, (step, flat_index)):
        model = network(5, 4, 3)
        optimizer = Nudge(model, at)
        with mg.Recorder(optimizer, keyframe_every=6) as recorder:
            train(model, optimizer, 20)
        runs.append(recorder.run)
    found = runs[0].first_difference(runs[1])
    assert found is not None
    assert (found.step, found.name, found.index, found.what) == (step, name, index, "update")
    assert found.here == runs[0][name].updates[step][index]
    assert found.there == runs[1][name].updates[step][index]
    back = runs[1].first_difference(runs[0])
    assert back is not None
    assert (back.step, back.name, back.index, back.here, back.there) == (
        step,
        name,
        index,
        found.there,
        found.here,
    )


@pytest.mark.parametrize("settings", [{"every": 4}, {"keep": ()}])
def test_difference_where_updates_are_not_held(settings: dict[str, Any]) -> None:
    """Where updates are not held, values are compared: the first step that both know exactly is
    named.
    """
    runs: list[mg.Run] = []
    for at in (None, (6, 28)):
        model = network(5, 4, 3)
        optimizer = Nudge(model, at)
        with mg.Recorder(optimizer, **settings) as recorder:
            train(model, optimizer, 20)
        runs.append(recorder.run)
    found = runs[0].first_difference(runs[1])
    assert found is not None
    assert found.step == (8 if "every" in settings else 19)


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_difference_by_a_write_from_outside() -> None:
    """Runs that part by a write from outside part in that step, also where the entry never gets an
    update.
    """

    def write(model: mg.Sequential, step: int) -> None:
        if step == 10:
            dense(model, 0).weight.value[4, 1] += (
                1  # its input is always 0: no update will ever show it
            )

    runs: list[mg.Run] = []
    for meddle in (False, True):
        model = network(5, 4, 3)
        optimizer = mg.SGD(model, 0.1)
        rng = np.random.default_rng(0)
        with mg.Recorder(optimizer) as recorder:
            for step in range(20):
                if meddle:
                    write(model, step)
                x = rng.normal(size=(4, 5)).astype(np.float32)
                x[:, 4] = 0
                model(x)
                model.backward(rng.normal(size=(4, 3)).astype(np.float32))
                optimizer.step()
        runs.append(recorder.run)
    found = runs[0].first_difference(runs[1])
    assert found is not None
    assert (found.step, found.name, found.index, found.what) == (10, "0.weight", (4, 1), "value")


def test_difference_needs_the_same_parameters() -> None:
    """Runs of different parameters or dtypes cannot be compared: an error says which."""
    for model in (network(5, 4, 2), network(5, 4, 3, dtype=np.float64)):
        optimizer = mg.SGD(model, 0.1)
        with mg.Recorder(optimizer) as recorder:
            train(model, optimizer, 2)
        with pytest.raises(ModelError, match="different"):
            run_of(steps=2).first_difference(recorder.run)


def test_difference_of_a_longer_run() -> None:
    """A run that merely goes on for longer has no difference in the steps that both have."""
    assert run_of(steps=10).first_difference(run_of(steps=15)) is None
