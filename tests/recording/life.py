"""A process that goes on with a recorded training, or begins one, and dies at some moment.

Its arguments: a directory, a seed, after how many seconds it dies, and the settings of the recorder
as JSON. It records into `run`, and notes in `truth` what really happened: each line one step, as
JSON, before the recorder hears of it. The first line of a life says which step of the record its
first one is.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.errors import RunError

SIZES = 6, 5, 3


class Truth(mg.Hook):
    """Notes what each step did, unbuffered."""

    def __init__(self, place: Path) -> None:
        self._file = os.open(place / "truth", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.inputs: Any = None

    def write(self, **facts: Any) -> None:
        os.write(self._file, (json.dumps(facts) + "\n").encode())

    def on_step(self, event: mg.Step) -> None:
        flat = event.flat
        self.write(
            values=flat.values.tobytes().hex(),
            grads=(flat.grads != 0).tolist(),
            updates=(flat.update != 0).tolist(),
            inputs=(self.inputs != 0).any(axis=0).tolist(),
        )


def network() -> mg.Sequential:
    """With a unit that is silent, and one that mostly is."""
    layers = mg.Dense(SIZES[0], SIZES[1], rng=0), mg.Activation("relu"), mg.Dense(*SIZES[1:], rng=1)
    model = mg.Sequential(*layers)
    dict(model.parameters())["0.bias"].value[...] = [-50, 0, 0, 0, -1]
    return model


def live(place: Path, seed: int, settings: dict[str, Any]) -> None:
    """Train until death, at most 400 steps."""
    chance = random.Random(seed)
    generator = np.random.default_rng(seed)
    model, path = network(), place / "run"
    try:
        run = mg.Run.open(path)
    except RunError:
        run = None
    if run is not None and chance.random() < 0.8:  # the others go on from values of their own
        run.restore(model, int(run.exact_steps[-1]) if len(run.exact_steps) else None)
    if seed % 3 == 0:
        model[0].weight.value[2] = 1e6  # so large that updates are lost to rounding
    loss = mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, chance.choice([0.1, 1e-6]))
    truth = Truth(place)
    optimizer.attach(truth)
    resume = run is not None or (path.exists() and chance.random() < 0.5)
    recorder = mg.Recorder(optimizer, loss=loss, path=path, resume=resume, **settings)
    recorder.start()
    seen = mg.Run.open(path).steps
    truth.write(first=seen[-1] + 1 if seen else 0, values=optimizer_values(model))
    bright = generator.integers(20, 60)
    for step in range(400):
        x = generator.random((4, SIZES[0])).astype(np.float32)
        x[:, 0] = 0
        if step < bright:
            x[:, 1] = 0
        truth.inputs = x
        loss.forward(model(x), generator.integers(0, 3, 4))
        model.backward(loss.backward())
        optimizer.step()
        if chance.random() < 0.02:
            optimizer.flush()
        if step > 3 and chance.random() < 0.01:
            recorder.run  # noqa: B018 - looking is not doing
    recorder.stop()


def optimizer_values(model: mg.Sequential) -> str:
    """All values, as the truth has them."""
    return mg.ParameterVector.of(model).values.tobytes().hex()


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process, like any kill
    signal.setitimer(signal.ITIMER_REAL, float(sys.argv[3]))
    live(Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[4]))
