"""`python -m minigrad`: trains for a second on the bundled digits, and says what it saw."""

from __future__ import annotations

import time

import numpy as np

import minigrad as mg


def main(seconds: float = 1.0) -> None:
    """Train a small network for some seconds, recorded, and print the report."""
    rng = np.random.default_rng(0)
    x_train, y_train, x_test, y_test = mg.datasets.load_digits()
    model = mg.Sequential(
        mg.Dense(784, 32, rng=rng), mg.Activation("relu"), mg.Dense(32, 10, rng=rng)
    )
    loss = mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, lr=0.1)
    data = mg.Batches(x_train, y_train, batch_size=50, rng=rng)
    end = time.monotonic() + seconds
    with mg.Recorder(optimizer, loss=loss, keep=(), coactivation=True) as recorder:
        while time.monotonic() < end:
            for x, y in data:
                loss.forward(model(x), y)
                model.backward(loss.backward())
                optimizer.step()
    accuracy = (model.predict(x_test).argmax(axis=1) == y_test).mean()
    print(
        f"minigrad {mg.__version__} trained {model!r} for {seconds:g} s on {len(x_train):,} "
        f"handwritten digits."
    )
    print(f"{accuracy:.1%} of {len(x_test)} others are read correctly.\n")
    print(recorder.run.report())
    history = recorder.run["0.weight"]
    unit = int(history.movement.sum(axis=0).argmax())
    print(f"\nWhere unit {unit} of the first layer moved, the one that moved most:\n")
    print(history.picture(unit=unit, shape=(28, 28)))


if __name__ == "__main__":
    main()
