"""The parts of a checkpoint that are loaded, one by one, and the way back where one does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, NamedTuple

from minigrad.checkpoint.arguments import Given, HasState
from minigrad.errors import MinigradError, ModelError
from minigrad.hooks.hook import Hook
from minigrad.layers.layer import Layer
from minigrad.randomness import set_generator


class Part(NamedTuple):
    """One thing to load into.

    Attributes:
        name: What it is called in errors.
        load: Gives it a state.
        state: That of the checkpoint.
        undo: Goes back to its state now.
    """

    name: str
    load: Callable[[Any], None]
    state: Any
    undo: Callable[[], object]


def load_all(parts: list[Part], given: Given, where: str) -> None:
    """Load all parts, or after an error none.

    Raises:
        ModelError: A part does not fit; nothing is changed.
    """
    with ExitStack() as undo:
        for part in parts:
            undo.callback(part.undo)
            try:
                part.load(part.state)
            except Exception as error:  # a hook may be anybody's
                told = error if isinstance(error, MinigradError) else repr(error)
                raise ModelError(
                    f"{where} does not fit, and nothing was changed: its {part.name}: {told}"
                ) from error
        undo.pop_all()


def parts_of(tree: Mapping[str, Any], given: Given, strict: bool) -> list[Part]:
    """What is to be loaded, in which state it is now, and the state that the checkpoint has for it.

    Raises:
        ModelError: The checkpoint does not have it.
    """
    asked = {
        "model": given.model,
        "optimizer": given.optimizer,
        "data": given.data,
        "history": given.history,
    }
    lacks = [name for name, thing in asked.items() if thing is not None and name not in tree]
    lacks += ["rng"] if given.rng is not None and "rng" not in tree["generators"] else []
    if lacks:
        has = ", ".join(name for name in asked if name in tree)
        raise ModelError(
            f"the checkpoint holds no {' and no '.join(lacks)}, only {has}; give the same things "
            f"to save"
        )
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
        state = {
            name: array
            for name, array in state.items()
            if name in now and now[name].shape == array.shape
        }

    def fill(state: Mapping[str, Any]) -> None:
        model.load_state_dict(state, strict=False)

    yield Part("model", fill, state, lambda: fill(now))
    if given.optimizer is not None:
        freeze, before = partial(_freeze, model), frozen_in(model)
        after = {
            name: tree[name] for name in before if name in tree
        }  # there were no entries in files of before
        yield Part("frozen parameters", freeze, after, lambda: freeze(before))


def frozen_in(model: Layer) -> dict[str, Any]:
    """What may not move: the names of parameters, and of parameters of which only some entries may, which these are."""
    parameters = list(model.parameters())
    entries = {name: own.trainable for name, own in parameters if own.frozen_entries is not None}
    return {
        "frozen": [name for name, own in parameters if own.trainable is False],
        "moving_entries": entries,
    }


def _freeze(model: Layer, frozen: Mapping[str, Any]) -> None:
    for name, parameter in model.parameters():
        entries = frozen.get("moving_entries", {}).get(name)
        parameter.trainable = name not in frozen["frozen"] if entries is None else entries


def _optimizer_and_data(tree: Mapping[str, Any], given: Given) -> Iterator[Part]:
    if given.optimizer is not None:
        yield Part(
            "optimizer",
            given.optimizer.load_state_dict,
            tree["optimizer"],
            _way_back(given.optimizer),
        )
    if given.data is not None:
        state = {**given.data.state_dict(), **tree["data"]}  # its generator is one of all
        yield Part("data", given.data.load_state_dict, state, _way_back(given.data))


def _figures_and_hooks(tree: Mapping[str, Any], given: Given) -> Iterator[Part]:
    history = given.history
    if isinstance(history, HasState):
        yield Part("history", history.load_state_dict, tree["history"], _way_back(history))
    elif history is not None:
        fill, now = partial(_fill, history), dict(history)
        yield Part(
            "history", lambda state: fill(state["figures"]), tree["history"], lambda: fill(now)
        )
    saved = list(tree["hooks"])
    for hook in given.hooks:
        kept = next((one for one in saved if _is_of(one, hook)), None)
        if kept is not None:
            saved = [one for one in saved if one is not kept]
            if kept["state"]:
                yield Part(
                    kept["hook"],
                    hook.load_state_dict,
                    kept["state"],
                    partial(_undo, hook, hook.state_dict(), _way_back(hook)),
                )


def _is_of(kept: Mapping[str, Any], hook: Hook) -> bool:
    """Whether a state is that of such a hook.

    Two of a class are told apart by what they monitor, and then by their order.
    """
    monitor = kept["state"].get("monitor")
    of = monitor if isinstance(monitor, str) else None
    return bool(kept["hook"] == type(hook).__name__ and of == getattr(hook, "monitor", None))


def _undo(hook: Hook, state: Mapping[str, Any], way_back: Callable[[], object]) -> None:
    """A hook may be anybody's: it takes its state back by itself if it can, and its attributes are put back."""
    with suppress(Exception):
        hook.load_state_dict(state)
    way_back()


def _fill(history: MutableMapping[str, Any], figures: Mapping[str, Any]) -> None:
    history.clear()
    history.update(figures)


def _way_back(thing: object) -> Callable[[], object]:
    """Puts the attributes of a thing back as they are now.

    What lies in them must not be changed in place.
    """
    before = dict(vars(thing))
    return lambda: vars(thing).update(before)


def _rngs(tree: Mapping[str, Any], given: Given) -> Iterator[Part]:
    resumes = given.optimizer is not None or given.data is not None
    for label, generator in given.generators().items():
        # Of a model alone, for prediction, the generators are somebody else's as well, perhaps.
        if label in tree["generators"] and (resumes or label == "rng"):
            setting = partial(set_generator, generator, what=f"the generator '{label}'")
            yield Part(
                label,
                setting,
                tree["generators"][label],
                partial(setting, generator.bit_generator.state),
            )
