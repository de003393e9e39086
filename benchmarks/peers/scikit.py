"""scikit-learn's `MLPClassifier` in float32: `fit` for some epochs, no penalty, no validation."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
from workloads import Workload, make_weights, orders

from peers import Program


class Orders(np.random.RandomState):
    """Shuffles as the other peers do: `fit` draws the order of each epoch by `shuffle`."""

    def __init__(self, source: Iterator[npt.NDArray[np.int64]]) -> None:
        super().__init__(0)
        self.source = source

    def shuffle(self, x: Any) -> None:
        x[...] = next(self.source)


def make(workload: Workload, x: Any, y: Any) -> Program:
    """An epoch at least, because `fit` checks and encodes the data at each call.

    A slice should have several.
    """
    classifier = import_module("sklearn.neural_network").MLPClassifier
    adam = {"solver": "adam"}
    sgd = {
        "solver": "sgd",
        "momentum": workload.momentum,
        "nesterovs_momentum": False,
        "learning_rate": "constant",
    }
    model = classifier(
        hidden_layer_sizes=workload.sizes[1:-1],
        activation="logistic" if workload.activation == "sigmoid" else "relu",
        batch_size=workload.batch_size,
        learning_rate_init=workload.lr,
        alpha=0.0,
        n_iter_no_change=np.inf,
        **(adam if workload.adam else sgd),
    )
    few = slice(0, workload.batch_size)
    model.partial_fit(
        x[few], y[few], classes=np.arange(workload.sizes[-1])
    )  # makes the arrays that are replaced here
    model.coefs_ = make_weights(workload)
    model.intercepts_ = [np.zeros(size, np.float32) for size in workload.sizes[1:]]
    model.set_params(
        warm_start=True, random_state=Orders(orders(workload))
    )  # go on with what is there

    def steps(count: int) -> float:
        epochs = count // workload.steps_per_epoch
        model.set_params(max_iter=epochs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            model.fit(x, y)
        return float(np.mean(model.loss_curve_[-epochs:]))

    return Program(steps, workload.steps_per_epoch)
