"""Tools for the tests of optimizers: a training with fixed gradients, and the same in plain Python
floats.

Gradients are small fractions, exact in float32 too, so that they are the same numbers on every
machine. Some parameters are frozen, or not reached by backward, for some of the steps.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

import minigrad as mg
from minigrad.arrays import Array

FloatType: TypeAlias = type[np.float32] | type[np.float64]

STEPS = 30
START = (1.0, -2.0, 0.5, 0.25, -0.75, 3.0)
NAMES = ("0.weight", "0.weight", "0.bias", "0.bias", "1.weight", "1.weight")
"""The parameter that each of the six entries belongs to."""

FROZEN = {"0.weight": range(8, 14), "0.bias": range(5, 14)}
UNREACHED = {"1.weight": (0, 1, 2, 17, 18)}

Rule: TypeAlias = Callable[..., list[float]]
"""`rule(value, gradients, rates, decay, **settings)`: the values of one entry after each step; a
gradient of None is a step in which the entry is skipped."""


def model_of(dtype: FloatType = np.float64) -> mg.Sequential:
    """Three parameters of two entries each, with the values of START."""
    model = mg.Sequential(
        mg.Dense(1, 2, dtype=dtype, rng=0), mg.Dense(2, 1, bias=False, dtype=dtype, rng=0)
    )
    mg.ParameterVector.of(model).values = np.array(START)
    return model


def gradient(step: int, entry: int) -> float:
    """Somewhere between -5 and 5, and sometimes 0.

    Larger for some entries and steps than for others.
    """
    return ((7 * entry + 3 * step + entry * step) % 11 - 5) / 4 * (1 + step % 4) / (1 << entry % 3)


def gradients(steps: int, skipping: bool) -> list[list[float | None]]:
    """The gradients of the six entries for each step, with None where the parameter is skipped."""
    skipped: dict[str, Sequence[int]] = {**FROZEN, **UNREACHED} if skipping else {}
    return [
        [
            None if step in skipped.get(name, ()) else gradient(step, entry)
            for entry, name in enumerate(NAMES)
        ]
        for step in range(steps)
    ]


def train(
    optimizer: mg.Optimizer, steps: int, *, skipping: bool, start: int = 0
) -> list[list[float]]:
    """Make the steps from `start` to below `steps`; the values after each."""
    found = []
    vector = mg.ParameterVector.of(optimizer.model)
    for step in range(start, steps):
        for name, parameter in optimizer.model.parameters():
            parameter.trainable = not (skipping and step in FROZEN.get(name, ()))
            if not (skipping and step in UNREACHED.get(name, ())):
                numbers = [gradient(step, entry) for entry, own in enumerate(NAMES) if own == name]
                parameter.grad = np.reshape(numbers, parameter.shape)
        optimizer.step()
        found.append([float(value) for value in vector.values])
    return found


def falling(step: int) -> float:
    """A schedule."""
    return 0.2 / (1 + step)


# -- the second implementation -------------------------------------------------------------------


def clipped(
    grads: Sequence[float | None], max_grad_value: float | None, max_grad_norm: float | None
) -> list[float | None]:
    """First each entry to [-v, v], then all together to a norm, as by clip_grad_value_ and then
    clip_grad_norm_.

    https://docs.pytorch.org/docs/stable/generated/torch.nn.utils.clip_grad_norm_.html
    """
    values = list(grads)
    if max_grad_value is not None:
        values = [
            None if g is None else max(-max_grad_value, min(max_grad_value, g)) for g in values
        ]
    if max_grad_norm is not None:
        norm = math.sqrt(math.fsum(g * g for g in values if g is not None))
        factor = min(1.0, max_grad_norm / (norm + 1e-6))
        values = [None if g is None else g * factor for g in values]
    return values


def by_loops(
    rule: Rule,
    *,
    lr: float | Callable[[int], float],
    skipping: bool,
    steps: int = STEPS,
    weight_decay: float | Mapping[str, float] = 0.0,
    max_grad_norm: float | None = None,
    max_grad_value: float | None = None,
    **settings: Any,
) -> list[list[float]]:
    """The values after each step, entry by entry, in plain Python floats."""
    grads = [clipped(step, max_grad_value, max_grad_norm) for step in gradients(steps, skipping)]
    rates = [float(lr(step)) if callable(lr) else lr for step in range(steps)]
    decays = {name: weight_decay if isinstance(weight_decay, float) else 0.0 for name in NAMES}
    if isinstance(
        weight_decay, Mapping
    ):  # the patterns that these tests use; later ones overrule earlier ones
        matches = {
            "*.weight": ("0.weight", "1.weight"),
            "0.*": ("0.weight", "0.bias"),
            "0.bias": ("0.bias",),
        }
        for pattern, decay in weight_decay.items():
            decays |= dict.fromkeys(matches[pattern], decay)
    entries = [
        rule(START[entry], [step[entry] for step in grads], rates, decays[name], **settings)
        for entry, name in enumerate(NAMES)
    ]
    return [list(step) for step in zip(*entries, strict=True)]


# -- what holds for every optimizer --------------------------------------------------------------

Make: TypeAlias = Callable[[mg.Layer], mg.Optimizer]


def check_loops(
    make: Make, expected: list[list[float]], dtype: FloatType, *, skipping: bool
) -> None:
    """Every value after every step is that of the second implementation."""
    tolerance = 1e-12 if dtype is np.float64 else 5e-5
    found = train(make(model_of(dtype)), len(expected), skipping=skipping)
    for step, (right, mine) in enumerate(zip(expected, found, strict=True)):
        np.testing.assert_allclose(
            mine, right, rtol=tolerance, atol=tolerance, err_msg=f"after step {step}"
        )


def check_numbers(make: Make, numbers: str) -> None:
    """The six values after 24 steps, where some steps skip some parameters, are these."""
    found = train(make(model_of()), 24, skipping=True)[-1]
    np.testing.assert_allclose(
        found, [float(number) for number in numbers.split()], rtol=1e-12, atol=1e-12
    )


class Updates(mg.Hook):
    """Keeps a copy of every update."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Array]] = []

    def on_step(self, event: mg.Step) -> None:
        self.kept.append(dict(event.updates))


