"""One network built to produce each reason: exact counts, and the sentence with its numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from reasons_support import Script, check_sums, linear, record
from recording_support import Array, Scale, Switch, bias, dense, flat, network, one, train

import minigrad as mg
from minigrad import Reason
from minigrad.errors import CallOrderError, ShapeError


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
    sentence = (
        "never moved: the gradient of its unit 0 was 0 in all 4 samples "
        "(a dead unit, or nothing came from above)."
    )
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
    every=4,
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
