"""`Holders`, which notices that a layer or a parameter of a model was replaced by another object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

from minigrad.layer import Layer
from minigrad.parameter import Parameter


@final
class Holders:
    """Remembers which attribute, or which place in a list or dict, holds which layer or parameter.

    Args:
        model: The model.
    """

    def __init__(self, model: Layer) -> None:
        held = (holder for _, layer in model.layers() for holder in _holders(vars(layer)))
        self._holders = [holder for holder in held if not isinstance(holder[0], tuple)]  # which cannot change

    def replaced(self) -> str | None:
        """Where something else is now, if anywhere."""
        place: object = None
        try:
            for container, place, thing in self._holders:
                if container[place] is not thing:
                    return repr(place)
        except (KeyError, IndexError):
            return repr(place)
        return None


def _holders(container: Any) -> Iterator[tuple[Any, Any, object]]:
    """(container, place, thing) for the layers and parameters in a layer's attributes, and in containers there."""
    for place, thing in list(container.items() if isinstance(container, dict) else enumerate(container)):
        if isinstance(thing, Layer | Parameter):
            yield container, place, thing
        elif isinstance(thing, list | tuple | dict) and (inside := list(_holders(thing))):
            yield container, place, thing
            yield from inside
