"""For authors of layers and losses: is a `backward` the derivative of its `forward`?"""

from minigrad.testing.gradients import check_gradients

__all__ = ["check_gradients"]
