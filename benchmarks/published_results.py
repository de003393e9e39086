"""Results that others published on MNIST: with their settings and three seeds, do we get the same?

    MINIGRAD_DATA=path/to/mnist python benchmarks/published_results.py --jobs 2     # all of them,
    about five minutes python benchmarks/published_results.py --only b --seeds 0 --epochs 2
      # a quick try

- a: scikit-learn 0.24, "Visualization of MLP weights on MNIST"
- a-same: the same from the same random numbers as scikit-learn's, in float64
- b: Nielsen, "Neural Networks and Deep Learning", chapter 1
- c: Keras, examples/mnist_mlp.py

Runs share `--jobs` processes, with one BLAS thread each. What differs from the published runs, and
why, stands in docs/explanation/published-results.md.
"""

from __future__ import annotations

import os

os.environ.pop("OPENBLAS_CORETYPE", None)  # before NumPy: OpenBLAS's own choice of kernels
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import math
import multiprocessing
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt
from machine import processor
from typing_extensions import override

import minigrad as mg

Figures: TypeAlias = dict[str, float]
"""What a run gave, by name; accuracies from 0 to 1."""


@final
class Lines(mg.Hook):
    """A line for each epoch, for who waits: on stderr, so that stdout has the tables alone."""

    def __init__(self, run: str) -> None:
        self.run = run

    @override
    def on_epoch(self, event: mg.Epoch) -> None:
        say(self.run, event.epoch, **event.metrics)


def say(run: str, epoch: int, **figures: float) -> None:
    """One line; epochs count from 1 for people."""
    message = ", ".join(f"{name} {figure:.4f}" for name, figure in figures.items())
    print(f"{run}, epoch {epoch + 1}: {message}", file=sys.stderr, flush=True)


def dense(
    n_in: int,
    n_out: int,
    draw: Callable[[tuple[int, ...]], npt.ArrayLike],
    dtype: npt.DTypeLike = np.float32,
) -> mg.Dense:
    """A layer whose biases are drawn as its weights are, `draw(shape)`.

    In `Dense` alone they start at 0.
    """
    layer = mg.Dense(n_in, n_out, init=lambda shape, _: draw(shape), dtype=dtype)
    if layer.bias is not None:
        layer.bias.value = draw((n_out,))
    return layer


# -- a: scikit-learn -----------------------------------------------------------------------------

ALPHA = 1e-4
BATCH = 200


class Penalty:
    """scikit-learn's L2 term: alpha / (2 n) times the sum of squared weights, n the batch size.

    Its gradient, alpha / n W, is what `weight_decay` adds. It is called as a metric, between
    forward and step.
    """

    def __init__(self, model: mg.Layer) -> None:
        self.weights = [
            parameter for name, parameter in model.parameters() if name.endswith("weight")
        ]

    def __call__(self, outputs: npt.NDArray[Any], targets: npt.NDArray[Any]) -> float:
        return (
            ALPHA
            / (2 * BATCH)
            * sum(float(np.vdot(weight.value, weight.value)) for weight in self.weights)
        )


def perceptron(
    rng: np.random.Generator | np.random.RandomState, dtype: npt.DTypeLike
) -> tuple[mg.Sequential, mg.SGD]:
    """784-50-10 and its optimizer; weights and biases are drawn as scikit-learn draws them."""

    def glorot(n_in: int, n_out: int) -> mg.Dense:
        bound = math.sqrt(6 / (n_in + n_out))
        return dense(n_in, n_out, lambda shape: rng.uniform(-bound, bound, shape), dtype)

    model = mg.Sequential(glorot(784, 50), mg.Activation("relu"), glorot(50, 10))
    return model, mg.SGD(
        model, lr=0.1, momentum=0.9, nesterov=True, weight_decay={"*.weight": ALPHA / BATCH}
    )


def of_perceptron(losses: Sequence[float], train_accuracy: float, test_accuracy: float) -> Figures:
    """The figures of experiment a."""
    by_epoch = {f"loss, epoch {epoch}": loss for epoch, loss in enumerate(losses, start=1)}
    return {**by_epoch, "training accuracy": train_accuracy, "test accuracy": test_accuracy}


def scikit_learn(run: str, seed: int, epochs: int) -> Figures:
    """The example, with random numbers of our own."""
    x_train, y_train, x_test, y_test = mg.datasets.load_mnist()
    rng = np.random.default_rng(seed)
    model, optimizer = perceptron(rng, np.float32)
    data = mg.Batches(x_train, y_train, BATCH, rng=rng)
    metrics = {"penalty": Penalty(model)}
    history = mg.fit(
        model,
        mg.SoftmaxCrossEntropy(),
        optimizer,
        data,
        epochs=epochs,
        metrics=metrics,
        hooks=[Lines(run)],
    )
    losses = [
        loss + penalty for loss, penalty in zip(history["loss"], history["penalty"], strict=True)
    ]
    return of_perceptron(losses, accuracy(model, x_train, y_train), accuracy(model, x_test, y_test))


