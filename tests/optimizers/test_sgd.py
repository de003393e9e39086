"""`SGD` against a second implementation of PyTorch's, for all combinations of its settings.

The definition: https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html, with `dampening=0`, and clipping
before it by https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array

FloatType = type[np.float32 | np.float64]
STEPS = 30


def model_of(dtype: FloatType) -> mg.Sequential:
    return mg.Sequential(mg.Dense(3, 4, dtype=dtype, rng=0), mg.Activation("tanh"), mg.Dense(4, 2, dtype=dtype, rng=1))


def falling(step: int) -> float:
    return 0.2 / (1 + step)


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lr", [0.1, falling], ids=["fixed", "schedule"])
@pytest.mark.parametrize(
    ("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)], ids=["plain", "momentum", "nesterov"]
)
@pytest.mark.parametrize("decay", [0.0, 0.05, {"*.weight": 0.05, "2.*": 0.2}], ids=["none", "all", "by pattern"])
@pytest.mark.parametrize("most", [None, 0.5, 1e6], ids=["unclipped", "clipped", "hardly clipped"])
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
    optimizer = mg.SGD(model, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=decay, max_grad_norm=most)
    for step, grads in enumerate(gradients):
        for name, parameter in named.items():
            parameter.grad = grads[name]
        optimizer.step()
        assert (falling(step) if callable(lr) else lr) == optimizer.current_lr
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    for name, parameter in named.items():
        np.testing.assert_allclose(parameter.value, expected[name], rtol=tolerance, atol=tolerance, err_msg=name)


def one_entry(value: float, **settings: float | bool) -> tuple[mg.Parameter, mg.SGD]:
    model = mg.Sequential(mg.Dense(1, 1, bias=False, dtype=np.float64, init=mg.init.constant(value)))
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
    ],
    ids=["plain", "momentum", "nesterov", "decay", "clipping"],
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
