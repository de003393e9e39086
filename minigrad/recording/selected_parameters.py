"""`SelectedParameters`: which parameters a recorder records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TypeAlias, TypeVar, final

import numpy as np

from minigrad._messages import described
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import ParameterVector, Slot

T = TypeVar("T")

Selection: TypeAlias = str | Iterable[str] | Callable[[str], bool]
"""Which parameters: a glob, several, or a function of the name."""


@final
class SelectedParameters:
    """The parameters that are recorded, one after the other in flat arrays of their own.

    Their names are those in the whole model, also where the optimizer is of a part of it.

    Args:
        vector: The optimizer's parameters.
        selection: Which of them.

    Attributes:
        parameters: The parameters by name.
        slots: Where each lies in the record, by name.
        size: How many entries they have.

    Raises:
        KindError: `selection` is neither a function, nor globs.
        ModelError: It matches no parameter.
    """

    def __init__(self, vector: ParameterVector, selection: Selection) -> None:
        names = _selected([parameter.name for parameter in vector.parameters], selection)
        self.parameters: dict[str, Parameter] = {}
        self.slots: dict[str, Slot] = {}
        self.size: int = 0
        self._parts: list[slice] = []
        self._names: dict[str, str] = {}  # by the names that the optimizer has for them
        for parameter, (own_name, slot) in zip(
            vector.parameters, vector.slots.items(), strict=True
        ):
            if parameter.name in names:
                end = self.size + parameter.size
                self.parameters[parameter.name] = parameter
                self.slots[parameter.name] = Slot(slice(self.size, end), slot.shape)
                self._parts.append(slot.slice)
                self._names[own_name] = parameter.name
                self.size = end
        self._all = self.size == vector.values.size

    def of(self, flat: Array) -> Array:
        """Their part of a flat array of the optimizer: the array itself, if they are all."""
        return flat if self._all else np.concatenate([flat[part] for part in self._parts])

    def named(self, by_own_name: Mapping[str, T]) -> dict[str, T]:
        """What belongs to each of them, from a mapping with the optimizer's names."""
        names = self._names
        return {names[own]: value for own, value in by_own_name.items() if own in names}


def _selected(names: list[str], selection: Selection) -> set[str]:
    """The names that are selected."""
    if callable(selection):
        selected = {name for name in names if selection(name)}
    elif isinstance(selection, Iterable):
        globs = [selection] if isinstance(selection, str) else list(selection)
        selected = set()
        for glob in globs:
            if not isinstance(glob, str):
                raise KindError(
                    f"params has {described(glob)} in it, expected globs, such as '*.weight'"
                )
            matches = {name for name in names if fnmatchcase(name, glob)}
            if not matches:
                raise _no_match(f": '{glob}'", names)
            selected |= matches
    else:
        raise KindError(
            f"params is {described(selection)}, expected a glob, several, or a function of the name"
        )
    if not selected:
        raise _no_match("", names)
    return selected


def _no_match(which: str, names: list[str]) -> ModelError:
    return ModelError(f"params{which} matches no parameter; there are {', '.join(names)}")