def scikit_learn_same(run: str, seed: int, epochs: int) -> Figures:
    """The example, with the random numbers that scikit-learn draws, in the same order."""
    x_train, y_train, x_test, y_test = mg.datasets.load_mnist(raw=True)
    state = np.random.RandomState(seed)  # the old generator is what scikit-learn has
    model, optimizer = perceptron(state, np.float64)
    loss, penalty = mg.SoftmaxCrossEntropy(), Penalty(model)
    losses, order = [], np.arange(len(x_train))
    for epoch in range(epochs):
        shuffled = np.arange(len(x_train))
        state.shuffle(shuffled)
        order = order[shuffled]  # each epoch shuffles the order of the one before
        total = 0.0
        for first in range(0, len(order), BATCH):
            rows = order[first : first + BATCH]
            logits = model(x_train[rows] / 255)
            total += loss.forward(logits, y_train[rows]) + penalty(logits, y_train)
            model.backward(loss.backward())
            optimizer.step()
        losses.append(total / (len(order) / BATCH))
        say(run, epoch, loss=losses[-1])
    return of_perceptron(
        losses, accuracy(model, x_train / 255, y_train), accuracy(model, x_test / 255, y_test)
    )


# -- b: Nielsen ----------------------------------------------------------------------------------


@final
class QuadraticCost(mg.Loss):
    """Nielsen's cost: 1 / (2 n) times the sum of (a - y)^2 over all entries of n samples.

    Its gradient is (a - y) / n. `MeanSquaredError` divides by the number of entries instead: with
    10 outputs, the cost here is 5 times that.
    """

    @override
    def forward(self, logits: npt.NDArray[Any], targets: npt.ArrayLike) -> float:
        self.difference = logits - np.asarray(targets, logits.dtype)
        return float(np.vdot(self.difference, self.difference)) / (2 * len(logits))

    @override
    def backward(self) -> npt.NDArray[Any]:
        grad: npt.NDArray[Any] = self.difference / len(self.difference)
        return grad


def nielsen(run: str, seed: int, epochs: int) -> Figures:
    """The book's first network. In the file that it reads, pixels were divided by 256."""
    x_train, y_train, x_test, y_test = mg.datasets.load_mnist(raw=True)
    rows = np.eye(10, dtype=np.float32)
    rng = np.random.default_rng(seed)
    model = mg.Sequential(
        dense(784, 30, rng.standard_normal),
        mg.Activation("sigmoid"),
        dense(30, 10, rng.standard_normal),
        mg.Activation("sigmoid"),
    )
    data = mg.Batches(x_train[:50_000], rows[y_train[:50_000]], 10, rng=rng, scale=1 / 256)
    history = mg.fit(
        model,
        QuadraticCost(),
        mg.SGD(model, lr=3.0),
        data,
        epochs=epochs,
        validation_data=(x_test, rows[y_test]),
        metrics="accuracy",
        hooks=[Lines(run)],
    )
    result = history["val_accuracy"]
    return {"test accuracy, best epoch": max(result), "test accuracy, last epoch": result[-1]}


# -- c: Keras ------------------------------------------------------------------------------------


def keras(run: str, seed: int, epochs: int) -> Figures:
    """The example, with the settings of Keras's RMSprop."""
    x_train, y_train, x_test, y_test = mg.datasets.load_mnist()
    rng = np.random.default_rng(seed)
    model = mg.Sequential(
        mg.Dense(784, 512, init="glorot_uniform", rng=rng),
        mg.Activation("relu"),
        mg.Dropout(0.2, rng=rng),
        mg.Dense(512, 512, init="glorot_uniform", rng=rng),
        mg.Activation("relu"),
        mg.Dropout(0.2, rng=rng),
        mg.Dense(512, 10, init="glorot_uniform", rng=rng),
    )
    history = mg.fit(
        model,
        mg.SoftmaxCrossEntropy(),
        mg.RMSprop(model, lr=0.001, alpha=0.9, eps=1e-7),
        mg.Batches(x_train, y_train, 128, rng=rng),
        epochs=epochs,
        validation_data=(x_test, y_test),
        hooks=[Lines(run)],
    )
    result = history["val_accuracy"]
    return {"test accuracy, last epoch": result[-1], "test accuracy, best epoch": max(result)}


