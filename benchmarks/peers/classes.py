"""float32 classes that allocate every array, in the style of small teaching frameworks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from workloads import Workload, batches, make_weights

from peers import Program

Floats = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]


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
    """A function and its derivative, which computes the function again, as in joelnet."""

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

    def __init__(
        self, lr: float, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
    ) -> None:
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


def make(workload: Workload, x: Any, y: Any) -> Program:
    """Layers, a loss and an optimizer that updates parameter by parameter."""
    layers: list[Any] = []
    for weight in make_weights(workload):
        layers += [Linear(weight), Activation(*FUNCTIONS[workload.activation])]
    layers.pop()
    loss = CrossEntropy()
    optimizer = Adam(workload.lr) if workload.adam else Optimizer(workload.lr, workload.momentum)
    rows_of = batches(workload)

    def steps(count: int) -> float:
        total = 0.0
        for _ in range(count):
            rows = next(rows_of)
            inputs, labels = x[rows], y[rows]
            for layer in layers:
                inputs = layer.forward(inputs)
            total += loss.loss(inputs, labels)
            grad = loss.grad(inputs, labels)
            for layer in reversed(layers):
                grad = layer.backward(grad)
            optimizer.step(layers)
        return total / count

    return Program(steps)
