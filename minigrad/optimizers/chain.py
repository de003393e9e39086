"""A chain of transforms, applied one after the other: checked, applied, saved and loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minigrad._messages import described
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError
from minigrad.optimizers.transforms import Names, Transform, name_of


def checked_transforms(transforms: Iterable[Transform], what: str) -> list[Transform]:
    """Transforms as a list.

    Raises:
        KindError: It is none of things that can be called.
    """
    if callable(transforms) or not isinstance(transforms, Iterable):
        raise KindError(f"{what} is {described(transforms)}, expected several transforms, [...]")
    chain = list(transforms)
    for one in chain:
        if not callable(one) or isinstance(one, type):
            raise KindError(
                f"{what} has {described(one)} in it, expected something to call with (names, "
                f"values, array)"
            )
    return chain


def apply_transforms(
    transforms: Iterable[Transform],
    names: Names,
    values: Array,
    array: Array,
    left_out: Sequence[Any],
    nothing: float,
) -> None:
    """Apply transforms in order.

    Args:
        transforms: The transforms.
        names: Where each parameter lies in the flat arrays.
        values: All values, read-only.
        array: Gradients or an update, changed in place.
        left_out: The places in the flat arrays of what gets no update, which transforms see as 0
            and cannot change.
        nothing: That 0, which is -0.0 in an update.

    Raises:
        KindError: A transform returned something.
    """
    for place in left_out:
        array[place] = nothing
    for transform in transforms:
        result: object = transform(names, values, array)
        if result is not None:
            raise KindError(
                f"the transform {name_of(transform)} returned {described(result)}; it changes "
                f"its array in place, array[...] = ..., and returns nothing. Nothing was written"
            )
        for place in left_out:
            array[place] = nothing


def states_of(transforms: Iterable[Transform]) -> list[dict[str, Any]]:
    """The state of each transform, with its name; those without a state have an empty one."""
    return [
        {"transform": name_of(one), "state": one.state_dict() if hasattr(one, "state_dict") else {}}
        for one in transforms
    ]


def check_states(
    transforms: Sequence[Transform], saved: Sequence[Mapping[str, Any]] | None
) -> None:
    """Make sure that no state is lost, because the transforms are others.

    Args:
        transforms: The transforms now.
        saved: What `states_of` gave; None if it was written before there were any.

    Raises:
        ModelError: They are others than those that were saved, and these had a state.
    """
    names, now = _names(saved or ()), list(map(name_of, transforms))
    if names != now and any(one["state"] for one in saved or ()):
        raise ModelError(
            f"the state is of an optimizer with the transforms {', '.join(names)}, and this one "
            f"has {', '.join(now) or 'none'}"
        )


def load_states(transforms: Sequence[Transform], saved: Sequence[Mapping[str, Any]] | None) -> None:
    """Have transforms go on from their states: all of them, or after an error none.

    Transforms that are others than those that were saved keep their own.
    """
    if saved is None or _names(saved) != list(map(name_of, transforms)):
        return
    before = states_of(transforms)
    try:
        _load(transforms, saved)
    except BaseException:
        _load(transforms, before)
        raise


def _names(saved: Sequence[Mapping[str, Any]]) -> list[str]:
    return [one["transform"] for one in saved]


def _load(transforms: Sequence[Transform], saved: Sequence[Mapping[str, Any]]) -> None:
    for one, state in zip(transforms, saved, strict=True):
        if state["state"] and hasattr(one, "load_state_dict"):
            one.load_state_dict(state["state"])
