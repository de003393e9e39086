"""A good NumPy programmer's code for exactly this network: float32, no classes, reused arrays.

Everything is written into arrays that exist (`out=`), batches are taken with mode="clip", which
spares a buffer, and the first layer's input gradient, which nobody needs, is left out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from workloads import Workload, batches, make_weights

from peers import Program

BETA1, BETA2, EPS = 0.9, 0.999, 1e-8


def make(workload: Workload, x: Any, y: Any) -> Program:
    """Lists of arrays, one for each layer, and two loops over them."""
    n, last = workload.batch_size, len(workload.sizes) - 1
    sigmoid, lr, momentum = workload.activation == "sigmoid", workload.lr, workload.momentum
    weights = make_weights(workload)
    biases = [np.zeros(size, np.float32) for size in workload.sizes[1:]]
    params = weights + biases
    grads = [np.empty_like(param) for param in params]
    scratch = [np.empty_like(param) for param in params]
    first, second = ([np.zeros_like(param) for param in params] for _ in range(2))
    outputs = [
        np.empty((n, size), np.float32) for size in workload.sizes
    ]  # outputs[0] is the batch
    errors = [np.empty_like(output) for output in outputs]
    slopes: list[Any] = [
        np.empty_like(output, dtype=np.float32 if sigmoid else np.bool_) for output in outputs
    ]
    labels, samples = np.empty(n, y.dtype), np.arange(n)
    ones, row = np.ones(n, np.float32), np.empty((n, 1), np.float32)
    rows_of = batches(workload)
    done = 0

    def step() -> float:
        nonlocal done
        done += 1
        rows = next(rows_of)
        x.take(rows, axis=0, out=outputs[0], mode="clip")
        y.take(rows, out=labels, mode="clip")

        for layer in range(last):
            z = outputs[layer + 1]
            np.dot(outputs[layer], weights[layer], out=z)
            z += biases[layer]
            if layer == last - 1:
                break
            if sigmoid:  # 1 / (1 + exp(-z))
                np.negative(z, out=z)
                np.exp(z, out=z)
                z += 1
                np.reciprocal(z, out=z)
            else:
                np.maximum(z, 0, out=z)

        logits, error = outputs[last], errors[last]
        np.max(logits, axis=1, keepdims=True, out=row)
        logits -= row
        np.exp(logits, out=error)
        np.sum(error, axis=1, keepdims=True, out=row)
        error /= row
        loss = float(np.log(row).sum() - logits[samples, labels].sum()) / n
        error[samples, labels] -= 1
        error /= n

        for layer in range(last - 1, -1, -1):
            error = errors[layer + 1]
            np.dot(outputs[layer].T, error, out=grads[layer])
            np.dot(ones, error, out=grads[last + layer])
            if layer:
                below, output, slope = errors[layer], outputs[layer], slopes[layer]
                np.dot(error, weights[layer].T, out=below)
                if sigmoid:
                    np.subtract(1, output, out=slope)
                    slope *= output
                else:
                    np.greater(output, 0, out=slope)
                np.multiply(below, slope, out=below)

        if workload.adam:
            adam(done)
        else:
            sgd()
        return loss

    def sgd() -> None:
        for param, grad, velocity in zip(params, grads, first, strict=True):
            if momentum:
                velocity *= momentum
                velocity += grad
                np.multiply(velocity, lr, out=grad)
            else:
                grad *= lr
            param -= grad

    def adam(t: int) -> None:
        rate, root = lr / (1 - BETA1**t), math.sqrt(1 - BETA2**t)
        for param, grad, m, v, s in zip(params, grads, first, second, scratch, strict=True):
            m *= BETA1
            np.multiply(grad, 1 - BETA1, out=s)
            m += s
            v *= BETA2
            np.multiply(grad, grad, out=s)
            s *= 1 - BETA2
            v += s
            np.sqrt(v, out=s)
            s /= root
            s += EPS
            np.divide(m, s, out=s)
            s *= rate
            param -= s

    def steps(count: int) -> float:
        total = 0.0
        for _ in range(count):
            total += step()
        return total / count

    return Program(steps)
