"""What is inside of layers: parameters, other layers and generators, also in lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from minigrad.errors import ModelError
from minigrad.parameters.parameter import Parameter

T = TypeVar("T")


def found_in(
    kind: type[T] | tuple[type[T], ...], name: str, thing: object
) -> Iterator[tuple[str, T]]:
    """(name, thing) for the things of a kind in an attribute, also inside lists, tuples and dicts."""
    if isinstance(thing, kind):
        yield name, thing
    elif isinstance(thing, list | tuple):
        for index, item in enumerate(thing):
            yield from found_in(kind, f"{name}.{index}", item)
    elif isinstance(thing, dict):
        for key, item in thing.items():
            yield from found_in(kind, f"{name}.{key}", item)


def generators_of(thing: object) -> Iterator[tuple[str, np.random.Generator]]:
    """(name, generator) of each random generator in the attributes of anything."""
    for name, attribute in vars(thing).items():
        yield from found_in(np.random.Generator, name, attribute)


def walk(root: Any) -> Iterator[tuple[str, Any]]:
    """`root` and everything inside, each thing once, depth first in definition order."""
    seen: dict[int, str] = {}
    pending: list[tuple[str, Any]] = [("", root)]
    while pending:
        name, thing = pending.pop()
        if id(thing) in seen:
            what = "parameter" if isinstance(thing, Parameter) else "layer"
            kept = "what its backward needs" if what == "layer" else "one gradient"
            advice = f"it keeps {kept}, so give each place one of its own"
            raise ModelError(
                f"the same {what} is used twice: as '{seen[id(thing)]}' and as '{name}'; {advice}"
            )
        seen[id(thing)] = name
        yield name, thing
        if not isinstance(thing, Parameter):  # which is found out faster than whether it is a Layer
            prefix = f"{name}." if name else ""
            pending += [(prefix + part, inner) for part, inner in thing.parts()][::-1]


def with_copies(thing: Any, kind: type[Any], copies: Mapping[int, Any]) -> Any:
    """What an attribute holds, with each layer replaced by its copy.

    Args:
        thing: What it holds.
        kind: The class of all layers.
        copies: The copies, by the id of the layer.
    """
    if isinstance(thing, kind):
        return copies.get(id(thing), thing)
    if _holds(kind, thing):
        if isinstance(thing, dict):
            return {key: with_copies(item, kind, copies) for key, item in thing.items()}
        items = [with_copies(item, kind, copies) for item in thing]
        return type(thing)(*items) if hasattr(thing, "_fields") else type(thing)(items)
    return thing


def _holds(kind: type[Any], thing: Any) -> bool:
    """Whether a container has a thing of this kind inside."""
    if not isinstance(thing, list | tuple | dict):
        return False
    items = thing.values() if isinstance(thing, dict) else thing
    return any(isinstance(item, kind) or _holds(kind, item) for item in items)


@contextmanager
def untouched(model: Any) -> Iterator[None]:
    """Afterwards put every attribute of every layer back as it was: modes, and what a pending backward needs."""
    before = [(layer, dict(vars(layer))) for _, layer in model.layers()]
    try:
        yield
    finally:
        for layer, attributes in before:
            vars(layer).clear()
            vars(layer).update(attributes)
