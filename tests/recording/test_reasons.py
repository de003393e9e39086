"""One network built to produce each reason: exact counts, and the sentence with its numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from layer_support import Residual
from recording_support import Array, Scale, Switch, bias, dense, flat, network, one, train

import minigrad as mg
from minigrad import Reason
from minigrad.errors import CallOrderError, GradientOverwritten, ShapeError


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


def test_moved() -> None:
    """MOVED: the sentence says from where to where, how far in all, and in which steps first and
    last.
    """
    model = linear(2, 1)
    run = record(model, Script(model, [0.0, 0.5, -0.25, 0.0]), [([[1, 1]], [[1]])] * 4)
    assert run["0.weight"].why.counts == {Reason.MOVED: 2}
    assert run["0.bias"].why.counts == {Reason.MOVED: 1}
    assert run["0.weight"].why.at(0, 0) == (
        "0.weight[0, 0] moved in 2 of 4 steps: from 1 to 1.25, by 0.75 in all; first in step 1, "
        "last in step 2."
    )
    assert run["0.bias"].why.at(0) == (
        "0.bias[0] moved in 2 of 4 steps: from 0 to 0.25, by 0.75 in all; first in step 1, last in "
        "step 2."
    )
    assert run["0.weight"].why.at(-1, -1) == run["0.weight"].why.at(1, 0)
    for beyond in (-3, 2):
        with pytest.raises(ShapeError, match=rf"has no entry \({beyond}, 0\)"):
            run["0.weight"].why.at(beyond, 0)


def test_returned() -> None:
    """RETURNED: it moved, and its final bits are its initial bits; one bit beside them is MOVED."""
    model = linear(1, 1, 1.0)
    run = record(model, Script(model, [0.5, -0.5, 0.0]), [([[1]], [[1]])] * 3)
    assert run["0.weight"].why.counts == {Reason.RETURNED: 1}
    sentence = run["0.weight"].why.at(0, 0)
    assert (
        sentence
        == "0.weight[0, 0] moved in 2 of 3 steps, and came back to exactly where it began, 1."
    )
    model = linear(1, 1, 1.0)
    run = record(model, Script(model, [0.5, -0.5, 2.0**-23]), [([[1]], [[1]])] * 3)
    assert run["0.weight"].why.counts == {Reason.MOVED: 1}


def test_the_sign_of_zero_is_no_move() -> None:
    """-0.0 that becomes 0.0 did not move; its update was not lost to rounding either, it was 0."""
    model = linear(1, 1, 1.0)
    dense(model, 0).weight.value = np.array([[-0.0]], np.float32)
    run = record(model, Script(model, [0.0, 0.0]), [([[1]], [[1]])] * 2)
    assert not np.signbit(run["0.weight"].final[0, 0])
    assert run["0.weight"].why.counts == {Reason.UPDATE_ZERO: 1}
    assert not run["0.weight"].moved.any()


def test_swallowed() -> None:
    """SWALLOWED: every update was too small beside the value, and the sentence gives both
    numbers.
    """
    model = linear(1, 1, 1.0)
    run = record(model, mg.SGD(model, 1e-9), [([[1]], [[1]])] * 3 + [([[0]], [[0]])])
    assert run["0.weight"].why.counts == {Reason.SWALLOWED: 1}
    assert run["0.bias"].why.counts == {Reason.MOVED: 1}
    assert run["0.weight"].why.at(0, 0) == (
        "0.weight[0, 0] never moved: 3 of its 4 updates were not 0, and rounding took each of "
        "them, because they are too small beside its value 1."
    )
    assert run["0.weight"].swallowed.tolist() == [[3]]


@pytest.mark.parametrize("how", ["rate", "clipping", "underflow"])
def test_update_zero(how: str) -> None:
    """UPDATE_ZERO: a gradient came, and the update was 0: a rate of 0, clipping, or underflow."""
    model = linear(2, 1)
    optimizer = {
        "rate": mg.SGD(model, lambda step: 0.0),
        "clipping": mg.SGD(model, 1e-30, max_grad_norm=1e-30),
        "underflow": mg.SGD(model, 1e-46),
    }[how]
    run = record(model, optimizer, [([[1, 1]], [[1]]), ([[1, 1]], [[-1]]), ([[0, 0]], [[1]])])
    assert run["0.weight"].why.counts == {Reason.UPDATE_ZERO: 2}
    assert run["0.bias"].why.counts == {Reason.UPDATE_ZERO: 1}
    sentence = run["0.weight"].why.at(1, 0)
    assert sentence.startswith(
        "0.weight[1, 0] never moved: its gradient was not 0 in 2 of 3 steps, but its update was 0"
    )
    assert "not 0 in 3 of 3" in run["0.bias"].why.at(0)


def test_input_zero() -> None:
    """INPUT_ZERO: its input was 0 in every sample of every batch, whatever the units did."""
    model = linear(3, 2)
    batches = [([[0, 1, 0], [0, 2, 0]], [[1, 1], [1, 0]]), ([[0, 1, 0]], [[1, 1]])]
    for coactivation in (True, False):
        run = record(model, mg.SGD(model, 0.1), batches, coactivation)
        assert run["0.weight"].why.counts == {Reason.INPUT_ZERO: 4, Reason.MOVED: 2}
        assert run["0.weight"].why.where(Reason.INPUT_ZERO).tolist() == [
            [True] * 2,
            [False] * 2,
            [True] * 2,
        ]
        assert run["0.weight"].why.at(2, 1) == (
            "0.weight[2, 1] never moved: its input 2 was 0 in all 3 samples, so its gradient was 0 "
            "in all 2 steps."
        )
        assert run["0.bias"].why.counts == {Reason.MOVED: 2}


def test_input_zero_comes_before_unit_silent() -> None:
    """Where the input was always 0 and the unit silent too, the reason is the earlier gate: the
    input.
    """
    model = linear(2, 2)
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[0, 1]])])
    assert [[str(reason) for reason in row] for row in run["0.weight"].why.reasons] == [
        ["INPUT_ZERO", "INPUT_ZERO"],
        ["UNIT_SILENT", "MOVED"],
    ]


def test_unit_silent() -> None:
    """UNIT_SILENT: a ReLU that never fires passes no gradient down; its bias is silent too."""
    model = network(3, 2, 2, activation="relu")
    bias(dense(model, 0)).value = np.array([-100, 100], np.float32)
    run = record(model, mg.SGD(model, 0.1), [([[1, 1, 1], [1, 2, 1]], [[1, 1], [1, 0]])] * 2)
    assert run["0.weight"].why.counts == {Reason.UNIT_SILENT: 3, Reason.MOVED: 3}
    assert run["0.bias"].why.counts == {Reason.UNIT_SILENT: 1, Reason.MOVED: 1}
    sentence = "never moved: the gradient of its unit 0 was 0 in all 4 samples (a dead unit, or nothing came from above)."  # noqa: E501
    assert run["0.weight"].why.at(1, 0) == f"0.weight[1, 0] {sentence}"
    assert run["0.bias"].why.at(0) == f"0.bias[0] {sentence}"
    assert run["2.weight"].why.counts == {
        Reason.INPUT_ZERO: 2,
        Reason.MOVED: 2,
    }  # the dead unit is an input that is 0


NEVER = [
    ([[1, 0], [0, 1]], [[0, 2], [3, 0]]),
    ([[1, 0]], [[0, 1]]),
]  # input 0 meets unit 1, input 1 meets unit 0


def test_never_together() -> None:
    """NEVER_TOGETHER: input and unit were both active, but never in the same sample."""
    model = linear(2, 2)
    run = record(model, mg.SGD(model, 0.1), NEVER)
    assert run["0.weight"].why.counts == {Reason.NEVER_TOGETHER: 2, Reason.MOVED: 2}
    assert run["0.weight"].why.where(Reason.NEVER_TOGETHER).tolist() == [
        [True, False],
        [False, True],
    ]
    assert run["0.weight"].why.at(0, 0) == (
        "0.weight[0, 0] never moved: its input 0 was not 0 in 2 of 3 samples, and its unit 0 had a "
        "gradient in 1, but never both in the same one."
    )


def test_never_together_or_cancelled() -> None:
    """Without co-activation the two cannot be told apart, and the answer says so, never a guess."""
    model = linear(2, 2)
    run = record(model, mg.SGD(model, 0.1), NEVER, coactivation=False)
    assert run["0.weight"].why.counts == {Reason.NEVER_TOGETHER_OR_CANCELLED: 2, Reason.MOVED: 2}
    sentence = run["0.weight"].why.at(1, 1)
    assert sentence.startswith(
        "0.weight[1, 1] never moved: its input 1 was not 0 in 1 of 3 samples, and its unit 1 had a "
        "gradient in 2, "
    )
    assert "coactivation=True" in sentence


CANCEL = [([[1], [1]], [[1, 1], [-1, 1]]), ([[2], [-1]], [[1, 1], [2, 1]])]


@pytest.mark.parametrize("coactivation", [True, False])
def test_cancelled(coactivation: bool) -> None:
    """CANCELLED: both were active in the same sample, but the batch summed to 0 each time."""
    model = mg.Sequential(mg.Dense(1, 2, init="zeros"))
    run = record(model, mg.SGD(model, 0.1), CANCEL, coactivation)
    told = Reason.CANCELLED if coactivation else Reason.NEVER_TOGETHER_OR_CANCELLED
    assert run["0.weight"].why.counts == {told: 1, Reason.MOVED: 1}
    if coactivation:
        assert run["0.weight"].why.at(0, 0) == (
            "0.weight[0, 0] never moved: its input and its unit were active in the same sample, "
            "but summed over the batch its gradient was 0 in all 2 steps (opposite samples "
            "cancelled out, or it underflowed)."
        )


def test_cancelled_bias() -> None:
    """The input of a bias is always 1, so an active unit whose gradient sums to 0 is CANCELLED,
    co-activation or not.
    """
    model = linear(1, 2)
    for coactivation in (True, False):
        run = record(model, mg.SGD(model, 0.1), [([[1], [2]], [[1, 0], [-1, 0]])] * 2, coactivation)
        assert run["0.bias"].why.counts == {Reason.UNIT_SILENT: 1, Reason.CANCELLED: 1}
        assert (
            run["0.bias"]
            .why.at(0)
            .startswith("0.bias[0] never moved: its unit was active, but summed over the batch")
        )


def test_cancelled_by_underflow() -> None:
    """A product of two numbers that are not 0 may underflow to 0: both gates passed, so CANCELLED,
    which says so.
    """
    model = linear(1, 1)
    run = record(model, mg.SGD(model, 0.1), [([[1e-30]], [[1e-30]])])
    assert run["0.weight"].why.counts == {Reason.CANCELLED: 1}
    assert "underflowed" in run["0.weight"].why.at(0, 0)


def test_gradient_zero() -> None:
    """GRADIENT_ZERO: a layer that explains nothing has this for every gradient that was always
    0.
    """
    model = mg.Sequential(Scale(3))
    run = record(model, mg.SGD(model, 0.1), [([[0, 1, 1], [0, 1, 2]], [[1, 0, 1], [1, 0, 1]])] * 2)
    assert run["0.scale"].why.counts == {Reason.GRADIENT_ZERO: 2, Reason.MOVED: 1}
    assert run["0.scale"].why.at(1) == "0.scale[1] never moved: its gradient was 0 in all 2 steps."


def test_frozen() -> None:
    """FROZEN: it could not be trained in any step, whatever reached it."""
    model = network(3, 2, 2)
    model[0].freeze()
    run = record(
        model, mg.SGD(model, 0.1, momentum=0.9, weight_decay=0.1), [([[1, 1, 1]], [[1, 1]])] * 3
    )
    assert run["0.weight"].why.counts == {Reason.FROZEN: 6}
    assert run["0.bias"].why.counts == {Reason.FROZEN: 2}
    assert (
        run["0.weight"].why.at(2, 1) == "0.weight[2, 1] never moved: it was frozen in all 3 steps."
    )
    assert run["2.weight"].why.counts == {Reason.MOVED: 4}


def test_no_gradient() -> None:
    """NO_GRADIENT: it might have been trained, but backward never reached it."""
    rng = np.random.default_rng(0)
    switch = Switch(mg.Dense(3, 3, rng=rng), mg.Dense(3, 3, rng=rng))
    model = mg.Sequential(switch, mg.Dense(3, 2, rng=rng))
    run = record(model, mg.SGD(model, 0.1, weight_decay=0.1), [([[1, 1, 1]], [[1, 1]])] * 4)
    assert run["0.branches.1.0.weight"].why.counts == {Reason.NO_GRADIENT: 9}
    assert run["0.branches.1.0.bias"].why.counts == {Reason.NO_GRADIENT: 3}
    assert run["0.branches.1.0.weight"].why.at(0, 2) == (
        "0.branches.1.0.weight[0, 2] never moved: no backward reached it in any of 4 steps."
    )


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("FFF", Reason.FROZEN),
        ("NNN", Reason.NO_GRADIENT),
        ("FNF", Reason.NO_GRADIENT),
        ("FTF", Reason.INPUT_ZERO),
        ("NTN", Reason.INPUT_ZERO),
        ("FNT", Reason.INPUT_ZERO),
        ("TTT", Reason.INPUT_ZERO),
        ("TFN", Reason.INPUT_ZERO),
    ],
)
def test_the_furthest_gate_ever_passed(states: str, expected: Reason) -> None:
    """A layer that is frozen, or not reached, in some steps gets the reason of the furthest gate
    ever passed.
    """
    rng = np.random.default_rng(0)
    first, other = mg.Dense(2, 2, rng=rng), mg.Dense(2, 2, rng=rng)
    switch = Switch(first, other)
    model = mg.Sequential(switch)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for state in states:
            switch.which = int(state == "N")
            first.weight.trainable = state != "F"
            # The dark input lights up only while this layer is frozen: those samples count for
            # nothing.
            one(model, optimizer, [[float(state == "F"), 1]], [[1, 1]])
    why = recorder.run["0.branches.0.0.weight"].why
    check_sums(recorder.run["0.branches.0.0.weight"])
    assert why.reasons[0].tolist() == [expected] * 2
    assert why.reasons[1].tolist() == [Reason.MOVED if "T" in states else expected] * 2
    if expected is Reason.INPUT_ZERO:
        assert f"0 in all {states.count('T')} sample" in why.at(0, 0)


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


def test_unknown_without_counts() -> None:
    """UNKNOWN: a record without counts says so instead of guessing.

    Its tensors are there all the same.
    """
    model = linear(2, 1)
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1]])], aggregates=False)
    history = run["0.weight"]
    assert history.why.counts == {Reason.UNKNOWN: 2}
    assert "aggregates=False" in history.why.at(0, 0)
    assert history.updates.shape == (1, 2, 1)
    for name in ("moved", "moves", "swallowed", "movement", "first_move", "last_move"):
        with pytest.raises(CallOrderError, match="aggregates=False"):
            getattr(history, name)
    assert "aggregates=False" in run.report()
    assert "0.weight" in repr(history)


def test_no_step_recorded() -> None:
    """A record without a single step claims nothing about any entry."""
    model = linear(2, 1)
    recorder = mg.Recorder(mg.SGD(model, 0.1))
    with recorder:
        pass
    history = recorder.run["0.weight"]
    assert history.why.counts == {Reason.UNKNOWN: 2}
    assert not history.moved.any()


def test_accumulated_gradients_are_not_explained_by_the_last_batch() -> None:
    """Where several gradients went into one step the last batch's inputs prove nothing:
    GRADIENT_ZERO, and said why.
    """
    model = linear(2, 1)
    optimizer = mg.SGD(model, 0.1)
    vector = mg.ParameterVector.of(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        model(np.array([[1, 0]], np.float32))
        model.backward(np.zeros((1, 1), np.float32))
        kept = vector.grads.copy()
        model(np.array([[0, 1]], np.float32))
        with pytest.warns(GradientOverwritten):
            model.backward(np.ones((1, 1), np.float32))
        vector.grads += kept
        optimizer.step()
    assert recorder.run["0.weight"].why.counts == {Reason.GRADIENT_ZERO: 1, Reason.MOVED: 1}
    assert "its gradient was changed after backward" in recorder.run.report()


@pytest.mark.parametrize("backward_first", [False, True])
def test_assigned_gradients_are_not_explained_by_an_old_batch(backward_first: bool) -> None:
    """A gradient assigned by hand did not come from the layer's last inputs, so these explain
    nothing.
    """
    model = linear(2, 1)
    optimizer = mg.SGD(model, 0.1)
    if backward_first:
        one(model, optimizer, [[0, 1]], [[1]])
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(2):
            dense(model, 0).weight.grad = np.array([[1], [0]], np.float32)
            optimizer.step()
    why = recorder.run["0.weight"].why
    assert why.counts == {Reason.GRADIENT_ZERO: 1, Reason.MOVED: 1}
    assert recorder.run["0.bias"].why.counts == {Reason.NO_GRADIENT: 1}


def test_dense_inside_other_layers_is_explained() -> None:
    """A Dense in a nested model, in a residual block, or held by a layer of one's own explains its
    entries.
    """

    class Holder(mg.Layer):
        def __init__(self) -> None:
            self.held = [mg.Dense(2, 2, init="zeros")]

        def forward(self, x: Array) -> Array:
            return self.held[0](x)

        def backward(self, grad: Array) -> Array:
            return self.held[0].backward(grad)

    model = mg.Sequential(mg.Sequential(Residual(mg.Dense(2, 2, init="zeros"))), Holder())
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1, 0]])])
    assert run["0.0.inner.0.weight"].why.counts == {Reason.INPUT_ZERO: 2, Reason.UNIT_SILENT: 2}
    assert run["1.held.0.weight"].why.counts == {
        Reason.INPUT_ZERO: 2,
        Reason.UNIT_SILENT: 1,
        Reason.MOVED: 1,
    }


def test_own_layer_may_explain() -> None:
    """A layer of one's own that offers `explain` gets the same reasons as Dense."""

    class Weighted(mg.Layer):
        def __init__(self) -> None:
            self.matrix = mg.Parameter(np.ones((2, 2), np.float32))

        def forward(self, x: Array) -> Array:
            self.x = x
            return np.asarray(x @ self.matrix.value)

        def backward(self, grad: Array) -> Array:
            self.grad = grad
            self.matrix.grad = self.x.T @ grad
            return np.asarray(grad @ self.matrix.value.T)

        def explain(self) -> dict[str, mg.Factors]:
            return {"matrix": mg.Factors(self.x, self.grad)}

    model = mg.Sequential(Weighted())
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1, 0]])])
    assert run["0.matrix"].why.counts == {
        Reason.INPUT_ZERO: 2,
        Reason.UNIT_SILENT: 1,
        Reason.MOVED: 1,
    }


