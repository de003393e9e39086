"""`fit` stops at the first NaN or infinity, says where it was born, and leaves the last finite
weights in the model.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from nonfinite_support import STEP, BornInLoss, data, training
from training_support import Act, Diary, Training, descent, set_weight, weight

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import MissingGradientError

NAN, INF = math.nan, math.inf
END = "; the weights are those before this step"


class BreaksUpdate(mg.Optimizer):
    """Plain descent, but for entry 2 of '0.bias' in step 3."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(grads, -self.current_lr, out=update)
        if self.step_count == STEP:
            update[18] = NAN


def with_x(value: float) -> Training:
    made = training()
    made.data.x[17, 1] = value
    return made


def with_y(value: float) -> Training:
    made = training()
    made.data.y[17, 1] = value
    return made


BIRTHS: dict[str, tuple[Callable[[], Training], str]] = {
    "x": (
        lambda: with_x(NAN),
        (
            "the loss is nan: x of the batch: nan at (2, 1) (row 17 of the data); not finite: 1 of "
            "20 entries"
        ),
    ),
    "infinite x": (
        lambda: with_x(-INF),
        (
            "the loss is nan: x of the batch: -inf at (2, 1) (row 17 of the data); not finite: 1 "
            "of 20 entries"
        ),
    ),
    "y": (
        lambda: with_y(NAN),
        (
            "the loss is nan: y of the batch: nan at (2, 1) (row 17 of the data); not finite: 1 of "
            "10 entries"
        ),
    ),
    "infinite y": (
        lambda: with_y(INF),
        (
            "the loss is inf: y of the batch: inf at (2, 1) (row 17 of the data); not finite: 1 of "
            "10 entries"
        ),
    ),
    "forward": (
        lambda: training("forward", NAN),
        (
            "the loss is nan: the output of layer '1.0', Born(): nan at (2, 1); not finite: 1 of "
            "20 entries"
        ),
    ),
    "infinity in forward": (
        lambda: training("forward", INF),
        (
            "the loss is nan: the output of layer '1.0', Born(): inf at (2, 1); not finite: 1 of "
            "20 entries"
        ),
    ),
    "gradient of a parameter": (
        lambda: training("gradient", NAN),
        (
            "the update is not finite: the gradient of 'scale' in layer '1.0', Born(): nan at "
            "(3,); not finite: 1 of 4 entries"
        ),
    ),
    "gradient of an input": (
        lambda: training("backward", INF),
        (
            "the update is not finite: the gradient of the input of layer '1.0', Born(): inf at "
            "(2, 0); not finite: 1 of 20 entries"
        ),
    ),
    "loss": (
        lambda: training(loss=BornInLoss("value", NAN)),
        "the loss is nan: the outputs of the model are finite, up to MOST, and their loss is not",
    ),
    "infinite loss": (
        lambda: training(loss=BornInLoss("value", INF)),
        "the loss is inf: the outputs of the model are finite, up to MOST, and their loss is not",
    ),
    "gradient of the loss": (
        lambda: training(loss=BornInLoss("backward", NAN)),
        (
            "the update is not finite: the gradient that the loss returned: nan at (4, 1); not "
            "finite: 1 of 10 entries"
        ),
    ),
    "update": (
        lambda: training(optimizer=lambda model: BreaksUpdate(model, 1e-3)),
        "the update is not finite: the update of '0.bias': nan at (2,); not finite: 1 of 4 entries",
    ),
    "forward of one layer alone": (
        lambda: training("forward", NAN, plain=True),
        "the loss is nan: the output of Plain(): nan at (2, 0); not finite: 2 of 10 entries",
    ),
    "gradient of one layer alone": (
        lambda: training("gradient", -INF, plain=True),
        (
            "the update is not finite: the gradient of 'born.scale': -inf at (3,); not finite: 1 "
            "of 4 entries"
        ),
    ),
    "loss of one layer alone": (
        lambda: training(loss=BornInLoss("backward", NAN), plain=True),
        (
            "the update is not finite: the gradient that the loss returned: nan at (4, 1); not "
            "finite: 1 of 10 entries"
        ),
    ),
}


