"""Promise 8: resuming is exact."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from case_support import sparse
from promise_support import (
    FloatType,
    MakeOptimizer,
    bits,
    build,
    data_of,
    dtypes,
    optimizers,
    steps,
    train,
)

import minigrad as mg


@sparse(optimizers, dtypes, pytest.mark.parametrize("stop", [1, 3, 4, 8]), every=2)
def test_8_resuming_from_states_gives_the_same_bits(
    make: MakeOptimizer, dtype: FloatType, stop: int
) -> None:
    """Stopping at any step, also in mid-epoch, and going on in new objects is the same as not
    stopping.
    """
    x, y = data_of(dtype)
    model = build(dtype)
    optimizer, data, loss = (
        make(model),
        mg.Batches(x, y, batch_size=16, rng=5),
        mg.SoftmaxCrossEntropy(),
    )
    saved: Any = None
    for step in steps(model, loss, optimizer, data):
        if step == stop:
            saved = pickle.dumps((model.state_dict(), optimizer.state_dict(), data.state_dict()))
        if step == 11:
            break
    states = pickle.loads(saved)
    other = build(dtype, seed=77)
    other_optimizer, other_data = make(other), mg.Batches(x, y, batch_size=16, rng=99)
    other.load_state_dict(states[0])
    other_optimizer.load_state_dict(states[1])
    other_data.load_state_dict(states[2])
    train(other, other_optimizer, 11 - stop, other_data)
    assert bits(model) == bits(other)
    assert 11 == other_optimizer.step_count
    assert data.indices.tolist() == other_data.indices.tolist()
