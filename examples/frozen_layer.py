"""The layer that seemed frozen: a story about NumPy's print, on real handwritten digits.

Someone trains a small classifier, prints the first layer's weights before and after, sees the same
numbers, and concludes that the layer does not learn. It does. This program trains the story's
network, prints what that person saw, and then asks the record which entries did not move, and why.

    python examples/frozen_layer.py                 # the bundled digits: a second, no network
    python examples/frozen_layer.py --data mnist    # the story's own data: four files in
    $MINIGRAD_DATA, or a download
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg

# The story's rate is 0.01 on MNIST: 1,200 steps an epoch. The bundled digits have 40 times fewer
# images, hence 40 times fewer steps, so they need a larger one: at 0.3 the network learns as well
# in as many epochs.
RATES = {"digits": 0.3, "mnist": 0.01}


def main(argv: list[str] | None = None) -> None:
    """Train, look as the person of the story did, then look properly."""
    options = parse(argv)
    rng = np.random.default_rng(options.seed)
    load = mg.datasets.load_mnist if options.data == "mnist" else mg.datasets.load_digits
    x_train, y_train, x_test, y_test = load()

    weights = mg.init.uniform(-0.5, 0.5)
    model = mg.Sequential(
        mg.Dense(784, 10, init=weights, dtype=options.dtype, rng=rng),
        mg.Activation("sigmoid"),
        mg.Dense(10, 10, init=weights, dtype=options.dtype, rng=rng),
    )
    loss = mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, lr=RATES[options.data])
    data = mg.Batches(x_train, y_train, batch_size=50, rng=rng)

    before = model[0].weight.value.copy()
    with mg.Recorder(optimizer, loss=loss, data=data, coactivation=True, budget="2GB") as recorder:
        for _ in progress(range(options.epochs)):
            for x, y in data:
                loss.forward(model(x), y)
                model.backward(loss.backward())
                optimizer.step()
    after = model[0].weight.value

    heading("What the person of the story saw: the first layer's weights, before and after")
    print(before, after, sep="\n\n")
    same = str(before) == str(after)
    print(
        f"\nThe two prints are {'identical, to the letter' if same else 'different'}. So the layer "
        f"did not learn?"
    )

    accuracy = (model.predict(x_test).argmax(axis=1) == y_test).mean()
    heading(
        f"But the network reads {accuracy:.1%} of {len(x_test):,} digits that it never saw. What "
        f"did move?"
    )
    print(mg.compare(before, after, inputs=x_train, names=("pixel", "unit")))

    run = recorder.run
    heading("What the record says")
    print(run.report())

    history = run["0.weight"]
    heading(
        "One entry of the corner that was printed, one from the middle of the picture, and one of "
        "each other kind"
    )
    for row, column in examples(history):
        print("-", history.why.at(row, column))

    heading("Where the weights of unit 3 moved, as the 28 x 28 pixels that feed it")
    print(history.picture(unit=3, shape=(28, 28)))

    picture = options.output / f"frozen_layer_{options.data}.png"
    picture.write_bytes(history.png(shape=(28, 28)))
    heading("What was kept")
    print(
        f"{len(run.steps):,} steps, every update of every entry: {run.bytes / 1e6:,.0f} MB in "
        f"memory."
    )
    print(f"{run.verify()}.")
    print(f"All ten units, red where a weight grew and blue where it fell: {picture}")
    if options.animation:
        moving = options.output / f"learning_{options.data}.png"
        history.animation(moving, shape=(28, 28))
        print(f"The same, as they learn: {moving}")


def examples(history: Any) -> Iterator[tuple[int, int]]:
    """An entry of the printed corner, one from the middle, and the first of every other reason."""
    yield 0, 3
    yield 14 * 28 + 14, 3
    for reason in history.why.counts:
        if reason not in (mg.Reason.INPUT_ZERO, mg.Reason.MOVED):
            row, column = np.argwhere(history.why.where(reason))[0]
            yield int(row), int(column)


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * min(len(text), 100)}\n")


def progress(epochs: Iterable[int]) -> Iterable[int]:
    """The epochs, with a progress line on a terminal if tqdm is installed."""
    if not sys.stderr.isatty():
        return epochs
    try:
        from tqdm import tqdm
    except ImportError:
        return epochs
    shown: Iterable[int] = tqdm(epochs, desc="training", unit="epoch", leave=False)
    return shown


def parse(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="The layer that seemed frozen.")
    parser.add_argument("--data", choices=sorted(RATES), default="digits")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--output", type=Path, default=Path(), help="the directory for the pictures"
    )
    parser.add_argument(
        "--animation", action="store_true", help="draw the units as they learn, as well"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
