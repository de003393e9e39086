"""`ParameterVector`, the only owner of memory.

All values of a model lie in one flat array, all gradients in a second one of the same layout. Each
parameter is a pair of views of them with a name and a shape. So an optimizer's step is one
addition, a copy of all updates is one copy, and there is nothing to keep in agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypeAlias, final
from weakref import WeakValueDictionary

import numpy as np

from minigrad._messages import described
from minigrad._validation import shaped
from minigrad.arrays import Array, Mask
from minigrad.display.words import in_words
from minigrad.errors import KindError, ModelError, StaleParametersError
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.live_gradient import LiveGradient, read_only
from minigrad.parameters.names import check_names
from minigrad.parameters.observers import Observers, Writer
from minigrad.parameters.parameter import Parameter

Named: TypeAlias = tuple[tuple[str, Parameter], ...]
"""(name, parameter) pairs, in definition order."""


class Slot(NamedTuple):
    """Where a parameter lies in a flat array.

    Attributes:
        slice: Its part of the flat array.
        shape: Its shape.
    """

    slice: slice
    shape: tuple[int, ...]


class HasParameters(Protocol):
    """Anything that has named parameters; every layer does.

    Attributes:
        owns_memory: Whether memory may be allocated for its parameters; otherwise, as with a slice
            of a model, they stay where they are.
    """

    owns_memory: bool

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs, in definition order."""
        ...


def announce(model: HasParameters, who: str) -> None:
    """Tell the observers of a model who has just written values into it.

    So recorders do not take it for an accident.
    """
    parameters = [parameter for _, parameter in model.parameters()]
    writer = Writer(who, parameters)
    owners = {id(one.owner): one.owner for one in parameters if one.owner is not None}
    for owner in owners.values():
        for observer in owner.observers.all:
            observer.written(writer)


