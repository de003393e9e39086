"""Random networks against brute force: what the test writes down by itself, without any of the
recorder's code.

The test keeps, for each step, the inputs and the units' gradients of each Dense (as hooks or the
layers themselves show them), the gradients, the updates and the values before and after. From these
it decides each entry's reason by the gates of the specification, entry by entry and sample by
sample.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from layer_support import Residual
from recording_support import Array, Conv1D, Scale, Switch

import minigrad as mg
from minigrad.activations import ActivationName

Batch = tuple[Array | None, Array]  # inputs (None for a bias) and the units' gradients


@dataclass
class Life:
    """What one parameter went through, step by step."""

    initial: Array
    values: list[Array] = field(default_factory=list)
    trainable: list[bool] = field(default_factory=list)
    reached: list[bool] = field(default_factory=list)
    grads: list[Array] = field(default_factory=list)
    updates: list[Array] = field(default_factory=list)
    batches: list[Batch | None] = field(default_factory=list)


class Held(mg.Layer):
    """Holds a Dense outside of any Sequential, so hooks do not see it, and writes down itself what
    went through.
    """

    def __init__(self, layer: mg.Dense) -> None:
        self.linear = layer

    def forward(self, x: Array) -> Array:
        self.x = x.copy()
        return self.linear(x)

    def backward(self, grad: Array) -> Array:
        self.grad = grad.copy()
        return self.linear.backward(grad)


class Watcher(mg.Hook):
    """Writes everything down."""

    def __init__(self, model: mg.Sequential) -> None:
        self.model = model
        self.lives = {name: Life(parameter.value.copy()) for name, parameter in model.parameters()}
        self.inputs: dict[str, Array] = {}
        self.met: dict[str, tuple[Array, Array]] = {}
        self.reached: set[str] = set()

    def on_forward(self, event: mg.Forward) -> None:
        self.inputs[event.name] = event.input

    def on_backward(self, event: mg.Backward) -> None:
        self.reached.add(event.name)
        if isinstance(event.layer, mg.Dense):
            self.met[event.name] = self.inputs[event.name], event.output_grad
        if isinstance(event.layer, Held):
            self.reached.add(f"{event.name}.linear")
            self.met[f"{event.name}.linear"] = event.layer.x, event.layer.grad

    def on_step(self, event: mg.Step) -> None:
        for name, parameter in self.model.parameters():
            life = self.lives[name]
            place, attribute = name.rsplit(".", 1)
            met = self.met.get(place)
            life.batches.append(
                None if met is None else (met[0] if attribute == "weight" else None, met[1])
            )
            life.trainable.append(parameter.trainable is True)
            life.reached.append(place in self.reached)
            life.grads.append(event.grads[name])
            life.updates.append(event.updates[name])
            life.values.append(event.values[name])
        self.met.clear()
        self.reached.clear()


def differ(a: Any, b: Any) -> bool:
    """Whether a value moved: NaN equals NaN, and the sign of zero does not count."""
    return bool(a != b) and not (np.isnan(a) and np.isnan(b))


def truth(life: Life, index: tuple[int, ...], explained: bool, coactivation: bool) -> str:
    """The reason of one entry, by the facts of the whole run."""
    before = [life.initial, *life.values[:-1]]
    counted = [
        step for step in range(len(life.values)) if life.trainable[step] and life.reached[step]
    ]
    if any(differ(a[index], b[index]) for a, b in zip(before, life.values, strict=True)):
        back = life.initial[index].tobytes() == life.values[-1][index].tobytes()
        return "RETURNED" if back else "MOVED"
    if not any(life.trainable):
        return "FROZEN"
    if not counted:
        return "NO_GRADIENT"
    if any(life.updates[step][index] != 0 for step in counted):
        return "SWALLOWED"
    if any(life.grads[step][index] != 0 for step in counted):
        return "UPDATE_ZERO"
    if not explained:
        return "GRADIENT_ZERO"
    input_active = unit_active = together = False
    for step in counted:
        batch = life.batches[step]
        assert batch is not None
        inputs, units = batch
        for sample in range(len(units)):
            fed = inputs is None or bool(inputs[sample, index[0]] != 0)
            told = bool(units[sample, index[-1]] != 0)
            input_active |= fed
            unit_active |= told
            together |= fed and told
    if not input_active:
        return "INPUT_ZERO"
    if not unit_active:
        return "UNIT_SILENT"
    if len(index) == 2 and not coactivation:
        return "NEVER_TOGETHER_OR_CANCELLED"
    return "CANCELLED" if together else "NEVER_TOGETHER"


def random_model(
    kind: str, activation: ActivationName, rng: np.random.Generator, dtype: npt.DTypeLike
) -> mg.Sequential:
    """Six inputs to three outputs, in one of several shapes."""

    def dense(n_in: int, n_out: int) -> mg.Dense:
        layer = mg.Dense(n_in, n_out, rng=rng, dtype=dtype, bias=bool(rng.random() < 0.8))
        # Whole numbers cancel exactly, and a unit far below 0 is dead where the activation has a
        # flat side.
        layer.weight.value = np.rint(layer.weight.value * 2)
        if layer.bias is not None:
            layer.bias.value = np.where(rng.random(n_out) < 0.3, -60.0, rng.integers(-1, 2, n_out))
        return layer

    between = [mg.Activation(activation) for _ in range(3)]
    if kind == "plain":
        return mg.Sequential(dense(6, 5), between[0], dense(5, 4), between[1], dense(4, 3))
    if kind == "linear":
        return mg.Sequential(dense(6, 3))
    if kind == "nested":
        return mg.Sequential(
            mg.Sequential(dense(6, 4), between[0]), mg.Sequential(Scale(4, dtype), dense(4, 3))
        )
    if kind == "convolution":
        return mg.Sequential(Conv1D(3, 1, rng, dtype), between[0], dense(4, 3))
    if kind == "residual":
        return mg.Sequential(
            dense(6, 4), Residual(dense(4, 4), between[0]), Scale(4, dtype), dense(4, 3)
        )
    if kind == "normalized":
        norms = mg.BatchNorm(4, dtype=dtype), mg.LayerNorm(4, dtype=dtype)
        return mg.Sequential(
            dense(6, 4), norms[0], between[0], mg.Dropout(0.5, rng=rng), norms[1], dense(4, 3)
        )
    if kind == "switch":
        return mg.Sequential(
            dense(6, 4), Switch(dense(4, 4), dense(4, 4), dense(4, 4)), between[0], dense(4, 3)
        )
    assert kind == "held"
    return mg.Sequential(dense(6, 4), between[0], Held(dense(4, 4)), between[1], dense(4, 3))


def random_optimizer(
    model: mg.Sequential, dtype: npt.DTypeLike, rng: np.random.Generator
) -> mg.Optimizer:
    """Momentum, decay, clipping, schedules, and rates so small that rounding takes the updates."""
    momentum = float(rng.choice([0, 0, 0.5]))
    rates = [0.5, 1e-3, 1e-8, 1e-46] if dtype is np.float32 else [0.5, 1e-17, 5e-324]
    rate = float(rng.choice(rates))
    decay: Any = [0.0, 0.0, 0.01, {"*.weight": 0.01}][rng.integers(4)]
    lr = (lambda step: rate * (step % 3 != 0)) if rng.random() < 0.3 else rate
    nesterov = bool(momentum and rng.random() < 0.5)
    norm = [None, None, 1.0, 1e-25][rng.integers(4)]
    kind = rng.choice(["sgd", "adam", "adamw", "rmsprop"], p=[0.5, 0.2, 0.15, 0.15])
    value = [None, None, 0.5, 1e-25][rng.integers(4)]
    flag = bool(rng.random() < 0.5)
    if kind == "adam":
        betas = [(0.9, 0.999), (0.0, 0.0), (0.5, 0.9)][rng.integers(3)]
        return mg.Adam(
            model,
            lr,
            betas=betas,
            amsgrad=flag,
            weight_decay=decay,
            max_grad_norm=norm,
            max_grad_value=value,
        )
    if kind == "adamw":
        return mg.AdamW(
            model, lr, amsgrad=flag, weight_decay=decay, max_grad_norm=norm, max_grad_value=value
        )
    if kind == "rmsprop":
        return mg.RMSprop(
            model,
            lr,
            momentum=momentum,
            centered=flag,
            weight_decay=decay,
            max_grad_norm=norm,
            max_grad_value=value,
        )
    return mg.SGD(
        model,
        lr,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=decay,
        max_grad_norm=norm,
        max_grad_value=value,
    )


def freeze_some(model: mg.Sequential, rng: np.random.Generator) -> None:
    """Another choice of frozen parameters, a layer or a single parameter at a time."""
    model.unfreeze()
    for _, parameter in model.parameters():
        parameter.trainable = bool(rng.random() < 0.7)
    if not any(parameter.trainable for _, parameter in model.parameters()):
        model.unfreeze()


def simulate(
    kind: str, activation: ActivationName, dtype: npt.DTypeLike, coactivation: bool, seed: int
) -> tuple[mg.Run, Watcher, mg.Sequential]:
    """Train a random network on sparse whole numbers, with the recorder and the watcher side by
    side.
    """
    rng = np.random.default_rng([seed, *f"{kind} {activation} {dtype}".encode()])
    model = random_model(kind, activation, rng, dtype)
    optimizer = random_optimizer(model, dtype, rng)
    watcher = Watcher(model)
    model.attach(watcher)
    optimizer.attach(watcher)
    habit = rng.choice(["never", "once", "often"])
    if habit == "once":
        freeze_some(model, rng)
    dark = rng.random(6) < 0.25
    silent = rng.random(3) < 0.25
    density = float(rng.choice([0.15, 0.5]))
    switches = [layer for layer in model if isinstance(layer, Switch)]
    with mg.Recorder(optimizer, coactivation=coactivation, keep=()) as recorder:
        for _ in range(int(rng.integers(1, 9))):
            if habit == "often":
                freeze_some(model, rng)
            for switch in switches:
                switch.which = int(rng.integers(2))
            rows = int(rng.integers(2 if kind == "normalized" else 1, 5))
            x = rng.integers(-2, 3, (rows, 6)) * (rng.random((rows, 6)) < density) * ~dark
            grad = rng.integers(-1, 2, (rows, 3)) * (rng.random((rows, 3)) < density) * ~silent
            model(x.astype(dtype))
            model.backward(grad.astype(dtype))
            optimizer.step()
    return recorder.run, watcher, model


def entries(shape: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    """All indices of an array."""
    return product(*map(range, shape))


KINDS = ("plain", "linear", "nested", "convolution", "residual", "normalized", "switch", "held")
SEEDS = 7 if os.environ.get("MINIGRAD_ALL_ACCIDENTS") else 4


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@sparse(
    pytest.mark.parametrize("kind", KINDS),
    pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=4,
)
def test_every_entry_has_the_reason_that_brute_force_finds(
    kind: str, activation: ActivationName, dtype: npt.DTypeLike
) -> None:
    """On random networks each entry's reason, and every count, is what a record of everything
    says.
    """
    for seed, coactivation in product(range(SEEDS), (True, False)):
        run, watcher, model = simulate(kind, activation, dtype, coactivation, seed)
        explained = {
            f"{place}.{attribute}"
            for place, layer in model.layers()
            if isinstance(layer, mg.Dense)
            for attribute in ("weight", "bias")
        }
        for name, life in watcher.lives.items():
            where = f"{kind} {activation} seed {seed}, coactivation {coactivation}, {name}"
            reasons = run[name].why.reasons
            for index in entries(life.initial.shape):
                told = str(reasons[index])
                assert told == truth(life, index, name in explained, coactivation), (where, index)
            check_counts(run[name], life, where)


def check_counts(history: mg.recording.ParameterHistory, life: Life, where: str) -> None:
    """Moves, lost updates, first and last moves and the way made, against a record of
    everything.
    """
    before = [life.initial, *life.values[:-1]]
    moved = np.array(
        [(a != b) & ~(np.isnan(a) & np.isnan(b)) for a, b in zip(before, life.values, strict=True)]
    )
    counted = np.array([t and r for t, r in zip(life.trainable, life.reached, strict=True)])
    counted = counted.reshape(-1, *[1] * life.initial.ndim)
    lost = (np.array(life.updates) != 0) & counted & ~moved
    last = len(moved) - 1 - moved[::-1].argmax(axis=0)
    np.testing.assert_array_equal(history.moves, moved.sum(axis=0), err_msg=where)
    np.testing.assert_array_equal(history.moved, moved.any(axis=0), err_msg=where)
    np.testing.assert_array_equal(history.swallowed, lost.sum(axis=0), err_msg=where)
    np.testing.assert_array_equal(
        history.first_move, np.where(moved.any(axis=0), moved.argmax(axis=0), -1), err_msg=where
    )
    np.testing.assert_array_equal(
        history.last_move, np.where(moved.any(axis=0), last, -1), err_msg=where
    )
    with np.errstate(invalid="ignore", over="ignore"):
        way = np.abs(np.diff(np.array([life.initial, *life.values]), axis=0).astype(np.float64))
    np.testing.assert_allclose(
        history.movement, np.where(np.isfinite(way), way, 0).sum(axis=0), rtol=1e-5, err_msg=where
    )
    assert sum(history.why.counts.values()) == history.size


@pytest.mark.slow
def test_brute_force_has_met_every_reason() -> None:
    """The random networks above really produce each reason, so that agreement on them means
    something.
    """
    activations: tuple[ActivationName, ...] = ("relu", "tanh")
    seen: dict[bool, set[str]] = {True: set(), False: set()}
    for kind, activation in product(KINDS, activations):
        for seed, coactivation in product(range(SEEDS), (True, False)):
            run, _, _ = simulate(kind, activation, np.float32, coactivation, seed)
            for name in run:
                seen[coactivation].update(map(str, run[name].why.counts))
    everything = {str(reason) for reason in mg.Reason} - {"UNKNOWN"}
    assert seen[True] == everything - {"NEVER_TOGETHER_OR_CANCELLED"}
    assert seen[False] == everything - {"NEVER_TOGETHER"}
