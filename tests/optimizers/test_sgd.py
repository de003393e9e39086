"""`SGD` against a second implementation of PyTorch's, for all combinations of its settings.

The definition: https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html, with
`dampening=0`, and clipping before it by
https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html. Then the same
again in plain Python floats, with parameters that are skipped for some steps, and against numbers
that PyTorch computed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optimizing_support as support
import pytest
from case_support import sparse
from optimizing_support import FloatType, Make, falling, train

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError, RangeError

STEPS = 30


def model_of(dtype: FloatType) -> mg.Sequential:
    return mg.Sequential(
        mg.Dense(3, 4, dtype=dtype, rng=0),
        mg.Activation("tanh"),
        mg.Dense(4, 2, dtype=dtype, rng=1),
    )


def pytorch(
    values: dict[str, Array],
    gradients: list[dict[str, Array]],
    lr: float | Callable[[int], float],
    momentum: float,
    nesterov: bool,
    decay: Mapping[str, float],
    most: float | None,
) -> dict[str, Array]:
    """The loop of PyTorch's page, one parameter after the other, in float64."""
    values = {name: value.astype(np.float64) for name, value in values.items()}
    buffers: dict[str, Array] = {}
    for step, grads in enumerate(gradients):
        rate = lr(step) if callable(lr) else lr
        norm = np.sqrt(sum((grad.astype(np.float64) ** 2).sum() for grad in grads.values()))
        factor = 1.0 if most is None else min(1.0, most / (norm + 1e-6))
        for name, value in values.items():
            g = grads[name] * factor + decay[name] * value
            if momentum:
                buffers[name] = g if step == 0 else momentum * buffers[name] + g
                g = g + momentum * buffers[name] if nesterov else buffers[name]
            values[name] = value - rate * g
    return values


