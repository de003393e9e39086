"""The stages of a step besides transforms: rates by pattern, frozen entries, `compute`, the last
word; and many optimizers.
"""

from __future__ import annotations

import copy
import gc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import (
    CallOrderError,
    KindError,
    MissingGradientError,
    ModelError,
    RangeError,
    SettingsChanged,
    ShapeError,
)

NAMES = {
    "0.weight": slice(0, 12),
    "0.bias": slice(12, 16),
    "1.weight": slice(16, 24),
    "1.bias": slice(24, 26),
}


def model_of() -> mg.Sequential:
    return mg.Sequential(
        mg.Dense(3, 4, dtype=np.float64, rng=0), mg.Dense(4, 2, dtype=np.float64, rng=1)
    )


def values_of(model: mg.Layer) -> Array:
    return mg.ParameterVector.of(model).values


def go(optimizer: mg.Optimizer, steps: int = 4, seed: int = 7) -> None:
    vector = mg.ParameterVector.of(optimizer.model)
    for grad in np.random.default_rng(seed).normal(size=(steps, vector.values.size)):
        vector.grads = grad
        optimizer.step()


# -- rates by pattern ----------------------------------------------------------------------------

MAKE: dict[str, Callable[..., mg.Optimizer]] = {
    "SGD": mg.SGD, "Adam": mg.Adam, "AdamW": mg.AdamW, "RMSprop": mg.RMSprop,
}  # fmt: skip
RATES: list[tuple[dict[str, float], list[float]]] = [  # and the rates of the four parameters
    ({"0.*": 0.25, "*": 0.5}, [0.25, 0.25, 0.5, 0.5]),
    ({"*": 0.5, "0.*": 0.25}, [0.25, 0.25, 0.5, 0.5]),
    ({"*.weight": 0.5, "0.*": 0.25, "*": 1.0}, [0.25, 0.25, 0.5, 1.0]),
    ({"0.*": 0.25, "*.weight": 0.5, "*": 1.0}, [0.5, 0.25, 0.5, 1.0]),
    ({"0.*": 0.0, "*": 0.5}, [0.0, 0.0, 0.5, 0.5]),
]


@sparse(
    pytest.mark.parametrize(("rates", "expected"), RATES, ids=str),
    pytest.mark.parametrize("name", MAKE),
)
def test_rates_by_pattern(name: str, rates: dict[str, float], expected: list[float]) -> None:
    """Each parameter moves as by an optimizer of its own with its rate.

    "*" is for the rest, wherever it stands.
    """
    model = model_of()
    optimizer = MAKE[name](model, rates)
    assert max(rates.values()) == optimizer.lr
    go(optimizer)
    for (own, part), rate in zip(NAMES.items(), expected, strict=True):
        alone = model_of()
        before = values_of(alone).copy()
        if rate:
            go(MAKE[name](alone, rate))
            before = values_of(alone)
        np.testing.assert_allclose(values_of(model)[part], before[part], rtol=1e-12, err_msg=own)


def test_factors_multiply_a_schedule() -> None:
    """With `lr_factors`, each rate is the schedule's times the factor, where no pattern fits 1.

    By a loop.
    """
    model = model_of()
    expected = values_of(model).copy()
    optimizer = mg.SGD(model, lambda step: 0.5 / (1 + step), lr_factors={"0.*": 0.5, "0.bias": 4.0})
    go(optimizer)
    for step, grad in enumerate(np.random.default_rng(7).normal(size=(4, 26))):
        for part, factor in zip(NAMES.values(), (0.5, 4.0, 1.0, 1.0), strict=True):
            expected[part] -= 0.5 / (1 + step) * factor * grad[part]
    np.testing.assert_allclose(values_of(model), expected, rtol=1e-12)


def test_factors_multiply_rates_by_pattern() -> None:
    """Both given, they multiply."""
    model = model_of()
    before = values_of(model).copy()
    optimizer = mg.SGD(model, {"0.*": 0.25, "*": 0.5}, lr_factors={"*.bias": 2.0})
    go(optimizer, 1)
    grad = np.random.default_rng(7).normal(size=26)
    rates = np.repeat([0.25, 0.5, 0.5, 1.0], [12, 4, 8, 2])
    np.testing.assert_allclose(values_of(model) - before, -rates * grad, rtol=1e-9)


