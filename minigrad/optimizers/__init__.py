"""The optimizers that come with minigrad."""

from minigrad.optimizers.optimizer import Optimizer, Schedule
from minigrad.optimizers.sgd import SGD

__all__ = ["SGD", "Optimizer", "Schedule"]
