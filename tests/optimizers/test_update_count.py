"""Steps that leave parameters out: each parameter counts its own updates, and the state keeps the
counts.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array


def three() -> mg.Sequential:
    """Three parameters of two entries each: 0.weight, 1.weight, 2.weight; values 1 ... 6."""
    sizes = [(1, 2), (2, 1), (1, 2)]
    model = mg.Sequential(
        *[mg.Dense(*size, bias=False, dtype=np.float64, init="ones") for size in sizes]
    )
    mg.ParameterVector.of(model).values[...] = np.arange(1, 7)
    return model


def give(model: mg.Layer, *numbers: float) -> None:
    mg.ParameterVector.of(model).grads = np.array(numbers)


class Ages(mg.Optimizer):
    """Adds to each entry 1 + the number of updates that it had before, and keeps that in a state of
    its own.
    """

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        counted = self.state("counted")
        assert (counted == self.update_count).all()  # the same for all the entries of one call
        counted += 1
        update[...] = 1 + self.update_count


@pytest.mark.parametrize("resume", [False, True])
def test_update_count_is_that_of_each_parameter(resume: bool) -> None:
    """How many updates the entries had before, whatever steps left them out.

    Also in an optimizer that goes on.
    """
    rng = np.random.default_rng(3)
    model = three()
    optimizer, expected, ages = Ages(model, 1), np.arange(1.0, 7), np.zeros(6)
    for step in range(60):
        trainable, reached = rng.random(3) < 0.7, rng.random(3) < 0.8
        reached[rng.integers(3)] = True
        for (_, parameter), moves, arrives in zip(
            model.parameters(), trainable, reached, strict=True
        ):
            parameter.trainable = bool(moves)
            if arrives:
                parameter.grad = np.ones(parameter.shape)
        optimizer.step()
        moved = np.repeat(trainable & reached, 2)
        ages[moved] += 1
        expected[moved] += ages[moved]
        assert expected.tolist() == mg.ParameterVector.of(model).values.tolist()
        assert step + 1 == optimizer.step_count
        if resume and step % 7 == 0:
            state = pickle.loads(pickle.dumps(optimizer.state_dict()))
            optimizer = Ages(model, 1)
            optimizer.load_state_dict(state)


def test_a_step_that_computes_nothing_counts_no_update() -> None:
    """Where all are frozen the step counts, but nobody is older for it."""
    model = three()
    optimizer = Ages(model, 1)
    for frozen in (True, False):
        (model.freeze if frozen else model.unfreeze)()
        give(model, *[1.0] * 6)
        optimizer.step()
    assert 2 == optimizer.step_count
    assert [2, 3, 4, 5, 6, 7] == mg.ParameterVector.of(model).values.tolist()


def test_skipped_steps_in_the_state() -> None:
    """The state says how many steps each parameter was left out of, and is nobody else's."""
    model = three()
    optimizer = mg.Adam(model)
    model[1].freeze()
    for _ in range(3):
        give(model, *[1.0] * 6)
        optimizer.step()
    model[1].unfreeze()
    for parameter in [parameter for _, parameter in model.parameters()][1:]:
        parameter.grad = np.ones(parameter.shape)
    optimizer.step()
    state = optimizer.state_dict()
    assert {"0.weight": 1, "1.weight": 3} == {
        name: n for name, n in state["skipped_steps"].items() if n
    }
    kept = repr(state)
    model[2].freeze()
    give(model, *[1.0] * 6)
    optimizer.step()
    assert kept == repr(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"skipped_steps": {"7.weight": 1}}, r"7\.weight"),
        ({"skipped_steps": {"0.weight": 9}}, "skipped_steps"),
        ({"skipped_steps": {"0.weight": -1}}, "skipped_steps"),
        ({"step_count": -1}, "step_count"),
        ({"step_count": "two"}, "step_count"),
    ],
)
def test_a_state_with_wrong_counts(change: dict[str, Any], message: str) -> None:
    """Counts of other parameters, or that cannot be, are refused, and nothing is taken over."""
    model = three()
    optimizer = mg.Adam(model)
    for _ in range(2):
        give(model, *range(1, 7))
        optimizer.step()
    state, before = optimizer.state_dict(), repr(optimizer.state_dict())
    give(model, *range(1, 7))
    with pytest.raises(mg.MinigradError, match=message):
        optimizer.load_state_dict(state | change)
    assert before == repr(optimizer.state_dict())
