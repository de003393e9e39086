"""Promise 1: initial values plus the updates, added in order, are the final values."""

from __future__ import annotations

import numpy as np
import pytest
from case_support import sparse
from hook_support import Tape
from promise_support import (
    FloatType,
    MakeOptimizer,
    Sometimes,
    bits,
    build,
    data_of,
    dtypes,
    make_without_patterns,
    optimizers,
    train,
)

import minigrad as mg


@sparse(optimizers, dtypes, every=2)
def test_1_updates_replay_to_the_final_bits(make: MakeOptimizer, dtype: FloatType) -> None:
    """Initial values plus the updates, added in order, are the final values bit for bit."""
    model, tape = build(dtype), Tape()
    optimizer, initial = make(model), model.state_dict()
    optimizer.attach(tape)
    train(model, optimizer, 20)
    assert 20 == len(tape.updates)
    assert bits(model) == tape.replayed(initial)
    assert initial["3.weight"].tobytes() == bits(model)["3.weight"]
    assert np.signbit(initial["3.weight"][0]).all()


@sparse(optimizers, dtypes, every=2)
def test_1_freezing_on_the_way_replays(make: MakeOptimizer, dtype: FloatType) -> None:
    """Freezing, thawing and freezing again between steps leaves no update of an earlier step
    behind.
    """
    model, tape = build(dtype), Tape()
    optimizer, initial = make(model), model.state_dict()
    optimizer.attach(tape)
    for act in (
        model[3].unfreeze,
        model[3].freeze,
        model[0].freeze,
        model.unfreeze,
        model[0].freeze,
        model.freeze,
    ):
        before = bits(model)
        act()
        train(model, optimizer, 2)
        frozen = {name for name, parameter in model.parameters() if not parameter.trainable}
        assert not {name for name in frozen if before[name] != bits(model)[name]}
        for name in frozen:
            assert not tape.updates[-1][name].any()
            assert np.signbit(tape.updates[-1][name]).all()
    assert bits(model) == tape.replayed(initial)


@sparse(optimizers, dtypes, every=2)
def test_1_parts_without_gradient_replay(make: MakeOptimizer, dtype: FloatType) -> None:
    """A branch that backward does not reach in some steps replays as well."""
    sometimes = Sometimes(6, dtype)
    model = mg.Sequential(sometimes, mg.Dense(6, 3, dtype=dtype, rng=1))
    optimizer, initial, tape = make_without_patterns(make, model), model.state_dict(), Tape()
    optimizer.attach(tape)
    for use_left in (True, False, False, True, True, False):
        sometimes.use_left = use_left
        train(model, optimizer, 1)
        unused = "0.right" if use_left else "0.left"
        assert np.signbit(tape.updates[-1][unused]).all()
        assert not tape.updates[-1][unused].any()
    assert bits(model) == tape.replayed(initial)


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
@sparse(optimizers, dtypes, every=2)
def test_1_two_optimizers_over_two_slices_replay(make: MakeOptimizer, dtype: FloatType) -> None:
    """Each of two optimizers over parts of one model tells exactly what it did to its part."""
    model = build(dtype)
    body, head = model[:3], model[3:]
    first, second = make_without_patterns(make, body), mg.SGD(head, lr=0.2, momentum=0.5)
    tapes, states = (Tape(), Tape()), (body.state_dict(), head.state_dict())
    first.attach(tapes[0])
    second.attach(tapes[1])
    x, y = data_of(dtype)
    loss = mg.SoftmaxCrossEntropy()
    for step in range(10):
        loss.forward(model(x), y)
        model.backward(loss.backward())
        first.step()
        if step % 2:
            second.step()
    assert bits(body) == tapes[0].replayed(states[0])
    assert bits(head) == tapes[1].replayed(states[1])
    assert list(bits(model).values()) == [*bits(body).values(), *bits(head).values()]
