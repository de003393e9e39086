"""Promise 2: watching changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from case_support import sparse
from hook_support import Vandal
from promise_support import (
    FloatType,
    MakeOptimizer,
    Sometimes,
    bits,
    build,
    dtypes,
    optimizers,
    train,
)

import minigrad as mg


@sparse(optimizers, dtypes, every=2)
def test_2_hooks_change_no_bit(make: MakeOptimizer, dtype: FloatType) -> None:
    """Training with hooks attached gives the same bits as without, whatever they do to what they
    are given.
    """
    plain, watched, vandal = build(dtype), build(dtype), Vandal()
    train(plain, make(plain), 12)
    optimizer = make(watched)
    with watched.attach(vandal), optimizer.attach(vandal), watched.attach(Vandal()):
        train(watched, optimizer, 12)
    assert vandal.calls > 12
    assert bits(plain) == bits(watched)


@dtypes
def test_2_looking_at_gradients_is_not_writing_them(dtype: FloatType) -> None:
    """A hook that reads `.grad` of a part that backward did not reach does not bring its old
    gradient back.
    """

    class Reader(mg.Hook):
        def on_backward(self, event: mg.Backward) -> None:
            for _, parameter in model.parameters():
                parameter.grad.any()

    ends = []
    for watched in (False, True):
        sometimes = Sometimes(6, dtype)
        model = mg.Sequential(sometimes, mg.Dense(6, 3, dtype=dtype, rng=1))
        optimizer = mg.SGD(model, lr=0.1)
        train(model, optimizer, 1)
        sometimes.use_left = False
        if watched:
            model.attach(Reader())
        train(model, optimizer, 2)
        ends.append(bits(model))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("what", ["indices", "skipped"])
def test_2_what_a_hook_writes_reaches_nobody_else(what: str) -> None:
    """Also the small things of an event are safe from a hook that writes into them: other hooks see
    the truth.
    """

    class Careless(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            thing = getattr(event, what)
            try:
                thing[0 if what == "indices" else "4.bias"] = 99
            except (TypeError, ValueError):
                return  # it cannot be written into: all the better
            if isinstance(thing, dict):
                written.append(thing)

    class Keeper(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            assert event.indices is not None
            seen.append((event.indices.tolist(), dict(event.skipped)))

    written: list[dict[str, object]] = []
    seen: list[tuple[list[int], dict[str, str]]] = []
    model, rows = build(np.float32).unfreeze(), np.arange(5)
    optimizer = mg.SGD(model, lr=0.1)
    optimizer.attach(Careless())
    optimizer.attach(Keeper())
    for _ in range(2):
        model.backward(np.ones_like(model(np.ones((5, 6), np.float32))))
        optimizer.step(indices=rows)
    for thing in written:
        thing.pop("4.bias", None)  # leave nothing behind for other tests
    expected: tuple[list[int], dict[str, str]] = ([0, 1, 2, 3, 4], {})
    assert [expected, expected] == seen
    assert [0, 1, 2, 3, 4] == rows.tolist()
