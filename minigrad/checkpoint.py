"""`save` and `load`: everything that a training needs to go on as if it had never stopped, in one file.

A checkpoint is taken between steps, and keeps: the values and buffers of the model, which parameters are frozen, the
optimizer's state, the position in the data, the history, the state of hooks, and the state of every random generator that
the model, the data or `rng` hold.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from contextlib import ExitStack
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from minigrad import archive
from minigrad.arrays import set_generator
from minigrad.data import Batches
from minigrad.errors import DataFileError, KindError, MinigradError, ModelError
from minigrad.hooks import Hook
from minigrad.layer import Layer
from minigrad.optimizers import Optimizer
from minigrad.parameter import announce


@runtime_checkable
class HasState(Protocol):
    """Something that a checkpoint can keep, such as the `History` of `fit`."""

    def state_dict(self) -> Mapping[str, Any]:
        """Numbers, text, arrays, and lists and dicts of these."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        ...


Figures: TypeAlias = HasState | MutableMapping[str, Any]
"""What `history` may be: that of `fit`, or in a loop by hand a dict of lists."""


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
    """Write a checkpoint: all of it and on the disk, or after an error not at all. No pickle is used.

        minigrad.save("digits.npz", model=model, optimizer=optimizer, data=data)

    Call it between steps. Where a file exists, it stays whole until the new one is complete and takes its name.

    Args:
        path: The file, which `numpy.load` opens too; by custom it ends in ".npz".
        model: The model.
        optimizer: Its optimizer: the step count, the rate where it is a number, moments.
        data: Where the epoch stands, and the order of its rest.
        rng: A generator of your own, if neither the model nor the data holds it.
        history: A `History`, or a dict of lists.
        hooks: Hooks whose state belongs to the training, such as `ReduceOnPlateau`.

    Raises:
        KindError: An argument is of the wrong kind, or a state holds what a checkpoint cannot.
        ModelError: The optimizer is of another model.
        DataFileError: The file cannot be written: the disk is full, there is no such directory.
    """
    hooks = _checked(path, model, optimizer, data, rng, history, hooks, "save")
    if not isinstance(model, Layer):
        raise KindError(f"save got {model!r} as its model, expected a layer, such as a Sequential")
    generators = {label: generator.bit_generator.state for label, generator in _generators(model, data, rng).items()}
    tree: dict[str, Any] = {
        "numpy": np.__version__,
        "model": model.state_dict(),
        "layers": _layers(model),
        "frozen": [name for name, parameter in model.parameters() if not parameter.trainable],
        "generators": generators,
        "shared": _shared(_generators(model, data, rng)),
    }
    if optimizer is not None:
        tree["optimizer"] = optimizer.state_dict()
    if data is not None:
        tree["data"] = {name: value for name, value in data.state_dict().items() if name != "rng"}
    if history is not None:
        tree["history"] = history.state_dict() if isinstance(history, HasState) else dict(history)
    tree["hooks"] = [{"hook": type(hook).__name__, "state": hook.state_dict()} for hook in hooks]
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
    """Read a checkpoint into what is given, and leave the rest of it: `load(path, model=model)` reads the model alone.

    Build everything as it was built before saving, and load into it: all of it, or after an error nothing. With the
    model, the optimizer and the data the training goes on bit for bit as if it had not stopped; the next
    `for x, y in data` gives the rest of the epoch. Then also the parameters that were frozen are frozen again.

    Args:
        path: The file.
        model: The model.
        optimizer: Its optimizer. Its rate becomes the saved one, where both are numbers; its other settings stay.
        data: The data, of the same number of samples.
        rng: The generator that was given to `save`.
        history: A `History` or a dict, which is filled anew.
        hooks: Hooks; each takes the state of the next saved hook of its class, and one for which there is none keeps its own.
        strict: Whether everything in the model must fit: names, shapes, dtypes, the kinds of the layers, and which of them
            share a generator. Otherwise what has the same name and shape is loaded, and the rest passed over.

    Raises:
        KindError: An argument is of the wrong kind.
        DataFileError: There is no such file, it is damaged, of a later version, or no checkpoint.
        ModelError: It does not fit; the message lists every difference, and nothing is changed.
    """
    hooks = _checked(path, model, optimizer, data, rng, history, hooks, "load")
    tree = archive.read(path)
    where = f"the checkpoint '{os.fspath(path)}'"
    if not _is_sound(tree):
        raise DataFileError(f"{where} is no checkpoint that minigrad has written: its content has another form")
    parts = _parts(tree, model, optimizer, data, rng, history, hooks, strict)
    problems = [] if model is None or not strict else [*_differences(tree, model)]
    if strict and (optimizer is not None or data is not None):
        problems += _other_sharing(tree, _generators(model, data, rng))
    if problems:
        raise ModelError(f"{where} does not fit, and nothing was changed: {'; '.join(problems)}")
    with ExitStack() as undo:
        for thing in (history, *hooks):
            if hasattr(thing, "__dict__"):  # what a state does not tell, too, such as why a training ended
                undo.callback(vars(thing).update, dict(vars(thing)))
        for part in parts:
            if part.before != {}:  # the state of a hook that has seen nothing yet
                undo.callback(part.load, part.before)
            try:
                part.load(part.state)
            except Exception as error:  # a hook may be anybody's
                told = error if isinstance(error, MinigradError) else repr(error)
                raise ModelError(f"{where} does not fit, and nothing was changed: its {part.name}: {told}") from error
        undo.pop_all()
    if model is not None:
        announce(model, where)
        for _, parameter in model.parameters():
            parameter.new_grads = 0  # what a backward has left belongs to the values before


