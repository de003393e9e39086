"""minigrad: a small, typed NumPy framework for neural networks in which every parameter update is a value."""

from minigrad import datasets, errors, init, testing
from minigrad.activations import ActivationFunction
from minigrad.compare import Comparison, compare
from minigrad.config import show_config
from minigrad.data import Batches
from minigrad.errors import MinigradError
from minigrad.hooks import Backward, Epoch, Forward, Handle, Hook, Step
from minigrad.layer import Factors, Layer
from minigrad.layers import Activation, Dense, Sequential
from minigrad.losses import Loss, SoftmaxCrossEntropy
from minigrad.optimizers import SGD, Optimizer
from minigrad.parameter import Parameter, ParameterVector
from minigrad.recording import Reason, Recorder, Run

__version__ = "0.1.0"

__all__ = [
    "Activation",
    "ActivationFunction",
    "Backward",
    "Batches",
    "compare",
    "Comparison",
    "datasets",
    "Dense",
    "Epoch",
    "errors",
    "Factors",
    "Forward",
    "Handle",
    "Hook",
    "init",
    "Layer",
    "Loss",
    "MinigradError",
    "Optimizer",
    "Parameter",
    "ParameterVector",
    "Reason",
    "Recorder",
    "Run",
    "Sequential",
    "SGD",
    "show_config",
    "SoftmaxCrossEntropy",
    "Step",
    "testing",
]
