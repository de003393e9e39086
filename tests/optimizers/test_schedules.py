"""The schedules against closed forms and PyTorch's sequences, alone, composed, and driving an
optimizer.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from optimizing_support import Updates, check_replay, check_resume, model_of, train

import minigrad as mg
from minigrad.errors import KindError, RangeError

Schedule = Callable[[int], float]

ALL: list[Any] = [
    mg.StepDecay(0.8, every=3, factor=0.5),
    mg.ExponentialDecay(0.8, factor=0.9),
    mg.CosineDecay(0.8, steps=12, minimum=0.1),
    mg.LinearWarmup(0.8, steps=8),
    mg.LinearWarmup(
        mg.CosineDecay(mg.StepDecay(mg.ExponentialDecay(0.8, 0.9), 3, 0.5), 12, 0.01), 4
    ),
]
each = pytest.mark.parametrize("schedule", ALL, ids=repr)


def rates(schedule: Schedule, steps: int) -> list[float]:
    return [schedule(step) for step in range(steps)]


# The learning rates of the first 13 steps by torch.optim.lr_scheduler of PyTorch 2.13.0.
PYTORCH: dict[str, tuple[Schedule, str]] = {
    "StepLR(3, 0.5)": (
        mg.StepDecay(0.8, every=3, factor=0.5),
        "0.8 0.8 0.8 0.4 0.4 0.4 0.2 0.2 0.2 0.1 0.1 0.1 0.05",
    ),
    "ExponentialLR(0.9)": (
        mg.ExponentialDecay(0.8, factor=0.9),
        """0.8 0.72 0.648 0.5832 0.52488 0.472392 0.4251528 0.38263752 0.344373768 0.3099363912
        0.27894275208 0.251048476872 0.2259436291848""",
    ),
    "CosineAnnealingLR(12, 0.1)": (
        mg.CosineDecay(0.8, steps=12, minimum=0.1),
        """0.8 0.7880740392012 0.7531088913246 0.6974873734153 0.625 0.5405866657859 0.45
        0.3594133342141 0.275 0.2025126265847 0.1468911086754 0.1119259607988 0.1""",
    ),
    "LinearLR(1 / 8, 1, 7)": (
        mg.LinearWarmup(0.8, steps=8),
        "0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.8 0.8 0.8 0.8 0.8",
    ),
}


@pytest.mark.parametrize(("schedule", "expected"), PYTORCH.values(), ids=PYTORCH.keys())
def test_the_rates_are_pytorchs(schedule: Schedule, expected: str) -> None:
    """The numbers that PyTorch's schedulers gave, from step 0."""
    np.testing.assert_allclose(
        rates(schedule, 13), [float(number) for number in expected.split()], rtol=1e-12
    )


# -- closed forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "factor"), [(1, 0.5), (7, 0.1), (1000, 0.9), (3, 2.0)])
def test_step_decay(every: int, factor: float) -> None:
    """Multiplied again and again, at each multiple of `every`."""
    schedule, rate = mg.StepDecay(0.3, every, factor), 0.3
    for step in range(50):
        if step and step % every == 0:
            rate *= factor
        assert math.isclose(rate, schedule(step), rel_tol=1e-13)


@pytest.mark.parametrize("factor", [0.5, 0.999, 1.0, 1.01])
def test_exponential_decay(factor: float) -> None:
    """Multiplied again and again, at each step."""
    schedule, rate = mg.ExponentialDecay(0.3, factor), 0.3
    for step in range(200):
        assert math.isclose(rate, schedule(step), rel_tol=1e-13)
        rate *= factor


def test_a_decay_for_ever_is_zero() -> None:
    """A rate far too small for a float is 0, which an optimizer takes as standing still."""
    assert 0.0 == mg.ExponentialDecay(0.3, 0.5)(1_000_000)
    assert 0.0 == mg.StepDecay(0.3, 1, 0.1)(1_000_000)


