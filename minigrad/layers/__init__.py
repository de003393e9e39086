"""The layers that come with minigrad, one a file."""

from minigrad.layers.activation import Activation
from minigrad.layers.dense import Dense
from minigrad.layers.sequential import Sequential

__all__ = ["Activation", "Dense", "Sequential"]