# -- all of them ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experiment:
    """A published result and how we get ours.

    Attributes:
        title: What it is, for the heading.
        train: `(name of the run, seed, epochs)` to what the run gave.
        epochs: How many epochs the published run had.
        published: What was published; other figures are ours alone.
        digits: How many digits after the point a loss is shown with.
        seed: The only seed that makes sense, if there is one.
    """

    title: str
    train: Callable[[str, int, int], Figures]
    epochs: int
    published: Figures
    digits: int = 4
    seed: int | None = None

    def shown(self, name: str, figure: float) -> str:
        """A loss with its digits, an accuracy in per cent."""
        return f"{figure:.{self.digits}f}" if "loss" in name else f"{100 * figure:.2f} %"


LOSSES = (
    *(0.32009978, 0.15347534, 0.11544755, 0.09279764, 0.07889367),
    *(0.07170497, 0.06282111, 0.05530788, 0.04960484, 0.04645355),
)
OF_SCIKIT_LEARN = of_perceptron(LOSSES, 0.9868, 0.97)

EXPERIMENTS = {
    "a": Experiment("scikit-learn, MLP weights on MNIST", scikit_learn, 10, OF_SCIKIT_LEARN),
    "a-same": Experiment(
        "scikit-learn, from the same random numbers",
        scikit_learn_same,
        10,
        OF_SCIKIT_LEARN,
        digits=8,
        seed=1,
    ),
    "b": Experiment(
        "Nielsen, chapter 1",
        nielsen,
        30,
        {"test accuracy, best epoch": 0.9542, "test accuracy, last epoch": 0.9534},
    ),
    "c": Experiment("Keras, mnist_mlp.py", keras, 20, {"test accuracy, last epoch": 0.984}),
}


def accuracy(model: mg.Sequential, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """The share of samples that the model gets right."""
    return float((model.predict(x).argmax(axis=1) == y).mean())


def perform(name: str, seed: int, epochs: int | None) -> Figures:
    """One run."""
    experiment = EXPERIMENTS[name]
    start = time.perf_counter()
    figures = experiment.train(f"{name}, seed {seed}", seed, epochs or experiment.epochs)
    message = "; ".join(
        f"{what}: {experiment.shown(what, figure)}" for what, figure in figures.items()
    )
    print(
        f"{name}, seed {seed}, {time.perf_counter() - start:,.0f} s: {message}",
        file=sys.stderr,
        flush=True,
    )
    return figures


def table(experiment: Experiment, runs: Sequence[Figures]) -> str:
    """The results of an experiment as Markdown: what was published, our mean, our range."""
    shown = experiment.shown
    ours = "minigrad" if len(runs) == 1 else f"minigrad, mean of {len(runs)} | lowest to highest"
    lines = [
        f"| {experiment.title} | published | {ours} |",
        "|---|---:|---:|" + "---:|" * (len(runs) > 1),
    ]
    for name in runs[0]:
        result = [figures[name] for figures in runs]
        cells = [shown(name, experiment.published[name]) if name in experiment.published else ""]
        cells.append(shown(name, float(np.mean(result))))
        if len(runs) > 1:
            cells.append(f"{shown(name, min(result))} to {shown(name, max(result))}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Train, print the tables, and write them if asked."""
    parser = argparse.ArgumentParser(
        description="Results that others published on MNIST, and ours."
    )
    parser.add_argument(
        "--only", default=",".join(EXPERIMENTS), help="which, with commas between: %(default)s"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, help="fewer than were published, to try quickly")
    parser.add_argument("--jobs", type=int, default=1, help="how many runs at a time")
    parser.add_argument("--markdown", type=Path, help="write the tables into this file, too")
    options = parser.parse_args()
    names = options.only.split(",")
    if not set(names) <= set(EXPERIMENTS):
        parser.error(f"--only {options.only}: there are {', '.join(EXPERIMENTS)}")
    with ProcessPoolExecutor(options.jobs, multiprocessing.get_context("spawn")) as pool:
        pending = {}
        for name in names:
            only = EXPERIMENTS[name].seed
            seeds = options.seeds if only is None else [only]
            pending[name] = [pool.submit(perform, name, seed, options.epochs) for seed in seeds]
        tables = [
            table(EXPERIMENTS[name], [run.result() for run in runs])
            for name, runs in pending.items()
        ]
    message = (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, Python {platform.python_version()}, NumPy "
        f"{np.__version__}, minigrad {mg.__version__}, seeds {', '.join(map(str, options.seeds))}: "
        f"`python benchmarks/{' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`"
    )
    text = "\n\n".join([*tables, message])
    print(text)
    if options.markdown:
        options.markdown.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
