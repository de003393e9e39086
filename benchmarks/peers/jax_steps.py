"""JAX: one jitted step, called from Python, whose loss is read each time.

Or a whole epoch as one `lax.scan`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from workloads import Workload, batches, make_weights, orders

from peers import Program


def make(workload: Workload, x: Any, y: Any, scanned: bool = False) -> Program:
    """The step is a function of (state, images, labels, rows).

    The state's memory is given back by donation.
    """
    jax: Any = import_module("jax")
    jnp: Any = import_module("jax.numpy")
    each = jax.tree_util.tree_map
    activate = jax.nn.sigmoid if workload.activation == "sigmoid" else jax.nn.relu

    def loss_of(params: Any, inputs: Any, labels: Any) -> Any:
        for weight, bias in params[:-1]:
            inputs = activate(inputs @ weight + bias)
        weight, bias = params[-1]
        logits = jax.nn.log_softmax(inputs @ weight + bias)
        return -jnp.take_along_axis(logits, labels[:, None], axis=1).mean()

    def step(state: Any, images: Any, labels: Any, rows: Any) -> Any:
        params, first, second, count = state
        loss, grads = jax.value_and_grad(loss_of)(params, images[rows], labels[rows])
        count = count + 1
        if workload.adam:
            first = each(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
            second = each(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
            rate, root = workload.lr / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
            params = each(
                lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), params, first, second
            )
        elif workload.momentum:
            first = each(lambda v, g: workload.momentum * v + g, first, grads)
            params = each(lambda p, v: p - workload.lr * v, params, first)
        else:
            params = each(lambda p, g: p - workload.lr * g, params, grads)
        return (params, first, second, count), loss

    def epoch(state: Any, images: Any, labels: Any, order: Any) -> Any:
        return jax.lax.scan(lambda state, rows: step(state, images, labels, rows), state, order)

    params = [
        (jnp.array(weight), jnp.zeros(weight.shape[1], jnp.float32))
        for weight in make_weights(workload)
    ]
    moments = [
        each(jnp.zeros_like, params) if used else ()
        for used in (workload.adam or workload.momentum, workload.adam)
    ]
    state = (params, *moments, jnp.float32(0))
    images, labels = jnp.array(x), jnp.array(y.astype(np.int32))
    run = jax.jit(epoch if scanned else step, donate_argnums=0)
    rows_of, orders_of = batches(workload), orders(workload)

    def steps(count: int) -> float:
        nonlocal state
        total = 0.0
        for _ in range(count):
            state, loss = run(state, images, labels, next(rows_of))
            total += float(loss)
        return total / count

    def epochs(count: int) -> float:
        nonlocal state
        total, length = 0.0, workload.steps_per_epoch
        for _ in range(count // length):
            state, losses = run(state, images, labels, next(orders_of).reshape(length, -1))
            total += float(np.asarray(losses).sum(dtype=np.float64))
        return total / count

    return Program(epochs, workload.steps_per_epoch) if scanned else Program(steps)