@pytest.mark.parametrize(("steps", "minimum"), [(1, 0.0), (10, 0.0), (10, 0.05), (7, 0.3)])
def test_cosine_decay(steps: int, minimum: float) -> None:
    """From the rate exactly to the minimum exactly, half-way in the middle, by half the circle.

    Then it stays there.
    """
    schedule = mg.CosineDecay(0.3, steps, minimum)
    assert 0.3 == schedule(0)
    assert {minimum} == {schedule(step) for step in (steps, steps + 1, 2 * steps, 3 * steps, 10**9)}
    for step in range(steps + 1):  # cos^2 of half the angle: the same circle, by another formula
        expected = minimum + (0.3 - minimum) * math.cos(math.pi * step / (2 * steps)) ** 2
        assert math.isclose(expected, schedule(step), rel_tol=1e-13, abs_tol=1e-17)
        assert math.isclose(0.3 + minimum, schedule(step) + schedule(steps - step), rel_tol=1e-13)


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_linear_warmup(steps: int) -> None:
    """The first step has its part of the rate.

    Step `steps`, counted from 1, is the first with all of it.
    """
    schedule = mg.LinearWarmup(0.3, steps)
    for step in range(steps):
        assert math.isclose(0.3 * (step + 1) / steps, schedule(step), rel_tol=1e-14)
    assert {0.3} == {schedule(step) for step in range(steps - 1, steps + 50)}


def test_a_minimum_that_is_the_rate() -> None:
    """The rate is constant."""
    assert {0.3} == set(rates(mg.CosineDecay(0.3, 10, minimum=0.3), 20))


# -- composed ------------------------------------------------------------------------------------


