"""minigrad: a small, typed NumPy framework for neural networks in which every parameter update is a value."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minigrad import errors, init
from minigrad.activations import ActivationFunction
from minigrad.compare import compare
from minigrad.data import Batches
from minigrad.errors import MinigradError
from minigrad.hooks.events import Backward, Forward, Step
from minigrad.hooks.fit_events import Epoch, FitBegin, FitEnd
from minigrad.hooks.hook import Handle, Hook
from minigrad.layers import Activation, BatchNorm, Dense, Dropout, Flatten, LayerNorm, Sequential
from minigrad.layers.factors import Factors
from minigrad.layers.layer import Layer
from minigrad.losses import (
    ElementwiseLoss,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minigrad.optimizers import SGD, Adam, AdamW, Optimizer, RMSprop
from minigrad.optimizers.transforms import ClipNorm, ClipValue, GradientNoise, Mask, MaxNorm
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import ParameterVector

if (
    TYPE_CHECKING
):  # these are loaded when they are first used, so that `import minigrad` takes no time to speak of
    from minigrad import datasets, testing
    from minigrad.checkpoint import load, save
    from minigrad.comparison import Comparison
    from minigrad.config import show_config
    from minigrad.optimizers.schedules import CosineDecay, ExponentialDecay, LinearWarmup, StepDecay
    from minigrad.recording import Reason, Recorder, Run
    from minigrad.training import Checkpoint, EarlyStopping, History, StopOnNonFinite, fit
    from minigrad.training.callbacks.reduce_on_plateau import ReduceOnPlateau

_LATER = {
    "minigrad.checkpoint": ("load", "save"),
    "minigrad.comparison": ("Comparison",),
    "minigrad.config": ("show_config",),
    "minigrad.datasets": (),
    "minigrad.training.callbacks.reduce_on_plateau": ("ReduceOnPlateau",),
    "minigrad.optimizers.schedules": (
        "CosineDecay",
        "ExponentialDecay",
        "LinearWarmup",
        "StepDecay",
    ),
    "minigrad.recording": ("Reason", "Recorder", "Run"),
    "minigrad.testing": (),
    "minigrad.training": ("Checkpoint", "EarlyStopping", "History", "StopOnNonFinite", "fit"),
}

__version__ = "0.2.0"

__all__ = [
    "SGD",
    "Activation",
    "ActivationFunction",
    "Adam",
    "AdamW",
    "Backward",
    "BatchNorm",
    "Batches",
    "Checkpoint",
    "ClipNorm",
    "ClipValue",
    "Comparison",
    "CosineDecay",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "ElementwiseLoss",
    "Epoch",
    "ExponentialDecay",
    "Factors",
    "FitBegin",
    "FitEnd",
    "Flatten",
    "Forward",
    "GradientNoise",
    "Handle",
    "History",
    "Hook",
    "Huber",
    "Layer",
    "LayerNorm",
    "LinearWarmup",
    "Loss",
    "Mask",
    "MaxNorm",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MinigradError",
    "Optimizer",
    "Parameter",
    "ParameterVector",
    "RMSprop",
    "Reason",
    "Recorder",
    "ReduceOnPlateau",
    "Run",
    "Sequential",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Step",
    "StepDecay",
    "StopOnNonFinite",
    "compare",
    "datasets",
    "errors",
    "fit",
    "init",
    "load",
    "save",
    "show_config",
    "testing",
]


def __getattr__(name: str) -> Any:
    """A public name that was not used before."""
    for module, names in _LATER.items():
        if name in names:
            globals()[name] = getattr(import_module(module), name)
            return globals()[name]
        if f"minigrad.{name}" == module:
            return import_module(module)
    raise AttributeError(f"module 'minigrad' has no attribute '{name}'")


def __dir__() -> list[str]:
    """All public names, also those that are not loaded yet."""
    return sorted({*globals(), *__all__})
