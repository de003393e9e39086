"""`check_gradients`: is a `backward` the derivative of its `forward`? For authors of layers and losses."""

from minigrad.testing.gradients import check_gradients

__all__ = ["check_gradients"]