@final
class ParameterVector:
    """The values and gradients of a model, or of a part of one, as two flat arrays.

    Made by `ParameterVector.of(model)`. A model has one vector for its life; of a part of the model
    (a nested layer, a slice) the vector is a view of the whole's.

    Attributes:
        slots: Maps each parameter's name to its `Slot(slice, shape)`.
        parameters: The parameters in the same order.
        gradients: How the gradients of the whole model have arrived.
        observers: Who is told what happens to the whole model.
    """

    def __init__(
        self, named: Named, values: Array, grads: Array, whole: ParameterVector | None = None
    ) -> None:
        self._named = named
        self._values: Array = values
        self._grads: Array = grads
        self._live: Any = None  # the `LiveGradient` of all, once somebody has asked
        self.parameters: tuple[Parameter, ...] = tuple(parameter for _, parameter in named)
        slots: dict[str, Slot] = {}
        start = 0
        for name, parameter in named:
            slots[name] = Slot(slice(start, start + parameter.size), parameter.shape)
            start += parameter.size
        self.slots: Mapping[str, Slot] = MappingProxyType(slots)
        self._whole = whole  # not itself, so that memory is freed as soon as it is given up
        self._given_up = False
        self._views: WeakValueDictionary[Named, ParameterVector] = WeakValueDictionary()
        self.observers: Observers
        self.gradients: Gradients
        if whole is None:
            self.observers = Observers()
            self.gradients = Gradients(self.parameters, grads, self.observers)
        else:
            self.observers, self.gradients = whole.observers, whole.gradients

    @classmethod
    def of(cls, model: HasParameters) -> ParameterVector:
        """The vector of a model: the same object whenever it is asked.

        Raises:
            ModelError: A parameter is reached twice, or has a name that no file can hold.
            KindError: It is no model, or the parameters have different dtypes.
            StaleParametersError: `model` is a slice, and its parameters no longer lie side by side
                in one model.
        """
        if not hasattr(model, "parameters"):
            raise KindError(f"ParameterVector.of got {described(model)}, expected a model")
        named = tuple(model.parameters())
        if not named:
            return _EMPTY
        owner: ParameterVector | None = named[0][1].owner
        vector = None if owner is None or owner.is_stale else owner.view(named)
        if vector is not None:
            return vector
        if not model.owns_memory:
            raise StaleParametersError(
                f"the parameters of {model!r} do not lie side by side in one model; if its layers "
                f"have moved into another model, take a slice of the new one"
            )
        return cls.take_over(named)

    @classmethod
    def take_over(cls, named: Sequence[tuple[str, Parameter]]) -> ParameterVector:
        """Allocate a vector, and move these parameters into it with their values and gradients.

        Vectors that held any of them are given up: what still refers to one raises
        `StaleParametersError`.

        Raises:
            ModelError: A parameter is reached twice, or has a name that no file can hold.
            KindError: The parameters have different dtypes.
        """
        _check(named)
        size = sum(parameter.size for _, parameter in named)
        dtype = named[0][1].dtype if named else np.dtype(np.float32)
        values, grads = np.empty(size, dtype), np.empty(size, dtype)
        vector = cls(tuple(named), values, grads)
        for name, parameter in named:
            if parameter.owner is not None:
                parameter.owner.give_up()
            part, shape = vector.slots[name]
            parameter.move(vector, name, values[part].reshape(shape), grads[part].reshape(shape))
        return vector

    def give_up(self) -> None:
        """The parameters move elsewhere, and nobody reads this memory any more."""
        self._given_up = True

    def view(self, named: Named) -> ParameterVector | None:
        """The vector of some of these parameters, under names of their own.

        It is this one, if they are all and have the same names; None, if they do not lie side by
        side.
        """
        if named == self._named:
            return self
        known = self._views.get(named)
        if known is not None:
            return known
        if any(parameter.owner is not self for _, parameter in named):
            return None
        places = [self.slots[parameter.name].slice for _, parameter in named]
        if any(place.stop != following.start for place, following in pairwise(places)):
            return None
        part = slice(places[0].start, places[-1].stop)
        self._views[named] = view = ParameterVector(
            named, self._values[part], self._grads[part], self
        )
        return view

    @property
    def whole(self) -> ParameterVector:
        """The vector that this one is a view of; itself, if it is none."""
        return self if self._whole is None else self._whole

    @property
    def values(self) -> Array:
        """All values, 1-D and live. Assignment writes through.

        Raises:
            StaleParametersError: On assignment, if the parameters have moved into another model.
        """
        return self._values

    @values.setter
    def values(self, values: object) -> None:
        self._check_not_stale()
        self._values[...] = shaped(
            values, self._values.shape, self._values.dtype, "what is assigned to the values"
        )

    @property
    def grads(self) -> Array:
        """All gradients, 1-D and live.

        Assignment writes through, and is a new gradient of every parameter. Reading changes
        nothing; what is written in place is known, too.

        Raises:
            StaleParametersError: On assignment, if the parameters have moved into another model.
        """
        if self._live is None and self._whole is None:
            self._live = LiveGradient.of(self._grads, self)
        elif self._live is None:  # of the whole, which lives as long as the parameters
            start = self.whole.slots[self.parameters[0].name].slice.start
            self._live = self.whole.grads[start : start + self._grads.size]
        live: Array = self._live
        return live

    @grads.setter
    def grads(self, grads: object) -> None:
        self._check_not_stale()
        if grads is not None and grads is self._live:
            return  # after `vector.grads *= 2`, which has written already
        new = shaped(
            grads, self._grads.shape, self._grads.dtype, "what is assigned to the gradients"
        )
        self._grads[...] = new
        for parameter in self.parameters:
            _ = parameter.new_grad  # which is what arrives

    @property
    def computed_grads(self) -> Array:
        """All gradients as a plain live array, read-only: for optimizers."""
        return read_only(self._grads)

    def written(self, where: Mask, edited: bool) -> None:
        """Somebody has written into `grads`: for the view alone."""
        for parameter, (part, _) in zip(self.parameters, self.slots.values(), strict=True):
            if where[part].any():
                parameter.written(where[part], edited)

    @property
    def is_stale(self) -> bool:
        """Whether the parameters have moved into another model's memory."""
        return self._given_up if self._whole is None else self._whole.is_stale

    def _check_not_stale(self) -> None:
        if self.is_stale:
            raise StaleParametersError(
                "the parameters of this vector have moved into another model; ask "
                "ParameterVector.of again"
            )

    def __repr__(self) -> str:
        stale = ", stale" if self.is_stale else ""
        return f"ParameterVector({len(self.parameters)} parameters, {in_words(self.values)}{stale})"


def _check(named: Sequence[tuple[str, Parameter]]) -> None:
    seen: dict[int, str] = {}
    for name, parameter in named:
        first = seen.setdefault(id(parameter), name)
        if first != name:
            raise ModelError(
                f"parameter '{name}' is the same object as '{first}'; give each place a parameter "
                f"of its own"
            )
    check_names(name for name, _ in named)
    for name, parameter in named:
        if parameter.dtype != named[0][1].dtype:
            raise KindError(
                f"one dtype a model: '{named[0][0]}' is {named[0][1].dtype}, but '{name}' is "
                f"{parameter.dtype}; build both with the same dtype"
            )


_EMPTY = ParameterVector((), np.empty(0, np.float32), np.empty(0, np.float32))  # of no parameters