def check_replay(make: Make, dtype: FloatType) -> None:
    """The initial values and the updates, added in order, give the final values, bit for bit."""
    model, updates = model_of(dtype), Updates()
    optimizer = make(model)
    optimizer.attach(updates)
    replayed = model.state_dict()
    with mg.Recorder(optimizer) as recorder:
        train(optimizer, STEPS, skipping=True)
    for kept in updates.kept:
        for name, value in replayed.items():
            assert dtype == kept[name].dtype
            value += kept[name]
    final = model.state_dict()
    assert STEPS == len(updates.kept)
    assert {name: value.tobytes() for name, value in final.items()} == {
        n: v.tobytes() for n, v in replayed.items()
    }
    for name, value in final.items():
        assert value.tobytes() == recorder.run[name].value(STEPS - 1).tobytes()


def check_resume(make: Make, dtype: FloatType, stop: int) -> None:
    """Stopping after some steps and going on in new objects gives the same bits.

    The state survives pickling.
    """
    straight = train(make(model_of(dtype)), STEPS, skipping=True)
    first = make(model_of(dtype))
    train(first, stop, skipping=True)
    saved = pickle.loads(pickle.dumps((first.model.state_dict(), first.state_dict())))
    second = make(model_of(dtype))
    train(second, 3, skipping=False)  # whatever it did before is forgotten
    second.model.load_state_dict(saved[0])
    second.load_state_dict(saved[1])
    assert straight[stop:] == train(second, STEPS, skipping=True, start=stop)
    assert repr(first.state_dict()) == repr(saved[1])  # nobody wrote into what was saved
