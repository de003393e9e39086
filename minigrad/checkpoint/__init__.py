"""Checkpoints: everything that a training needs to go on as if it had never stopped, in one file."""

from minigrad.checkpoint.checkpoint import load, save

__all__ = ["load", "save"]
