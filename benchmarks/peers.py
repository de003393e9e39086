"""What minigrad is compared with: each a function that makes `epoch(steps)`, which trains for some steps."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from workloads import Workload, make_data, make_weights

import minigrad as mg

Floats = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]
Steps = Callable[[int], None]


def products(workload: Workload) -> Steps:
    """The matrix products of a step and nothing else, into arrays that exist: the floor."""
    weights, n = make_weights(workload), workload.batch_size
    rng = np.random.default_rng(2)
    outputs = [rng.random((n, size), dtype=np.float32) for size in workload.sizes]
    grads = [rng.random((n, size), dtype=np.float32) for size in workload.sizes]
    weight_grads = [np.empty_like(weight) for weight in weights]
    scratch = [np.empty_like(output) for output in outputs]

    def steps(count: int) -> None:
        for _ in range(count):
            for layer, weight in enumerate(weights):
                outputs[layer].dot(weight, out=scratch[layer + 1])
            for layer in reversed(range(len(weights))):
                outputs[layer].T.dot(grads[layer + 1], out=weight_grads[layer])
                if layer:
                    grads[layer + 1].dot(weights[layer].T, out=scratch[layer])

    return steps


# -- float32 classes that allocate, in the style of small teaching frameworks ------------------------------------------


class Linear:
    def __init__(self, weight: Floats) -> None:
        self.params = {"w": weight, "b": np.zeros(weight.shape[1], np.float32)}
        self.grads: dict[str, Floats] = {}

    def forward(self, inputs: Floats) -> Floats:
        self.inputs = inputs
        outputs: Floats = inputs @ self.params["w"] + self.params["b"]
        return outputs

    def backward(self, grad: Floats) -> Floats:
        self.grads["b"] = np.sum(grad, axis=0)
        self.grads["w"] = self.inputs.T @ grad
        below: Floats = grad @ self.params["w"].T
        return below


class Activation:
    """A function and its derivative of the input, which computes the function again, as joelnet's tanh_prime does."""

    params: dict[str, Floats] = {}  # noqa: RUF012 - as teaching frameworks write it

    def __init__(self, f: Callable[[Floats], Floats], f_prime: Callable[[Floats], Floats]) -> None:
        self.f, self.f_prime = f, f_prime

    def forward(self, inputs: Floats) -> Floats:
        self.inputs = inputs
        return self.f(inputs)

    def backward(self, grad: Floats) -> Floats:
        below: Floats = self.f_prime(self.inputs) * grad
        return below


def sigmoid(x: Floats) -> Floats:
    y: Floats = 1 / (1 + np.exp(-x))
    return y


def sigmoid_prime(x: Floats) -> Floats:
    y = sigmoid(x)
    slope: Floats = y * (1 - y)
    return slope


def relu(x: Floats) -> Floats:
    y: Floats = np.maximum(x, 0)
    return y


def relu_prime(x: Floats) -> Floats:
    slope: Floats = (x > 0).astype(np.float32)
    return slope


class CrossEntropy:
    """Value and gradient by the textbook, each by itself, as joelnet's losses have them."""

    def loss(self, logits: Floats, labels: Labels) -> float:
        return float(-np.log(softmax(logits)[np.arange(len(labels)), labels]).mean())

    def grad(self, logits: Floats, labels: Labels) -> Floats:
        grad = softmax(logits)
        grad[np.arange(len(labels)), labels] -= 1
        return grad / len(labels)


def softmax(logits: Floats) -> Floats:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: Floats = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


class Optimizer:
    def __init__(self, lr: float, momentum: float) -> None:
        self.lr, self.momentum = lr, momentum
        self.velocities: dict[tuple[int, str], Floats] = {}

    def step(self, layers: list[Any]) -> None:
        for index, layer in enumerate(layers):
            for name, param in layer.params.items():
                grad = layer.grads[name]
                if self.momentum:
                    grad = self.momentum * self.velocities.get((index, name), np.float32(0)) + grad
                    self.velocities[index, name] = grad
                param -= self.lr * grad