def _is_sound(tree: Any) -> bool:
    """Whether a tree has the form that `save` gives it. What its parts hold is looked at by those who load it."""
    try:
        text = [*tree["layers"].values(), *tree["frozen"], *(label for group in tree["shared"] for label in group)]
        text += [one["hook"] for one in tree["hooks"]]
        states = [*tree["generators"].values(), *(one["state"] for one in tree["hooks"])]
        states += [tree[name] for name in ("optimizer", "data", "history") if name in tree]
        kinds = ((str, text), (dict, states), (np.ndarray, tree["model"].values()))
        return all(isinstance(thing, kind) for kind, things in kinds for thing in things)
    except (AttributeError, LookupError, TypeError):
        return False


class _Part(NamedTuple):
    """One thing to load into."""

    name: str
    load: Callable[[Any], None]
    state: Any
    before: Any  # its state now, to go back to


def _parts(
    tree: Mapping[str, Any],
    model: Layer | None,
    optimizer: Optimizer | None,
    data: Batches | None,
    rng: np.random.Generator | None,
    history: Figures | None,
    hooks: list[Hook],
    strict: bool,
) -> list[_Part]:
    """What is to be loaded, in which state it is now, and the state that the checkpoint has for it.

    Raises:
        ModelError: The checkpoint does not have it.
    """
    given = {"model": model, "optimizer": optimizer, "data": data, "history": history}
    lacks = [name for name, thing in given.items() if thing is not None and name not in tree]
    lacks += ["rng"] if rng is not None and "rng" not in tree["generators"] else []
    if lacks:
        has = ", ".join(name for name in given if name in tree)
        raise ModelError(f"the checkpoint holds no {' and no '.join(lacks)}, only {has}; give the same things to save")
    parts = []
    if model is not None:
        state, now = tree["model"], model.state_dict()
        if not strict:
            state = {name: array for name, array in state.items() if name in now and now[name].shape == array.shape}
        parts.append(_Part("model", lambda state: model.load_state_dict(state, strict=False), state, now))
        if optimizer is not None:
            frozen = [name for name, parameter in model.parameters() if not parameter.trainable]
            parts.append(_Part("frozen parameters", lambda names: _freeze(model, names), tree["frozen"], frozen))
    if optimizer is not None:
        parts.append(_Part("optimizer", optimizer.load_state_dict, tree["optimizer"], optimizer.state_dict()))
    if data is not None:
        stands = data.state_dict()
        parts.append(_Part("data", data.load_state_dict, {**stands, **tree["data"]}, stands))
    if history is not None:
        fill = history.load_state_dict if isinstance(history, HasState) else _filling(history)
        figures = history.state_dict() if isinstance(history, HasState) else dict(history)
        parts.append(_Part("history", fill, tree["history"], figures))
    saved: dict[str, list[Any]] = {}
    for one in tree["hooks"]:
        saved.setdefault(one["hook"], []).append(one["state"])
    for hook in hooks:
        kind = type(hook).__name__
        state = saved[kind].pop(0) if saved.get(kind) else None
        if state:
            parts.append(_Part(kind, hook.load_state_dict, state, hook.state_dict()))
    for label, generator in _generators(model, data, rng).items():
        if label in tree["generators"]:
            setting = _setting(generator, label)
            parts.append(_Part(label, setting, tree["generators"][label], generator.bit_generator.state))
    return parts


def _filling(history: MutableMapping[str, Any]) -> Callable[[Mapping[str, Any]], None]:
    def fill(state: Mapping[str, Any]) -> None:
        history.clear()
        history.update(state)

    return fill


def _setting(generator: np.random.Generator, label: str) -> Callable[[Any], None]:
    return lambda state: set_generator(generator, state, f"the generator '{label}'")


def _freeze(model: Layer, names: list[str]) -> None:
    for name, parameter in model.parameters():
        parameter.trainable = name not in names


