"""`StopOnNonFinite` in a loop by hand: `step()` raises instead of writing; and once in `fit`."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from nonfinite_support import STEP, BornInLoss, training
from training_support import Optimizers, Training, descent, set_weight, weight

import minigrad as mg
from minigrad.errors import NonFiniteError

OPTIMIZERS: dict[str, Optimizers] = {
    "SGD": lambda model: mg.SGD(model, 1e-3),
    "momentum": lambda model: mg.SGD(model, 1e-3, momentum=0.9),
    "clipped": lambda model: mg.SGD(model, 1e-3, max_grad_norm=1.0),
    "Adam": lambda model: mg.Adam(model, 1e-3),
    "AdamW": lambda model: mg.AdamW(model, 1e-3),
    "RMSprop": lambda model: mg.RMSprop(model, 1e-3, momentum=0.9),
}


@sparse(
    pytest.mark.parametrize("name", OPTIMIZERS),
    pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=3,
)
def test_a_gradient(name: str, value: float, dtype: Any) -> None:
    """Of whichever optimizer: nothing is written, the step does not count, and the message names
    the gradient.
    """
    straight = training(dtype=dtype, optimizer=OPTIMIZERS[name])
    broken = training("gradient", value, dtype=dtype, optimizer=OPTIMIZERS[name])
    straight.by_hand(1, steps=STEP)
    broken.optimizer.attach(mg.StopOnNonFinite())
    with np.errstate(invalid="ignore"), pytest.raises(FloatingPointError) as caught:
        broken.by_hand(1)
    assert NonFiniteError is type(caught.value)
    told = f"the gradient of '1.0.scale': {value} at (3,); not finite: 1 of 4 entries"
    assert f"the update is not finite: {told}" == str(caught.value)
    assert STEP == broken.optimizer.step_count
    for parameter, other in zip(
        straight.model.parameters(), broken.model.parameters(), strict=True
    ):
        assert parameter[1].value.tobytes() == other[1].value.tobytes()


def test_the_first_of_backward_is_named() -> None:
    """It goes from the last layer to the first: a gradient of the loss reaches the last bias before
    all others.
    """
    broken = training(loss=BornInLoss("backward"))
    broken.optimizer.attach(mg.StopOnNonFinite())
    with pytest.raises(NonFiniteError) as caught:
        broken.by_hand(1)
    assert (
        "the update is not finite: the gradient of '3.bias': nan at (1,); not finite: 1 of 2 "
        "entries" == str(caught.value)
    )


def test_the_loop_can_go_on() -> None:
    """Where it catches the error, the next batch makes the next step: 5 - 1 - 1."""
    made = descent(5.0)
    made.optimizer.attach(mg.StopOnNonFinite())
    for grad in (1.0, math.nan, 1.0):
        made.model(np.ones((1, 1)))
        made.model.backward(np.full((1, 1), grad))
        try:
            made.optimizer.step()
        except NonFiniteError:
            assert math.isnan(grad)
    assert (3.0, 2) == (weight(made.model), made.optimizer.step_count)


def test_it_is_told_before_a_recorder_writes() -> None:
    """Attached before or after it: the run holds the finite steps, and its values are the
    model's.
    """
    for first in (True, False):
        made = descent(5.0)
        if first:
            made.optimizer.attach(mg.StopOnNonFinite())
        with mg.Recorder(made.optimizer) as recorder:
            if not first:
                made.optimizer.attach(mg.StopOnNonFinite())
            for grad in (1.0, math.nan, 1.0, math.inf):
                made.model(np.ones((1, 1)))
                made.model.backward(np.full((1, 1), grad))
                if math.isfinite(grad):
                    made.optimizer.step()
                else:
                    with pytest.raises(NonFiniteError):
                        made.optimizer.step()
        assert [0, 1] == list(recorder.run.steps)
        assert [4.0, 3.0] == [recorder.run["0.weight"].value(step).item() for step in (0, 1)]
        assert recorder.run.verify()
        assert 3.0 == weight(made.model)


@pytest.mark.parametrize(
    ("dtype", "value", "update", "fits"),
    [
        (np.float32, 3e38, 3e37, True),
        (np.float32, 3e38, 5e37, False),
        (np.float32, -3e38, -5e37, False),
        (np.float32, 3e38, -3e38, True),
        (np.float32, -3e38, 3.4e38, True),
        (np.float32, 3.4028234e38, 1e19, True),
        (np.float64, 1.7e308, 0.9e307, True),
        (np.float64, 1.7e308, 1.1e307, False),
        (np.float64, -1.7e308, 1.7e308, True),
        (np.float64, 1.7e308, 1e154, True),
    ],
)
def test_the_sum_is_what_counts(dtype: Any, value: float, update: float, fits: bool) -> None:
    """The largest float32 is 3.4028e38, the largest float64 1.7977e308: a sum above it is not
    written.
    """
    model = mg.Sequential(mg.Dense(1, 1, bias=False, dtype=dtype, rng=0))
    set_weight(model, value)
    optimizer = mg.SGD(model, 1.0)
    optimizer.attach(mg.StopOnNonFinite())
    mg.ParameterVector.of(model).grads = np.array([-update])
    before = float(dtype(value))
    if fits:
        optimizer.step()
        assert float(dtype(before) + dtype(update)) == weight(model)
    else:
        infinite = "inf" if value > 0 else "-inf"
        told = rf"the value after the update of '0.weight': {infinite} at \(0, 0\); not finite: 1"
        with pytest.raises(NonFiniteError, match=told):
            optimizer.step()
        assert before == weight(model)


def test_frozen_values_do_not_matter() -> None:
    """A value that is infinite already, and is not updated, stops nobody.

    Nor does one that no backward has reached.
    """
    model = mg.Sequential(mg.Dense(1, 1, dtype=np.float64, rng=0))
    for name, parameter in model.parameters():
        parameter.value = np.full(parameter.shape, math.inf if name == "0.bias" else 2.0)
    optimizer = mg.SGD(model, 1.0)
    optimizer.attach(mg.StopOnNonFinite())
    dict(model.parameters())["0.weight"].grad = np.ones((1, 1))
    optimizer.step()
    assert 1.0 == model[0].weight.value.item()


def test_fit_has_one_already() -> None:
    """One that is given is not doubled, and changes nothing."""
    made: list[Training] = [training(), training()]
    made[0].fit(2)
    made[1].fit(2, hooks=[mg.StopOnNonFinite()])
    assert made[0].bits() == made[1].bits()
    broken = training("gradient")
    assert broken.fit(hooks=[mg.StopOnNonFinite()]).stopped.startswith(
        "step 3: the update is not finite"
    )


def test_after_a_training_it_is_gone() -> None:
    """A loop by hand after `fit` has none, unless it attaches one."""
    made = descent(5.0)
    made.fit()
    made.model(np.ones((1, 1)))
    made.model.backward(np.full((1, 1), math.nan))
    made.optimizer.step()
    assert math.isnan(weight(made.model))


def test_errors_that_somebody_asked_for() -> None:
    """With NumPy's own errors switched on, the operation itself raises, inside of `fit` too."""
    broken = training("forward", math.inf)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError):
        broken.fit()
