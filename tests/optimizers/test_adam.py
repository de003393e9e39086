"""`Adam` and `AdamW` against a second implementation, and against numbers that PyTorch computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from optimizing_support import (
    FloatType,
    Make,
    by_loops,
    check_loops,
    check_numbers,
    check_replay,
    check_resume,
    falling,
    model_of,
    train,
)

import minigrad as mg
from minigrad.errors import KindError, ModelError, RangeError


def by_the_paper(
    value: float,
    grads: Sequence[float | None],
    rates: Sequence[float],
    decay: float,
    *,
    decoupled: bool,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> list[float]:
    """One entry, step by step: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019,
    algorithm 2.

    In the order of https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html: amsgrad
    (Reddi et al. 2018) takes the largest second moment before the correction of its bias, and eps
    is added after that.
    """
    beta1, beta2 = betas
    m = v = largest = 0.0
    t, values = 0, []
    for g, rate in zip(grads, rates, strict=True):
        if g is not None:
            t += 1
            if decoupled:
                value -= rate * decay * value
            else:
                g += decay * value
            m = beta1 * m + (1 - beta1) * g
            v = beta2 * v + (1 - beta2) * g * g
            largest = max(largest, v)
            corrected = (largest if amsgrad else v) / (1 - beta2**t)
            value -= rate * (m / (1 - beta1**t)) / (math.sqrt(corrected) + eps)
        values.append(value)
    return values


# Settings, and the values after 24 steps (some skip some parameters) by torch.optim.Adam and by
# torch.optim.AdamW of PyTorch 2.13.0 in float64, with clip_grad_value_ and clip_grad_norm_ before
# each step.
ADAM: dict[str, tuple[dict[str, Any], str, str]] = {
    "defaults": (
        {},
        (
            "0.99864534712131 -1.99944328376656 0.50112243336299 0.25145848079435 "
            "-0.74832808495120 3.00549077442306"
        ),
        (
            "0.99846528928683 -1.99908332793609 0.50104728832237 0.25142097214163 "
            "-0.74818587184058 3.00492029469784"
        ),
    ),
    "a rate": (
        {"lr": 0.1},
        (
            "0.86453471213142 -1.94432837665571 0.61224333629924 0.39584807943543 "
            "-0.58280849511981 3.54907744230638"
        ),
        (
            "0.84597120970769 -1.90876927375546 0.60330059300012 0.39200630582034 "
            "-0.57140802219000 3.48731137244875"
        ),
    ),
    "betas": (
        {"lr": 0.1, "betas": (0.5, 0.8)},
        (
            "0.92093097992119 -1.96337189508973 0.50942860838145 0.29314545283498 "
            "-0.73342699391774 3.51515239600110"
        ),
        (
            "0.90376844402521 -1.92736828297787 0.50057215011242 0.28880951417229 "
            "-0.72099617955758 3.45371835302840"
        ),
    ),
    "betas of 0": (
        {"lr": 0.1, "betas": (0.0, 0.0)},
        (
            "1.09999999456667 -1.99999999776667 0.49999999242222 0.15000000216111 "
            "-0.84999999890000 3.10000000388889"
        ),
        (
            "1.08156181961724 -1.96469988875116 0.49175734500287 0.14707066255281 "
            "-0.83646668711215 3.04132771496462"
        ),
    ),
    "eps": (
        {"lr": 0.1, "eps": 0.25},
        (
            "0.85758744020154 -1.92801697466869 0.54643762790101 0.39321559878933 "
            "-0.62803732784014 3.32668524607458"
        ),
        (
            "0.83940181764568 -1.89288281756454 0.53837684325085 0.38920731243282 "
            "-0.61588515468564 3.26731589860625"
        ),
    ),
    "decay": (
        {"lr": 0.1, "weight_decay": 0.2},
        (
            "0.72525790998174 -1.25790661289502 0.33581196627662 0.36905322022657 "
            "-0.30469978396370 1.69684707532780"
        ),
        (
            "0.55065223057540 -1.33756991610250 0.45444771199983 0.32639182343023 "
            "-0.39159650214182 2.49918005243881"
        ),
    ),
    "no decay": (
        {"lr": 0.1, "weight_decay": 0.0},
        (
            "0.86453471213142 -1.94432837665571 0.61224333629924 0.39584807943543 "
            "-0.58280849511981 3.54907744230638"
        ),
        (
            "0.86453471213142 -1.94432837665571 0.61224333629924 0.39584807943543 "
            "-0.58280849511981 3.54907744230638"
        ),
    ),
    "decay by pattern": (
        {"lr": 0.1, "weight_decay": {"*.weight": 0.2, "0.*": 0.05}},
        (
            "0.82827853516251 -1.79213990305998 0.53351456292703 0.38900508307191 "
            "-0.30469978396370 1.69684707532780"
        ),
        (
            "0.77498738852181 -1.77247614688321 0.56870924720350 0.37705022695494 "
            "-0.39159650214182 2.49918005243881"
        ),
    ),
    "amsgrad": (
        {"lr": 0.1, "betas": (0.9, 0.6), "amsgrad": True},
        (
            "0.97158052911611 -1.97505404251297 0.60239261144281 0.32743787355501 "
            "-0.62231942664483 3.43098508350690"
        ),
        (
            "0.95210141021333 -1.93921640820880 0.59358804842008 0.32404718268590 "
            "-0.61026787150788 3.36970938347133"
        ),
    ),
    "a schedule": (
        {"lr": falling, "weight_decay": 0.1},
        (
            "1.22757782991162 -2.02311496028521 0.62249440839934 0.05829965526172 "
            "-0.62371587796475 2.77392947282769"
        ),
        (
            "1.17398053409391 -1.96878129415282 0.63747070264630 0.05363957013301 "
            "-0.67147991672123 3.01990052155886"
        ),
    ),
    "clipping by norm": (
        {"lr": 0.1, "eps": 0.1, "max_grad_norm": 1.5},
        (
            "1.08097349772501 -1.97596330126437 0.51404638173180 0.28766285193732 "
            "-0.92401409269130 3.09555528713772"
        ),
        (
            "1.05998119924081 -1.94116644834872 0.50625500571195 0.28453227074428 "
            "-0.90983427782600 3.03784091319627"
        ),
    ),
    "clipping by value": (
        {"lr": 0.1, "eps": 0.1, "max_grad_value": 0.75},
        (
            "1.10006848084405 -1.96720617280632 0.57607590555638 0.07057606305502 "
            "-0.75817926957544 3.39337064589020"
        ),
        (
            "1.07939836005984 -1.93216919057004 0.56777118898804 0.06902220286961 "
            "-0.74537127512780 3.33306398491010"
        ),
    ),
    "everything": (
        {
            "lr": falling,
            "betas": (0.8, 0.7),
            "eps": 0.01,
            "weight_decay": {"0.*": 0.2},
            "amsgrad": True,
            "max_grad_value": 0.75,
            "max_grad_norm": 0.5,
        },
        (
            "1.09597648695677 -1.45535325570830 0.19805642663583 -0.02250138287502 "
            "-0.74497674891086 3.08065499494842"
        ),
        (
            "1.15101734039347 -1.83670175865812 0.57456060305290 -0.02282880870439 "
            "-0.74497674891086 3.08065499494842"
        ),
    ),
}

cases = pytest.mark.parametrize("settings", [case[0] for case in ADAM.values()], ids=ADAM.keys())
both = pytest.mark.parametrize("cls", [mg.Adam, mg.AdamW])
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
Cls = type[mg.Adam | mg.AdamW]


def maker(cls: Cls, settings: Mapping[str, Any]) -> Make:
    return lambda model: cls(model, **settings)


@sparse(
    cases,
    both,
    dtypes,
    pytest.mark.parametrize("skipping", [False, True], ids=["all moving", "some skipped"]),
    full=2,
    every=2,
)
def test_thirty_steps_are_the_papers(
    cls: Cls, settings: dict[str, Any], dtype: FloatType, skipping: bool
) -> None:
    """Every value after every step.

    A skipped parameter's bias correction waits for it, as PyTorch's does.
    """
    defaults = {"lr": 1e-3, "weight_decay": 0.01 if cls is mg.AdamW else 0.0}
    expected = by_loops(
        by_the_paper, skipping=skipping, **{**defaults, **settings}, decoupled=cls is mg.AdamW
    )
    check_loops(maker(cls, settings), expected, dtype, skipping=skipping)


@sparse(
    pytest.mark.parametrize(("settings", "adam", "adamw"), ADAM.values(), ids=ADAM.keys()), every=2
)
def test_twenty_four_steps_are_pytorchs(settings: dict[str, Any], adam: str, adamw: str) -> None:
    """The numbers that PyTorch computed, with parameters frozen and unreached for some of the
    steps.
    """
    check_numbers(maker(mg.Adam, settings), adam)
    check_numbers(maker(mg.AdamW, settings), adamw)


@sparse(cases, both, dtypes, every=4)
def test_the_updates_replay(cls: Cls, settings: dict[str, Any], dtype: FloatType) -> None:
    """Initial values plus updates are the final values, bit for bit."""
    check_replay(maker(cls, settings), dtype)


@sparse(cases, both, dtypes, pytest.mark.parametrize("stop", [0, 7, 18]), every=4)
def test_resuming_is_exact(cls: Cls, settings: dict[str, Any], dtype: FloatType, stop: int) -> None:
    """Stopping and going on from the state gives the same bits, also while something is frozen."""
    check_resume(maker(cls, settings), dtype, stop)


# -- properties ----------------------------------------------------------------------------------


def one_entry(
    cls: Cls, value: float, dtype: FloatType = np.float64, **settings: Any
) -> tuple[mg.Parameter, Any]:
    model = mg.Sequential(mg.Dense(1, 1, bias=False, dtype=dtype, init=mg.init.constant(value)))
    parameter = next(parameter for _, parameter in model.parameters())
    return parameter, cls(model, **settings)


@sparse(pytest.mark.parametrize("grad", [1e-3, 1.0, 1e6, -1e-3, -1e15]), both, dtypes)
def test_the_first_step_is_the_rate(cls: Cls, dtype: FloatType, grad: float) -> None:
    """By the paper's section 2.1, the first step is the rate, whatever the gradient's size: 3 - 0.5
    or 3 + 0.5.
    """
    parameter, optimizer = one_entry(cls, 3.0, dtype, lr=0.5, weight_decay=0.0)
    parameter.grad = [[grad]]
    optimizer.step()
    np.testing.assert_allclose(parameter.value, 3.0 - math.copysign(0.5, grad), rtol=2e-5)


@both
@dtypes
@pytest.mark.parametrize("amsgrad", [False, True])
def test_a_gradient_of_zero_moves_nothing(cls: Cls, dtype: FloatType, amsgrad: bool) -> None:
    """No 0 / 0: an entry whose gradient was always 0 stays, bit for bit."""
    parameter, optimizer = one_entry(cls, 3.0, dtype, weight_decay=0.0, amsgrad=amsgrad)
    for _ in range(5):
        parameter.grad = [[0.0]]
        optimizer.step()
    assert 3.0 == parameter.value[0, 0]


def test_decay_alone() -> None:
    """Where gradients are 0, AdamW shrinks values by 1 - lr decay.

    Adam makes of any decay a step of the rate.
    """
    decoupled, adamw = one_entry(mg.AdamW, 8.0, lr=0.5, weight_decay=0.5)
    coupled, adam = one_entry(mg.Adam, 8.0, lr=0.5, weight_decay=0.5)
    for parameter, optimizer in ((decoupled, adamw), (coupled, adam)):
        parameter.grad = [[0.0]]
        optimizer.step()
    assert 6.0 == decoupled.value[0, 0]
    np.testing.assert_allclose(coupled.value, 7.5, rtol=1e-8)


def test_amsgrad_remembers_the_largest_gradient() -> None:
    """After one large gradient, small ones move less with amsgrad than without."""
    moved = {}
    for amsgrad in (False, True):
        parameter, optimizer = one_entry(mg.Adam, 0.0, lr=0.1, betas=(0.0, 0.5), amsgrad=amsgrad)
        for grad in [100.0] + [1.0] * 20:
            before = float(parameter.value[0, 0])
            parameter.grad = [[grad]]
            optimizer.step()
        moved[amsgrad] = before - float(parameter.value[0, 0])
    np.testing.assert_allclose(moved[False], 0.1, rtol=0.01)
    np.testing.assert_allclose(
        moved[True], 0.1 / math.sqrt(5000), rtol=0.01
    )  # (1 - 0.5) 100^2 stays


@pytest.mark.slow
@sparse(both, dtypes, every=2)
def test_a_long_training_stays_the_papers(cls: Cls, dtype: FloatType) -> None:
    """The bias correction of step 3,000 is as right as that of step 1."""
    settings: dict[str, Any] = {"lr": 1e-3, "weight_decay": 0.01}
    expected = by_loops(
        by_the_paper, skipping=True, steps=3000, **settings, decoupled=cls is mg.AdamW
    )
    found = train(cls(model_of(dtype), **settings), 3000, skipping=True)
    tolerance = 1e-3 if dtype is np.float32 else 1e-11
    np.testing.assert_allclose(found[-1], expected[-1], rtol=tolerance, atol=tolerance)


@both
def test_a_copy_shares_no_state(cls: Cls) -> None:
    """What `state_dict` gives is nobody else's; two optimizers have moments of their own."""
    first, second = cls(model_of()), cls(model_of())
    train(first, 5, skipping=True)
    kept = repr(first.state_dict())
    train(second, 9, skipping=False)
    assert kept == repr(first.state_dict())
    train(first, 9, skipping=True, start=5)
    assert kept != repr(first.state_dict())