def test_an_assigned_rate_keeps_the_pattern() -> None:
    """`optimizer.lr *= 0.5`, as ReduceOnPlateau does, halves every rate."""
    model = model_of()
    before = values_of(model).copy()
    optimizer = mg.SGD(model, {"0.*": 0.25, "*": 0.5})
    optimizer.lr = 0.25
    go(optimizer, 1)
    grad = np.random.default_rng(7).normal(size=26)
    rates = np.repeat([0.125, 0.25], [16, 10])
    np.testing.assert_allclose(values_of(model) - before, -rates * grad, rtol=1e-9)


@pytest.mark.parametrize(
    ("rates", "kind", "message"),
    [
        ({"0.*": 0.1}, ModelError, r"1\.weight.*'\*'"),
        ({"2.*": 0.1, "*": 0.1}, ModelError, r"'2\.\*' matches no parameter"),
        ({"*": -0.1}, RangeError, "-0.1"),
        ({"*": "fast"}, KindError, "fast"),
        ({"*": 0.0}, RangeError, "0.0"),
    ],
)
def test_rates_that_are_none(rates: Any, kind: type[Exception], message: str) -> None:
    """A parameter without a rate, a pattern without a parameter, what is no rate: an error, and no
    other warning.
    """
    with pytest.raises(kind, match=message):
        mg.SGD(model_of(), rates)


# -- frozen entries ------------------------------------------------------------------------------