def straight(broken: Training) -> Training:
    """The three steps before, by hand, with nothing that could go wrong."""
    optimizer = type(broken.optimizer)
    made = training(
        optimizer=None if optimizer is mg.SGD else lambda model: optimizer(model, 1e-3),
        plain=not isinstance(broken.model, mg.Sequential),
    )
    made.by_hand(1, steps=STEP)
    return made


@sparse(
    pytest.mark.parametrize("name", BIRTHS),
    pytest.mark.parametrize("recorded", ["", "around", "among the hooks"]),
    every=3,
)
def test_where_it_was_born(name: str, recorded: str, caplog: pytest.LogCaptureFixture) -> None:
    """It names step, layer, tensor and entry.

    Values, statistics and generators are those of three steps without it.
    """
    make, told = BIRTHS[name]
    broken = make()
    expected = straight(broken)
    if "MOST" in told:
        told = told.replace(
            "MOST", f"{np.abs(straight(broken).model(broken.data.x[15:20])).max():.3g}"
        )
    recorder = mg.Recorder(broken.optimizer, broken.loss, broken.data)
    with recorder if recorded == "around" else nullcontext():
        history = broken.fit(2, hooks=[recorder] if recorded == "among the hooks" else [])
    assert f"step 3: {told}{END}" == history.stopped
    assert {"loss": []} == dict(history)
    assert STEP == broken.optimizer.step_count
    for part in ("model", "generators", "modes"):
        assert expected.bits()[part] == broken.bits()[part]
    if told.startswith("the loss"):
        assert expected.bits()["optimizer"] == broken.bits()["optimizer"]
    (record,) = caplog.records
    assert (logging.WARNING, f"fit stopped at {history.stopped}") == (
        record.levelno,
        record.getMessage(),
    )
    with pytest.raises(MissingGradientError):
        broken.optimizer.step()
    if recorded:
        assert [0, 1, 2] == list(recorder.run.steps)
        assert recorder.run.verify()
        for parameter, value in dict(broken.model.parameters()).items():
            assert value.value.tobytes() == recorder.run[parameter].value(STEP - 1).tobytes()


def test_without_it_nothing_stops() -> None:
    """The same training where nothing goes wrong, which is what makes the other tests say
    something.
    """
    hand, fitted = training(), training()
    hand.by_hand(2)
    history = fitted.fit(2)
    assert ("", 2) == (history.stopped, history.epochs)
    assert hand.bits() == fitted.bits()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_weight_that_is_no_number(dtype: Any) -> None:
    """Somebody writes it after step 6, in the second epoch; the first stays in the history."""
    broken = training(dtype=dtype)
    model: Any = broken.model

    def write(event: object) -> None:
        model[3].weight.value[1, 0] = NAN

    history = broken.fit(3, hooks=[Act(write, step=6)])
    assert (
        f"step 7: the loss is nan: '3.weight' of the model: nan at (1, 0); not finite: 1 of 8 "
        f"entries{END}" == history.stopped
    )
    assert 1 == history.epochs
    assert 7 == broken.optimizer.step_count


def test_an_infinite_weight_before_the_first_step() -> None:
    """Neither the look at the data before it nor the opening warns or fails."""
    broken = training()
    model: Any = broken.model
    model[0].weight.value = np.full((4, 4), INF)
    history = broken.fit(progress=True)
    assert (
        f"step 0: the loss is nan: '0.weight' of the model: inf at (0, 0); not finite: 16 of 16 "
        f"entries{END}" == history.stopped
    )


def test_statistics_that_are_no_numbers() -> None:
    """A buffer is named as a weight is."""
    broken = training()
    model: Any = broken.model
    model[2].eval()
    model[2].running_mean[1] = NAN
    told = "the loss is nan: '2.running_mean' of the model: nan at (1,); not finite: 1 of 4 entries"
    assert f"step 0: {told}{END}" == broken.fit().stopped


