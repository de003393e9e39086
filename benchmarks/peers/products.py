"""The matrix products of a step and nothing else, into arrays that exist: the floor."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Workload, make_weights

from peers import Program


def make(workload: Workload, x: Any, y: Any) -> Program:
    """Forward, the weights' gradients, and the inputs' gradients of all layers but the first."""
    weights, n = make_weights(workload), workload.batch_size
    rng = np.random.default_rng(2)
    outputs = [rng.random((n, size), dtype=np.float32) for size in workload.sizes]
    grads = [rng.random((n, size), dtype=np.float32) for size in workload.sizes]
    weight_grads = [np.empty_like(weight) for weight in weights]
    scratch = [np.empty_like(output) for output in outputs]

    def steps(count: int) -> float:
        for _ in range(count):
            for layer, weight in enumerate(weights):
                outputs[layer].dot(weight, out=scratch[layer + 1])
            for layer in reversed(range(len(weights))):
                outputs[layer].T.dot(grads[layer + 1], out=weight_grads[layer])
                if layer:
                    grads[layer + 1].dot(weights[layer].T, out=scratch[layer])
        return float("nan")

    return Program(steps)
