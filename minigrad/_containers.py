"""What lists, tuples and dicts hold, however deep they nest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def found_in(
    kind: type[T] | tuple[type[T], ...], name: str, thing: object
) -> Iterator[tuple[str, T]]:
    """(name, thing) pairs of the things of a kind that an attribute is or holds: "heads.0"."""
    if isinstance(thing, kind):
        yield name, thing
    elif isinstance(thing, list | tuple):
        for index, item in enumerate(thing):
            yield from found_in(kind, f"{name}.{index}", item)
    elif isinstance(thing, dict):
        for key, item in thing.items():
            yield from found_in(kind, f"{name}.{key}", item)


def with_replaced(thing: Any, kind: type[Any], replacements: Mapping[int, Any]) -> Any:
    """What an attribute holds, with things of a kind replaced.

    Args:
        thing: What it holds.
        kind: The kind of thing to replace.
        replacements: What to put in its place, by the id of what is replaced.
    """
    if isinstance(thing, kind):
        return replacements.get(id(thing), thing)
    if _holds(kind, thing):
        if isinstance(thing, dict):
            return {key: with_replaced(item, kind, replacements) for key, item in thing.items()}
        items = [with_replaced(item, kind, replacements) for item in thing]
        return type(thing)(*items) if hasattr(thing, "_fields") else type(thing)(items)
    return thing


def _holds(kind: type[Any], thing: object) -> bool:
    """Whether a container has a thing of this kind inside."""
    if not isinstance(thing, list | tuple | dict):
        return False
    items = thing.values() if isinstance(thing, dict) else thing
    return any(isinstance(item, kind) or _holds(kind, item) for item in items)