def test_wrong_explanation_is_not_believed() -> None:
    """An explanation that does not fit the gradient is set aside, with a word in the report."""

    class Wrong(mg.Layer):
        def __init__(self) -> None:
            self.matrix = mg.Parameter(np.ones((2, 2), np.float32))

        def forward(self, x: Array) -> Array:
            self.x = x
            return np.asarray(x @ self.matrix.value)

        def backward(self, grad: Array) -> Array:
            self.matrix.grad = self.x.T @ grad
            return np.asarray(grad @ self.matrix.value.T)

        def explain(self) -> dict[str, mg.Factors]:
            return {"matrix": mg.Factors(self.x[:, :1], self.x)}

    model = mg.Sequential(Wrong())
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1, 0]])])
    assert run["0.matrix"].why.counts == {Reason.GRADIENT_ZERO: 3, Reason.MOVED: 1}
    assert "its layer's explanation does not fit it" in " ".join(run.report().split())


def test_parameters_of_any_shape() -> None:
    """A parameter that is a single number, or has three axes, has reasons, sentences and pictures
    too.
    """

    class Odd(mg.Layer):
        def __init__(self) -> None:
            self.temperature = mg.Parameter(np.float32(2.0))
            self.cube = mg.Parameter(np.ones((2, 3, 4), np.float32))

        def forward(self, x: Array) -> Array:
            self.x = x
            return x * self.temperature.value

        def backward(self, grad: Array) -> Array:
            self.temperature.grad = (grad * self.x).sum()
            self.cube.grad = np.zeros((2, 3, 4), np.float32)
            return grad * self.temperature.value

    model = mg.Sequential(mg.Dense(2, 2, rng=0), Odd())
    run = record(model, mg.SGD(model, 0.1), [([[1, 1]], [[1, 1]])] * 2)
    temperature, cube = run["1.temperature"], run["1.cube"]
    assert temperature.why.counts == {Reason.MOVED: 1}
    assert "moved in 2 of 2 steps: from 2 to" in temperature.why.at()
    assert np.asarray(temperature.why.reasons, object).item() is Reason.MOVED
    assert np.shape(temperature.why.reasons) == ()
    assert temperature.updates.shape == (2,)
    assert np.asarray(temperature.updates).shape == (2,)
    assert cube.why.counts == {Reason.GRADIENT_ZERO: 24}
    assert cube.why.at(1, 2, 3) == "1.cube[1, 2, 3] never moved: its gradient was 0 in all 2 steps."
    for history in (temperature, cube):
        assert history.picture()
        assert history.png()


