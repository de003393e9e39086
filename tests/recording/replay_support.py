"""What the tests of replay share: every optimizer, and runs with what was live meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from recording_support import Array, Tape, flat, network, same, train

import minigrad as mg

Make = Callable[[mg.Layer], mg.Optimizer]


class SignDescent(mg.Optimizer):
    """Somebody's own optimizer."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(np.sign(grads), -self.current_lr, out=update)


OPTIMIZERS: dict[str, Make] = {
    "plain": lambda model: mg.SGD(model, 0.1),
    "momentum": lambda model: mg.SGD(model, 0.1, momentum=0.9),
    "gentle momentum": lambda model: mg.SGD(model, 0.01, momentum=0.9),
    "nesterov": lambda model: mg.SGD(model, 0.1, momentum=0.9, nesterov=True),
    "decay": lambda model: mg.SGD(model, 0.1, weight_decay=0.01),
    "decay of weights": lambda model: mg.SGD(
        model, 0.1, momentum=0.5, weight_decay={"*.weight": 0.1}
    ),
    "clipping": lambda model: mg.SGD(model, 0.1, max_grad_norm=0.5),
    "clipping entries": lambda model: mg.SGD(model, 0.1, max_grad_value=0.25),
    "schedule": lambda model: mg.SGD(model, lambda step: 0.2 / (1 + step)),
    "everything": lambda model: mg.SGD(
        model,
        lambda step: 0.1 * 0.9**step,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        max_grad_norm=1.0,
    ),
    "tiny": lambda model: mg.SGD(model, 1e-7),
    "adam": lambda model: mg.Adam(model, 0.01),
    "adam amsgrad": lambda model: mg.Adam(model, 0.01, betas=(0.5, 0.9), amsgrad=True),
    "adam everything": lambda model: mg.Adam(
        model,
        mg.LinearWarmup(mg.CosineDecay(0.05, steps=20, minimum=1e-3), steps=5),
        amsgrad=True,
        weight_decay={"*.weight": 0.01},
        max_grad_norm=1.0,
        max_grad_value=0.5,
    ),
    "adamw": lambda model: mg.AdamW(model, 0.01),
    "adamw decay of weights": lambda model: mg.AdamW(
        model, mg.StepDecay(0.1, 10, 0.5), weight_decay={"*.weight": 0.1}
    ),
    "rmsprop": lambda model: mg.RMSprop(model),
    "rmsprop momentum": lambda model: mg.RMSprop(
        model, mg.ExponentialDecay(0.02, 0.9), momentum=0.9
    ),
    "rmsprop everything": lambda model: mg.RMSprop(
        model,
        0.01,
        momentum=0.5,
        centered=True,
        weight_decay=0.01,
        max_grad_norm=1.0,
        max_grad_value=0.5,
    ),
    "own": lambda model: SignDescent(model, 0.01),
}
STATEFUL = ["momentum", "adam everything", "adamw", "rmsprop everything"]


def replayed(history: mg.recording.ParameterHistory) -> Array:
    """What the promise says, word for word."""
    value = history.initial
    for update in history.updates:
        value += update
    return value


def check_against(run: mg.Run, tape: Tape, first: int = 0) -> None:
    """Every step that the run calls exact has the values that were live after it."""
    assert set(run.exact_steps.tolist()) <= set(run.steps)
    for step in run.exact_steps.tolist():
        for name in run.names:
            assert same(run[name].value(step), tape.values[step - first][name]), (name, step)


@cache
def recorded() -> tuple[mg.Run, Tape, Array]:
    """A run of 40 steps with keyframes every 16, what was live, and the initial values."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    initial = flat(model).copy()
    with mg.Recorder(optimizer, keep=("update", "grad"), keyframe_every=16) as recorder:
        train(model, optimizer, 40)
    return recorder.run, tape, initial


def run_of(
    before: Callable[[mg.Sequential, int], None] | None = None, steps: int = 20, **settings: Any
) -> mg.Run:
    """A run of the network 5-4-3, which `before` may meddle with before a step."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)

    def act(step: int) -> None:
        if before is not None:
            before(model, step)

    with mg.Recorder(optimizer, **settings) as recorder:
        train(model, optimizer, steps, act)
    return recorder.run
