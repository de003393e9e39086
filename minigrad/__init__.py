"""minigrad: a small, typed NumPy framework for neural networks in which every parameter update is a value."""

from minigrad import datasets, errors, init, testing
from minigrad.activations import ActivationFunction
from minigrad.checkpoint import load, save
from minigrad.compare import Comparison, compare
from minigrad.config import show_config
from minigrad.data import Batches
from minigrad.errors import MinigradError
from minigrad.events import Backward, Epoch, Forward, Step
from minigrad.hooks import Handle, Hook
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
from minigrad.training import Checkpoint, EarlyStopping, History, StopOnNonFinite, fit

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "ActivationFunction",
    "Adam",
    "AdamW",
    "Backward",
    "Batches",
    "BatchNorm",
    "Checkpoint",
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
    "Flatten",
    "Forward",
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
