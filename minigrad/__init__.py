"""minigrad: a small, typed NumPy framework for neural networks in which every parameter update is a value."""

from minigrad import datasets, errors, init, testing
from minigrad.activations import ActivationFunction
from minigrad.compare import Comparison, compare
from minigrad.config import show_config
from minigrad.data import Batches
from minigrad.errors import MinigradError
from minigrad.hooks import Backward, Epoch, Forward, Handle, Hook, Step
from minigrad.layer import Factors, Layer
from minigrad.layers import Activation, BatchNorm, Dense, Dropout, Flatten, LayerNorm, Sequential
from minigrad.losses import (
    ElementwiseLoss,
    Huber,
    Loss,
    MeanAbsoluteError,
    MeanSquaredError,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
)
from minigrad.optimizers import (
    SGD,
    Adam,
    AdamW,
    CosineDecay,
    ExponentialDecay,
    LinearWarmup,
    Optimizer,
    ReduceOnPlateau,
    RMSprop,
    StepDecay,
)
from minigrad.parameter import Parameter, ParameterVector
from minigrad.recording import Reason, Recorder, Run

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "ActivationFunction",
    "Adam",
    "AdamW",
    "Backward",
    "Batches",
    "BatchNorm",
    "compare",
    "Comparison",
    "CosineDecay",
    "datasets",
    "Dense",
    "Dropout",
    "ElementwiseLoss",
    "Epoch",
    "errors",
    "ExponentialDecay",
    "Factors",
    "Flatten",
    "Forward",
    "Handle",
    "Hook",
    "Huber",
    "init",
    "Layer",
    "LayerNorm",
    "LinearWarmup",
    "Loss",
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
    "Sequential",
    "SGD",
    "show_config",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "Step",
    "StepDecay",
    "testing",
]