def test_schedules_compose() -> None:
    """Each takes the rate of the schedule inside it at the same step."""
    inner = mg.StepDecay(0.4, every=5, factor=0.5)
    for step in range(40):
        now = 0.4 * 0.5 ** (step // 5)
        assert math.isclose(now * 0.9**step, mg.ExponentialDecay(inner, 0.9)(step), rel_tol=1e-13)
        assert math.isclose(
            now * 0.1 ** (step // 3), mg.StepDecay(inner, 3, 0.1)(step), rel_tol=1e-13
        )
        assert math.isclose(
            now * min(1, (step + 1) / 7), mg.LinearWarmup(inner, 7)(step), rel_tol=1e-13
        )
        cosine = (1 + math.cos(math.pi * min(step, 20) / 20)) / 2
        assert math.isclose(
            0.01 + (now - 0.01) * cosine,
            mg.CosineDecay(inner, 20, 0.01)(step),
            rel_tol=1e-12,
            abs_tol=1e-16,
        )


def test_a_function_of_ones_own_inside() -> None:
    """Any callable composes."""
    schedule = mg.LinearWarmup(lambda step: 1.0 / (1 + step), 4)
    np.testing.assert_allclose(
        rates(schedule, 6), [1 / 4, 1 / 4, 1 / 4, 1 / 4, 1 / 5, 1 / 6], rtol=1e-14
    )


# -- driving an optimizer ------------------------------------------------------------------------


@each
def test_an_optimizer_uses_the_rate_of_each_step(schedule: Schedule) -> None:
    """Step number n is made with `schedule(n)`: in `current_lr`, in the event, in the update."""

    class Rates(mg.Hook):
        def __init__(self) -> None:
            self.seen: list[float] = []

        def on_step(self, event: mg.Step) -> None:
            self.seen.append(event.lr)

    model, seen, updates = model_of(), Rates(), Updates()
    optimizer = mg.SGD(model, lr=schedule)
    optimizer.attach(seen)
    optimizer.attach(updates)
    for step in range(20):
        mg.ParameterVector.of(model).grads = np.full(6, 2.0)
        optimizer.step()
        assert schedule(step) == optimizer.current_lr
        np.testing.assert_allclose(
            updates.kept[step]["0.bias"], np.full(2, -2 * schedule(step)), rtol=1e-15
        )
    assert rates(schedule, 20) == seen.seen


@sparse(each, pytest.mark.parametrize("cls", [mg.SGD, mg.Adam, mg.AdamW, mg.RMSprop]), every=2)
def test_replay_and_resume(schedule: Schedule, cls: Callable[..., mg.Optimizer]) -> None:
    """With a schedule, too, updates add up and a stopped training goes on with the same bits."""
    check_replay(lambda model: cls(model, schedule), np.float32)
    check_resume(lambda model: cls(model, schedule), np.float64, stop=11)


def test_a_schedule_counts_all_steps() -> None:
    """A parameter that was frozen for some steps has the rate of the others when it goes on."""
    model, updates = model_of(), Updates()
    optimizer = mg.SGD(model, lr=lambda step: 1.0 + step)
    optimizer.attach(updates)
    model[0].freeze()
    for step in range(4):
        if step == 3:
            model[0].unfreeze()
        mg.ParameterVector.of(model).grads = np.ones(6)
        optimizer.step()
    assert (
        [-4, -4]
        == updates.kept[3]["0.bias"].tolist()
        == updates.kept[3]["1.weight"].ravel().tolist()
    )


def test_an_optimizer_copies_with_its_schedule() -> None:
    """A deep copy and a pickle go on with the same rates."""
    optimizer = mg.Adam(model_of(), lr=ALL[-1])
    train(optimizer, 5, skipping=True)
    others = [copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    expected = train(optimizer, 12, skipping=True, start=5)
    for other in others:
        assert expected == train(other, 12, skipping=True, start=5)


# -- values --------------------------------------------------------------------------------------


@each
def test_a_schedule_is_a_value(schedule: Any) -> None:
    """Equal to its copies, hashable, not to be changed; calling it leaves nothing behind."""
    expected = rates(schedule, 30)
    for other in (
        copy.deepcopy(schedule),
        pickle.loads(pickle.dumps(schedule)),
        dataclasses.replace(schedule),
    ):
        assert schedule == other
        assert hash(schedule) == hash(other)
        assert expected == rates(other, 30)
    assert schedule != dataclasses.replace(schedule, lr=0.123)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.lr = 1.0
    assert list(reversed(expected)) == [schedule(step) for step in reversed(range(30))]
    assert {float} == {type(rate) for rate in expected}


def test_their_repr() -> None:
    """The repr is how one would write it, also inside an optimizer's or another schedule's."""
    assert "StepDecay(lr=0.8, every=3, factor=0.5)" == repr(ALL[0])
    assert "ExponentialDecay(lr=0.8, factor=0.9)" == repr(ALL[1])
    assert "CosineDecay(lr=0.8, steps=12, minimum=0.1)" == repr(ALL[2])
    assert "LinearWarmup(lr=0.8, steps=8)" == repr(ALL[3])
    for schedule in ALL:
        assert schedule == eval(repr(schedule), vars(mg))  # only what stands above is evaluated
    assert "SGD(lr=StepDecay, 6 entries)" == repr(mg.SGD(model_of(), ALL[0]))


@each
@pytest.mark.parametrize(
    "step", [np.int64(5), np.int32(5), np.uint8(5)], ids=["int64", "int32", "uint8"]
)
def test_steps_may_be_numpys(schedule: Schedule, step: Any) -> None:
    """An integer of NumPy's gives the same rate, as a Python float."""
    assert schedule(5) == schedule(step)
    assert float is type(schedule(step))


# -- what is refused -----------------------------------------------------------------------------

ANYTHING: dict[str, Any] = {"text": "0.1", "none": None, "float": 1.5}
REFUSED: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "rate 0": (
        lambda: mg.StepDecay(0.0, 3, 0.5),
        RangeError,
        r"lr is 0\.0, expected a finite number above 0",
    ),
    "rate below 0": (
        lambda: mg.ExponentialDecay(-1, 0.5),
        RangeError,
        "lr is -1, expected a finite number above 0",
    ),
    "rate NaN": (
        lambda: mg.CosineDecay(float("nan"), 3),
        RangeError,
        "lr is nan, expected a finite number above 0",
    ),
    "rate infinite": (lambda: mg.LinearWarmup(float("inf"), 3), RangeError, "lr is inf, expected"),
    "rate a text": (
        lambda: mg.LinearWarmup(ANYTHING["text"], 3),
        KindError,
        "lr is '0.1', expected a finite number",
    ),
    "rate None": (
        lambda: mg.StepDecay(ANYTHING["none"], 3, 0.5),
        KindError,
        "lr is None, expected a finite number",
    ),
    "every 0": (lambda: mg.StepDecay(0.1, 0, 0.5), RangeError, "every is 0, expected"),
    "every a fraction": (
        lambda: mg.StepDecay(0.1, ANYTHING["float"], 0.5),
        KindError,
        r"every is 1\.5, expected",
    ),
    "every True": (lambda: mg.StepDecay(0.1, True, 0.5), KindError, "every is True, expected"),
    "factor 0": (
        lambda: mg.StepDecay(0.1, 3, 0.0),
        RangeError,
        r"factor is 0\.0, expected a finite number above 0",
    ),
    "factor below 0": (
        lambda: mg.ExponentialDecay(0.1, -0.5),
        RangeError,
        r"factor is -0\.5, expected",
    ),
    "factor infinite": (
        lambda: mg.ExponentialDecay(0.1, float("inf")),
        RangeError,
        "factor is inf, expected",
    ),
    "factor a text": (
        lambda: mg.ExponentialDecay(0.1, ANYTHING["text"]),
        KindError,
        "factor is '0.1', expected",
    ),
    "cosine of 0 steps": (lambda: mg.CosineDecay(0.1, 0), RangeError, "steps is 0, expected"),
    "cosine of a float": (
        lambda: mg.CosineDecay(0.1, ANYTHING["float"]),
        KindError,
        r"steps is 1\.5, expected",
    ),
    "minimum below 0": (
        lambda: mg.CosineDecay(0.1, 9, -0.1),
        RangeError,
        r"minimum is -0\.1, expected .*at least 0",
    ),
    "minimum above": (
        lambda: mg.CosineDecay(0.1, 9, 0.2),
        RangeError,
        r"minimum is 0\.2, expected .*at most 0\.1",
    ),
    "warmup of 0 steps": (lambda: mg.LinearWarmup(0.1, 0), RangeError, "steps is 0, expected"),
    "warmup of -3 steps": (lambda: mg.LinearWarmup(0.1, -3), RangeError, "steps is -3, expected"),
}


@pytest.mark.parametrize(("make", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_settings_that_are_refused(
    make: Callable[[], object], error: type[Exception], message: str
) -> None:
    """At once, not at the first step.

    The message names the setting, what came and what was expected.
    """
    with pytest.raises(error, match=message):
        make()


def test_a_schedule_inside_that_gives_no_rate() -> None:
    """The optimizer says in which step a composed schedule went wrong, and makes no step."""
    model = model_of()
    optimizer = mg.SGD(model, mg.LinearWarmup(lambda step: -1.0 if step == 2 else 0.5, 4))
    with pytest.raises(RangeError, match=r"lr\(2\) is -0\.75"):
        train(optimizer, 4, skipping=False)
    assert 2 == optimizer.step_count


@pytest.mark.parametrize("cls", [mg.StepDecay, mg.ExponentialDecay])
def test_a_rate_that_grows_without_bounds(cls: Any) -> None:
    """A factor above 1 ends in an error of minigrad's, in the step in which the rate is no longer a
    finite number.
    """
    schedule = mg.StepDecay(0.1, 1, 10.0) if cls is mg.StepDecay else mg.ExponentialDecay(0.1, 10.0)
    optimizer = mg.SGD(model_of(), schedule)
    optimizer.step_count = 400
    mg.ParameterVector.of(optimizer.model).grads = np.ones(6)
    with pytest.raises(RangeError, match=r"lr\(400\) is inf"):
        optimizer.step()


def test_numbers_of_other_kinds() -> None:
    """Numbers that are no Python floats give the rates of those that are."""
    expected = rates(mg.ExponentialDecay(0.5, 0.75), 20)
    assert expected == rates(mg.ExponentialDecay(np.float32(0.5), np.float32(0.75)), 20)  # type: ignore[arg-type]
    assert rates(mg.CosineDecay(1.0, 20), 20) == rates(mg.CosineDecay(1, np.int64(20)), 20)  # type: ignore[arg-type]
