"""`save` and `load`.

A checkpoint is taken between steps. It keeps the values and buffers of the model, which parameters
are frozen, the optimizer's state, the position in the data, the history, the state of hooks, and
the state of every random generator that the model, the optimizer, the data or `rng` holds.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad._messages import described
from minigrad.checkpoint import archive
from minigrad.checkpoint.arguments import Arguments, Figures, checked_hooks, state_of
from minigrad.checkpoint.compatibility import (
    arrays_of,
    differences,
    frozen_in,
    layers_of,
    shared,
    sharing_differences,
)
from minigrad.checkpoint.transaction import load_all, place, targets_of
from minigrad.data import Batches
from minigrad.errors import DataFileError, KindError, ModelError
from minigrad.hooks import Hook
from minigrad.layers.layer import Layer
from minigrad.optimizers import Optimizer
from minigrad.parameters.vector import announce


def save(
    path: str | os.PathLike[str],
    *,
    model: Layer,
    optimizer: Optimizer | None = None,
    data: Batches | None = None,
    rng: np.random.Generator | None = None,
    history: Figures | None = None,
    hooks: Iterable[Hook] = (),
) -> None:
    """Write a checkpoint: all of it and on the disk, or after an error nothing; without pickle.

        minigrad.save("digits.npz", model=model, optimizer=optimizer, data=data)

    Call it between steps. Where a file exists, it stays whole until the new one is complete and
    takes its name; its permissions stay. A recorder that writes to a directory has everything on
    the disk first, so that its record reaches as far.

    Args:
        path: The file, which `numpy.load` opens too; by custom it ends in ".npz".
        model: The model.
        optimizer: Its optimizer: the step count, the rate where it is a number, moments.
        data: Where the epoch stands, and the order of its rest.
        rng: A generator of your own, if neither the model, nor the optimizer, nor the data holds
            it.
        history: A `History`, or a dict of lists.
        hooks: Hooks whose state belongs to the training, such as `ReduceOnPlateau`.

    Raises:
        KindError: An argument is of the wrong kind, or a state holds what a checkpoint cannot.
        ModelError: The optimizer is of another model.
        StaleParametersError: Its parameters have moved into another model.
        DataFileError: The file cannot be written: the disk is full, there is no such directory, it
            is read-only, or no regular file.
        RunError: A recorder's directory cannot be written; the checkpoint is.
    """
    given = Arguments(model, optimizer, data, rng, history, checked_hooks(hooks, "save"))
    given.check(path, "save")
    if not isinstance(model, Layer):
        raise KindError(
            f"save got {described(model)} as its model, expected a layer, such as a Sequential"
        )
    generators = given.generators()
    tree: dict[str, Any] = {
        "numpy": np.__version__,
        "model": arrays_of(model),  # the file is written before anybody can change them
        "layers": layers_of(model),
        **frozen_in(model),
        "generators": {
            label: generator.bit_generator.state for label, generator in generators.items()
        },
        "shared": shared(generators),
        "hooks": [
            {"hook": type(hook).__name__, "state": hook.state_dict()} for hook in given.hooks
        ],
    }
    if optimizer is not None:
        tree["optimizer"] = optimizer.state_dict(live=True)
    if data is not None:
        tree["data"] = place(data)
    if history is not None:
        tree["history"] = state_of(history)
    try:
        if optimizer is not None:
            optimizer.flush()
    finally:  # the checkpoint is not the record's: it is written though that one cannot be
        archive.write(path, tree)


def load(
    path: str | os.PathLike[str],
    *,
    model: Layer | None = None,
    optimizer: Optimizer | None = None,
    data: Batches | None = None,
    rng: np.random.Generator | None = None,
    history: Figures | None = None,
    hooks: Iterable[Hook] = (),
    strict: bool = True,
) -> None:
    """Read a checkpoint into what is given; `load(path, model=model)` reads the model alone.

    Build everything as it was built before saving, and load into it: all of it, or after an error
    nothing. With the model, the optimizer and the data the training goes on bit for bit as if it
    had not stopped; the next `for x, y in data` gives the rest of the epoch. With the optimizer,
    the parameters that were frozen are frozen again; with the optimizer or the data, the random
    generators of the model are where they were.

    Args:
        path: The file.
        model: The model.
        optimizer: Its optimizer. Its rate becomes the saved one, where both are numbers; its other
            settings stay.
        data: The data, of the same number of samples.
        rng: The generator that was given to `save`.
        history: A `History` or a dict, which is filled anew.
        hooks: Hooks; each takes the state of the next saved hook of its class that monitors the
            same figure, if it monitors one. A hook for which there is none keeps its own.
        strict: Whether everything in the model must fit: names, shapes, dtypes, the kinds of the
            layers, and which of them share a generator. Otherwise what has the same name and shape
            is loaded, and the rest passed over.

    Raises:
        KindError: An argument is of the wrong kind, or nothing is given to load into.
        DataFileError: There is no such file, it is damaged, of a later version, no checkpoint, or
            no regular file.
        ModelError: It does not fit; the message lists every difference, and nothing is changed.
        StaleParametersError: The optimizer's parameters have moved into another model.
    """
    given = Arguments(model, optimizer, data, rng, history, checked_hooks(hooks, "load"))
    given.check(path, "load")
    if all(thing is None for thing in (model, optimizer, data, rng, history)) and not given.hooks:
        raise KindError(
            f"load('{os.fspath(path)}') has nothing to load into: it returns nothing, but fills "
            f"what it is given; build the model as before saving and pass it, load(path, "
            f"model=model), for training also optimizer= and data="
        )
    tree = archive.read(path)
    where = f"the checkpoint '{os.fspath(path)}'"
    if not _is_sound(tree):
        raise DataFileError(
            f"{where} is no checkpoint that minigrad has written: its content has another form"
        )
    targets = targets_of(tree, given, strict)
    problems = [*differences(tree, model)] if strict and model is not None else []
    if strict and (optimizer is not None or data is not None):
        problems += sharing_differences(tree, given.generators())
    if problems:
        raise ModelError(f"{where} does not fit, and nothing was changed: {'; '.join(problems)}")
    load_all(targets, where)
    if model is not None:
        announce(model, where)
        for _, parameter in model.parameters():
            parameter.arrival = None  # what a backward has left belongs to the values before


def _is_sound(tree: Any) -> bool:
    """Whether a tree has the form that `save` gives it.

    What its parts hold is looked at by those who load it.
    """
    try:
        text = [
            *tree["layers"].values(),
            *tree["frozen"],
            *(label for group in tree["shared"] for label in group),
        ]
        text += [one["hook"] for one in tree["hooks"]]
        states = [*tree["generators"].values(), *(one["state"] for one in tree["hooks"])]
        states += [tree[name] for name in ("optimizer", "data", "history") if name in tree]
        kinds = ((str, text), (dict, states), (np.ndarray, tree["model"].values()))
        return all(isinstance(thing, kind) for kind, things in kinds for thing in things)
    except (AttributeError, LookupError, TypeError):
        return False
