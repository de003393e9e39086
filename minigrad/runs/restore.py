"""`restore_into`: the exact values after a step, put into a model, or into a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.errors import ModelError, NotExactError, RunError
from minigrad.layers.layer import Layer
from minigrad.layers.state import buffer_places
from minigrad.parameters.parameter import Parameter
from minigrad.runs.record import Record


def restore_into(record: Record, model: Layer, step: int | None, *, strict: bool) -> None:
    """Put the exact values after a step, and the buffers of its layers, into a model.

    Args:
        record: The record.
        model: The model, or the part of one that was recorded.
        step: The step; None for the last, or the last that is known exactly.
        strict: Whether a parameter that was not recorded is an error; otherwise it is left as it
            is.

    Raises:
        KindError: `step` is not a whole number.
        ModelError: The parameters do not fit; the model is unchanged.
        RangeError: The run has no such step.
        NotExactError: The record does not hold what is needed for that step.
        RunError: What is needed is damaged; the model is unchanged.
    """
    parameters = _matched(record, model, strict=strict)
    steps = record.kept.steps
    if step is None and len(steps):
        step = record.final_step
        if step < steps[0]:
            raise NotExactError(
                "no step's values are known exactly: the record was cut off before it kept any"
            )
    flat = record.final if step is None else record.values(record.check(step), slice(None))
    kept = {} if step is None else _kept(record, step)
    buffers = _buffers(record, model, parameters, kept)
    for name, (part, shape) in record.slots.items():
        parameters[name].value = flat[part].reshape(shape)
    for name, (layer, attribute) in buffers.items():
        setattr(layer, attribute, np.array(kept[name]))


def _kept(record: Record, step: int) -> Mapping[str, npt.NDArray[Any]]:
    """The buffers after a step, by name.

    Raises:
        RunError: They are damaged, or lost.
    """
    try:
        return record.kept.buffers[int(np.searchsorted(record.kept.steps, step))]
    except RunError as error:
        raise RunError(
            f"{error}; the model is unchanged, and run['{next(iter(record.slots))}'].value({step}) "
            f"still gives a parameter"
        ) from error


def _matched(record: Record, model: Layer, *, strict: bool) -> dict[str, Parameter]:
    """The model's parameters by the names that the record has for them.

    A run of a part has the names of the whole model, "2.weight" in `model[2:]`; there the part
    itself would say "0.weight".
    """
    ours = {name: (slot.shape, record.final.dtype) for name, slot in record.slots.items()}
    own = dict(model.parameters())
    of_the_whole = {parameter.name: parameter for parameter in own.values()}
    for named in (of_the_whole, own):
        theirs = {name: (parameter.shape, parameter.dtype) for name, parameter in named.items()}
        if theirs == ours or (not strict and ours.items() <= theirs.items()):
            return named
    theirs = {name: (parameter.shape, parameter.dtype) for name, parameter in own.items()}
    different = sorted(
        name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)
    )
    message = (
        f"the model's parameters are not those of the run; different are {', '.join(different)}"
    )
    if ours.items() <= theirs.items():
        message += (
            "; if the run is of a part of this model, restore that part, model[a:b], or give "
            "strict=False"
        )
    raise ModelError(message)


def _buffers(
    record: Record,
    model: Layer,
    parameters: Mapping[str, Parameter],
    kept: Mapping[str, npt.NDArray[Any]],
) -> dict[str, tuple[Layer, str]]:
    """Where the recorded buffers belong: layer and attribute of each.

    Raises:
        ModelError: The model has other parameters too, and where a buffer belongs among them is not
            known.
    """
    named = list(buffer_places(model))
    of_the_whole = {layer.place_of(attribute): (layer, attribute) for _, layer, attribute in named}
    own_names = {name: (layer, attribute) for name, layer, attribute in named}
    places = of_the_whole if kept.keys() <= of_the_whole.keys() else own_names
    homes = {name: place for name, place in places.items() if name in kept}
    if len(parameters) > len(record.slots) and kept.keys() != places.keys():
        # Of a part alone the names may be those of the whole or the part's own; only in a layer of
        # the run they are the whole's.
        recorded = {id(parameters[name]) for name in record.slots}
        own = {
            id(layer)
            for _, layer in model.layers()
            if recorded & {id(part) for _, part in layer.parts()}
        }
        lost = [name for name in kept if name not in homes or id(homes[name][0]) not in own]
        if lost:
            raise ModelError(
                f"where '{lost[0]}' of the run belongs in this larger model is not known: restore "
                f"the part that was recorded, run.restore(model[a:b])"
            )
    return homes