def partly(model: mg.Sequential) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Let half of the first weight move; True where entries are still."""
    moving = np.arange(12).reshape(3, 4) % 2 == 0
    model[0].weight.trainable = moving
    model[0].weight.value[0, 1] = -0.0
    still: np.ndarray[Any, np.dtype[np.bool_]] = ~moving
    return still


@pytest.mark.parametrize("name", MAKE)
def test_frozen_entries_stay(name: str) -> None:
    """Their bits and the optimizer's arrays stay.

    All other entries move as if nothing were frozen.
    """
    model, free = model_of(), model_of()
    still = partly(model)
    before = model[0].weight.value[still].tobytes()
    settings: dict[str, Any] = {"momentum": 0.9} if name == "SGD" else {}
    optimizer, other = (
        MAKE[name](each, 0.1, weight_decay=0.1, **settings) for each in (model, free)
    )
    for each in (optimizer, other):
        go(each)
    assert before == model[0].weight.value[still].tobytes()
    moving = np.r_[~still.ravel(), np.ones(14, bool)]
    assert values_of(free)[moving].tobytes() == values_of(model)[moving].tobytes()
    for arrays in optimizer.state_dict()["state"].values():
        assert not arrays["0.weight"][still].any()
        assert arrays["0.weight"][~still].any()


def test_frozen_entries_count_in_no_norm() -> None:
    """The norm is that of the entries that may move."""
    model = model_of()
    still = np.r_[partly(model).ravel(), np.zeros(14, bool)]
    before = values_of(model).copy()
    optimizer = mg.SGD(model, 1.0, max_grad_norm=0.5)
    go(optimizer, 1)
    grad = np.where(still, 0, np.random.default_rng(7).normal(size=26))
    np.testing.assert_allclose(
        values_of(model) - before, -grad * 0.5 / (np.linalg.norm(grad) + 1e-6), rtol=1e-6
    )


def test_an_entry_that_may_move_again_goes_on_where_it_stopped() -> None:
    """Its velocity is the one from before it was frozen."""
    model = model_of()
    optimizer = mg.SGD(model, 0.1, momentum=0.5)
    go(optimizer, 2)
    still = partly(model)
    velocity = optimizer.state_dict()["state"]["velocity"]["0.weight"][still]
    go(optimizer, 3)
    assert (
        velocity.tobytes()
        == optimizer.state_dict()["state"]["velocity"]["0.weight"][still].tobytes()
    )
    model[0].weight.trainable = True
    before = model[0].weight.value[still]
    mg.ParameterVector.of(model).grads = np.ones(26)
    optimizer.step()
    np.testing.assert_allclose(
        model[0].weight.value[still] - before, -0.1 * (0.5 * velocity + 1), rtol=1e-9
    )


def test_frozen_entries_in_texts() -> None:
    """The repr of the parameter and the summary count them.

    `unfreeze` frees them; a mask of one kind is a plain bool.
    """
    model = model_of()
    partly(model)
    assert "6 of 12 entries frozen" in repr(model[0].weight)
    assert "partly frozen" in model.summary()
    assert "26 entries, 20 of them trainable" in model.summary()
    model.unfreeze()
    assert "26 entries, 26 of them trainable" in model.summary()
    model[0].weight.trainable = np.zeros((3, 4), bool)
    assert model[0].weight.trainable is False
    assert "26 entries, 14 of them trainable" in model.summary()
    model[0].weight.trainable = np.ones((3, 4), bool)
    assert model[0].weight.trainable is True


def test_a_mask_of_entries_is_the_parameters_own() -> None:
    """It is a copy, and read-only; a wrong kind or shape is refused and changes nothing."""
    model = model_of()
    moving = np.arange(12).reshape(3, 4) % 2 == 0
    model[0].weight.trainable = moving
    moving[...] = True
    assert 6 == model[0].weight.moving
    with pytest.raises(ValueError, match="read-only"):
        model[0].weight.trainable[0, 0] = True
    for wrong, kind in (
        (np.ones((4, 3), bool), ShapeError),
        (np.ones((3, 4)), KindError),
        ("yes", KindError),
    ):
        with pytest.raises(kind, match=r"0\.weight"):
            model[0].weight.trainable = wrong
    assert 6 == model[0].weight.moving


def test_frozen_entries_in_checkpoints(tmp_path: Path) -> None:
    """They are frozen again after loading, and the training goes on bit for bit."""
    ends = []
    for stopped in (False, True):
        model = model_of()
        optimizer = mg.Adam(model, 0.1)
        partly(model)
        go(optimizer, 3)
        if stopped:
            mg.save(tmp_path / "a.npz", model=model, optimizer=optimizer)
            model = model_of()
            optimizer = mg.Adam(model, 0.1)
            mg.load(tmp_path / "a.npz", model=model, optimizer=optimizer)
        go(optimizer, 3, seed=8)
        ends.append((values_of(model).tobytes(), model[0].weight.moving))
    assert ends[0] == ends[1]
    assert 6 == ends[1][1]


def test_frozen_entries_are_recorded() -> None:
    """Frozen in every step, an entry is FROZEN.

    Others have the reason that they would have; counts are those of the rest.
    """
    model = model_of()
    still = partly(model)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        for _ in range(3):
            model.backward(model(np.random.default_rng(0).normal(size=(5, 3))))
            optimizer.step()
    why = recorder.run["0.weight"].why
    assert {mg.Reason.FROZEN: 6, mg.Reason.MOVED: 6} == why.counts
    assert np.array_equal(still, why.where(mg.Reason.FROZEN))
    assert recorder.run.verify()


# -- compute -------------------------------------------------------------------------------------


class Largest(mg.Optimizer):
    """Moves the entry with the largest gradient alone."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        place = np.argmax(np.abs(grads))
        update[place] = -self.current_lr * grads[place]


def test_what_compute_does_not_fill_does_not_move() -> None:
    """An entry that is left out has an update of 0, whatever the step before has asked for."""
    model = model_of()
    optimizer, vector = Largest(model, 0.5), mg.ParameterVector.of(model)
    for place in (3, 8, 3):
        before = vector.values.copy()
        grad = np.ones(26)
        grad[place] = 9
        vector.grads = grad
        optimizer.step()
        assert [place] == np.flatnonzero(vector.values != before).tolist()


