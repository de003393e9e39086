"""The parts of a checkpoint that are loaded, one by one, and the way back where one does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np

from minigrad.arrays import set_generator
from minigrad.checkpoint.given import Given, HasState
from minigrad.errors import MinigradError, ModelError
from minigrad.layer import Layer


class Part(NamedTuple):
    """One thing to load into.

    Attributes:
        name: What it is called in errors.
        load: Gives it a state.
        state: That of the checkpoint.
        before: Its state now, to go back to.
    """

    name: str
    load: Callable[[Any], None]
    state: Any
    before: Any


def load_all(parts: list[Part], given: Given, where: str) -> None:
    """Load all parts, or after an error none.

    Raises:
        ModelError: A part does not fit; nothing is changed.
    """
    with ExitStack() as undo:
        for thing in (given.history, *given.hooks):
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


def parts_of(tree: Mapping[str, Any], given: Given, strict: bool) -> list[Part]:
    """What is to be loaded, in which state it is now, and the state that the checkpoint has for it.

    Raises:
        ModelError: The checkpoint does not have it.
    """
    asked = {"model": given.model, "optimizer": given.optimizer, "data": given.data, "history": given.history}
    lacks = [name for name, thing in asked.items() if thing is not None and name not in tree]
    lacks += ["rng"] if given.rng is not None and "rng" not in tree["generators"] else []
    if lacks:
        has = ", ".join(name for name in asked if name in tree)
        raise ModelError(f"the checkpoint holds no {' and no '.join(lacks)}, only {has}; give the same things to save")
    return [
        *_model(tree, given, strict),
        *_optimizer_and_data(tree, given),
        *_figures_and_hooks(tree, given),
        *_rngs(tree, given),
    ]


def _model(tree: Mapping[str, Any], given: Given, strict: bool) -> Iterator[Part]:
    model = given.model
    if model is None:
        return
    state, now = tree["model"], model.state_dict()
    if not strict:
        state = {name: array for name, array in state.items() if name in now and now[name].shape == array.shape}
    yield Part("model", lambda state: model.load_state_dict(state, strict=False), state, now)
    if given.optimizer is not None:
        frozen = [name for name, parameter in model.parameters() if not parameter.trainable]
        yield Part("frozen parameters", lambda names: _freeze(model, names), tree["frozen"], frozen)


def _freeze(model: Layer, names: list[str]) -> None:
    for name, parameter in model.parameters():
        parameter.trainable = name not in names


def _optimizer_and_data(tree: Mapping[str, Any], given: Given) -> Iterator[Part]:
    if given.optimizer is not None:
        yield Part("optimizer", given.optimizer.load_state_dict, tree["optimizer"], given.optimizer.state_dict())
    if given.data is not None:
        now = given.data.state_dict()
        yield Part("data", given.data.load_state_dict, {**now, **tree["data"]}, now)  # its generator is one of all


def _figures_and_hooks(tree: Mapping[str, Any], given: Given) -> Iterator[Part]:
    history = given.history
    if isinstance(history, HasState):
        yield Part("history", history.load_state_dict, tree["history"], history.state_dict())
    elif history is not None:
        yield Part("history", lambda figures: _fill(history, figures), tree["history"], dict(history))
    saved: dict[str, list[Any]] = {}
    for one in tree["hooks"]:
        saved.setdefault(one["hook"], []).append(one["state"])
    for hook in given.hooks:
        kind = type(hook).__name__
        state = saved[kind].pop(0) if saved.get(kind) else None
        if state:
            yield Part(kind, hook.load_state_dict, state, hook.state_dict())


def _fill(history: MutableMapping[str, Any], figures: Mapping[str, Any]) -> None:
    history.clear()
    history.update(figures)


def _rngs(tree: Mapping[str, Any], given: Given) -> Iterator[Part]:
    for label, generator in given.generators().items():
        if label in tree["generators"]:
            yield Part(label, _setting(generator, label), tree["generators"][label], generator.bit_generator.state)


def _setting(generator: np.random.Generator, label: str) -> Callable[[Any], None]:
    return lambda state: set_generator(generator, state, f"the generator '{label}'")
