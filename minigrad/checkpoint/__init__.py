"""Checkpoints: one file with all that a training needs to go on as if it had never stopped."""

from minigrad.checkpoint.checkpoint import load, save

__all__ = ["load", "save"]
