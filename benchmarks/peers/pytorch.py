"""PyTorch, as its users write a step: eager, or with forward and loss compiled."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from workloads import Workload, batches, make_weights

from peers import Program


def make(workload: Workload, x: Any, y: Any, compiled: bool = False) -> Program:
    """`torch.nn` layers and an optimizer of `torch.optim` with its own defaults.

    Each step reads its loss.
    """
    torch: Any = import_module("torch")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    layers: list[Any] = []
    for weight in make_weights(workload):
        linear = torch.nn.Linear(*weight.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            linear.bias.zero_()
        layers += [
            linear,
            torch.nn.Sigmoid() if workload.activation == "sigmoid" else torch.nn.ReLU(),
        ]
    model = torch.nn.Sequential(*layers[:-1])
    if workload.adam:
        optimizer = torch.optim.Adam(model.parameters(), lr=workload.lr)
    else:
        optimizer = torch.optim.SGD(model.parameters(), lr=workload.lr, momentum=workload.momentum)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)
    rows_of = batches(workload)

    def loss_of(inputs: Any, targets: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(inputs), targets)

    measured = torch.compile(loss_of) if compiled else loss_of

    def steps(count: int) -> float:
        total = 0.0
        for _ in range(count):
            rows = torch.from_numpy(next(rows_of))
            loss = measured(images[rows], labels[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / count

    return Program(steps)
