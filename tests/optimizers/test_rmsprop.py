"""`RMSprop` against a second implementation, and against numbers that PyTorch computed."""

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


def by_the_page(
    value: float,
    grads: Sequence[float | None],
    rates: Sequence[float],
    decay: float,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
) -> list[float]:
    """One entry, step by step:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html.

    That is Tieleman and Hinton 2012 (lecture 6e), and centered as in Graves 2013, equations 38 to
    45; but eps is outside the root.
    """
    v = mean = buffer = 0.0
    values = []
    for g, rate in zip(grads, rates, strict=True):
        if g is not None:
            g += decay * value
            v = alpha * v + (1 - alpha) * g * g
            spread = v
            if centered:
                mean = alpha * mean + (1 - alpha) * g
                spread = v - mean * mean
            scaled = g / (math.sqrt(spread) + eps)
            buffer = momentum * buffer + scaled
            value -= rate * buffer
        values.append(value)
    return values


# Settings, and the values after 24 steps (some skip some parameters) by torch.optim.RMSprop of
# PyTorch 2.13.0 in float64, with clip_grad_value_ and clip_grad_norm_ before each step.
RMSPROP: dict[str, tuple[dict[str, Any], str]] = {
    "defaults": (
        {},
        (
            "0.98552746180516 -1.99377881599378 0.52397533364050 0.25003527592182 "
            "-0.66444953672882 3.22478335298386"
        ),
    ),
    "a rate": (
        {"lr": 0.05},
        (
            "0.92763730902580 -1.96889407996888 0.61987666820252 0.25017637960910 "
            "-0.32224768364412 4.12391676491931"
        ),
    ),
    "alpha": (
        {"lr": 0.05, "alpha": 0.6},
        (
            "0.97935600283454 -2.00787103167946 0.48628187066246 0.23754457523215 "
            "-0.72525376776089 3.21734330373848"
        ),
    ),
    "eps": (
        {"lr": 0.05, "eps": 0.25},
        (
            "0.76840198172778 -1.81744199424806 0.42560798159835 0.38622899759893 "
            "-0.65912016352537 3.24096601257573"
        ),
    ),
    "momentum": (
        {"lr": 0.05, "momentum": 0.9},
        (
            "-0.06355106233428 -3.23130205863494 3.01911714914251 0.87028911724376 "
            "2.92651042224286 11.59950201145645"
        ),
    ),
    "centered": (
        {"lr": 0.05, "alpha": 0.9, "centered": True},
        (
            "0.97220958709069 -1.98043291733270 0.52962708986030 0.24571830780569 "
            "-0.60948255213834 3.42086168795876"
        ),
    ),
    "centered with momentum": (
        {"lr": 0.05, "alpha": 0.7, "eps": 1e-3, "momentum": 0.8, "centered": True},
        (
            "0.59838106696151 -2.19814783217811 0.80425206540417 0.40284601512490 "
            "-0.41224670936255 4.58303534544190"
        ),
    ),
    "decay": (
        {"lr": 0.05, "weight_decay": 0.2},
        (
            "0.65273273938407 -0.52857982481169 0.13103428152222 0.20325551667562 0.09645728072613 "
            "1.01044057927112"
        ),
    ),
    "decay by pattern": (
        {"lr": 0.05, "weight_decay": {"*.weight": 0.2, "0.*": 0.05}},
        (
            "0.85078963364191 -1.71466555180543 0.44888332799327 0.23821029564684 0.09645728072613 "
            "1.01044057927112"
        ),
    ),
    "a schedule": (
        {"lr": falling, "momentum": 0.5},
        (
            "3.30221544506096 -3.47679418316659 2.36471936616294 -1.51800887319820 "
            "-0.14820807858377 4.29453414956905"
        ),
    ),
    "clipping by norm": (
        {"lr": 0.05, "eps": 0.1, "max_grad_norm": 1.5},
        (
            "1.00118423576655 -1.95011114216454 0.39593925477566 0.28814270636568 "
            "-1.00890138427703 3.01150840068608"
        ),
    ),
    "clipping by value": (
        {"lr": 0.05, "eps": 0.1, "max_grad_value": 0.75},
        (
            "1.07487893613091 -1.97635076214324 0.41656796607004 0.08576562610111 "
            "-0.85283743573747 3.37346636822865"
        ),
    ),
    "everything": (
        {
            "lr": falling,
            "alpha": 0.8,
            "eps": 0.01,
            "momentum": 0.7,
            "centered": True,
            "weight_decay": {"0.*": 0.2},
            "max_grad_value": 0.75,
            "max_grad_norm": 0.5,
        },
        (
            "0.86393624643394 -0.32425041082758 -0.20137893179257 -0.27163949735550 "
            "-0.68366819967651 3.35485393479146"
        ),
    ),
}

cases = pytest.mark.parametrize(
    "settings", [case[0] for case in RMSPROP.values()], ids=RMSPROP.keys()
)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def maker(settings: Mapping[str, Any]) -> Make:
    return lambda model: mg.RMSprop(model, **settings)


@sparse(
    cases,
    dtypes,
    pytest.mark.parametrize("skipping", [False, True], ids=["all moving", "some skipped"]),
    every=2,
)
def test_thirty_steps_are_the_pages(
    settings: dict[str, Any], dtype: FloatType, skipping: bool
) -> None:
    """Every value after every step."""
    expected = by_loops(by_the_page, skipping=skipping, **{"lr": 0.01, **settings})
    check_loops(maker(settings), expected, dtype, skipping=skipping)


