"""The hooks that `fit` takes, and its progress."""

from minigrad.training.callbacks.checkpoint import Checkpoint
from minigrad.training.callbacks.early_stopping import EarlyStopping
from minigrad.training.callbacks.progress import Progress
from minigrad.training.callbacks.reduce_on_plateau import ReduceOnPlateau
from minigrad.training.callbacks.stop_on_non_finite import StopOnNonFinite

__all__ = ["Checkpoint", "EarlyStopping", "Progress", "ReduceOnPlateau", "StopOnNonFinite"]
