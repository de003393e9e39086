"""Data sets: `load_digits` is bundled, `load_mnist` reads or downloads the original files."""

from minigrad.datasets.digits import load_digits
from minigrad.datasets.mnist import load_mnist

__all__ = ["load_digits", "load_mnist"]
