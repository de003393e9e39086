"""`Arguments`, what `save` writes and `load` reads into, and the checks of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from minigrad._messages import described
from minigrad.data import Batches
from minigrad.errors import KindError, ModelError
from minigrad.hooks import Hook
from minigrad.layers.layer import Layer
from minigrad.optimizers import Optimizer
from minigrad.randomness import generators_of


@runtime_checkable
class HasState(Protocol):
    """Something that a checkpoint can keep, such as the `History` of `fit`."""

    def state_dict(self) -> Mapping[str, Any]:
        """Numbers, text, arrays, and lists and dicts of these."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave: all of it, or after an error nothing."""
        ...


Figures: TypeAlias = HasState | MutableMapping[str, Any]
"""What `history` may be: that of `fit`, or in a loop by hand a dict of lists."""


def state_of(history: Figures) -> Mapping[str, Any]:
    """The state of a history; a dict has that of the `History` with the same figures."""
    return (
        history.state_dict()
        if isinstance(history, HasState)
        else {"figures": dict(history), "under_way": {}}
    )


def checked_hooks(hooks: Iterable[Hook], who: str) -> list[Hook]:
    """Hooks as a list.

    Raises:
        KindError: These are not hooks.
    """
    if isinstance(hooks, Hook) or not isinstance(hooks, Iterable):
        raise KindError(f"{who} got {described(hooks)} as hooks, expected several, hooks=[...]")
    result = list(hooks)
    for hook in result:
        if not isinstance(hook, Hook):
            raise KindError(
                f"{who} got {described(hook)} among its hooks, expected an instance of a subclass "
                f"of minigrad.Hook"
            )
    return result


def check_optimizer(optimizer: Optimizer, model: Layer, who: str) -> None:
    """Make sure that an optimizer is one of this model, or of a part of it.

    Raises:
        ModelError: It is of another model.
        StaleParametersError: Its parameters have moved into another model's memory.
    """
    own = {id(parameter) for _, parameter in model.parameters()}
    if any(id(parameter) not in own for _, parameter in optimizer.model.parameters()):
        raise ModelError(
            f"{who} got an optimizer, {optimizer!r}, of another model; make one of this model"
        )
    optimizer.check_not_stale()


class Arguments(NamedTuple):
    """What `save` and `load` are given."""

    model: Layer | None
    optimizer: Optimizer | None
    data: Batches | None
    rng: np.random.Generator | None
    history: Figures | None
    hooks: list[Hook]

    def check(self, path: str | os.PathLike[str], who: str) -> None:
        """Make sure that everything is of its kind.

        Raises:
            KindError: Something is not.
            ModelError: The optimizer is of another model.
            StaleParametersError: Its parameters have moved.
        """
        expected = {
            "path": (path, str | os.PathLike, "the path of a file"),
            "model": (self.model, Layer, "a layer, such as a Sequential"),
            "optimizer": (self.optimizer, Optimizer, "an optimizer"),
            "data": (self.data, Batches, "minigrad.Batches"),
            "rng": (
                self.rng,
                np.random.Generator,
                "the generator itself, np.random.default_rng(seed)",
            ),
            "history": (self.history, HasState | MutableMapping, "a History, or a dict of lists"),
        }
        for name, (thing, kind, description) in expected.items():
            if not isinstance(thing, kind) and (thing is not None or name == "path"):
                raise KindError(f"{who} got {described(thing)} as {name}, expected {description}")
        if self.model is not None and self.optimizer is not None:
            check_optimizer(self.optimizer, self.model, who)

    def generators(self) -> dict[str, np.random.Generator]:
        """All generators by what holds them: "model 2.rng", "data", "rng"."""
        generators: dict[str, np.random.Generator] = {}
        if self.model is not None:
            generators |= {
                f"model {name}": generator for name, generator in self.model.named_generators()
            }
        if self.optimizer is not None:
            generators |= {
                f"optimizer {name}": generator for name, generator in generators_of(self.optimizer)
            }
        if self.data is not None:
            generators["data"] = self.data.rng
        if self.rng is not None:
            generators["rng"] = self.rng
        return generators
