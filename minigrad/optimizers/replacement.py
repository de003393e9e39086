"""`Holders`, which notices that a layer or a parameter of a model was replaced.

And parameters that are no part of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, final

from minigrad.errors import StaleParametersError, UntrainedParameter
from minigrad.layers.layer import Layer
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.parameter import Parameter


@final
class Holders:
    """Remembers which attribute, or which place in a list or dict, holds which layer or parameter.

    Args:
        model: The model.
    """

    def __init__(self, model: Layer) -> None:
        held = (holder for _, layer in model.layers() for holder in _holders(vars(layer)))
        self._holders = [
            holder for holder in held if not isinstance(holder[0], tuple)
        ]  # which cannot change

    def replaced(self) -> str | None:
        """Where something else is now, if anywhere."""
        place: object = None
        try:
            for container, place, thing in self._holders:
                if container[place] is not thing:
                    return repr(place)
        except LookupError:
            return repr(place)
        return None


def _holders(container: Any) -> Iterator[tuple[Any, Any, object]]:
    """(container, place, thing) for the layers and parameters in a layer's attributes, and in containers there."""
    for place, thing in list(
        container.items() if isinstance(container, dict) else enumerate(container)
    ):
        if isinstance(thing, Layer | Parameter):
            yield container, place, thing
        elif isinstance(thing, list | tuple | dict) and (inside := list(_holders(thing))):
            yield container, place, thing
            yield from inside


def look_at_orphans(gradients: Gradients, model: Layer, who: str) -> None:
    """Say so, if parameters got gradients in the model's backward that no optimizer of it will ever
    change.

    Args:
        gradients: What knows of them; it forgets them.
        model: The model.
        who: The optimizer.

    Raises:
        StaleParametersError: One was put into the model after the optimizer was made.
    """
    orphans = {id(one): one for one in gradients.orphans}
    gradients.orphans.clear()
    inside = {id(parameter) for _, parameter in model.parameters()}
    for place, orphan in orphans.items():
        assert isinstance(orphan, Parameter)
        if place in inside:
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
