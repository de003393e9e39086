"""Reasons where more than the gradient moves an entry or keeps it: decay, momentum, others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from reasons_support import linear, record
from recording_support import bias, dense, one

import minigrad as mg
from minigrad import Reason


def test_frozen_steps_count_for_nothing() -> None:
    """What a frozen layer's inputs and units did while it was frozen does not count."""
    model = linear(3, 2)
    layer = dense(model, 0)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        bias(layer).trainable = True
        for frozen, x, grad in (
            (True, [[1, 1, 1], [1, 1, 1]], [[1, 1], [1, 1]]),
            (False, [[0, 1, 0], [0, 0, 1]], [[1, 0], [0, 0]]),
            (True, [[1, 1, 1]], [[1, 1]]),
        ):
            layer.weight.trainable = not frozen
            one(model, optimizer, x, grad)
    why = recorder.run["0.weight"].why
    assert [[str(reason) for reason in row] for row in why.reasons] == [
        ["INPUT_ZERO", "INPUT_ZERO"],
        ["MOVED", "UNIT_SILENT"],
        ["NEVER_TOGETHER", "UNIT_SILENT"],
    ]
    assert "its input 2 was not 0 in 1 of 2 samples" in why.at(2, 0)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda model: mg.SGD(model, 0.1, weight_decay=0.1), id="SGD"),
        pytest.param(
            lambda model: mg.SGD(model, 0.1, weight_decay=0.1, momentum=0.9), id="SGD momentum"
        ),
        pytest.param(lambda model: mg.Adam(model, 0.1, weight_decay=0.1), id="Adam"),
        pytest.param(lambda model: mg.AdamW(model, 0.1, weight_decay=0.1), id="AdamW"),
        pytest.param(lambda model: mg.RMSprop(model, 0.1, weight_decay=0.1), id="RMSprop"),
    ],
)
def test_decay_alone(make: Callable[[mg.Layer], mg.Optimizer]) -> None:
    """Decay moves an entry whose gradient is always 0: MOVED, and the sentence says by what."""
    model = linear(2, 1)
    run = record(model, make(model), [([[0, 1]], [[1]])] * 3)
    assert run["0.weight"].why.counts == {Reason.MOVED: 2}
    assert (
        "moved in 3 of 3 steps by decay or momentum alone, its gradient was always 0: from 1 to"
        in run["0.weight"].why.at(0, 0)
    )
    assert "alone" not in run["0.weight"].why.at(1, 0)


def test_decay_of_zero_moves_nothing() -> None:
    """Decay of a value that is 0 is 0: the reason is still the gradient's."""
    model = linear(2, 1, 0.0)
    run = record(model, mg.SGD(model, 0.1, weight_decay=0.1), [([[0, 1]], [[1]])] * 3)
    assert run["0.weight"].why.counts == {Reason.INPUT_ZERO: 1, Reason.MOVED: 1}


def test_decay_alone_is_swallowed() -> None:
    """Decay so small that rounding takes it, where the gradient is 0: SWALLOWED, by decay alone."""
    model = linear(2, 1)
    run = record(model, mg.SGD(model, 1e-6, weight_decay=1e-4), [([[0, 1]], [[1]])] * 3)
    assert run["0.weight"].why.counts == {Reason.SWALLOWED: 1, Reason.MOVED: 1}
    sentence = run["0.weight"].why.at(0, 0)
    assert (
        "3 of its 3 updates were not 0 by decay or momentum alone, its gradient was always 0"
        in sentence
    )
    assert "rounding took each of them" in sentence


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda model: mg.SGD(model, 0.1, momentum=0.9), id="SGD"),
        pytest.param(lambda model: mg.Adam(model, 0.1), id="Adam"),
        pytest.param(lambda model: mg.Adam(model, 0.1, amsgrad=True), id="Adam amsgrad"),
        pytest.param(lambda model: mg.AdamW(model, 0.1, weight_decay=0), id="AdamW"),
        pytest.param(lambda model: mg.RMSprop(model, 0.1, momentum=0.9), id="RMSprop"),
    ],
)
def test_momentum_goes_on_alone(make: Callable[[mg.Layer], mg.Optimizer]) -> None:
    """Momentum of a gradient from before the record moves entries whose recorded gradient is 0, and
    it is told.
    """
    model = linear(1, 1)
    optimizer = make(model)
    one(model, optimizer, [[1]], [[1]])
    run = record(model, optimizer, [([[0]], [[1]])] * 2)
    assert run["0.weight"].why.counts == {Reason.MOVED: 1}
    assert "moved in 2 of 2 steps by decay or momentum alone" in run["0.weight"].why.at(0, 0)


def test_rmsprop_without_momentum_remembers_no_direction() -> None:
    """RMSprop's mean square lives on, but where the gradient is 0 the update is 0: the reason is
    the gradient's.
    """
    model = linear(1, 1)
    optimizer = mg.RMSprop(model, 0.1)
    one(model, optimizer, [[1]], [[1]])
    run = record(model, optimizer, [([[0]], [[1]])] * 2)
    assert run["0.weight"].why.counts == {Reason.INPUT_ZERO: 1}
    assert run["0.bias"].why.counts == {Reason.MOVED: 1}


