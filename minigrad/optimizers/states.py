"""What an optimizer keeps in a checkpoint, looked at before any of it is believed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minigrad._messages import described
from minigrad._validation import number, shaped, whole
from minigrad.arrays import Array
from minigrad.errors import ModelError
from minigrad.optimizers.transforms import Transform, name_of
from minigrad.parameters.vector import Slot


class Loaded(NamedTuple):
    """What a state holds, if it fits.

    Attributes:
        lr: The rate, if it was a number.
        step_count: How many steps were made.
        skips: How many of them have left a parameter out, where any has.
        arrays: The optimizer's own arrays, flat.
    """

    lr: float | None
    step_count: int
    skips: dict[str, int]
    arrays: dict[str, Array]


def checked(
    state: Mapping[str, Any], optimizer: Any, slots: Mapping[str, Slot], own: Mapping[str, Array]
) -> Loaded:
    """What a state holds.

    Args:
        state: What `state_dict` gave.
        optimizer: Who is to go on from it.
        slots: Its parameters.
        own: Its arrays now.

    Raises:
        ModelError: It belongs to other parameters, or to another optimizer.
        ShapeError: An array has another shape.
    """
    expected = {"optimizer", "lr", "step_count", "skipped_steps", "state"}
    if not isinstance(state, Mapping) or not expected <= set(state):
        has = sorted(map(str, state)) if isinstance(state, Mapping) else described(state)
        raise ModelError(
            f"this is no state of an optimizer: it has {has}, expected {sorted(expected)}"
        )
    kind, names = type(optimizer).__name__, sorted(state["state"])
    if state["optimizer"] != kind or (own and names != sorted(own)):
        raise ModelError(
            f"this is the state of {state['optimizer']} with {', '.join(names) or 'no arrays'}, "
            f"expected that of {kind} with {', '.join(sorted(own)) or 'any'}"
        )
    lr = None if state["lr"] is None else number(state["lr"], "lr", above=0)
    count = whole(state["step_count"], "step_count", least=0)
    skips = {
        name: whole(n, f"skipped_steps['{name}']", least=0)
        for name, n in state["skipped_steps"].items()
    }
    wrong = [name for name, n in skips.items() if n > count or name not in slots]
    if wrong:
        raise ModelError(
            f"skipped_steps tells of other parameters or of more than {count} steps: "
            f"{', '.join(wrong)}"
        )
    size = sum(slot.slice.stop - slot.slice.start for slot in slots.values())
    dtype = next(parameter.dtype for _, parameter in optimizer.model.parameters())
    new: dict[str, Array] = {}
    for name, arrays in state["state"].items():
        if set(arrays) != set(slots):
            different = sorted(set(arrays) ^ set(slots))
            raise ModelError(
                f"the state '{name}' is of other parameters; the difference is "
                f"{', '.join(different)}"
            )
        new[name] = np.zeros(size, dtype)
        for parameter, slot in slots.items():
            array = shaped(
                arrays[parameter], slot.shape, dtype, f"the state '{name}' of '{parameter}'"
            )
            new[name][slot.slice] = array.ravel()
    return Loaded(lr, count, skips, new)


# -- transforms ----------------------------------------------------------------------------------


def of_transforms(transforms: Sequence[Transform]) -> list[dict[str, Any]]:
    """The state of each transform, with its name; those without a state have an empty one."""
    return [
        {"transform": name_of(one), "state": one.state_dict() if hasattr(one, "state_dict") else {}}
        for one in transforms
    ]


def load_transforms(
    transforms: Sequence[Transform], saved: Sequence[Mapping[str, Any]] | None
) -> None:
    """Have transforms go on from their states: all of them, or after an error none.

    Raises:
        ModelError: They are others than those that were saved.
    """
    if saved is None:  # written before there were any
        return
    names, now = [one["transform"] for one in saved], [name_of(one) for one in transforms]
    if names != now and any(one["state"] for one in saved):
        raise ModelError(
            f"the state is of an optimizer with the transforms {', '.join(names)}, and this one "
            f"has {', '.join(now) or 'none'}"
        )
    if names != now:
        return
    before = of_transforms(transforms)
    try:
        for one, state in zip(transforms, saved, strict=True):
            if state["state"] and hasattr(one, "load_state_dict"):
                one.load_state_dict(state["state"])
    except BaseException:
        for one, state in zip(transforms, before, strict=True):
            if state["state"] and hasattr(one, "load_state_dict"):
                one.load_state_dict(state["state"])
        raise