def test_the_only_entry_of_a_number_has_no_index() -> None:
    """The sentence about a parameter that is a single number names it without empty brackets."""

    class Temperature(mg.Layer):
        def __init__(self) -> None:
            self.temperature = mg.Parameter(np.float32(2.0))

        def forward(self, x: Array) -> Array:
            self.x = x
            return x * self.temperature.value

        def backward(self, grad: Array) -> Array:
            self.temperature.grad = (grad * self.x).sum()
            return grad * self.temperature.value

    model = mg.Sequential(Temperature())
    run = record(model, mg.SGD(model, 0.1), [([[1, 1]], [[1, 1]])])
    assert run["0.temperature"].why.at().startswith("0.temperature moved in 1 of 1 step: from 2 to")


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


def test_reasons_say_what_they_are() -> None:
    """A reason prints as its name, and its value is a sentence."""
    assert str(Reason.INPUT_ZERO) == "INPUT_ZERO"
    assert all(" " in reason.value for reason in Reason)
    model = linear(2, 1)
    run = record(model, mg.SGD(model, 0.1), [([[0, 1]], [[1]])])
    text = str(run["0.weight"].why)
    assert "0.weight, 2 entries" in text
    assert "INPUT_ZERO" in text
    assert "MOVED" in text


ANY: dict[str, Callable[[mg.Layer], mg.Optimizer]] = {
    "SGD": lambda model: mg.SGD(model, 1e-6, momentum=0.5, max_grad_value=0.1),
    "Adam": lambda model: mg.Adam(model, 1e-8, weight_decay={"0.*": 0.1}),
    "Adam amsgrad": lambda model: mg.Adam(
        model, mg.StepDecay(0.1, 3, 0.01), amsgrad=True, max_grad_norm=1e-20
    ),
    "AdamW": lambda model: mg.AdamW(model, 1e-7, weight_decay=0.1),
    "RMSprop": lambda model: mg.RMSprop(model, 1e-7),
    "RMSprop with all": lambda model: mg.RMSprop(
        model, 1e-7, momentum=0.9, centered=True, weight_decay=0.01
    ),
}


