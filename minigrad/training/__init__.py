"""Training: `fit`, its history, and the hooks that come with it."""

from minigrad.training.checkpointing import Checkpoint
from minigrad.training.early_stopping import EarlyStopping
from minigrad.training.history import History
from minigrad.training.loop import fit
from minigrad.training.nonfinite import StopOnNonFinite

__all__ = ["Checkpoint", "EarlyStopping", "History", "StopOnNonFinite", "fit"]
