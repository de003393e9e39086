"""The table that `Layer.summary` gives: the layers with their parameters, shapes and counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from minigrad._printable import printable
from minigrad.parameters.parameter import Parameter


class HasLayers(Protocol):
    """A layer, as far as its summary is concerned."""

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs."""
        ...

    def layers(self) -> Iterator[tuple[str, Any]]:
        """(name, layer) pairs."""
        ...


def summary_of(model: HasLayers) -> str:
    """A line for each layer that has parameters or holds no other layer, and a line of totals."""
    lines: list[tuple[str, ...]] = [("name", "layer", "parameters", "entries", "")]
    for place, layer in model.layers():
        parts = list(layer.parts())
        own = [(name, part) for name, part in parts if isinstance(part, Parameter)]
        if own or not parts:
            shapes = ", ".join(f"{name} {parameter.shape}" for name, parameter in own)
            size = sum(parameter.size for _, parameter in own)
            cells = place, repr(layer), shapes, f"{size:,}", _frozen(own)
            lines.append(tuple(map(printable, cells)))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    table = [
        f"{name:<{widths[0]}}  {layer:<{widths[1]}}  {shapes:<{widths[2]}}  {size:>{widths[3]}}  "
        f"{frozen}".rstrip()
        for name, layer, shapes, size, frozen in lines
    ]
    total = sum(parameter.size for _, parameter in model.parameters())
    trainable = sum(parameter.moving for _, parameter in model.parameters())
    return "\n".join([*table, f"{total:,} entries, {trainable:,} of them trainable"])


def _frozen(parameters: list[tuple[str, Parameter]]) -> str:
    if all(parameter.trainable is True for _, parameter in parameters):
        return ""
    return "partly frozen" if any(parameter.moving for _, parameter in parameters) else "frozen"
