"""Which output a gradient belongs to: a loss notes it, so that a model is not given the gradient of another output."""

from __future__ import annotations

from typing import Any
from weakref import ref

from minigrad.arrays import Array

_sources: dict[int, tuple[ref[Array], ref[Array]]] = {}  # by the gradient's id, as long as the gradient lives


def note(grad: Array, output: Array) -> None:
    """This gradient is one with respect to this output."""
    key = id(grad)
    _sources[key] = ref(grad, lambda _: _sources.pop(key, None)), ref(output)


def output_of(grad: Any) -> Array | None:
    """The output to which a gradient belongs; None if it is not known."""
    found = _sources.get(id(grad))
    return found[1]() if found is not None and found[0]() is grad else None
