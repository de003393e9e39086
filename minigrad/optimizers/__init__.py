"""The optimizers that come with minigrad, their abstract base, and schedules of the learning rate."""

from minigrad.optimizers.adam import Adam, AdamW
from minigrad.optimizers.optimizer import Optimizer, Schedule
from minigrad.optimizers.reduce_on_plateau import ReduceOnPlateau
from minigrad.optimizers.rmsprop import RMSprop
from minigrad.optimizers.schedules import CosineDecay, ExponentialDecay, LinearWarmup, StepDecay
from minigrad.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineDecay",
    "ExponentialDecay",
    "LinearWarmup",
    "Optimizer",
    "RMSprop",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
]
