"""What is recorded: which parameters, and which of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TypeAlias

from minigrad.arrays import described
from minigrad.errors import KindError, ModelError, RangeError
from minigrad.vector import ParameterVector, Slot

Selection: TypeAlias = str | Iterable[str] | Callable[[str], bool]
"""Which parameters: a glob, several, or a function of the name."""


def kinds_of(keep: Iterable[str]) -> tuple[str, ...]:
    """The kinds of tensors to keep, in order: any of "update" and "grad".

    Raises:
        KindError: It is no collection.
        RangeError: It has another word.
    """
    if not isinstance(keep, Iterable):
        raise KindError(f"keep is {described(keep)}, expected any of 'update' and 'grad', such as ('update',)")
    given = [keep] if isinstance(keep, str) else list(keep)
    if not all(isinstance(kind, str) and kind in ("update", "grad") for kind in given):
        raise RangeError(f"keep is {described(keep)}, expected any of 'update' and 'grad'")
    return tuple(kind for kind in ("update", "grad") if kind in given)


def selected(vector: ParameterVector, params: Selection) -> tuple[dict[str, Slot], list[slice]]:
    """The chosen parameters: where they lie in the record, and in the vector. Their names are those in the whole model.

    Raises:
        KindError: `params` is neither a function, nor globs.
        ModelError: It matches no parameter.
    """
    lies = {parameter.name: slot for parameter, slot in zip(vector.parameters, vector.slots.values(), strict=True)}
    if callable(params):
        names = [name for name in lies if params(name)]
    else:
        if not isinstance(params, Iterable):
            raise KindError(f"params is {described(params)}, expected a glob, several, or a function of the name")
        globs = [params] if isinstance(params, str) else list(params)
        if strange := [glob for glob in globs if not isinstance(glob, str)]:
            raise KindError(f"params has {described(strange[0])} in it, expected globs, such as '*.weight'")
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in lies):
                raise ModelError(f"params: '{glob}' matches no parameter; there are {', '.join(lies)}")
        names = [name for name in lies if any(fnmatchcase(name, glob) for glob in globs)]
    if not names:
        raise ModelError(f"params matches no parameter; there are {', '.join(lies)}")
    slots: dict[str, Slot] = {}
    start = 0
    for name in names:
        part, shape = lies[name]
        slots[name] = Slot(slice(start, start + part.stop - part.start), shape)
        start = slots[name].slice.stop
    return slots, [lies[name].slice for name in names]