# -- what is refused -----------------------------------------------------------------------------


@sparse(
    both,
    pytest.mark.parametrize(
        ("settings", "error", "message"),
        [
            ({"lr": 0.0}, RangeError, r"lr is 0\.0, expected a finite number above 0"),
            ({"lr": "fast"}, KindError, "lr is 'fast'"),
            (
                {"betas": (1.0, 0.999)},
                RangeError,
                r"beta.* 1\.0, expected .*at least 0 and below 1",
            ),
            ({"betas": (0.9, 1.0)}, RangeError, r"beta.* 1\.0, expected .*at least 0 and below 1"),
            (
                {"betas": (-0.1, 0.999)},
                RangeError,
                r"beta.* -0\.1, expected .*at least 0 and below 1",
            ),
            (
                {"betas": (0.9, float("nan"))},
                RangeError,
                "beta.* nan, expected .*at least 0 and below 1",
            ),
            ({"betas": ("a", 0.9)}, KindError, "beta.* 'a', expected"),
            ({"betas": 0.9}, KindError, r"betas is 0\.9, expected"),
            (
                {"betas": (0.9,)},
                (RangeError, KindError, ValueError),
                r"betas is \(0\.9,\), expected",
            ),
            (
                {"betas": (0.9, 0.9, 0.9)},
                (RangeError, KindError, ValueError),
                r"betas is \(0\.9, 0\.9, 0\.9\), expected",
            ),
            ({"eps": -1e-8}, RangeError, "eps is -1e-08, expected a finite number"),
            ({"eps": float("inf")}, RangeError, "eps is inf, expected a finite number"),
            ({"eps": None}, KindError, "eps is None, expected a finite number"),
            (
                {"weight_decay": -0.1},
                RangeError,
                r"weight_decay is -0\.1, expected a finite number at least 0",
            ),
            (
                {"weight_decay": {"*.wieght": 0.1}},
                ModelError,
                r"'\*\.wieght' matches no parameter.*0\.weight, 0\.bias, 1\.weight",
            ),
            ({"weight_decay": {"*.bias": -1}}, RangeError, r"weight_decay\['\*\.bias'\] is -1"),
            (
                {"max_grad_norm": 0.0},
                RangeError,
                r"max_grad_norm is 0\.0, expected a finite number above 0",
            ),
            (
                {"max_grad_value": 0.0},
                RangeError,
                r"max_grad_value is 0\.0, expected a finite number above 0",
            ),
            (
                {"max_grad_value": -1},
                RangeError,
                "max_grad_value is -1, expected a finite number above 0",
            ),
            (
                {"max_grad_value": "1"},
                KindError,
                "max_grad_value is '1', expected a finite number above 0",
            ),
        ],
    ),
    every=2,
)
def test_settings_that_are_refused(
    cls: Cls, settings: dict[str, Any], error: Any, message: str
) -> None:
    """The message names the setting, what came and what was expected."""
    with pytest.raises(error, match=message):
        cls(model_of(), **settings)


