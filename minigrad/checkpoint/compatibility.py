"""Whether a checkpoint fits: what the layers are, and which of them share a random generator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.layers.layer import Layer
from minigrad.layers.state import buffer_places

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")  # of a function, say; another one in each process


def arrays_of(model: Layer) -> dict[str, npt.NDArray[Any]]:
    """All parameters and buffers by name, without copies."""
    values = {name: parameter.value for name, parameter in model.parameters()}
    buffers = {
        name: np.asarray(getattr(layer, buffer)) for name, layer, buffer in buffer_places(model)
    }
    return {**values, **buffers}


def layers_of(model: Layer) -> dict[str, str]:
    """What each layer is. Where parameters and inner layers tell the rest, the class is enough."""
    return {
        place: type(layer).__name__
        if any(True for _ in layer.parts())
        else _ADDRESS.sub("", repr(layer))
        for place, layer in model.layers()
    }


def frozen_in(model: Layer) -> dict[str, Any]:
    """The names of frozen parameters, and the entries that may move of those frozen in part."""
    parameters = list(model.parameters())
    entries = {name: own.trainable for name, own in parameters if own.frozen_entries is not None}
    return {
        "frozen": [name for name, own in parameters if own.trainable is False],
        "moving_entries": entries,
    }


def differences(tree: Mapping[str, Any], model: Layer) -> Iterator[str]:
    """In what the model differs from that of the checkpoint."""
    saved, own = tree["model"], arrays_of(model)
    yield from (f"'{name}' is missing in the file" for name in own if name not in saved)
    yield from (f"'{name}' is not in the model" for name in saved if name not in own)
    for name in (name for name in own if name in saved):
        there, here = saved[name], own[name]
        if there.shape != here.shape:
            yield f"'{name}' has shape {there.shape} in the file and {here.shape} in the model"
        if there.dtype != here.dtype:
            yield f"'{name}' is {there.dtype} in the file and {here.dtype} in the model"
    layers = layers_of(model)
    for place in dict.fromkeys([*tree["layers"], *layers]):
        before, now = tree["layers"].get(place, "missing"), layers.get(place, "missing")
        prefix = f"{place}." if place else ""
        has_arrays = any(name.startswith(prefix) for name in (*own, *saved))
        if before != now and not ("missing" in (before, now) and has_arrays):  # named above
            yield f"layer '{place}' is {before} in the file and {now} in the model"


def shared(generators: Mapping[str, np.random.Generator]) -> list[list[str]]:
    """The names of those that are one and the same generator."""
    groups: dict[int, list[str]] = {}
    for label, generator in generators.items():
        groups.setdefault(id(generator.bit_generator), []).append(label)
    return list(groups.values())


def sharing_differences(
    tree: Mapping[str, Any], generators: Mapping[str, np.random.Generator]
) -> Iterator[str]:
    """Which generators were one and are now several, or the other way round: draws would differ."""
    saved = [[label for label in group if label in generators] for group in tree["shared"]]
    own = [
        [label for label in group if label in tree["generators"]] for group in shared(generators)
    ]
    for group in saved:
        if len(_groups_of(group, own)) > 1:
            yield f"{' and '.join(group)} shared one generator: give them the same one again"
    for group in own:
        if len(_groups_of(group, saved)) > 1:
            yield (
                f"{' and '.join(group)} share one generator, and had different ones: give each its "
                f"own again"
            )


def _groups_of(labels: Iterable[str], groups: list[list[str]]) -> set[int]:
    """In which groups these lie."""
    return {number for number, group in enumerate(groups) for label in labels if label in group}
