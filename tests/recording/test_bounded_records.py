"""Sampled and bounded records: what they call exact is exact, and what they gave up is said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_support import sparse
from recording_support import ROW, Tape, dense, network, same, train
from replay_support import check_against

import minigrad as mg
from minigrad.errors import NotExactError


@sparse(
    pytest.mark.parametrize("rows", [4, 9, 40, 10_000]),
    pytest.mark.parametrize("keep", [("update",), ("update", "grad"), ("grad",), ()]),
    pytest.mark.parametrize("on_full", ["thin", "ring", "stop"]),
    pytest.mark.parametrize("every", [1, 7]),
    full=2,
    every=4,
)
def test_every_exact_step_is_exact(
    every: int, keep: tuple[str, ...], rows: int, on_full: Any
) -> None:
    """Whatever the budget gave up or the sampling left out: what the run calls exact is exact, all
    else is refused.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(
        optimizer, keep=keep, every=every, keyframe_every=6, budget=rows * ROW, on_full=on_full
    ) as recorder:
        train(model, optimizer, 75)
    run = recorder.run
    check_against(run, tape)
    exact = run.exact_steps.tolist()
    assert exact[-1] == 74
    for step in set(range(75)) - set(exact):
        with pytest.raises(NotExactError, match="nearest") as error:
            run["0.weight"].value(step)
        below, above = (
            max((e for e in exact if e < step), default=None),
            min(e for e in exact if e > step),
        )
        for near in (below, above):
            assert near is None or str(near) in str(error.value)
    for kind, rows_of in (("update", tape.updates), ("grad", tape.grads)):
        for name in run.names:
            held = run[name].updates if kind == "update" else run[name].grads
            assert (len(held) > 0) == (kind in keep)
            for step, tensor in zip(held.steps.tolist(), held, strict=True):
                assert same(tensor, rows_of[step][name])
    verified = run.verify()
    assert verified.mismatch is None
    assert verified.checked + verified.unchecked == 75
    assert bool(verified) == (verified.checked > 0)
    if not keep or keep == ("grad",):
        assert not verified


def test_sampling_keeps_first_and_last() -> None:
    """With every=7, the tensors of every seventh step are kept, and those of the first and the last
    step too.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    train(model, optimizer, 3)  # the record begins at step 3
    with mg.Recorder(optimizer, every=7, keep=("update", "grad")) as recorder:
        train(model, optimizer, 30)
    history = recorder.run["0.weight"]
    assert history.updates.steps.tolist() == [3, 7, 14, 21, 28, 32]
    assert history.grads.steps.tolist() == [3, 7, 14, 21, 28, 32]
    assert recorder.run.exact_steps.tolist() == [3, 7, 14, 21, 28, 32]
    assert same(history.value(32), history.final)
    assert len(history.ratio) == 6
    assert np.isfinite(history.ratio).all()


def test_thinning_gives_up_alternate_blocks_and_says_so() -> None:
    """Thinning drops whole blocks and lists them as gaps.

    What is kept and what is given up make up the run.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, keyframe_every=3, budget=60 * ROW) as recorder:
        train(model, optimizer, 200)
    run = recorder.run
    kept = run["0.weight"].updates.steps.tolist()
    missing = [step for gap in run.gaps for step in range(gap.first, gap.last + 1)]
    assert sorted(kept + missing) == list(range(200))
    assert kept[0] == 0
    assert kept[-1] == 199
    assert 15 <= len(kept) <= 60
    assert all("budget" in gap.why for gap in run.gaps)
    assert run.verify()
    middle = [step for step in kept if 30 <= step < 170]
    assert middle, "thinning keeps something of everywhere"
    text = run.report()
    assert "Gap" in text


def test_ring_keeps_the_start_and_the_newest() -> None:
    """A ring keeps the first block, keyframes on the way, and the newest steps."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, keyframe_every=3, budget=60 * ROW, on_full="ring") as recorder:
        train(model, optimizer, 200)
    kept = recorder.run["0.weight"].updates.steps.tolist()
    start, newest = np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1)
    assert start[0] == 0
    assert newest[-1] == 199
    assert len(newest) > len(start)
    exact = set(recorder.run.exact_steps.tolist())
    assert [step for step in exact - set(kept) if step + 1 < newest[0]], "keyframes on the way"
    assert recorder.run.verify()


@sparse(pytest.mark.parametrize("rows", [4, 5, 6, 7, 8, 10, 16]), every=7)
def test_a_ring_never_stops_recording(rows: int) -> None:
    """However small its budget, a ring holds the newest step: that is what people choose it for."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, budget=rows * ROW, on_full="ring") as recorder:
        train(model, optimizer, 100)
    assert recorder.run["0.weight"].updates.steps.tolist()[-1] == 99


def test_stop_keeps_the_beginning() -> None:
    """With on_full="stop" the beginning is kept without a hole, and one gap says where the tensors
    end.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, keyframe_every=3, budget=30 * ROW, on_full="stop") as recorder:
        train(model, optimizer, 50)
    kept = recorder.run["0.weight"].updates.steps.tolist()
    assert kept == list(range(len(kept)))
    assert [(gap.first, gap.last) for gap in recorder.run.gaps] == [(len(kept), 49)]
    assert same(recorder.run["0.weight"].final, dense(model, 0).weight.value)
