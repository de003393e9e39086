"""`ParameterVector`, the only owner of memory.

All values of a model lie in one flat array, all gradients in a second one of the same layout. Each
parameter is a pair of views of them with a name and a shape. So an optimizer's step is one
addition, a copy of all updates is one copy, and there is nothing to keep in agreement.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple, Protocol, Self, final

import numpy as np

from minigrad._messages import described
from minigrad._validation import shaped
from minigrad.arrays import Array, Mask
from minigrad.display.pictures import in_words
from minigrad.errors import KindError, ModelError, StaleParametersError
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.live_gradient import LiveGradient, read_only
from minigrad.parameters.parameter import Parameter


class Slot(NamedTuple):
    """Where a parameter lies in a flat array.

    Attributes:
        slice: Its part of the flat array.
        shape: Its shape.
    """

    slice: slice
    shape: tuple[int, ...]


@final
class Writer:
    """Somebody who writes values on purpose, an optimizer or a checkpoint: two of one name are told
    apart.

    Attributes:
        name: What it is called.
        parameters: What it changes.
    """

    __slots__ = ("name", "parameters")

    def __init__(self, name: str, parameters: frozenset[Parameter]) -> None:
        self.name: str = name
        self.parameters: frozenset[Parameter] = parameters


@final
class WriteLog:
    """Who has written values last.

    Attributes:
        count: How many times anybody has.
        last: Who did, the newest last.
    """

    def __init__(self) -> None:
        self.count: int = 0
        self.last: deque[Writer] = deque(
            maxlen=64
        )  # whoever asks does so after each step of one optimizer

    def add(self, writer: Writer) -> None:
        """Somebody writes."""
        self.count += 1
        self.last.append(writer)

    def since(self, count: int) -> list[Writer]:
        """Who has written since the count was this, as far as is known."""
        new = self.count - count
        return list(self.last)[-new:] if new else []


class HasParameters(Protocol):
    """Anything that has named parameters; every layer does."""

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs, in definition order."""
        ...


def announce(model: HasParameters, who: str) -> None:
    """Let recorders know who has just written values into this model, so that they do not take it for an accident."""
    parameters = frozenset(parameter for _, parameter in model.parameters())
    owners = {
        id(parameter.owner): parameter.owner
        for parameter in parameters
        if parameter.owner is not None
    }
    for owner in owners.values():
        owner.writes.add(Writer(who, parameters))