# -- what must fit --------------------------------------------------------------------------------------------------


_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of a function, say; another one in each process


def _layers(model: Layer) -> dict[str, str]:
    """What each layer is. Where parameters and inner layers tell the rest, the class is enough."""
    return {
        place: type(layer).__name__ if any(True for _ in layer.parts()) else _ADDRESS.sub("", repr(layer))
        for place, layer in model.layers()
    }


def _differences(tree: Mapping[str, Any], model: Layer) -> Iterable[str]:
    """In what the model is another one than that of the checkpoint."""
    saved, own = tree["model"], model.state_dict()
    yield from (f"'{name}' is missing in the file" for name in own if name not in saved)
    yield from (f"'{name}' is not in the model" for name in saved if name not in own)
    for name in (name for name in own if name in saved):
        if own[name].shape != saved[name].shape:
            yield f"'{name}' has shape {saved[name].shape} in the file and {own[name].shape} in the model"
        if own[name].dtype != saved[name].dtype:
            yield f"'{name}' is {saved[name].dtype} in the file and {own[name].dtype} in the model"
    layers = _layers(model)
    for place in dict.fromkeys([*tree["layers"], *layers]):
        there, here = (found.get(place, "missing") for found in (tree["layers"], layers))
        named = "missing" in (there, here) and any(
            name.startswith(f"{place}." * bool(place)) for name in (*own, *saved)
        )
        if there != here and not named:  # a layer with parameters that is missing was told of above
            yield f"layer '{place}' is {there} in the file and {here} in the model"


def _generators(
    model: Layer | None, data: Batches | None, rng: np.random.Generator | None
) -> dict[str, np.random.Generator]:
    """All generators by what holds them: "model 2.rng", "data", "rng"."""
    found = {} if model is None else {f"model {name}": generator for name, generator in model.named_generators()}
    if data is not None:
        found["data"] = data.rng
    if rng is not None:
        found["rng"] = rng
    return found


def _shared(generators: Mapping[str, np.random.Generator]) -> list[list[str]]:
    """The names of those that are one and the same generator."""
    groups: dict[int, list[str]] = {}
    for label, generator in generators.items():
        groups.setdefault(id(generator.bit_generator), []).append(label)
    return list(groups.values())


def _other_sharing(tree: Mapping[str, Any], generators: Mapping[str, np.random.Generator]) -> Iterable[str]:
    """Generators that were one and are now two, or the other way round: the numbers drawn would be others."""
    saved = [[label for label in group if label in generators] for group in tree["shared"]]
    own = [[label for label in group if label in tree["generators"]] for group in _shared(generators)]
    for group in saved:
        if len(_numbers(group, own)) > 1:
            yield f"{' and '.join(group)} shared one generator: give them the same one again"
    for group in own:
        if len(_numbers(group, saved)) > 1:
            yield f"{' and '.join(group)} share one generator, and had different ones: give each its own again"


def _numbers(labels: Iterable[str], groups: list[list[str]]) -> set[int]:
    """In which groups these lie."""
    return {number for number, group in enumerate(groups) for label in labels if label in group}


# -- arguments ------------------------------------------------------------------------------------------------------


def _checked(
    path: str | os.PathLike[str],
    model: Layer | None,
    optimizer: Optimizer | None,
    data: Batches | None,
    rng: np.random.Generator | None,
    history: Figures | None,
    hooks: Iterable[Hook],
    who: str,
) -> list[Hook]:
    """The hooks as a list, if everything is of its kind."""
    expected = {
        "path": (path, str | os.PathLike, "the path of a file"),
        "model": (model, Layer, "a layer, such as a Sequential"),
        "optimizer": (optimizer, Optimizer, "an optimizer"),
        "data": (data, Batches, "minigrad.Batches"),
        "rng": (rng, np.random.Generator, "the generator itself, np.random.default_rng(seed)"),
        "history": (history, HasState | MutableMapping, "a History, or a dict of lists"),
        "hooks": (hooks, Iterable, "several, hooks=[...]"),
    }
    for name, (thing, kind, told) in expected.items():
        if not isinstance(thing, kind) and (thing is not None or name in ("path", "hooks")):
            raise KindError(f"{who} got {thing!r} as {name}, expected {told}")
    hooks = list(hooks)
    for hook in hooks:
        if not isinstance(hook, Hook):
            raise KindError(f"{who} got {hook!r} among its hooks, expected an instance of a subclass of minigrad.Hook")
    if model is not None and optimizer is not None:
        own = {id(parameter) for _, parameter in model.parameters()}
        if any(id(parameter) not in own for _, parameter in optimizer.model.parameters()):
            raise ModelError(f"{who} got an optimizer, {optimizer!r}, of another model")
    return hooks
