"""A training stopped in the middle of an epoch and resumed gives the same bits as one that was not.

    python examples/stop_and_resume.py               # the bundled digits: a second, no network
    python examples/stop_and_resume.py --stop-after 7 --epochs 4

The model has dropout, batch normalization and Adam, and one random generator draws everything:
initial weights, what is left out, and the order of the samples. Ctrl-C, instead of the hook that
stops it here, would do the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

import minigrad as mg

X_TRAIN, Y_TRAIN, X_TEST, Y_TEST = mg.datasets.load_digits()


class Parts(NamedTuple):
    """What `fit` works with."""

    model: mg.Sequential
    loss: mg.SoftmaxCrossEntropy
    optimizer: mg.Adam
    data: mg.Batches


def build(seed: int) -> Parts:
    """Everything anew, as another process would build it."""
    rng = np.random.default_rng(seed)
    model = mg.Sequential(
        mg.Dense(784, 32, bias=False, rng=rng),
        mg.BatchNorm(32),
        mg.Activation("relu"),
        mg.Dropout(0.2, rng=rng),
        mg.Dense(32, 10, rng=rng),
    )
    return Parts(
        model,
        mg.SoftmaxCrossEntropy(),
        mg.Adam(model, lr=3e-3),
        mg.Batches(X_TRAIN, Y_TRAIN, 50, rng=rng),
    )


class StopAfter(mg.Hook):
    """Ends the training after so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step(self, event: mg.Step) -> None:
        """Count."""
        if event.step + 1 == self.steps:
            event.stop(f"after {self.steps} steps")


def main(argv: list[str] | None = None) -> None:
    """Train without a stop, and with one, and compare."""
    parser = argparse.ArgumentParser(description="Stop a training in the middle, and go on.")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--stop-after", type=int, default=100, metavar="STEPS")
    options = parser.parse_args(argv)
    validation = (X_TEST, Y_TEST)

    print("Without a stop:")
    uninterrupted = build(seed=0)
    never_stopped = mg.fit(
        *uninterrupted, epochs=options.epochs, validation_data=validation, progress=True
    )

    with TemporaryDirectory() as folder:
        path = Path(folder) / "digits.npz"
        print("\nStopped:")
        hooks = [StopAfter(options.stop_after), mg.Checkpoint(path)]
        mg.fit(
            *build(seed=0),
            epochs=options.epochs,
            validation_data=validation,
            hooks=hooks,
            progress=True,
        )
        print(
            f"\nBuilt anew with another seed, and resumed from a checkpoint of "
            f"{path.stat().st_size:,} bytes:"
        )
        resumed = build(seed=1)
        history = mg.fit(
            *resumed,
            epochs=options.epochs,
            validation_data=validation,
            resume_from=path,
            progress=True,
        )

    before, after = uninterrupted.model.state_dict(), resumed.model.state_dict()
    same = all(before[name].tobytes() == after[name].tobytes() for name in before)
    print(
        f"\nThe {len(before)} arrays of the model are {'the same bits' if same else 'different'}."
    )
    print(
        f"The two histories are "
        f"{'the same' if dict(history) == dict(never_stopped) else 'different'}:\n\n{history}"
    )


if __name__ == "__main__":
    main()