@final
class ParameterVector:
    """The values and gradients of a model, or of a part of one, as two flat arrays.

    Made by `ParameterVector.of(model)`. A model has one vector for its life; of a part of the model
    (a nested layer, a slice) the vector is a view of the whole's.

    Attributes:
        slots: Maps each parameter's name to its `Slot(slice, shape)`.
        parameters: The parameters in the same order.
        gradients: How the gradients of the whole model have arrived.
        writes: Who has written values of the whole model.
    """

    def __init__(
        self,
        named: list[tuple[str, Parameter]],
        values: Array,
        grads: Array,
        whole: ParameterVector | None = None,
    ) -> None:
        self._values: Array = values
        self._grads: Array = grads
        self._live: LiveGradient | None = None
        self.parameters: tuple[Parameter, ...] = tuple(parameter for _, parameter in named)
        slots: dict[str, Slot] = {}
        start = 0
        for name, parameter in named:
            slots[name] = Slot(slice(start, start + parameter.size), parameter.shape)
            start += parameter.size
        self.slots: Mapping[str, Slot] = MappingProxyType(slots)
        self._whole = whole
        self._given_up = False
        self.gradients: Gradients = (
            Gradients(self.parameters, grads) if whole is None else whole.gradients
        )
        self.writes: WriteLog = WriteLog() if whole is None else whole.writes

    @classmethod
    def of(cls, model: HasParameters) -> Self:
        """The vector of a model: the same object whenever it is asked.

        Raises:
            ModelError: A parameter is reached twice.
            KindError: It is no model, or the parameters have different dtypes.
            StaleParametersError: `model` is a slice, and its parameters no longer lie side by side in
                one model.
        """
        if not hasattr(model, "parameters"):
            raise KindError(f"ParameterVector.of got {described(model)}, expected a model")
        named = list(model.parameters())
        known: Self | None = vars(model).get("_vector")
        if (
            known is not None
            and not known.is_stale
            and known.parameters == tuple(own for _, own in named)
        ):
            return known
        vector = cls._part(named)
        if vector is None:
            if not getattr(model, "_owns_memory", True):
                raise StaleParametersError(
                    f"the parameters of {model!r} do not lie side by side in one model; if its "
                    f"layers have moved into another model, take a slice of the new one"
                )
            vector = cls.take_over(named)
        vars(model)["_vector"] = vector
        return vector

    @classmethod
    def known(cls, model: HasParameters) -> Self:
        """As `of`, without a look whether the model still has the same parameters."""
        known: Self | None = vars(model).get("_vector")
        return known if known is not None and not known.is_stale else cls.of(model)

    @classmethod
    def take_over(cls, named: list[tuple[str, Parameter]]) -> Self:
        """Allocate a vector, and move these parameters into it with their values and gradients.

        Vectors that held any of them are given up: what still refers to one raises
        `StaleParametersError`.

        Raises:
            ModelError: A parameter is reached twice.
            KindError: The parameters have different dtypes.
        """
        _check(named)
        size = sum(parameter.size for _, parameter in named)
        dtype = named[0][1].dtype if named else np.dtype(np.float32)
        vector = cls(named, np.empty(size, dtype), np.empty(size, dtype))
        for name, parameter in named:
            if parameter.owner is not None:
                parameter.owner._given_up = True
            part, shape = vector.slots[name]
            parameter.move(
                vector,
                name,
                *(flat[part].reshape(shape) for flat in (vector._values, vector._grads)),
            )
        return vector

    @classmethod
    def _part(cls, named: list[tuple[str, Parameter]]) -> Self | None:
        """A view of the vector in which these parameters lie side by side, if there is one."""
        if not named:
            return cls([], np.empty(0, np.float32), np.empty(0, np.float32))
        owners = {id(parameter.owner): parameter.owner for _, parameter in named}
        whole = owners.popitem()[1] if len(owners) == 1 else None
        if whole is None or whole._given_up:
            return None
        places = [whole.slots[parameter.name].slice for _, parameter in named]
        if any(place.stop != following.start for place, following in pairwise(places)):
            return None
        part = slice(places[0].start, places[-1].stop)
        return cls(named, whole._values[part], whole._grads[part], whole)

    @property
    def whole(self) -> ParameterVector:
        """The vector that this one is a view of; itself, if it is none."""
        # Not kept as an attribute: one that refers to itself would hold its memory until the
        # garbage is collected.
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
        """All gradients, 1-D and live. Assignment writes through, and is a new gradient of every
        parameter.

        Reading changes nothing; what is written in place is known, too.

        Raises:
            StaleParametersError: On assignment, if the parameters have moved into another model.
        """
        if self._live is None:
            self._live = LiveGradient.of(self._grads, self)
        return self._live

    @grads.setter
    def grads(self, grads: object) -> None:
        self._check_not_stale()
        if (
            grads is not None and grads is self._live
        ):  # after `vector.grads *= 2`, which has written already
            return
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
        return self.whole._given_up

    def _check_not_stale(self) -> None:
        if self.is_stale:
            raise StaleParametersError(
                "the parameters of this vector have moved into another model; ask "
                "ParameterVector.of again"
            )

    def __repr__(self) -> str:
        stale = ", stale" if self.is_stale else ""
        return f"ParameterVector({len(self.parameters)} parameters, {in_words(self.values)}{stale})"


def _check(named: list[tuple[str, Parameter]]) -> None:
    seen: dict[int, str] = {}
    for name, parameter in named:
        first = seen.setdefault(id(parameter), name)
        if first != name:
            raise ModelError(
                f"parameter '{name}' is the same object as '{first}'; give each place a parameter "
                f"of its own"
            )
    for name, parameter in named:
        if parameter.dtype != named[0][1].dtype:
            raise KindError(
                f"one dtype a model: '{named[0][0]}' is {named[0][1].dtype}, but '{name}' is "
                f"{parameter.dtype}; build both with the same dtype"
            )
