"""What an optimizer's `state_dict` holds: checked before any of it is loaded, and its settings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from minigrad._messages import described
from minigrad._validation import number, shaped, whole
from minigrad.arrays import Array
from minigrad.errors import ModelError, SettingsChanged
from minigrad.optimizers.chain import check_states
from minigrad.optimizers.transforms import name_of
from minigrad.parameters.vector import Slot

_RUNNING = ("step_count", "update_count", "current_lr", "clip_factor", "lr")  # what is no setting


def by_parameter(
    states: Mapping[str, Array], slots: Mapping[str, Slot], live: bool
) -> dict[str, dict[str, Array]]:
    """An optimizer's flat arrays, each cut into the parts of the parameters.

    Args:
        states: The arrays.
        slots: Where each parameter lies in them.
        live: Whether the parts are views; otherwise they are copies.
    """
    return {
        state: {
            name: flat[part].reshape(shape) if live else flat[part].reshape(shape).copy()
            for name, (part, shape) in slots.items()
        }
        for state, flat in states.items()
    }


class LoadedState(NamedTuple):
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


def checked_state(
    state: Mapping[str, Any], optimizer: Any, slots: Mapping[str, Slot], own: Mapping[str, Array]
) -> LoadedState:
    """What a state holds.

    Args:
        state: What `state_dict` gave.
        optimizer: Who is to go on from it.
        slots: Its parameters.
        own: Its arrays now.

    Raises:
        ModelError: It belongs to other parameters, to another optimizer or other transforms.
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
    check_states(
        [*optimizer.grad_transforms, *optimizer.update_transforms], state.get("transforms")
    )
    return LoadedState(lr, count, skips, new)


def settings_of(optimizer: Any, lr_by_entry: Array | None) -> dict[str, Any]:
    """The settings of an optimizer: the numbers, booleans and arrays in its public attributes.

    Args:
        optimizer: The optimizer.
        lr_by_entry: What the update of each entry is multiplied by, where rates differ.
    """
    settings: dict[str, Any] = {}
    for name, value in vars(optimizer).items():
        if _is_setting(value) and not name.startswith("_") and name not in _RUNNING:
            settings[name] = list(value) if isinstance(value, tuple) else copy(value)
    for name, chain in (
        ("grad_transforms", optimizer.grad_transforms),
        ("update_transforms", optimizer.update_transforms),
    ):
        if chain:
            settings[name] = ", ".join(_in_words(one) for one in chain)
    if lr_by_entry is not None:
        settings["lr by pattern"] = lr_by_entry.copy()
    return settings


def _is_setting(value: object) -> bool:
    if isinstance(value, str | np.ndarray):
        return True
    if isinstance(value, dict):
        value = tuple(value.values())
    items = value if isinstance(value, tuple) else (value,)
    return all(isinstance(item, bool | int | float) for item in items)


def _in_words(transform: object) -> str:
    """A transform with its settings, where its repr tells them."""
    text = repr(transform)  # an address is another one in each process
    return name_of(transform) if " at 0x" in text else text


def warn_of_settings(kind: str, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
    """Say so, where a state comes from an optimizer of other settings.

    Args:
        kind: The class of the optimizer.
        before: The settings in the state; None if it was written before there were any.
        now: The settings of the optimizer that loads it.
    """
    if before is None:
        return
    different = [
        f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if not _same(before.get(name), now.get(name))
    ]
    if different:
        warnings.warn(
            f"the state comes from {kind} of other settings, and this one keeps its own: "
            f"{'; '.join(different)}",
            SettingsChanged,
            stacklevel=3,
        )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and np.array_equal(a, b)
    return bool(a == b)


def _shown(value: Any) -> str:
    return "by parameter" if isinstance(value, np.ndarray) else repr(value)
