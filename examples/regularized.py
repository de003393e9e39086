"""A better reader of digits: normalization, dropout, AdamW and a schedule, recorded.

    python examples/regularized.py                 # the bundled digits: some seconds, no network
    python examples/regularized.py --epochs 10

It prints the model, how the training went, and how large the updates of each weight were, relative
to the weight: the schedule at work.
"""

from __future__ import annotations

import argparse

import numpy as np

import minigrad as mg


def main(argv: list[str] | None = None) -> None:
    """Train with everything that helps, then look at the size of the updates."""
    parser = argparse.ArgumentParser(description="Train a better reader of the bundled digits.")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)

    rng = np.random.default_rng(options.seed)
    x_train, y_train, x_test, y_test = mg.datasets.load_digits()
    model = mg.Sequential(
        mg.Dense(784, 64, bias=False, rng=rng),  # the normalization that follows has a bias
        mg.BatchNorm(64),
        mg.Activation("gelu"),
        mg.Dropout(0.3, rng=rng),
        mg.Dense(64, 10, rng=rng),
    )
    print(model.summary(), end="\n\n")

    data = mg.Batches(x_train, y_train, batch_size=64, rng=rng)
    loss = mg.SoftmaxCrossEntropy(label_smoothing=0.1)
    steps = options.epochs * len(data)
    optimizer = mg.AdamW(
        model,
        lr=mg.LinearWarmup(mg.CosineDecay(5e-3, steps=steps), steps=len(data)),
        weight_decay={"0.weight": 0.05, "4.weight": 0.05},  # neither biases nor scales
    )
    with mg.Recorder(optimizer, loss=loss, data=data, aggregates=False) as recorder:
        for epoch in range(options.epochs):
            values = []
            for x, y in data:
                values.append(loss.forward(model(x), y))
                model.backward(loss.backward())
                optimizer.step()
            if epoch % 5 == 4 or epoch + 1 == options.epochs:
                accuracy = (model.predict(x_test).argmax(axis=1) == y_test).mean()
                print(
                    f"epoch {epoch + 1:2}: mean loss {np.mean(values):.3f}, {accuracy:.1%} of "
                    f"{len(y_test)} digits held out"
                )

    run = recorder.run
    print(f"\n{run.verify()}")
    print("\nThe size of an update, relative to the weight: first step, largest, last step")
    for name in ("0.weight", "4.weight"):
        ratio = np.asarray(run[name].ratio)
        print(
            f"  {name}: {ratio[0]:.1e}, {ratio.max():.1e} in step {ratio.argmax()}, {ratio[-1]:.1e}"
        )


if __name__ == "__main__":
    main()