def with_norms(dtype: npt.DTypeLike) -> mg.Sequential:
    """Normalization and dropout among layers that have dead units."""
    rng = np.random.default_rng(0)
    return mg.Sequential(
        mg.Dense(5, 6, rng=rng, dtype=dtype),
        mg.BatchNorm(6, dtype=dtype),
        mg.Activation("relu"),
        mg.Dropout(0.5, rng=rng),
        mg.Sequential(mg.Dense(6, 4, rng=rng, dtype=dtype), mg.LayerNorm(4, dtype=dtype)),
        mg.Dense(4, 3, rng=rng, dtype=dtype),
    )


@sparse(
    pytest.mark.parametrize("make", ANY.values(), ids=ANY.keys()),
    pytest.mark.parametrize("norms", [False, True], ids=["plain", "normalization and dropout"]),
    pytest.mark.parametrize("coactivation", [True, False]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    full=2,
    every=2,
)
def test_counts_add_up_in_any_training(
    coactivation: bool, dtype: npt.DTypeLike, norms: bool, make: Callable[[mg.Layer], mg.Optimizer]
) -> None:
    """Whatever happened, the counts by reason add up to the size of the parameter."""
    model = with_norms(dtype) if norms else network(5, 6, 4, 3, activation="relu", dtype=dtype)
    dense(model, 0).weight.value[1:3] = 0
    optimizer = make(model)
    with mg.Recorder(optimizer, coactivation=coactivation) as recorder:
        train(model, optimizer, 10)
        model[0].freeze()
        train(model, optimizer, 10, seed=2)
    assert (
        sum(sum(recorder.run[name].why.counts.values()) for name in recorder.run)
        == flat(model).size
    )
    for name in recorder.run:
        check_sums(recorder.run[name])
        assert Reason.UNKNOWN not in recorder.run[name].why.counts
