"""A loop by hand that stops at any step, and goes on in new objects, gives the bits of one that
never stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from checkpoint_support import EVERYTHING, Make, Plan, Signs, Training, adam, first_difference, some

import minigrad as mg

EPOCHS = 3
OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda model: mg.SGD(model, 0.1),
    "momentum": lambda model: mg.SGD(model, 0.1, momentum=0.9, weight_decay=0.01),
    "Nesterov, clipped": lambda model: mg.SGD(
        model, 0.1, momentum=0.9, nesterov=True, max_grad_norm=0.5
    ),
    "decay by name, limited": lambda model: mg.SGD(
        model, 0.1, weight_decay={"*.weight": 0.1}, max_grad_value=0.1
    ),
    "Adam": adam,
    "Adam with amsgrad": lambda model: mg.Adam(
        model, 0.02, amsgrad=True, weight_decay=0.01, max_grad_norm=1.0
    ),
    "AdamW": lambda model: mg.AdamW(model, 0.02, weight_decay={"0.*": 0.1}),
    "RMSprop": lambda model: mg.RMSprop(model, 0.01),
    "RMSprop, centered": lambda model: mg.RMSprop(model, 0.01, centered=True, weight_decay=0.01),
    "RMSprop with momentum": lambda model: mg.RMSprop(model, 0.01, momentum=0.9),
    "RMSprop, all of it": lambda model: mg.RMSprop(
        model, 0.01, momentum=0.5, centered=True, max_grad_norm=1.0
    ),
    "somebody's own": lambda model: Signs(model, 0.01),
}
SCHEDULES: dict[str, Callable[[], Callable[[int], float]]] = {
    "steps": lambda: mg.StepDecay(0.05, every=4, factor=0.5),
    "exponential": lambda: mg.ExponentialDecay(0.05, 0.8),
    "cosine": lambda: mg.CosineDecay(0.05, steps=12, minimum=0.001),
    "warm-up": lambda: mg.LinearWarmup(0.05, steps=9),
    "composed": lambda: mg.LinearWarmup(
        mg.StepDecay(mg.CosineDecay(0.05, steps=15), 5, 0.7), steps=7
    ),
    "somebody's own": lambda: lambda step: 0.05 / (1 + step),
}
PLANS: dict[str, Plan] = {
    **{f"optimizer: {name}": Plan(make) for name, make in OPTIMIZERS.items()},
    **{
        f"{name}, float64": Plan(OPTIMIZERS[name], np.float64)
        for name in ("momentum", "Adam", "RMSprop, all of it")
    },
    **{
        f"schedule: {name}": Plan(lambda model, make=make: mg.SGD(model, make(), momentum=0.5))  # type: ignore[misc]
        for name, make in SCHEDULES.items()
    },
    **{
        f"generator: {kind}": Plan(kind=kind)
        for kind in ("MT19937", "Philox", "SFC64", "PCG64DXSM")
    },
    **{
        f"two generators: {kind}": Plan(kind=kind, shared=False)
        for kind in ("PCG64", "MT19937", "Philox")
    },
    "a third generator": Plan(noisy=True),
    "a third generator, MT19937": Plan(noisy=True, kind="MT19937", shared=False),
    "last batch dropped": Plan(batches={"drop_last": True}),
    "in order": Plan(batches={"shuffle": False}),
    "in order, last batch dropped, scaled": Plan(
        batches={"shuffle": False, "drop_last": True, "scale": 0.5}
    ),
    "scaled, float64": Plan(dtype=np.float64, batches={"scale": 1 / 255}),
    "frozen for a while": Plan(frozen=True),
    "frozen for a while, momentum": Plan(OPTIMIZERS["momentum"], frozen=True),
    "a part of the model": Plan(part=True),
    "plateau": Plan(OPTIMIZERS["momentum"], plateau=True),
}
# Six batches an epoch, five where the last is dropped, and a pause after each and after the epoch.
# In the usual run: in the middle; at the last batch, inside the loop; after the loop; and before
# the first step, which is number -1.
PAUSES = None if EVERYTHING else {-1, 4, 5, 6, 13}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody pulls a plug here, so nobody needs to wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


class Saving:
    """Writes a checkpoint at each pause, or at some."""

    def __init__(self, training: Training, directory: Path) -> None:
        self._training, self._directory = training, directory
        self.paths: list[Path] = []
        self._pauses = -1
        self()

    def __call__(self) -> None:
        if PAUSES is None or self._pauses in PAUSES:
            path = self._directory / f"{self._pauses}.npz"
            mg.save(path, **self._training.parts)
            self.paths.append(path)
        self._pauses += 1


@sparse(
    pytest.mark.parametrize(
        "name",
        dict.fromkeys([*some(PLANS, 6), "frozen for a while", "plateau", "a third generator"]),
    ),
    every=8,
)
def test_stopping_anywhere(name: str, tmp_path: Path) -> None:
    """Weights, buffers, moments, history, data and generators are the same bits at the end,
    wherever it stopped.
    """
    plan = PLANS[name]
    straight = Training(plan)
    straight.go(EPOCHS)
    saved = Training(plan)
    saving = Saving(saved, tmp_path)
    saved.go(EPOCHS, saving)
    assert "" == first_difference(straight.bits, saved.bits), "saving has changed something"
    for path in saving.paths:
        resumed = Training(plan, seed=100)
        assert "" != first_difference(straight.bits["model"], resumed.bits["model"])
        mg.load(path, **resumed.parts)
        resumed.go(EPOCHS)
        assert "" == first_difference(straight.bits, resumed.bits), f"stopped at pause {path.stem}"
    assert len(saving.paths) == (len(PAUSES) if PAUSES else 1 + EPOCHS * (1 + len(straight.data)))


@pytest.mark.parametrize("name", ["plateau", "frozen for a while"])
def test_these_plans_do_something(name: str) -> None:
    """The rate falls, and the layer is frozen for six steps: so there is something to forget."""
    training = Training(PLANS[name])
    training.go(EPOCHS)
    if name == "plateau":
        assert training.optimizer.lr in (0.1 * 0.5, 0.1 * 0.5 * 0.5)
    else:
        skips = training.optimizer.state_dict()["skipped_steps"]
        assert {"0.weight": 6, "0.bias": 6} == skips


@pytest.mark.slow
@sparse(
    pytest.mark.parametrize("kind", some(["PCG64", "MT19937", "SFC64", "Philox", "PCG64DXSM"])),
    every=2,
)
def test_stopping_at_every_step(kind: str, tmp_path: Path) -> None:
    """A training that stops after each single step, and goes on in new objects each time, gives the
    same bits.
    """
    plan = Plan(kind=kind, plateau=True)
    straight = Training(plan)
    straight.go(2)
    path = tmp_path / "checkpoint.npz"
    now = Training(plan)
    mg.save(path, **now.parts)

    class Stopped(Exception):  # noqa: N818
        pass

    def stop() -> None:
        mg.save(path, **now.parts)
        raise Stopped

    sessions = 0
    while len(now.history["val_loss"]) < 2:
        now = Training(plan, seed=50 + sessions)
        mg.load(path, **now.parts)
        sessions += 1
        try:
            now.go(2, stop)
        except Stopped:
            continue
    assert 2 * (1 + len(now.data)) == sessions
    assert "" == first_difference(straight.bits, now.bits)


def test_resuming_twice_from_one_file(tmp_path: Path) -> None:
    """Going on changes nothing in the file: it can be gone on from again, in objects that have been
    used.
    """
    plan = Plan(plateau=True)
    straight = Training(plan)
    straight.go(2)
    training = Training(plan).made(4)
    mg.save(tmp_path / "x.npz", **training.parts)
    content = (tmp_path / "x.npz").read_bytes()
    for _ in range(3):
        mg.load(tmp_path / "x.npz", **training.parts)
        training.go(2)
        assert "" == first_difference(straight.bits, training.bits)
    assert content == (tmp_path / "x.npz").read_bytes()


class Drawing(mg.Layer):
    """A layer of somebody's own with a generator, a parameter, and a buffer that counts."""

    buffers = ("seen",)

    def __init__(self, features: int, rng: np.random.Generator) -> None:
        self.noise = rng
        self.scale = mg.Parameter(np.ones(features, np.float32))
        self.seen = np.zeros((), np.int64)

    def forward(self, x: Any) -> Any:
        self.x = x + (self.noise.normal(size=x.shape).astype(x.dtype) if self.training else 0)
        self.seen = self.seen + self.training * len(x)
        return self.x * self.scale.value

    def backward(self, grad: Any) -> Any:
        self.scale.grad = (grad * self.x).sum(axis=0)
        return grad * self.scale.value


def test_a_layer_of_somebodys_own(tmp_path: Path) -> None:
    """Its generator and its buffers are kept, also where it lies deep in the model."""

    def build(seed: int) -> Training:
        training = Training(seed=seed)
        rng = np.random.default_rng(seed)
        inner = mg.Sequential(Drawing(6, rng), mg.LayerNorm(6))
        training.model = mg.Sequential(
            mg.Dense(5, 6, rng=rng), inner, mg.Dropout(0.2, rng=seed), mg.Dense(6, 3, rng=rng)
        )
        training.optimizer = adam(training.model)
        return training

    straight = build(0)
    straight.go(2)
    saved = build(0)
    saved.go(1)
    mg.save(tmp_path / "x.npz", **saved.parts)
    resumed = build(5)
    mg.load(tmp_path / "x.npz", **resumed.parts)
    layer = resumed.model[1]
    assert isinstance(layer, mg.Sequential)
    assert 22 == int(layer[0].state_dict()["seen"])
    resumed.go(2)
    assert "" == first_difference(straight.bits, resumed.bits)
