"""`fit`, the training loop, with history, validation, progress, checkpoints and early stopping."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from contextlib import closing

from minigrad._printable import printable
from minigrad._validation import whole
from minigrad.checkpoint.arguments import checked_hooks
from minigrad.data import Batches
from minigrad.errors import NonFiniteError
from minigrad.hooks import Hook
from minigrad.layers.layer import Layer
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.training.baseline import compare_with_baseline
from minigrad.training.callbacks.progress import Progress, Shown
from minigrad.training.callbacks.stop_on_non_finite import StopOnNonFinite
from minigrad.training.history import History
from minigrad.training.interrupts import Interrupts
from minigrad.training.metrics import Metrics
from minigrad.training.session import Session, Validation


def fit(
    model: Layer,
    loss: Loss,
    optimizer: Optimizer,
    data: Batches,
    *,
    epochs: int,
    validation_data: Validation = None,
    metrics: Metrics = "auto",
    hooks: Iterable[Hook] = (),
    progress: Shown = "auto",
    resume_from: str | os.PathLike[str] | None = None,
) -> History:
    """Train a model: the loop by hand, and around it what people expect of one.

    The figures of an epoch are means over all of its samples, also where the loss of a batch is a
    sum; of a weighted loss, over the weights. Validation runs in eval mode and leaves no trace.
    Ctrl-C takes effect between two steps: the training ends, and the history so far is returned. A
    loss or an update that is NaN or infinite ends it before it gets into the weights, as
    `StopOnNonFinite` says.

    Args:
        model: Any layer. It is trained in training mode; parts of it that are in eval mode stay so.
        loss: The loss.
        optimizer: An optimizer of the model, or of a part of it.
        data: The data to train on.
        epochs: The number of epochs in all, those before `resume_from` included; 0 gives an empty
            history.
        validation_data: (x, y), scaled as `data` is, or `Batches`, for the figures "val_loss", ...
            after each epoch.
        metrics: "accuracy", "mean_absolute_error", "r2", or a function `(outputs, targets) ->
            float`; or several of these; or a mapping of names to them. "auto": the accuracy, for
            the cross-entropies. Of a function, an epoch's figure is the mean over the batches,
            weighted by their sizes; in validation it sees all outputs at once, or if they are more
            than four million numbers, chunks of that size.
        hooks: Hooks, told in this order; they are attached as long as `fit` runs. A `Recorder`
            records meanwhile.
        progress: Whether to show it: "auto" does on a terminal or in a notebook, and not where
            output is redirected.
        resume_from: A checkpoint to go on from, as if the training had not stopped.

    Returns:
        The figures of each epoch; `history.stopped` says why it ended early, if it did.

    Raises:
        KindError: An argument is of the wrong kind.
        ShapeError: Data, model, loss and metrics do not fit together.
        LabelError: Labels, of validation too, are out of range.
        RangeError: A number is out of range, or there is no metric of that name.
        ModelError: All parameters are frozen, the optimizer or a hook is of another model, or the
            checkpoint does not fit.
        StaleParametersError: The optimizer's parameters have moved into another model.
        UnknownNameError: A hook monitors a figure that there is not.
        DataFileError: The checkpoint cannot be read.
        HookError: A hook failed.
    """
    n_epochs = whole(epochs, "epochs", least=0)
    shown = Progress(progress, n_epochs, len(data) if isinstance(data, Batches) else 0)
    hooks = checked_hooks(hooks, "fit")
    if not any(isinstance(hook, StopOnNonFinite) for hook in hooks):
        hooks.insert(0, StopOnNonFinite())
    session = Session(model, loss, optimizer, data, validation_data, metrics, hooks, n_epochs)
    history = session.history
    with Interrupts(session.stop), session.running(resume_from), closing(shown):
        if resume_from is not None:
            shown.say(f"going on after {optimizer.step_count} steps, in epoch {history.epochs + 1}")
        if shown.shown and history.epochs < n_epochs:
            shown.say(compare_with_baseline(model, loss, data))
        try:
            while history.epochs < n_epochs and not session.stopping:
                shown.begin_epoch(history.epochs)
                for x, y in data:
                    session.begin_step()
                    outputs = model(x)
                    value = float(loss.forward(outputs, y))
                    if not math.isfinite(value):
                        raise NonFiniteError(f"the loss is {value}")
                    model.backward(loss.backward())
                    session.measure(value, outputs, y)
                    optimizer.step(loss=value, indices=data.indices)
                    session.carry_out()
                    shown.step(value)
                    if session.stopping:
                        break
                else:
                    if session.between_epochs:
                        continue  # nothing was left of an epoch that somebody has loaded
                    figures = session.end_epoch()
                    shown.end_epoch(history.epochs - 1, figures)
        except NonFiniteError as error:
            session.fail(error, x, y)
    history.stopped = printable(session.stopping)
    if history.stopped:
        shown.say(f"stopped: {history.stopped}")
    return history
