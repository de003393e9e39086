"""The optimizers that come with minigrad, and their abstract base.

What changes the learning rate of one, `schedules` and `reduce_on_plateau`, is loaded when it is
first used.
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