@both
def test_the_state_of_another_kind_of_optimizer_is_refused(cls: Cls) -> None:
    """Nothing is taken from it: the optimizer goes on as it was."""
    optimizer = cls(model_of())
    train(optimizer, 4, skipping=True)
    before = repr(optimizer.state_dict())
    for other in (
        mg.SGD(model_of(), 0.1, momentum=0.9),
        mg.RMSprop(model_of(), momentum=0.5, centered=True),
    ):
        train(other, 4, skipping=False)
        with pytest.raises(ModelError, match=cls.__name__):
            optimizer.load_state_dict(other.state_dict())
        assert before == repr(optimizer.state_dict())


def test_the_state_without_amsgrad_is_refused_by_amsgrad() -> None:
    """The largest second moment is missing, and cannot be made up."""
    plain, amsgrad = mg.Adam(model_of()), mg.Adam(model_of(), amsgrad=True)
    for optimizer in (plain, amsgrad):
        train(optimizer, 4, skipping=False)
    with pytest.raises(ModelError):
        amsgrad.load_state_dict(plain.state_dict())


@both
def test_their_repr(cls: Cls) -> None:
    """The repr says how many entries it moves, and its rate."""
    assert f"{cls.__name__}(lr=0.001, 6 entries)" == repr(cls(model_of()))
