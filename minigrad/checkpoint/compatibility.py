"""What must be the same where a checkpoint is saved and where it is loaded: the layers, and which of them share a generator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minigrad.layers.layer import Layer
from minigrad.layers.state import live_state

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of a function, say; another one in each process


def layers_of(model: Layer) -> dict[str, str]:
    """What each layer is. Where parameters and inner layers tell the rest, the class is enough."""
    return {
        place: type(layer).__name__
        if any(True for _ in layer.parts())
        else _ADDRESS.sub("", repr(layer))
        for place, layer in model.layers()
    }


def differences(tree: Mapping[str, Any], model: Layer) -> Iterable[str]:
    """In what the model is another one than that of the checkpoint."""
    saved, own = tree["model"], dict(live_state(model))
    yield from (f"'{name}' is missing in the file" for name in own if name not in saved)
    yield from (f"'{name}' is not in the model" for name in saved if name not in own)
    for name in (name for name in own if name in saved):
        if own[name].shape != saved[name].shape:
            yield f"'{name}' has shape {saved[name].shape} in the file and {own[name].shape} in the model"
        if own[name].dtype != saved[name].dtype:
            yield f"'{name}' is {saved[name].dtype} in the file and {own[name].dtype} in the model"
    layers = layers_of(model)
    for place in dict.fromkeys([*tree["layers"], *layers]):
        there, here = (found.get(place, "missing") for found in (tree["layers"], layers))
        named = "missing" in (there, here) and any(
            name.startswith(f"{place}." * bool(place)) for name in (*own, *saved)
        )
        if there != here and not named:  # a layer with parameters that is missing was told of above
            yield f"layer '{place}' is {there} in the file and {here} in the model"


def shared(generators: Mapping[str, np.random.Generator]) -> list[list[str]]:
    """The names of those that are one and the same generator."""
    groups: dict[int, list[str]] = {}
    for label, generator in generators.items():
        groups.setdefault(id(generator.bit_generator), []).append(label)
    return list(groups.values())


def other_sharing(
    tree: Mapping[str, Any], generators: Mapping[str, np.random.Generator]
) -> Iterable[str]:
    """Generators that were one and are now two, or the other way round: the numbers drawn would be others."""
    saved = [[label for label in group if label in generators] for group in tree["shared"]]
    own = [
        [label for label in group if label in tree["generators"]] for group in shared(generators)
    ]
    for group in saved:
        if len(_groups_of(group, own)) > 1:
            yield f"{' and '.join(group)} shared one generator: give them the same one again"
    for group in own:
        if len(_groups_of(group, saved)) > 1:
            yield f"{' and '.join(group)} share one generator, and had different ones: give each its own again"


def _groups_of(labels: Iterable[str], groups: list[list[str]]) -> set[int]:
    """In which groups these lie."""
    return {number for number, group in enumerate(groups) for label in labels if label in group}
