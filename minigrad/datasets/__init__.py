"""Data sets to train on: `load_digits` comes with minigrad, `load_mnist` reads or downloads the original files."""

from minigrad.datasets.digits import load_digits
from minigrad.datasets.mnist import load_mnist

__all__ = ["load_digits", "load_mnist"]