@sparse(
    pytest.mark.parametrize(
        "decay", [0.0, 0.05, {"*.weight": 0.05, "2.*": 0.2}], ids=["none", "all", "by pattern"]
    ),
    pytest.mark.parametrize(
        ("momentum", "nesterov"),
        [(0.0, False), (0.9, False), (0.9, True)],
        ids=["plain", "momentum", "nesterov"],
    ),
    pytest.mark.parametrize(
        "most", [None, 0.5, 1e6], ids=["unclipped", "clipped", "hardly clipped"]
    ),
    pytest.mark.parametrize("lr", [0.1, falling], ids=["fixed", "schedule"]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    full=2,
)
def test_thirty_steps_are_pytorchs(
    dtype: FloatType,
    lr: float | Callable[[int], float],
    momentum: float,
    nesterov: bool,
    decay: float | dict[str, float],
    most: float | None,
) -> None:
    """Random gradients, thirty steps, every combination of the settings."""
    model = model_of(dtype)
    rng, named = np.random.default_rng(7), dict(model.parameters())
    gradients: list[dict[str, Array]] = [
        {name: rng.normal(size=parameter.shape).astype(dtype) for name, parameter in named.items()}
        for _ in range(STEPS)
    ]
    by_name = dict.fromkeys(named, 0.0) if isinstance(decay, dict) else dict.fromkeys(named, decay)
    if isinstance(decay, dict):  # later patterns overrule earlier ones
        by_name |= {"0.weight": 0.05, "2.weight": 0.2, "2.bias": 0.2}
    expected = pytorch(model.state_dict(), gradients, lr, momentum, nesterov, by_name, most)
    optimizer = mg.SGD(
        model, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, max_grad_norm=most
    )
    for step, grads in enumerate(gradients):
        for name, parameter in named.items():
            parameter.grad = grads[name]
        optimizer.step()
        assert (falling(step) if callable(lr) else lr) == optimizer.current_lr
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    for name, parameter in named.items():
        np.testing.assert_allclose(
            parameter.value, expected[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


# -- in plain Python, with steps that skip -------------------------------------------------------


def by_the_page(
    value: float,
    grads: Sequence[float | None],
    rates: Sequence[float],
    decay: float,
    *,
    momentum: float = 0.0,
    nesterov: bool = False,
) -> list[float]:
    """One entry, step by step:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html.
    """
    buffer: float | None = None
    values = []
    for g, rate in zip(grads, rates, strict=True):
        if g is not None:
            g += decay * value
            if momentum:
                buffer = g if buffer is None else momentum * buffer + g
                g = g + momentum * buffer if nesterov else buffer
            value -= rate * g
        values.append(value)
    return values


# Settings, and the values after 24 steps (some skip some parameters) by torch.optim.SGD of PyTorch
# 2.13.0 in float64, with clip_grad_value_ and clip_grad_norm_ before each step.
SGD: dict[str, tuple[dict[str, Any], str]] = {
    "plain": (
        {"lr": 0.1},
        (
            "0.62500000000000 -1.75000000000000 0.41875000000000 0.47500000000000 "
            "-0.68750000000000 3.17500000000000"
        ),
    ),
    "momentum": (
        {"lr": 0.1, "momentum": 0.9},
        (
            "-4.16054578756999 -1.39689268093736 0.57149256073127 3.32626054896094 "
            "-0.25179752458924 4.31631069720524"
        ),
    ),
    "nesterov": (
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        (
            "-4.01949120881299 -1.20720341284362 0.48309330465814 3.24363449406484 "
            "-0.23911777213032 4.35967962748472"
        ),
    ),
    "decay": (
        {"lr": 0.1, "weight_decay": 0.2},
        (
            "0.47130276329544 -1.15293667795257 0.28246385973817 0.32107641005153 "
            "-0.47066320523762 2.18505242233969"
        ),
    ),
    "decay by pattern": (
        {"lr": 0.1, "momentum": 0.9, "weight_decay": {"*.weight": 0.2, "0.*": 0.05}},
        (
            "-4.03798566327060 -0.56270835537472 0.36639860668768 2.92437289879914 "
            "0.00427096757634 0.17957440104687"
        ),
    ),
    "a schedule": (
        {"lr": falling, "momentum": 0.5},
        (
            "0.94712970653884 -1.92320633458140 0.50588157217990 0.30505646509545 "
            "-0.70120067422933 3.06794749788550"
        ),
    ),
    "clipping by norm": (
        {"lr": 0.1, "max_grad_norm": 1.5},
        (
            "0.91354073172287 -1.96728104809008 0.45476882850837 0.29025813529584 "
            "-0.96718092351062 2.99344583601573"
        ),
    ),
    "clipping by value": (
        {"lr": 0.1, "max_grad_value": 0.75},
        (
            "1.00000000000000 -2.00000000000000 0.44375000000000 0.17500000000000 "
            "-0.85000000000000 3.15000000000000"
        ),
    ),
    "everything": (
        {
            "lr": falling,
            "momentum": 0.7,
            "nesterov": True,
            "weight_decay": {"0.*": 0.2},
            "max_grad_value": 0.75,
            "max_grad_norm": 0.5,
        },
        (
            "0.83307514870368 -1.41627353220428 0.38489818964004 0.08265693031103 "
            "-0.77610750063889 3.01649357790961"
        ),
    ),
}

cases = pytest.mark.parametrize("settings", [case[0] for case in SGD.values()], ids=SGD.keys())
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def maker(settings: Mapping[str, Any]) -> Make:
    return lambda model: mg.SGD(model, **settings)


@sparse(
    cases,
    dtypes,
    pytest.mark.parametrize("skipping", [False, True], ids=["all moving", "some skipped"]),
)
def test_thirty_steps_are_the_pages(
    settings: dict[str, Any], dtype: FloatType, skipping: bool
) -> None:
    """Every value after every step."""
    expected = support.by_loops(by_the_page, skipping=skipping, **settings)
    support.check_loops(maker(settings), expected, dtype, skipping=skipping)


@pytest.mark.parametrize(("settings", "numbers"), SGD.values(), ids=SGD.keys())
def test_twenty_four_steps_are_pytorchs(settings: dict[str, Any], numbers: str) -> None:
    """The numbers that PyTorch computed, with parameters frozen and unreached for some of the
    steps.
    """
    support.check_numbers(maker(settings), numbers)


@sparse(cases, dtypes, every=3)
def test_the_updates_replay(settings: dict[str, Any], dtype: FloatType) -> None:
    """Initial values plus updates are the final values, bit for bit."""
    support.check_replay(maker(settings), dtype)


@sparse(cases, dtypes, pytest.mark.parametrize("stop", [0, 7, 18]), every=2)
def test_resuming_is_exact(settings: dict[str, Any], dtype: FloatType, stop: int) -> None:
    """Stopping and going on from the state gives the same bits, also while something is frozen."""
    support.check_resume(maker(settings), dtype, stop)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            {"momentum": 1.0},
            RangeError,
            r"momentum is 1\.0, expected a finite number at least 0 and below 1",
        ),
        (
            {"momentum": -0.1},
            RangeError,
            r"momentum is -0\.1, expected a finite number at least 0 and below 1",
        ),
        ({"nesterov": True}, RangeError, "nesterov=True needs momentum above 0"),
        (
            {"weight_decay": -1},
            RangeError,
            "weight_decay is -1, expected a finite number at least 0",
        ),
        (
            {"weight_decay": {"0.wait": 1}},
            ModelError,
            r"'0\.wait' matches no parameter; there are 0\.weight, 0\.bias",
        ),
        (
            {"max_grad_value": 0},
            RangeError,
            "max_grad_value is 0, expected a finite number above 0",
        ),
        (
            {"max_grad_value": float("nan")},
            RangeError,
            "max_grad_value is nan, expected a finite number above 0",
        ),
        (
            {"max_grad_value": [1.0]},
            KindError,
            r"max_grad_value is \[1\.0\], expected a finite number above 0",
        ),
    ],
)
def test_settings_that_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The message names the setting, what came and what was expected."""
    with pytest.raises(error, match=message):
        mg.SGD(support.model_of(), 0.1, **settings)


def test_the_state_of_another_kind_of_optimizer_is_refused() -> None:
    """Nothing is taken from it, also where both have a velocity: RMSprop's is one of scaled
    gradients.
    """
    optimizer = mg.SGD(support.model_of(), 0.1, momentum=0.9)
    train(optimizer, 4, skipping=True)
    before = repr(optimizer.state_dict())
    for other in (mg.RMSprop(support.model_of(), momentum=0.5), mg.Adam(support.model_of())):
        train(other, 4, skipping=False)
        with pytest.raises(ModelError, match="SGD"):
            optimizer.load_state_dict(other.state_dict())
        assert before == repr(optimizer.state_dict())


# -- by hand -------------------------------------------------------------------------------------


def one_entry(value: float, **settings: float | bool) -> tuple[mg.Parameter, mg.SGD]:
    model = mg.Sequential(
        mg.Dense(1, 1, bias=False, dtype=np.float64, init=mg.init.constant(value))
    )
    parameter = next(parameter for _, parameter in model.parameters())
    return parameter, mg.SGD(model, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [9.0, 8.0, 7.0]),
        ({"momentum": 0.5}, [9.0, 7.5, 5.75]),  # velocities 2, 3, 3.5
        ({"momentum": 0.5, "nesterov": True}, [8.5, 6.75, 4.875]),  # 2 + 1, 2 + 1.5, 2 + 1.75
        ({"weight_decay": 0.2}, [8.0, 6.2, 4.58]),  # gradients 2 + 2, 2 + 1.6, 2 + 1.24
        ({"max_grad_norm": 1.0}, [9.5, 9.0, 8.5]),
        ({"max_grad_value": 1.5}, [9.25, 8.5, 7.75]),
        ({"max_grad_value": 1.5, "max_grad_norm": 1.0}, [9.5, 9.0, 8.5]),
        (
            {"max_grad_value": 1.5, "weight_decay": 0.2},
            [8.25, 6.675, 5.2575],
        ),  # decay is not limited: 1.5 + 2, ...
    ],
    ids=[
        "plain",
        "momentum",
        "nesterov",
        "decay",
        "clipping",
        "limiting",
        "both",
        "limiting and decay",
    ],
)
def test_by_hand(settings: dict[str, float | bool], expected: list[float]) -> None:
    """One entry at 10, gradient 2, rate 0.5: worked out on paper."""
    parameter, optimizer = one_entry(10.0, lr=0.5, **settings)
    found = []
    for _ in range(3):
        parameter.grad = [[2.0]]
        optimizer.step()
        found.append(float(parameter.value[0, 0]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_changing_rate_changes_the_next_update_at_once() -> None:
    """Momentum is a velocity of gradients, so a rate that becomes 0 stops all movement."""
    parameter, optimizer = one_entry(10.0, lr=0.5, momentum=0.9)
    parameter.grad = [[2.0]]
    optimizer.step()
    optimizer.lr = lambda step: 0.0
    before = parameter.value.copy()
    parameter.grad = [[2.0]]
    optimizer.step()
    assert before.tolist() == parameter.value.tolist()
    assert 3.8 == optimizer.state_dict()["state"]["velocity"]["0.weight"][0, 0]


def test_its_repr() -> None:
    """The repr says how many entries it moves, and its rate."""
    assert "SGD(lr=0.1, 26 entries)" == repr(mg.SGD(model_of(np.float32), lr=0.1))
    schedule = repr(mg.SGD(model_of(np.float32), lr=falling))
    assert "falling" in schedule
    assert " at 0x" not in schedule


@pytest.mark.parametrize("momentum", [0.96, 0.99, 0.999])
@pytest.mark.parametrize("nesterov", [False, True])
def test_a_momentum_close_to_one(momentum: float, nesterov: bool) -> None:
    """A velocity that hardly fades is neither limited nor rounded: 40 steps, number by number."""
    layer = mg.Dense(1, 1, bias=False, dtype=np.float64, rng=0)
    optimizer = mg.SGD(layer, lr=0.125, momentum=momentum, nesterov=nesterov)
    value, velocity = layer.weight.value.item(), 0.0
    for step in range(40):
        gradient = 1.0 + step / 8
        layer.weight.grad = np.full((1, 1), gradient)
        optimizer.step()
        velocity = momentum * velocity + gradient
        value -= 0.125 * (gradient + momentum * velocity if nesterov else velocity)
        np.testing.assert_allclose(value, layer.weight.value.item(), rtol=1e-12)