def test_compute_that_returns_its_update() -> None:
    """It is an error that says to fill `update`; nothing is written."""

    class Returns(mg.Optimizer):
        def compute(self, values: Array, grads: Array, update: Array) -> Any:
            return -self.current_lr * grads

    model = model_of()
    optimizer, before = Returns(model, 0.1), values_of(model).tobytes()
    mg.ParameterVector.of(model).grads = np.ones(26)
    with pytest.raises(KindError, match=r"Returns\.compute returned .* fills `update`"):
        optimizer.step()
    assert before == values_of(model).tobytes()


def test_an_optimizer_without_super() -> None:
    """Its `__init__` has to call that of Optimizer.

    One that inherits it through a class between may.
    """

    class Without(mg.Optimizer):
        def __init__(self, model: mg.Layer) -> None:
            self.mine = 1

        def compute(self, values: Array, grads: Array, update: Array) -> None: ...

    class Between(Largest):
        def __init__(self, model: mg.Layer) -> None:
            self.mine = 1
            super().__init__(model, 0.1)

    with pytest.raises(CallOrderError, match=r"Without must call super\(\)\.__init__"):
        Without(model_of())
    assert 1 == Between(model_of()).mine


# -- the last word -------------------------------------------------------------------------------


class Veto(mg.Hook):
    """Does not want large updates."""

    def before_step(self, event: mg.Step) -> None:
        if max(np.abs(update).max() for update in event.updates.values()) > 1:
            raise ArithmeticError(f"step {event.step} is too large")


def test_a_veto_writes_nothing_and_uses_the_gradient_up() -> None:
    """What `before_step` raises comes out of `step` as it is.

    Values and the count stay; the next step needs a gradient.
    """
    model = model_of()
    optimizer = mg.SGD(model, 1.0)
    optimizer.attach(Veto())
    go(mg.SGD(model, 0.01), 1)
    before = values_of(model).tobytes()
    mg.ParameterVector.of(model).grads = np.full(26, 9.0)
    with (
        mg.Recorder(optimizer) as recorder,
        pytest.raises(ArithmeticError, match="step 0 is too large"),
    ):
        optimizer.step()
    assert before == values_of(model).tobytes()
    assert 0 == optimizer.step_count
    assert 0 == len(recorder.run.steps)
    with pytest.raises(MissingGradientError):
        optimizer.step()


def test_a_run_goes_on_after_a_veto() -> None:
    """Steps that were not made are no part of the record, which replays the others."""
    model = model_of()
    optimizer = mg.SGD(model, 1.0)
    optimizer.attach(Veto())
    with mg.Recorder(optimizer) as recorder:
        for size in (0.5, 9.0, 0.25, 9.0, 0.125):
            mg.ParameterVector.of(model).grads = np.full(26, size)
            try:
                optimizer.step()
            except ArithmeticError:
                continue
    run = recorder.run
    assert (0, 1, 2) == run.steps
    assert [-0.5, -0.25, -0.125] == [float(update[0, 0]) for update in run["0.weight"].updates]
    assert run.verify()
    assert () == run.notes


def test_a_hook_may_not_write_before_a_step() -> None:
    """Changing a value or a gradient in `before_step` is an error, so that no record tells of what
    was not used.
    """

    class Writes(mg.Hook):
        def __init__(self, what: str, in_place: bool) -> None:
            self.what, self.in_place = what, in_place

        def before_step(self, event: mg.Step) -> None:
            weight = model[0].weight
            if self.in_place:
                weight.grad[...] = 0
            else:
                setattr(weight, self.what, np.zeros((3, 4)))

    for what, in_place in (("grad", False), ("grad", True), ("value", False)):
        model = model_of()
        optimizer = mg.SGD(model, 0.1)
        optimizer.attach(Writes(what, in_place))
        before = values_of(model).tobytes()
        mg.ParameterVector.of(model).grads = np.ones(26)
        with pytest.raises(
            CallOrderError, match=rf"before_step has changed the {what}\w* of parameter '0\.weight'"
        ):
            optimizer.step()
        assert before == values_of(model).tobytes()
        model[0].weight.value = np.ones((3, 4))  # which is open again
        mg.ParameterVector.of(model).grads = np.ones(26)


# -- state ---------------------------------------------------------------------------------------

