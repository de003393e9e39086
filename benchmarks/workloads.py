"""The workloads that the benchmarks time: shapes, batch size, activation and optimizer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Workload:
    """A network and how it is trained."""

    name: str
    sizes: tuple[int, ...]
    batch_size: int
    activation: str
    momentum: float = 0.0
    lr: float = 0.01
    adam: bool = False


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("S", (784, 10, 10), 50, "sigmoid"),
        Workload("M", (784, 128, 10), 64, "relu"),
        Workload("L", (784, 512, 512, 10), 128, "relu", momentum=0.9),
        Workload("A", (784, 512, 512, 10), 128, "relu", lr=1e-3, adam=True),
    )
}


def make_data(workload: Workload, samples: int = 10_000) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Images like MNIST's in size and in how many pixels are 0 (four of five), and their labels."""
    rng = np.random.default_rng(0)
    x = rng.random((samples, workload.sizes[0]), dtype=np.float32)
    x[rng.random(x.shape, dtype=np.float32) < 0.8] = 0
    return x, rng.integers(0, workload.sizes[-1], samples)


def make_weights(workload: Workload) -> list[npt.NDArray[np.float32]]:
    """Initial weights, (n_in, n_out) each."""
    rng = np.random.default_rng(1)
    pairs = zip(workload.sizes, workload.sizes[1:], strict=False)
    return [rng.normal(0, np.sqrt(2 / n_in), (n_in, n_out)).astype(np.float32) for n_in, n_out in pairs]
