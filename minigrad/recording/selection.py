"""What is recorded: which parameters, and which of their tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from os import PathLike
from typing import TypeAlias, TypeVar, final

import numpy as np

from minigrad._messages import described
from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.errors import KindError, ModelError, RangeError
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameters.vector import ParameterVector, Slot

T = TypeVar("T")

Selection: TypeAlias = str | Iterable[str] | Callable[[str], bool]
"""Which parameters: a glob, several, or a function of the name."""


def kinds_of(keep: Iterable[str]) -> tuple[str, ...]:
    """The kinds of tensors to keep, in order: any of "update" and "grad".

    Raises:
        KindError: It is no collection.
        RangeError: It has another word.
    """
    if not isinstance(keep, Iterable):
        raise KindError(
            f"keep is {described(keep)}, expected any of 'update' and 'grad', such as ('update',)"
        )
    given = [keep] if isinstance(keep, str) else list(keep)
    if not all(isinstance(kind, str) and kind in ("update", "grad") for kind in given):
        raise RangeError(f"keep is {described(keep)}, expected any of 'update' and 'grad'")
    return tuple(kind for kind in ("update", "grad") if kind in given)


def check_arguments(
    optimizer: object, loss: object, data: object, path: object, resume: bool
) -> None:
    """Make sure that a recorder is given what it says.

    Raises:
        KindError: Something is of another kind.
        RangeError: `resume` without a path.
    """
    if not isinstance(optimizer, Optimizer):
        raise KindError(f"Recorder got {described(optimizer)}, expected an optimizer")
    for name, given, kind in (
        ("loss", loss, Loss),
        ("data", data, Batches),
        ("path", path, str | PathLike),
    ):
        if given is not None and not isinstance(given, kind):
            raise KindError(
                f"{name} of a Recorder is {described(given)}, expected a "
                f"{getattr(kind, '__name__', 'path')}"
            )
    if resume and path is None:
        raise RangeError(
            "resume=True needs the path of the run to go on with: Recorder(..., path=...)"
        )


@final
class Selected:
    """The chosen parameters. Their names are those in the whole model, also where the optimizer is
    of a part of it.

    Args:
        vector: The optimizer's parameters.
        params: Which of them.

    Attributes:
        slots: Where each lies in the record, by name.
        size: How many entries they have.

    Raises:
        KindError: `params` is neither a function, nor globs.
        ModelError: It matches no parameter.
    """

    def __init__(self, vector: ParameterVector, params: Selection) -> None:
        slots, self._parts = _selected(vector, params)
        self.slots: dict[str, Slot] = slots
        self.size: int = sum(part.stop - part.start for part in self._parts)
        self._all = self.size == vector.values.size
        self._names = {own: p.name for own, p in zip(vector.slots, vector.parameters, strict=True)}

    def of(self, flat: Array) -> Array:
        """Their part of a flat array: itself, if it is all."""
        return flat if self._all else np.concatenate([flat[part] for part in self._parts])

    def named(self, told: Mapping[str, T]) -> dict[str, T]:
        """What is told of them by the optimizer's names, by those in the whole model."""
        return {
            self._names[own]: thing for own, thing in told.items() if self._names[own] in self.slots
        }


def _selected(vector: ParameterVector, params: Selection) -> tuple[dict[str, Slot], list[slice]]:
    """Where the chosen parameters lie in the record, and in the vector."""
    lies = {
        parameter.name: slot
        for parameter, slot in zip(vector.parameters, vector.slots.values(), strict=True)
    }
    if callable(params):
        names = [name for name in lies if params(name)]
    else:
        if not isinstance(params, Iterable):
            raise KindError(
                f"params is {described(params)}, expected a glob, several, or a function of the "
                f"name"
            )
        globs = [params] if isinstance(params, str) else list(params)
        if strange := [glob for glob in globs if not isinstance(glob, str)]:
            raise KindError(
                f"params has {described(strange[0])} in it, expected globs, such as '*.weight'"
            )
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in lies):
                raise ModelError(
                    f"params: '{glob}' matches no parameter; there are {', '.join(lies)}"
                )
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
