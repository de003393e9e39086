"""A small, typed NumPy framework for neural networks: every parameter update is a value."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from minigrad import errors, init
from minigrad.activations import ActivationFunction
from minigrad.data import Batches
from minigrad.errors import MinigradError
from minigrad.hooks import Backward, Epoch, FitBegin, FitEnd, Forward, Handle, Hook, Step
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

if TYPE_CHECKING:  # loaded when they are first used, so that `import minigrad` is fast
    from minigrad import datasets, testing
    from minigrad.checkpoint import load, save
    from minigrad.comparison import Comparison, compare
    from minigrad.config import show_config
    from minigrad.optimizers.schedules import CosineDecay, ExponentialDecay, LinearWarmup, StepDecay
    from minigrad.reason import Reason
    from minigrad.recording import Recorder
    from minigrad.runs import Run
    from minigrad.training import (
        Checkpoint,
        EarlyStopping,
        History,
        ReduceOnPlateau,
        StopOnNonFinite,
        fit,
    )

_LATER = {
    "minigrad.checkpoint": ("load", "save"),
    "minigrad.comparison": ("Comparison", "compare"),
    "minigrad.config": ("show_config",),
    "minigrad.datasets": (),
    "minigrad.optimizers.schedules": (
        "CosineDecay",
        "ExponentialDecay",
        "LinearWarmup",
        "StepDecay",
    ),
    "minigrad.reason": ("Reason",),
    "minigrad.recording": ("Recorder",),
    "minigrad.runs": ("Run",),
    "minigrad.testing": (),
    "minigrad.training": (
        "Checkpoint",
        "EarlyStopping",
        "History",
        "ReduceOnPlateau",
        "StopOnNonFinite",
        "fit",
    ),
}

__version__ = "0.2.0"

__all__ = [
    "Activation",
    "ActivationFunction",
    "Adam",
    "AdamW",
    "Backward",
    "Batches",
    "BatchNorm",
    "Checkpoint",
    "ClipNorm",
    "ClipValue",
    "compare",
    "Comparison",
    "CosineDecay",
    "datasets",
    "Dense",
    "Dropout",
    "EarlyStopping",
    "ElementwiseLoss",
    "Epoch",
    "errors",
    "ExponentialDecay",
    "Factors",
    "fit",
    "FitBegin",
    "FitEnd",
    "Flatten",
    "Forward",
    "GradientNoise",
    "Handle",
    "History",
    "Hook",
    "Huber",
    "init",
    "Layer",
    "LayerNorm",
    "LinearWarmup",
    "load",
    "Loss",
    "Mask",
    "MaxNorm",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "MinigradError",
    "Optimizer",
    "Parameter",
    "ParameterVector",
    "Reason",
    "Recorder",
    "ReduceOnPlateau",
    "RMSprop",
    "Run",
    "save",
    "Sequential",
    "SGD",
    "show_config",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Step",
    "StepDecay",
    "StopOnNonFinite",
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