@pytest.mark.parametrize("kind", [mg.Adam, mg.AdamW, mg.RMSprop])
def test_an_entry_that_never_had_a_gradient(kind: Callable[..., mg.Optimizer]) -> None:
    """Where the gradient was always 0 the adaptive optimizers divide 0 by their eps: the update is
    0, in float32 too.
    """
    model = linear(3, 2)
    settings = {"weight_decay": 0} if kind is mg.AdamW else {}
    batches = [([[0, 1, 0], [0, 2, 0]], [[1, 0], [1, 0]]), ([[0, 1, 0]], [[1, 0]])]
    run = record(model, kind(model, 0.1, **settings), batches)
    assert run["0.weight"].why.counts == {
        Reason.INPUT_ZERO: 4,
        Reason.UNIT_SILENT: 1,
        Reason.MOVED: 1,
    }
    assert run["0.bias"].why.counts == {Reason.UNIT_SILENT: 1, Reason.MOVED: 1}


@pytest.mark.parametrize("kind", [mg.Adam, mg.AdamW, mg.RMSprop])
def test_adaptive_rates_are_swallowed_too(kind: Callable[..., mg.Optimizer]) -> None:
    """A rate that is too small beside the value is SWALLOWED, however large the gradient was."""
    model = linear(1, 1, 100.0)
    run = record(model, kind(model, 1e-8), [([[1]], [[1000]])] * 3)
    assert run["0.weight"].why.counts == {Reason.SWALLOWED: 1}
    assert run["0.bias"].why.counts == {Reason.MOVED: 1}
    assert "3 of its 3 updates were not 0, and rounding took each of them" in run[
        "0.weight"
    ].why.at(0, 0)


@pytest.mark.parametrize("kind", [mg.SGD, mg.Adam, mg.RMSprop])
def test_dropout_that_leaves_out_everything(kind: Callable[..., mg.Optimizer]) -> None:
    """Behind Dropout(1) units are silent, and what is fed by it has inputs of 0.

    In eval mode everything moves.
    """
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dense(2, 2, rng=rng), mg.Dropout(1, rng=rng), mg.Dense(2, 1, rng=rng))
    batches = [([[1, 1], [1, 2]], [[1], [1]])] * 3
    run = record(model, kind(model, 0.1), batches)
    assert run["0.weight"].why.counts == {Reason.UNIT_SILENT: 4}
    assert run["0.bias"].why.counts == {Reason.UNIT_SILENT: 2}
    assert run["2.weight"].why.counts == {Reason.INPUT_ZERO: 2}
    assert run["2.bias"].why.counts == {Reason.MOVED: 1}
    model.eval()
    run = record(model, kind(model, 0.1), batches)
    for name, history in ((name, run[name]) for name in run):
        assert history.why.counts == {Reason.MOVED: history.size}, name


@pytest.mark.parametrize("kind", [mg.SGD, mg.Adam, mg.RMSprop])
def test_batch_norm_of_a_feature_that_never_changes(kind: Callable[..., mg.Optimizer]) -> None:
    """A feature that is the same in every sample is 0 when normalized: its scale does not move, its
    shift does.
    """
    model = mg.Sequential(mg.BatchNorm(2), mg.Dense(2, 1, init="lecun_normal", rng=0))
    run = record(
        model, kind(model, 0.1), [([[3, 1], [3, 2]], [[1], [2]]), ([[3, 5], [3, 0]], [[1], [-3]])]
    )
    assert run["0.weight"].why.counts == {Reason.GRADIENT_ZERO: 1, Reason.MOVED: 1}
    assert run["0.weight"].why.where(Reason.GRADIENT_ZERO).tolist() == [True, False]
    assert run["0.bias"].why.counts == {Reason.MOVED: 2}
    assert (
        run["0.weight"].why.at(0) == "0.weight[0] never moved: its gradient was 0 in all 2 steps."
    )


def test_a_write_from_outside_is_not_called_decay() -> None:
    """An entry that was changed only from outside moved, but neither by decay nor by momentum, and
    is not told so.
    """
    model = linear(2, 1)
    layer = dense(model, 0)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        one(model, optimizer, [[0, 1]], [[1]])
        layer.weight.value[0, 0] = 5
        with pytest.warns(mg.errors.OutOfBandWrite):
            one(model, optimizer, [[0, 1]], [[1]])
    why = recorder.run["0.weight"].why
    assert why.reasons[0, 0] is Reason.MOVED
    assert "decay" not in why.at(0, 0)


def test_what_moved_while_nobody_looked() -> None:
    """An entry whose value is not what it was is never said never to have moved, also where a gap
    hides the step.
    """
    model = linear(2, 1)
    optimizer = mg.SGD(model, 0.1)
    recorder = mg.Recorder(optimizer, coactivation=True)
    with recorder:
        one(model, optimizer, [[0, 1]], [[1]])
    one(model, optimizer, [[1, 1]], [[1]])  # not recorded
    with recorder:
        one(model, optimizer, [[0, 1]], [[1]])
    history = recorder.run["0.weight"]
    assert history.initial[0, 0] != history.final[0, 0]
    assert history.why.reasons[0, 0] in (Reason.MOVED, Reason.UNKNOWN)
    assert "never moved" not in history.why.at(0, 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_nan_equals_itself(dtype: npt.DTypeLike) -> None:
    """A value that is NaN before and after did not move; one that becomes NaN did."""
    model = linear(2, 1, dtype=dtype)
    dense(model, 0).weight.value = np.array([[np.nan], [1]], dtype)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder, np.errstate(invalid="ignore"):
        one(model, optimizer, [[1, 1]], [[1]])
        one(model, optimizer, [[1, 1]], [[np.nan]])
        one(model, optimizer, [[1, 1]], [[1]])
    history = recorder.run["0.weight"]
    assert history.moved.tolist() == [[False], [True]]
    assert history.moves.tolist() == [[0], [2]]
    assert history.swallowed.tolist() == [[3], [1]]