@sparse(
    pytest.mark.parametrize(("settings", "numbers"), RMSPROP.values(), ids=RMSPROP.keys()), every=2
)
def test_twenty_four_steps_are_pytorchs(settings: dict[str, Any], numbers: str) -> None:
    """The numbers that PyTorch computed, with parameters frozen and unreached for some of the
    steps.
    """
    check_numbers(maker(settings), numbers)


@sparse(cases, dtypes, every=3)
def test_the_updates_replay(settings: dict[str, Any], dtype: FloatType) -> None:
    """Initial values plus updates are the final values, bit for bit."""
    check_replay(maker(settings), dtype)


@sparse(cases, dtypes, pytest.mark.parametrize("stop", [0, 7, 18]), every=4)
def test_resuming_is_exact(settings: dict[str, Any], dtype: FloatType, stop: int) -> None:
    """Stopping and going on from the state gives the same bits, also while something is frozen."""
    check_resume(maker(settings), dtype, stop)


# -- properties ----------------------------------------------------------------------------------


def one_entry(value: float, dtype: FloatType, **settings: Any) -> tuple[mg.Parameter, mg.RMSprop]:
    model = mg.Sequential(mg.Dense(1, 1, bias=False, dtype=dtype, init=mg.init.constant(value)))
    parameter = next(parameter for _, parameter in model.parameters())
    return parameter, mg.RMSprop(model, **settings)


@dtypes
@pytest.mark.parametrize("grad", [1e-3, 1.0, -1e6, 1e15])
def test_the_first_step_is_ten_times_the_rate(dtype: FloatType, grad: float) -> None:
    """There is no bias correction: g / sqrt(0.01 g^2) = 10, whatever the gradient's size."""
    parameter, optimizer = one_entry(30.0, dtype, lr=0.5)
    parameter.grad = [[grad]]
    optimizer.step()
    np.testing.assert_allclose(parameter.value, 30.0 - math.copysign(5.0, grad), rtol=1e-4)


@dtypes
@pytest.mark.parametrize(
    "settings", [{}, {"centered": True}, {"momentum": 0.9}, {"centered": True, "momentum": 0.9}]
)
def test_a_gradient_of_zero_moves_nothing(dtype: FloatType, settings: dict[str, Any]) -> None:
    """No 0 / 0: an entry whose gradient was always 0 stays, bit for bit."""
    parameter, optimizer = one_entry(3.0, dtype, **settings)
    for _ in range(5):
        parameter.grad = [[0.0]]
        optimizer.step()
    assert 3.0 == parameter.value[0, 0]


@sparse(pytest.mark.parametrize("grad", [1.0, 0.1, -0.3, 123.4]), dtypes)
def test_a_variance_that_rounds_below_zero_is_zero(dtype: FloatType, grad: float) -> None:
    """Where all gradients are the same, E[g^2] - E[g]^2 is about 0 and may round below it.

    Its root stays a number.
    """
    parameter, optimizer = one_entry(0.0, dtype, lr=1e-6, alpha=0.5, eps=1e-3, centered=True)
    for _ in range(200):
        parameter.grad = [[grad]]
        optimizer.step()
        assert np.isfinite(parameter.value).all()


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lr": -0.1}, RangeError, r"lr is -0\.1, expected a finite number above 0"),
        (
            {"alpha": 1.0},
            RangeError,
            r"alpha is 1\.0, expected a finite number at least 0 and below 1",
        ),
        (
            {"alpha": -0.1},
            RangeError,
            r"alpha is -0\.1, expected a finite number at least 0 and below 1",
        ),
        ({"alpha": "high"}, KindError, "alpha is 'high', expected a finite number"),
        ({"eps": -1e-8}, RangeError, "eps is -1e-08, expected a finite number"),
        ({"eps": True}, KindError, "eps is True, expected a finite number"),
        (
            {"momentum": 1.0},
            RangeError,
            r"momentum is 1\.0, expected a finite number at least 0 and below 1",
        ),
        (
            {"momentum": -0.5},
            RangeError,
            r"momentum is -0\.5, expected a finite number at least 0 and below 1",
        ),
        (
            {"weight_decay": float("nan")},
            RangeError,
            "weight_decay is nan, expected a finite number at least 0",
        ),
        (
            {"weight_decay": {"2.*": 0.1}},
            ModelError,
            r"'2\.\*' matches no parameter; there are 0\.weight, 0\.bias, 1\.weight",
        ),
        ({"weight_decay": "much"}, KindError, "weight_decay is 'much'"),
        (
            {"max_grad_norm": -1},
            RangeError,
            "max_grad_norm is -1, expected a finite number above 0",
        ),
        (
            {"max_grad_value": float("inf")},
            RangeError,
            "max_grad_value is inf, expected a finite number above 0",
        ),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], error: Any, message: str) -> None:
    """The message names the setting, what came and what was expected."""
    with pytest.raises(error, match=message):
        mg.RMSprop(model_of(), **settings)


def test_the_state_of_another_kind_of_optimizer_is_refused() -> None:
    """Nothing is taken from it: the optimizer goes on as it was."""
    optimizer = mg.RMSprop(model_of(), momentum=0.9)
    train(optimizer, 4, skipping=True)
    before = repr(optimizer.state_dict())
    others: list[mg.Optimizer] = [
        mg.SGD(model_of(), 0.1, momentum=0.9),
        mg.Adam(model_of()),
        mg.AdamW(model_of()),
    ]
    for other in others:
        train(other, 4, skipping=False)
        with pytest.raises(ModelError, match="RMSprop"):
            optimizer.load_state_dict(other.state_dict())
        assert before == repr(optimizer.state_dict())


def test_its_repr() -> None:
    """The repr says how many entries it moves, and its rate."""
    assert "RMSprop(lr=0.01, 6 entries)" == repr(mg.RMSprop(model_of()))
