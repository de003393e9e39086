"""The layers that come with minigrad, one a file."""

from minigrad.layers.activation import Activation
from minigrad.layers.dense import Dense
from minigrad.layers.dropout import Dropout
from minigrad.layers.flatten import Flatten
from minigrad.layers.normalization import BatchNorm, LayerNorm
from minigrad.layers.sequential import Sequential

__all__ = ["Activation", "BatchNorm", "Dense", "Dropout", "Flatten", "LayerNorm", "Sequential"]
