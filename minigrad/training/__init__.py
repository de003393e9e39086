"""Training: `fit`, its history, and the hooks that come with it."""

from minigrad.training.callbacks.checkpoint import Checkpoint
from minigrad.training.callbacks.early_stopping import EarlyStopping
from minigrad.training.callbacks.stop_on_non_finite import StopOnNonFinite
from minigrad.training.history import History
from minigrad.training.loop import fit

__all__ = ["Checkpoint", "EarlyStopping", "History", "StopOnNonFinite", "fit"]