class Adam:
    """The textbook's formulas, parameter by parameter."""

    def __init__(self, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8) -> None:
        self.lr, self.beta1, self.beta2, self.eps = lr, beta1, beta2, eps
        self.moments: dict[tuple[int, str], tuple[Floats, Floats]] = {}
        self.count = 0

    def step(self, layers: list[Any]) -> None:
        self.count += 1
        for index, layer in enumerate(layers):
            for name, param in layer.params.items():
                grad, zero = layer.grads[name], np.float32(0)
                m, v = self.moments.get((index, name), (zero, zero))
                m = self.beta1 * m + (1 - self.beta1) * grad
                v = self.beta2 * v + (1 - self.beta2) * grad**2
                self.moments[index, name] = m, v
                m_hat = m / (1 - self.beta1**self.count)
                v_hat = v / (1 - self.beta2**self.count)
                param -= self.lr * m_hat / (np.sqrt(v_hat) + self.eps)


FUNCTIONS = {"sigmoid": (sigmoid, sigmoid_prime), "relu": (relu, relu_prime)}


def allocating_classes(workload: Workload) -> Steps:
    """Classes that allocate every array, parameters updated one by one."""
    x, y = make_data(workload)
    layers: list[Any] = []
    for weight in make_weights(workload):
        layers += [Linear(weight), Activation(*FUNCTIONS[workload.activation])]
    layers.pop()
    loss = CrossEntropy()
    optimizer = Adam(workload.lr) if workload.adam else Optimizer(workload.lr, workload.momentum)
    rng = np.random.default_rng(3)

    def batches() -> Iterator[tuple[Floats, Labels]]:
        while True:
            order = rng.permutation(len(x))
            for start in range(0, len(x) - workload.batch_size + 1, workload.batch_size):
                rows = order[start : start + workload.batch_size]
                yield x[rows], y[rows]

    data = batches()

    def steps(count: int) -> None:
        for _ in range(count):
            inputs, labels = next(data)
            for layer in layers:
                inputs = layer.forward(inputs)
            loss.loss(inputs, labels)
            grad = loss.grad(inputs, labels)
            for layer in reversed(layers):
                grad = layer.backward(grad)
            optimizer.step(layers)

    return steps


# -- minigrad ------------------------------------------------------------------------------------------------------------


def minigrad_loop(workload: Workload, on_disk: bool = False, **recorded: Any) -> Steps:
    """The loop by hand, without a recorder or with one of these settings."""
    x, y = make_data(workload)
    layers: list[mg.Layer] = []
    for weight in make_weights(workload):
        dense = mg.Dense(*weight.shape, rng=0)
        dense.weight.value = weight
        layers += [dense, mg.Activation(workload.activation)]
    model = mg.Sequential(*layers[:-1])
    loss = mg.SoftmaxCrossEntropy()
    optimizer: mg.Optimizer = mg.SGD(model, lr=workload.lr, momentum=workload.momentum)
    if workload.adam:
        optimizer = mg.Adam(model, lr=workload.lr)
    data = mg.Batches(x, y, workload.batch_size, drop_last=True, rng=3)

    def batches() -> Iterator[tuple[Any, Any]]:
        while True:
            yield from data

    stream = batches()
    if recorded:
        if on_disk:
            recorded["path"] = Path(tempfile.mkdtemp(prefix="minigrad-benchmark-")) / "run"
            atexit.register(shutil.rmtree, recorded["path"].parent, ignore_errors=True)
        mg.Recorder(optimizer, loss=loss, data=data, **recorded).start()

    def steps(count: int) -> None:
        for _ in range(count):
            inputs, labels = next(stream)
            loss.forward(model(inputs), labels)
            model.backward(loss.backward())
            optimizer.step()

    return steps


PEERS: dict[str, Callable[[Workload], Steps]] = {
    "bare products": products,
    "classes that allocate": allocating_classes,
    "minigrad": minigrad_loop,
    "minigrad, rows recorded": lambda w: minigrad_loop(w, aggregates=False, budget="1GB"),
    "minigrad, counts recorded": lambda w: minigrad_loop(w, keep=()),
    "minigrad, both recorded": lambda w: minigrad_loop(w, budget="1GB"),
    "minigrad, both on disk": lambda w: minigrad_loop(w, on_disk=True, budget="2GB"),
}
