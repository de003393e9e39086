"""The workloads that the benchmarks time: shapes, batch size, activation and optimizer.

And what all peers begin with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

ORDER_SEED = 3


@dataclass(frozen=True)
class Workload:
    """A network and how it is trained."""

    name: str
    sizes: tuple[int, ...]
    batch_size: int
    activation: Literal["relu", "sigmoid"]
    momentum: float = 0.0
    lr: float = 0.01
    adam: bool = False
    most: int = 10_000
    """How many samples there are, rounded down to full batches."""

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return self.steps_per_epoch * self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """How many batches an epoch has, all of them full."""
        return self.most // self.batch_size


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("S", (784, 10, 10), 50, "sigmoid"),
        Workload("M", (784, 128, 10), 64, "relu"),
        Workload("L", (784, 512, 512, 10), 128, "relu", momentum=0.9),
        Workload("A", (784, 512, 512, 10), 128, "relu", lr=1e-3, adam=True),
        Workload("XL", (1024, 2048, 2048, 2048, 1000), 256, "relu", momentum=0.9, most=2_560),
    )
}


def make_data(
    workload: Workload, samples: int = 0
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Samples in which four of five pixels are 0, as in MNIST, and labels of every class."""
    samples = samples or workload.samples
    rng = np.random.default_rng(0)
    x = rng.random((samples, workload.sizes[0]), dtype=np.float32)
    x[rng.random(x.shape, dtype=np.float32) < 0.8] = 0
    return x, rng.permutation(samples) % workload.sizes[-1]


def make_weights(workload: Workload) -> list[npt.NDArray[np.float32]]:
    """Initial weights, (n_in, n_out) each; biases begin at 0."""
    rng = np.random.default_rng(1)
    pairs = zip(workload.sizes, workload.sizes[1:], strict=False)
    return [
        rng.normal(0, np.sqrt(2 / n_in), (n_in, n_out)).astype(np.float32) for n_in, n_out in pairs
    ]


def orders(workload: Workload) -> Iterator[npt.NDArray[np.int64]]:
    """The order of the samples in each epoch, the same for all peers.

    It is that of `minigrad.Batches(..., rng=ORDER_SEED)`.
    """
    rng = np.random.default_rng(ORDER_SEED)
    while True:
        yield rng.permutation(workload.samples)


def batches(workload: Workload) -> Iterator[npt.NDArray[np.int64]]:
    """The rows of each batch, epoch after epoch."""
    for order in orders(workload):
        for start in range(0, workload.samples, workload.batch_size):
            yield order[start : start + workload.batch_size]