class Sometimes(mg.Layer):
    """Draws a number for each entry; below a tenth of a percent, the entry becomes infinite."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def forward(self, x: Array) -> Array:
        return np.where(self.rng.random(x.shape) < 1e-3, np.inf, x).astype(x.dtype)

    def backward(self, grad: Array) -> Array:
        return grad.copy()

    def __repr__(self) -> str:
        return "Sometimes()"


def test_what_chance_brings_about_is_found() -> None:
    """The numbers that were drawn are drawn again in the search.

    Afterwards the generator is as before the step.
    """
    seed = 6
    model = mg.Sequential(mg.Dense(4, 2, rng=0), Sometimes(np.random.default_rng(seed)))
    history = mg.fit(model, mg.MeanSquaredError(), mg.SGD(model, 1e-3), data(), epochs=99)
    rng, step = np.random.default_rng(seed), 0
    before = rng.bit_generator.state
    while not (drawn := rng.random((5, 2)) < 1e-3).any():
        step, before = step + 1, rng.bit_generator.state
    row, column = np.argwhere(drawn)[0].tolist()
    told = f"the output of layer '1', Sometimes(): inf at ({row}, {column}); not finite: 1 of 10"
    assert f"step {step}: the loss is inf: {told} entries{END}" == history.stopped
    assert before == dict(model.named_generators())["1.rng"].bit_generator.state
    assert step > 10  # so that a search with other numbers would not find it


def test_a_frozen_layer_may_have_any_gradient() -> None:
    """Nobody makes an update of it."""
    hand, fitted = training("gradient", NAN), training("gradient", NAN)
    for made in (hand, fitted):
        model: Any = made.model
        model[1].freeze()
    hand.by_hand(2)
    assert "" == fitted.fit(2).stopped
    assert hand.bits() == fitted.bits()


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_hooks_do_not_hear_of_the_search(where: str) -> None:
    """They are told of the four forwards of the training once, and of what comes after it again."""
    broken, given, attached = training(where), Diary(), Diary()
    with broken.model.attach(attached):
        broken.fit(hooks=[given])
        with np.errstate(invalid="ignore"):
            broken.model(broken.data.x[:5])
    assert [True] * 4 * 6 == given.of("forward")
    assert [False] * 6 + [True] * 5 * 6 == attached.of(
        "forward"
    )  # the check before the first step is a forward, too


# -- updates that are finite themselves ----------------------------------------------------------


def falling(dtype: Any, lr: float) -> Training:
    """One weight of this dtype, from 0 down by `lr` in each of three steps; the loss is |w|."""
    model = mg.Sequential(mg.Dense(1, 1, bias=False, dtype=dtype, rng=0))
    set_weight(model, 0.0)
    return descent(steps=3)._replace(model=model, optimizer=mg.SGD(model, lr))


@pytest.mark.parametrize(("dtype", "lr"), [(np.float32, 3e38), (np.float64, 1.5e308)])
def test_a_sum_that_overflows(dtype: Any, lr: float) -> None:
    """The second update of this size would make the weight infinite, though it is a number
    itself.
    """
    made = falling(dtype, lr)
    history = made.fit()
    told = (
        "the update is not finite: the value after the update of '0.weight': -inf at (0, 0); not "
        "finite: 1 of 1 entries"
    )
    assert f"step 1: {told}{END}" == history.stopped
    assert -float(dtype(lr)) == weight(made.model)
    assert 1 == made.optimizer.step_count


@pytest.mark.parametrize(
    ("dtype", "lr"),
    [(np.float32, 1e30), (np.float32, 1e38), (np.float64, 1e200), (np.float64, 5e307)],
)
def test_updates_that_are_huge_and_fit(dtype: Any, lr: float) -> None:
    """Their squares overflow, but three of them do not: the training goes on as by hand."""
    hand, fitted = falling(dtype, lr), falling(dtype, lr)
    hand.by_hand(1)
    assert "" == fitted.fit().stopped
    assert hand.bits() == fitted.bits()
    np.testing.assert_allclose(weight(fitted.model), -3 * lr, rtol=1e-6)
