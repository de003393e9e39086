"""Training: `fit`, its history, and the hooks that come with it."""

from minigrad.training.callbacks import (
    Checkpoint,
    EarlyStopping,
    ReduceOnPlateau,
    StopOnNonFinite,
)
from minigrad.training.history import History
from minigrad.training.loop import fit

__all__ = ["Checkpoint", "EarlyStopping", "History", "ReduceOnPlateau", "StopOnNonFinite", "fit"]
