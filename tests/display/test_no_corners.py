"""No error shows numbers of an array that was given in the wrong place, for every setting of
everything public.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow
from loop_support import take_step

import minigrad as mg
from minigrad import testing

X = np.ones((6, 3))
Y = np.zeros((6, 2))
LABELS = np.array([0, 1, 0, 1, 0, 1])

Settings = dict[str, Any]


class World:
    """What calls need, made anew for each."""

    def __init__(self, path: Path) -> None:
        self.path = path / "a.npz"
        self.layer = mg.Dense(3, 2, rng=0)
        self.model = mg.Sequential(self.layer)
        self.optimizer = mg.SGD(self.model, 0.1)
        self.loss = mg.MeanSquaredError()
        self.softmax = mg.SoftmaxCrossEntropy()
        self.data = mg.Batches(X, Y, 2, rng=0)
        self.parameter = mg.Parameter(np.ones(3))
        self.hook = mg.StopOnNonFinite()
        self.logits = self.model(X)

    def saved(self) -> Path:
        mg.save(self.path, model=self.model, optimizer=self.optimizer, data=self.data)
        return self.path

    def run(self) -> mg.Run:
        with mg.Recorder(self.optimizer, keep=("update", "grad")) as recorder:
            for x, y in self.data:
                take_step(self.model, self.loss, self.optimizer, x, y)
        return recorder.run


CALLS: dict[str, Callable[[World], tuple[Callable[..., object], Settings]]] = {
    "Activation": lambda w: (mg.Activation, {"function": "relu"}),
    "Adam": lambda w: (mg.Adam, {"model": w.model}),
    "AdamW": lambda w: (mg.AdamW, {"model": w.model}),
    "BatchNorm": lambda w: (mg.BatchNorm, {"features": 3}),
    "Batches": lambda w: (mg.Batches, {"x": X, "y": Y, "batch_size": 2}),
    "Batches.load_state_dict": lambda w: (w.data.load_state_dict, {"state": w.data.state_dict()}),
    "Checkpoint": lambda w: (mg.Checkpoint, {"path": w.path}),
    "ClipNorm": lambda w: (mg.ClipNorm, {"limit": 1.0}),
    "ClipValue": lambda w: (mg.ClipValue, {"limit": 1.0}),
    "CosineDecay": lambda w: (mg.CosineDecay, {"lr": 0.1, "steps": 9}),
    "Dense": lambda w: (mg.Dense, {"n_in": 3, "n_out": 2}),
    "Dropout": lambda w: (mg.Dropout, {"rate": 0.5}),
    "EarlyStopping": lambda w: (mg.EarlyStopping, {"monitor": "loss"}),
    "ExponentialDecay": lambda w: (mg.ExponentialDecay, {"lr": 0.1, "factor": 0.5}),
    "GradientNoise": lambda w: (mg.GradientNoise, {"std": 0.1}),
    "Huber": lambda w: (mg.Huber, {}),
    "LayerNorm": lambda w: (mg.LayerNorm, {"features": 3}),
    "LinearWarmup": lambda w: (mg.LinearWarmup, {"lr": 0.1, "steps": 5}),
    "Mask": lambda w: (mg.Mask, {"moving": {"0.weight": np.ones((3, 2), bool)}}),
    "MaxNorm": lambda w: (mg.MaxNorm, {"limit": 1.0}),
    "MeanAbsoluteError": lambda w: (mg.MeanAbsoluteError, {}),
    "MeanSquaredError": lambda w: (mg.MeanSquaredError, {}),
    "Parameter": lambda w: (mg.Parameter, {"value": X}),
    "ParameterVector.of": lambda w: (mg.ParameterVector.of, {"model": w.model}),
    "RMSprop": lambda w: (mg.RMSprop, {"model": w.model}),
    "Recorder": lambda w: (mg.Recorder, {"optimizer": w.optimizer}),
    "ReduceOnPlateau": lambda w: (mg.ReduceOnPlateau, {"optimizer": w.optimizer}),
    "Run.open": lambda w: (mg.Run.open, {"path": w.path}),
    "SGD": lambda w: (mg.SGD, {"model": w.model, "lr": 0.1}),
    "SGD.attach": lambda w: (w.optimizer.attach, {"hook": w.hook}),
    "SGD.load_state_dict": lambda w: (
        w.optimizer.load_state_dict,
        {"state": w.optimizer.state_dict()},
    ),
    "SGD.step": lambda w: (w.optimizer.step, {}),
    "Sequential": lambda w: (lambda layer: mg.Sequential(w.layer, layer), {"layer": mg.Flatten()}),
    "Sequential.__call__": lambda w: (w.model, {"x": X}),
    "Sequential.attach": lambda w: (w.model.attach, {"hook": w.hook}),
    "Sequential.backward": lambda w: (w.model.backward, {"grad": Y}),
    "Sequential.load_state_dict": lambda w: (
        w.model.load_state_dict,
        {"state": w.model.state_dict()},
    ),
    "Sequential.predict": lambda w: (w.model.predict, {"x": X}),
    "SigmoidCrossEntropy": lambda w: (mg.SigmoidCrossEntropy, {}),
    "SoftmaxCrossEntropy": lambda w: (mg.SoftmaxCrossEntropy, {}),
    "SoftmaxCrossEntropy.balance": lambda w: (
        mg.SoftmaxCrossEntropy(class_weight="balanced").balance,
        {"labels": LABELS},
    ),
    "SoftmaxCrossEntropy.forward": lambda w: (w.softmax.forward, {"logits": Y, "targets": LABELS}),
    "SoftmaxCrossEntropy.per_sample": lambda w: (
        w.softmax.per_sample,
        {"logits": Y, "targets": LABELS},
    ),
    "MeanSquaredError.forward": lambda w: (w.loss.forward, {"logits": Y, "targets": Y}),
    "StepDecay": lambda w: (mg.StepDecay, {"lr": 0.1, "every": 3, "factor": 0.5}),
    "check_gradients": lambda w: (testing.check_gradients, {"layer_or_loss": w.layer, "x": X}),
    "compare": lambda w: (mg.compare, {"before": X, "after": X + 1}),
    "fit": lambda w: (
        mg.fit,
        {
            "model": w.model,
            "loss": w.loss,
            "optimizer": w.optimizer,
            "data": w.data,
            "epochs": 1,
            "progress": False,
        },
    ),
    "init.constant": lambda w: (mg.init.constant, {"value": 1.0}),
    "init.normal": lambda w: (mg.init.normal, {}),
    "init.uniform": lambda w: (mg.init.uniform, {"low": 0.0, "high": 1.0}),
    "load": lambda w: (mg.load, {"path": w.saved(), "model": w.model}),
    "run[...]": lambda w: (w.run().__getitem__, {"name": "0.weight"}),
    "run.restore": lambda w: (w.run().restore, {"model": w.model, "step": 0}),
    "run.save_report": lambda w: (w.run().save_report, {"path": w.path}),
    "save": lambda w: (mg.save, {"path": w.path, "model": w.model}),
    "lr": lambda w: (lambda value: setattr(w.optimizer, "lr", value), {"value": 0.1}),
    "value": lambda w: (lambda value: setattr(w.parameter, "value", value), {"value": np.ones(3)}),
    "grad": lambda w: (lambda value: setattr(w.parameter, "grad", value), {"value": np.ones(3)}),
    "values": lambda w: (
        lambda value: setattr(mg.ParameterVector.of(w.model), "values", value),
        {"value": np.ones(8)},
    ),
}

NUMBER = 7.125  # and what follows; each has its own digits, so that it is known in a message
MANY = (NUMBER + np.arange(10_000) / 8).reshape(100, 100)
MISPLACED: dict[str, object] = {
    "array": MANY,
    "objects": MANY.astype(object),
    "text": MANY.astype(str),
    "list": MANY[:10].ravel().tolist(),
    "tuple of arrays": (MANY, MANY[:50].copy()),
    "dict of arrays": {"a": MANY, "b": MANY},
    "array in an array": np.array([*MANY[0].tolist(), None], object),
}


NUMBERS = re.compile(r"\d+\.(?:125|25|375|5|625|75|875)\b")

SWITCHES = {  # anything may be true or false, but an array does not say which
    *(
        ("Adam", "amsgrad"),
        ("AdamW", "amsgrad"),
        ("Dense", "bias"),
        ("RMSprop", "centered"),
        ("SGD", "nesterov"),
    ),
    *(
        ("EarlyStopping", "restore_best"),
        ("Recorder", "aggregates"),
        ("Recorder", "resume"),
        ("load", "strict"),
    ),
    *(
        ("Sequential.backward", "input_grad"),
        ("Sequential.backward", "accumulate"),
        ("Sequential.backward", "parameters"),
        ("Sequential.load_state_dict", "strict"),
        ("SGD.load_state_dict", "strict"),
    ),
}


def parameters_of(name: str) -> list[str]:
    """What can be given in this call."""

    class Nowhere(World):
        def saved(self) -> Path:
            return self.path

        def run(self) -> Any:
            return mg.Run

    function, settings = CALLS[name](Nowhere(Path()))
    own = [] if name.startswith("run") else list(inspect.signature(function).parameters)
    return list(dict.fromkeys([*settings, *own]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", [8, slow(1)])
@pytest.mark.parametrize("name", CALLS)
def test_no_corner_of_an_array(name: str, every: int, tmp_path: Path) -> None:
    """An array in any place is refused or taken.

    The message is minigrad's, one short line, without numbers of the array.
    """
    for parameter, kind in list(product(parameters_of(name), MISPLACED))[::every]:
        switch = (name, parameter) in SWITCHES
        expected = (mg.MinigradError, ValueError) if switch else mg.MinigradError
        function, settings = CALLS[name](World(tmp_path))
        try:
            function(**{**settings, parameter: MISPLACED[kind]})
        except expected as error:
            message = str(error)
        except BaseException as error:
            error.add_note(f"{parameter} was given: {kind}")
            raise
        else:
            continue
        told = f"{parameter} was given: {kind}\n{message}"
        assert len(NUMBERS.findall(message)) <= 3, told
        assert (False, False) == ("[[" in message, "\n" in message), told
        assert len(message) <= 1000, told


def test_the_table_is_complete() -> None:
    """Everything public that takes settings is in it."""
    without = {
        "ActivationFunction",
        "Backward",
        "Comparison",
        "Epoch",
        "FitBegin",
        "FitEnd",
        "Factors",
        "Flatten",
        "Forward",
        "Handle",
        "History",
        "Step",
    }
    without |= {
        "ElementwiseLoss",
        "Hook",
        "Layer",
        "Loss",
        "MinigradError",
        "Optimizer",
        "Reason",
        "Run",
        "StopOnNonFinite",
    }
    without |= {"ParameterVector", "show_config"}
    public = {name for name in mg.__all__ if callable(getattr(mg, name))}
    assert public - without <= set(CALLS)
