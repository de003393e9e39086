"""A learner's program: the formulas as in a book, in NumPy's default, float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Workload, batches, make_weights

from peers import Program


def make(workload: Workload, x: Any, y: Any) -> Program:
    """The story's program, for any number of layers."""
    x = x.astype(np.float64)
    weights = [weight.astype(np.float64) for weight in make_weights(workload)]
    biases = [np.zeros(size) for size in workload.sizes[1:]]
    params = weights + biases
    first = [np.zeros_like(param) for param in params]  # velocities, or Adam's first moments
    second = [np.zeros_like(param) for param in params]
    rows_of = batches(workload)
    done = 0

    def activate(z: Any) -> Any:
        return 1 / (1 + np.exp(-z)) if workload.activation == "sigmoid" else np.maximum(z, 0)

    def slope(a: Any) -> Any:
        return a * (1 - a) if workload.activation == "sigmoid" else a > 0

    def step(rows: Any) -> float:
        nonlocal done
        done += 1
        outputs = [x[rows]]
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            outputs.append(activate(outputs[-1] @ weight + bias))
        logits = outputs[-1] @ weights[-1] + biases[-1]
        error = np.exp(logits - logits.max(axis=1, keepdims=True))
        error /= error.sum(axis=1, keepdims=True)
        loss = -np.log(error[np.arange(len(rows)), y[rows]]).mean()
        error[np.arange(len(rows)), y[rows]] -= 1
        error /= len(rows)
        weight_grads: list[Any] = []
        bias_grads: list[Any] = []
        for layer in reversed(range(len(weights))):
            weight_grads.insert(0, outputs[layer].T @ error)
            bias_grads.insert(0, error.sum(axis=0))
            if layer:
                error = error @ weights[layer].T * slope(outputs[layer])
        for i, grad in enumerate(weight_grads + bias_grads):
            if workload.adam:
                first[i] = 0.9 * first[i] + 0.1 * grad
                second[i] = 0.999 * second[i] + 0.001 * grad**2
                m, v = first[i] / (1 - 0.9**done), second[i] / (1 - 0.999**done)
                params[i] -= workload.lr * m / (np.sqrt(v) + 1e-8)
            elif workload.momentum:
                first[i] = workload.momentum * first[i] + grad
                params[i] -= workload.lr * first[i]
            else:
                params[i] -= workload.lr * grad
        return float(loss)

    def steps(count: int) -> float:
        return sum(step(next(rows_of)) for _ in range(count)) / count

    return Program(steps)
