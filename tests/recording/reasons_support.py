"""Small models whose entries have the reason that a test wants."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from recording_support import Array, one

import minigrad as mg
from minigrad import Reason


class Script(mg.Optimizer):
    """Adds what the script says in each step: the gates after the gradient can be opened and shut
    at will.
    """

    def __init__(self, model: mg.Layer, script: list[float]) -> None:
        super().__init__(model, 1.0)
        self.script = script

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        update[:] = self.script[self.step_count]


def linear(
    n_in: int, n_out: int, value: float = 1.0, dtype: npt.DTypeLike = np.float32
) -> mg.Sequential:
    """One Dense layer, all weights the same."""
    return mg.Sequential(mg.Dense(n_in, n_out, init=mg.init.constant(value), dtype=dtype))


def record(
    model: mg.Sequential,
    optimizer: mg.Optimizer,
    batches: list[tuple[Any, Any]],
    coactivation: bool = True,
    **settings: Any,
) -> mg.Run:
    """Steps with these inputs and these gradients of the output."""
    with mg.Recorder(optimizer, coactivation=coactivation, **settings) as recorder:
        for x, grad in batches:
            one(model, optimizer, x, grad)
    run = recorder.run
    for name in run:
        check_sums(run[name])
    return run


def check_sums(history: mg.recording.ParameterHistory) -> None:
    """Each entry has one reason, in every way of asking."""
    why = history.why
    assert sum(why.counts.values()) == history.size
    assert all(count > 0 for count in why.counts.values())
    assert list(why.counts) == [reason for reason in Reason if reason in why.counts]
    reasons = np.asarray(why.reasons, object).reshape(history.shape)
    for reason in Reason:
        assert np.count_nonzero(reasons == reason) == why.counts.get(reason, 0)
        assert np.count_nonzero(why.where(reason)) == why.counts.get(reason, 0)
