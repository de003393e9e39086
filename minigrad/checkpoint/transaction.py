"""The transaction of `load`: everything that is loaded gets its new state, or keeps its old one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from minigrad.checkpoint.arguments import Arguments, HasState
from minigrad.checkpoint.compatibility import frozen_in
from minigrad.data import Batches
from minigrad.errors import MinigradError, ModelError
from minigrad.hooks import Hook
from minigrad.layers.layer import Layer
from minigrad.randomness import set_generator


class Target(NamedTuple):
    """Something that a checkpoint is loaded into.

    Attributes:
        name: What errors call it.
        load: Gives it a state.
        new: The state in the checkpoint.
        old: Its state now; empty if it has none.
        is_atomic: Whether `load` takes in all of a state, or after an error nothing.
    """

    name: str
    load: Callable[[Any], object]
    new: Any
    old: Any
    is_atomic: bool = True


def load_all(targets: list[Target], where: str) -> None:
    """Load into all targets, or after an error into none.

    Raises:
        ModelError: A target refuses its new state.
    """
    begun: list[Target] = []
    try:
        for target in targets:
            begun.append(target)
            target.load(target.new)
    except Exception as error:
        refusing = begun[-1]
        changed = _put_back(begun[:-1] if refusing.is_atomic else begun)
        outcome = f"only {', '.join(changed)} may have" if changed else "nothing was"
        message = error if isinstance(error, MinigradError) else repr(error)
        raise ModelError(
            f"{where} does not fit, and {outcome} changed: its {refusing.name}: {message}"
        ) from error
    except BaseException:  # an interrupt, in the middle of one
        _put_back(begun)
        raise


def _put_back(targets: list[Target]) -> list[str]:
    """Give targets their old states; the names of those for which that did not work."""
    return [target.name for target in reversed(targets) if not _is_put_back(target)]


def _is_put_back(target: Target) -> bool:
    """Give a target its old state; whether that worked. What a hook raises may be anything."""
    if not (target.old or target.is_atomic):
        return False  # a hook had no state yet, and takes none that would undo another one
    with suppress(Exception):
        target.load(target.old)
        return True
    return False


def targets_of(tree: Mapping[str, Any], given: Arguments, strict: bool) -> list[Target]:
    """What is to be loaded, in this order; what has no state to be put back to comes last.

    Raises:
        ModelError: The checkpoint lacks something that is to be loaded.
    """
    _check_complete(tree, given)
    targets = list(_generators(tree, given))
    if given.model is not None:
        targets += _model(tree, given.model, strict, with_optimizer=given.optimizer is not None)
    if given.optimizer is not None:
        # no copies: an optimizer that loads a state takes new arrays
        load, old = given.optimizer.load_state_dict, given.optimizer.state_dict(live=True)
        targets.append(Target("optimizer", load, tree["optimizer"], old))
    targets += _hooks(tree, given.hooks)
    if given.data is not None:
        targets.append(Target("data", partial(_go_on, given.data), tree["data"], place(given.data)))
    if isinstance(given.history, HasState):
        states = tree["history"], given.history.state_dict()
        targets.append(Target("history", given.history.load_state_dict, *states))
    elif given.history is not None:
        fill, figures = partial(_fill, given.history), dict(given.history)
        targets.append(Target("history", fill, tree["history"], {"figures": figures}))
    return sorted(targets, key=lambda target: not target.old)


def place(data: Batches) -> dict[str, Any]:
    """Where the data stands; the state of its generator is kept with those of all others."""
    return {name: value for name, value in data.state_dict().items() if name != "rng"}


def _check_complete(tree: Mapping[str, Any], given: Arguments) -> None:
    """Make sure that the checkpoint has all that is to be loaded."""
    asked = {name: getattr(given, name) for name in ("model", "optimizer", "data", "history")}
    lacks = [name for name, thing in asked.items() if thing is not None and name not in tree]
    lacks += ["rng"] if given.rng is not None and "rng" not in tree["generators"] else []
    if lacks:
        has = ", ".join(name for name in asked if name in tree)
        raise ModelError(
            f"the checkpoint holds no {' and no '.join(lacks)}, only {has}; give the same things "
            f"to save"
        )


def _generators(tree: Mapping[str, Any], given: Arguments) -> Iterator[Target]:
    resumes = given.optimizer is not None or given.data is not None
    for label, rng in given.generators().items():
        # With a model alone, for prediction, somebody else may be using the generators.
        if label in tree["generators"] and (resumes or label == "rng"):
            load = partial(set_generator, rng, what=f"the generator '{label}'")
            yield Target(label, load, tree["generators"][label], rng.bit_generator.state)


def _model(
    tree: Mapping[str, Any], model: Layer, strict: bool, with_optimizer: bool
) -> Iterator[Target]:
    new, old = tree["model"], model.state_dict()
    if not strict:
        fitting = (name for name in new if name in old and old[name].shape == new[name].shape)
        new = {name: new[name] for name in fitting}
    yield Target("model", partial(model.load_state_dict, strict=False), new, old)
    if with_optimizer:
        frozen = frozen_in(model)
        # files from before there were frozen entries do not have all of these
        known = {name: tree[name] for name in frozen if name in tree}
        freeze = partial(_freeze, model)
        yield Target("frozen parameters", freeze, known, frozen, is_atomic=False)


def _freeze(model: Layer, frozen: Mapping[str, Any]) -> None:
    for name, parameter in model.parameters():
        entries = frozen.get("moving_entries", {}).get(name)
        parameter.trainable = name not in frozen["frozen"] if entries is None else entries


def _hooks(tree: Mapping[str, Any], hooks: list[Hook]) -> Iterator[Target]:
    saved = list(tree["hooks"])
    for hook in hooks:
        number = next((at for at, one in enumerate(saved) if _is_of(one, hook)), None)
        if number is not None:
            own = saved.pop(number)
            if own["state"]:
                states = own["state"], hook.state_dict()
                yield Target(own["hook"], hook.load_state_dict, *states, is_atomic=False)


def _is_of(saved: Mapping[str, Any], hook: Hook) -> bool:
    """Whether a state is that of such a hook.

    Two of a class are told apart by what they monitor, and then by their order.
    """
    monitor = saved["state"].get("monitor")
    monitored = monitor if isinstance(monitor, str) else None
    kind = type(hook).__name__
    return bool(saved["hook"] == kind and monitored == getattr(hook, "monitor", None))


def _go_on(data: Batches, state: Mapping[str, Any]) -> None:
    """Have the data go on from a place, with its generator as it is."""
    rng: np.random.Generator = data.rng
    data.load_state_dict({**state, "rng": rng.bit_generator.state})


def _fill(history: MutableMapping[str, Any], state: Mapping[str, Any]) -> None:
    figures = dict(state["figures"])
    history.clear()
    history.update(figures)
