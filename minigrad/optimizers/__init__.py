"""The optimizers that come with minigrad, and their abstract base.

The `schedules` of a learning rate are loaded when they are first used.
"""

from minigrad.optimizers.adam import Adam, AdamW
from minigrad.optimizers.optimizer import Optimizer
from minigrad.optimizers.rmsprop import RMSprop
from minigrad.optimizers.settings import Schedule
from minigrad.optimizers.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "Schedule",
]
