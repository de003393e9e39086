"""Whether a model still has the layers and parameters that an optimizer was made for."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, final

from minigrad.errors import StaleParametersError, UntrainedParameter
from minigrad.layers.layer import Layer
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.parameter import Parameter


@final
class Places:
    """Remembers which attribute, or which place in a list or dict, holds which layer or parameter.

    Args:
        model: The model.
    """

    def __init__(self, model: Layer) -> None:
        self._places = [
            place
            for _, layer in model.layers()
            for place in _places(vars(layer))
            if not isinstance(place[0], tuple)  # which cannot change
        ]

    def replaced(self) -> str | None:
        """Where something else is now, if anywhere."""
        place: object = None
        try:
            for container, place, thing in self._places:
                if container[place] is not thing:
                    return repr(place)
        except LookupError:
            return repr(place)
        return None


def _places(container: Any) -> Iterator[tuple[Any, Any, object]]:
    """(container, place, thing) of what is in attributes of a layer, and in containers there."""
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for place, thing in list(items):
        if isinstance(thing, Layer | Parameter):
            yield container, place, thing
        elif isinstance(thing, list | tuple | dict) and (inside := list(_places(thing))):
            yield container, place, thing
            yield from inside


def check_orphans(gradients: Gradients, model: Layer, who: str) -> None:
    """Say so, if parameters got gradients that no optimizer of the model will ever use.

    Args:
        gradients: What knows of them; it forgets them.
        model: The model.
        who: The optimizer.

    Raises:
        StaleParametersError: One was put into the model after the optimizer was made.
    """
    orphans = list(gradients.orphans)
    gradients.orphans.clear()
    inside = {id(parameter) for _, parameter in model.parameters()}
    for orphan in orphans:
        if id(orphan) in inside:
            raise StaleParametersError(
                f"{orphan.called} was put into the model after this {who} was made; make a new one"
            )
        warnings.warn(
            f"{orphan.called} gets gradients, but is no part of the model, so no optimizer trains "
            f"it: assign it to an attribute of a layer (lists, tuples and dicts are looked into), "
            f"or make the object that holds it a Layer",
            UntrainedParameter,
            stacklevel=3,
        )