SETTINGS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"momentum": 0.9}, {"momentum": 0.5}, "momentum was 0.9 and is 0.5"),
    ({"weight_decay": {"*.weight": 0.1}}, {}, "weight_decay was by parameter and is 0.0"),
    ({"max_grad_norm": 1.0}, {}, "max_grad_norm was 1.0 and is None"),
    ({"lr_factors": {"0.*": 0.5}}, {}, "lr_factors"),
    ({"lr": {"0.*": 0.5, "*": 1.0}}, {"lr": 1.0}, "lr by pattern was by parameter and is None"),
]


@pytest.mark.parametrize(("before", "now", "message"), SETTINGS, ids=lambda given: str(given))
def test_loading_into_other_settings_warns(
    before: dict[str, Any], now: dict[str, Any], message: str
) -> None:
    """The warning says what was and what is.

    The optimizer keeps its own; the same settings say nothing.
    """
    common = {"momentum": 0.5, "lr": 0.1}
    state = mg.SGD(model_of(), **{**common, **before}).state_dict()
    with pytest.warns(SettingsChanged, match=message):
        mg.SGD(model_of(), **{**common, **now}).load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mg.SGD(model_of(), **{**common, **before}).load_state_dict(state)


def test_a_warning_that_is_an_error_leaves_all_as_it_was() -> None:
    """Where warnings are errors, neither the optimizer nor its transforms take in anything."""
    before = mg.SGD(model_of(), 0.1, momentum=0.5, grad_transforms=[mg.GradientNoise(0.1, rng=0)])
    go(before)
    now = mg.SGD(model_of(), 0.1, momentum=0.25, grad_transforms=[mg.GradientNoise(0.1, rng=1)])
    expected = str(now.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SettingsChanged):
            now.load_state_dict(before.state_dict())
    assert expected == str(now.state_dict())


def test_settings_in_a_state_are_the_callers() -> None:
    """Writing into what `state_dict` gave changes no optimizer."""
    model = model_of()
    rates = {"0.*": 0.25, "*": 0.5}
    optimizer = mg.SGD(model, rates, weight_decay={"*.weight": 0.1}, lr_factors={"*.bias": 0.5})
    settings = optimizer.state_dict()["settings"]
    for setting in settings.values():
        if isinstance(setting, np.ndarray):
            setting[...] = 9
    settings["lr_factors"]["*.bias"] = 9.0
    expected = mg.SGD(model_of(), rates, weight_decay={"*.weight": 0.1}, lr_factors={"*.bias": 0.5})
    go(optimizer)
    go(expected)
    assert values_of(expected.model).tobytes() == values_of(model).tobytes()
    assert {"*.bias": 0.5} == optimizer.lr_factors


def test_a_copied_optimizer_says_whose_it_is() -> None:
    """Model and optimizer copied one by one are no pair.

    The error says to copy both at once, and that works.
    """
    model = model_of()
    optimizer = mg.SGD(model, 0.1)
    other_model, other = copy.deepcopy(model), copy.deepcopy(optimizer)
    other_model.backward(other_model(np.ones((2, 3))))
    with pytest.raises(MissingGradientError, match="this optimizer is a copy"):
        other.step()
    model, optimizer = copy.deepcopy((model, optimizer))
    model.backward(model(np.ones((2, 3))))
    optimizer.step()


# -- many optimizers -----------------------------------------------------------------------------


@pytest.mark.slow
def test_optimizers_that_are_dropped_leave_nothing() -> None:
    """500 optimizers made and dropped: none lives on, and a step walks no list of them."""
    model = model_of()
    vector = mg.ParameterVector.of(model)
    first = mg.SGD(model, 0.1)
    go(first, 1)
    gc.collect()
    count, living = len(gc.get_objects()), []
    for number in range(500):
        optimizer = mg.SGD(model, 0.1, momentum=0.9)
        if number % 100 == 0:
            go(optimizer, 1)
            living.append(weakref.ref(optimizer))
    del optimizer
    gc.collect()
    assert [None] * 5 == [one() for one in living]
    assert len(gc.get_objects()) - count < 500
    assert () == vector.observers.all
