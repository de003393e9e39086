"""The hooks that `fit` takes: early stopping, checkpoints, progress, and the rest."""
