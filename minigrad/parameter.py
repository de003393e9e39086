"""`Parameter` and `ParameterVector`, the only owner of memory.

All values of a model lie in one flat array, all gradients in a second one of the same layout. Each parameter is a
pair of views of them with a name and a shape. So an optimizer's step is one addition, a copy of all updates is one
copy, and there is nothing to keep in agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, Self, final

import numpy as np

from minigrad.arrays import Array, described, float_array, shaped
from minigrad.errors import KindError, ModelError, StaleParameters
from minigrad.pictures import in_words


@final
class Parameter:
    """An array that is learnt, and its gradient.

    Until a model takes it over, a parameter has memory of its own; from then on `value` and `grad` are views of the
    model's flat arrays. Both are live: they show what training does. Keep a copy (`parameter.value.copy()`) of what
    must not change. Assignment writes through, into the same memory: `parameter.value = array`.

    Args:
        value: The initial value, copied. Real numbers; float32 and float64 are kept, others become float32.
        trainable: Whether optimizers change it.

    Attributes:
        name: Its name in the model, "0.weight"; empty as long as no model has taken it over.
        trainable: Whether optimizers change it.
        new_grads: How many gradients have been written since the optimizer's last step. A step uses a gradient once.
        assigned_by_hand: Whether the new gradient was assigned outside a model's backward, so that no layer explains it.
        owner: The vector that holds it; None as long as no model has taken it over.

    Raises:
        KindError: The value holds complex numbers, strings or objects.
    """

    def __init__(self, value: object, trainable: bool = True) -> None:
        self.name: str = ""
        self.trainable: bool = trainable
        self.new_grads: int = 0
        self.assigned_by_hand: bool = False
        self._value: Array = np.array(float_array(value, None, "the value of a Parameter"), order="C")
        self._grad: Array | None = None
        self.owner: ParameterVector | None = None

    @property
    def value(self) -> Array:
        """The live value; assignment writes through, and must have the same shape."""
        return self._value

    @value.setter
    def value(self, value: object) -> None:
        self._value[...] = shaped(value, self.shape, self.dtype, f"the value assigned to {self.called}")

    @property
    def grad(self) -> Array:
        """The live gradient; assignment writes through, must have the same shape, and counts as a new gradient.

        Reading it while a backward runs counts as well: a layer may be writing into it in place.
        """
        if self.owner is not None and self.owner.in_backward:
            self.new_grads += 1
        if self._grad is None:
            self._grad = np.zeros_like(self._value)
        return self._grad

    @grad.setter
    def grad(self, grad: object) -> None:
        self.new_grad[...] = shaped(grad, self.shape, self.dtype, f"the gradient assigned to {self.called}")
        self.assigned_by_hand = self.owner is None or not self.owner.in_backward

    @property
    def new_grad(self) -> Array:
        """The live gradient, for `backward` to overwrite in place: `x.T.dot(grad, out=weight.new_grad)`.

        It saves the copy that `weight.grad = x.T @ grad` makes, and counts as a new gradient in the same way.
        """
        self.new_grads += 1
        if self._grad is None:
            self._grad = np.zeros_like(self._value)
        return self._grad

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of value and gradient."""
        return self._value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of value and gradient, float32 or float64."""
        return self._value.dtype

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._value.size

    @property
    def called(self) -> str:
        """What errors call it: "parameter '0.weight'"."""
        return f"parameter '{self.name}'" if self.name else f"a Parameter of shape {self.shape}"

    def __repr__(self) -> str:
        name = f"'{self.name}', " if self.name else ""
        frozen = "" if self.trainable else ", frozen"
        return f"Parameter({name}{in_words(self._value)}{frozen})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts, and the values as a picture."""
        from minigrad import notebook  # not at the top: only notebooks need it, and it takes long to load

        told = f"{in_words(self._value)}{'' if self.trainable else '; frozen'}"
        return notebook.block(
            notebook.title(f"Parameter {self.name}".strip()),
            notebook.line(told),
            notebook.amounts(self._value, what="values"),
        )

    def __getstate__(self) -> dict[str, Any]:
        """The vector is not pickled, and of its memory only this parameter's part."""
        return {**vars(self), "owner": None}

    def __copy__(self) -> Parameter:
        """A copy has memory of its own."""
        copied = Parameter.__new__(Parameter)
        grad = None if self._grad is None else self._grad.copy()
        vars(copied).update(self.__getstate__(), _value=self._value.copy(), _grad=grad)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """So that each array is copied once."""
        return self.__copy__()

    def _move(self, owner: ParameterVector, name: str, value: Array, grad: Array) -> None:
        """Take value and gradient along into a vector's memory."""
        value[...] = self._value
        grad[...] = 0 if self._grad is None else self._grad
        self.owner, self.name, self._value, self._grad = owner, name, value, grad

    def _cast(self, dtype: np.dtype[Any]) -> None:
        """Leave the vector and compute in another dtype, for gradient checks in float64."""
        self.owner, self._grad, self._value = None, None, self._value.astype(dtype)


class Slot(NamedTuple):
    """Where a parameter lies in a flat array.

    Attributes:
        slice: Its part of the flat array.
        shape: Its shape.
    """

    slice: slice
    shape: tuple[int, ...]


class Writer:
    """An optimizer, as the memory that it writes into knows it.

    Attributes:
        name: The optimizer's name.
        parameters: What it changes.
        steps: How many steps it has made.
    """

    def __init__(self, name: str, parameters: frozenset[Parameter], steps: int = 0) -> None:
        self.name: str = name
        self.parameters: frozenset[Parameter] = parameters
        self.steps: int = steps


class HasParameters(Protocol):
    """Anything that has named parameters; every layer does."""

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs, in definition order."""
        ...


def announce(model: HasParameters, who: str) -> None:
    """Let recorders know who has just written values into this model, so that they do not take it for an accident."""
    parameters = frozenset(parameter for _, parameter in model.parameters())
    owners = {id(parameter.owner): parameter.owner for parameter in parameters if parameter.owner is not None}
    for owner in owners.values():
        owner.writers.append(Writer(who, parameters, steps=1))


@final
class ParameterVector:
    """The values and gradients of a model, or of a part of one, as two flat arrays.

    Made by `ParameterVector.of(model)`. A model has one vector for its life; of a part of the model (a nested layer,
    a slice) the vector is a view of the whole's.

    Attributes:
        slots: Maps each parameter's name to its `Slot(slice, shape)`.
        parameters: The parameters in the same order.
        writers: The optimizers that write into this memory.
        in_backward: Whether a backward is running, in which reading a gradient may be writing it.
        passes: How many passes that tell hooks are running, one inside the other.
        failures: What went wrong in hooks during these.
    """

    def __init__(
        self, named: list[tuple[str, Parameter]], values: Array, grads: Array, whole: ParameterVector | None = None
    ) -> None:
        self._values: Array = values
        self._grads: Array = grads
        self.parameters: tuple[Parameter, ...] = tuple(parameter for _, parameter in named)
        slots: dict[str, Slot] = {}
        start = 0
        for name, parameter in named:
            slots[name] = Slot(slice(start, start + parameter.size), parameter.shape)
            start += parameter.size
        self.slots: Mapping[str, Slot] = MappingProxyType(slots)
        self._whole = whole
        self._given_up = False
        self.in_backward: bool = False
        self.passes: int = 0
        self.failures: list[Any] = []
        self.writers: list[Writer] = [] if whole is None else whole.writers

    @classmethod
    def of(cls, model: HasParameters) -> Self:
        """The vector of a model: the same object whenever it is asked.

        Raises:
            ModelError: A parameter is reached twice.
            KindError: It is no model, or the parameters have different dtypes.
            StaleParameters: `model` is a slice, and its parameters no longer lie side by side in one model.
        """
        if not hasattr(model, "parameters"):
            raise KindError(f"ParameterVector.of got {described(model)}, expected a model")
        named = list(model.parameters())
        known: Self | None = vars(model).get("_vector")
        if known is not None and not known.is_stale and known.parameters == tuple(own for _, own in named):
            return known
        vector = cls._part(named)
        if vector is None:
            if not getattr(model, "_owns_memory", True):
                raise StaleParameters(
                    f"the parameters of {model!r} do not lie side by side in one model; if its layers have moved into "
                    f"another model, take a slice of the new one"
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

        Vectors that held any of them are given up: what still refers to one raises `StaleParameters`.

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
            parameter._move(vector, name, vector.values[part].reshape(shape), vector._grads[part].reshape(shape))
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
        return cls(named, whole.values[part], whole._grads[part], whole)

    @property
    def whole(self) -> ParameterVector:
        """The vector that this one is a view of; itself, if it is none."""
        # Not kept as an attribute: one that refers to itself would hold its memory until the garbage is collected.
        return self if self._whole is None else self._whole

    @property
    def values(self) -> Array:
        """All values, 1-D and live. Assignment writes through.

        Raises:
            StaleParameters: On assignment, if the parameters have moved into another model.
        """
        return self._values

    @values.setter
    def values(self, values: object) -> None:
        self._check_not_stale()
        self._values[...] = shaped(values, self._values.shape, self._values.dtype, "what is assigned to the values")

    @property
    def grads(self) -> Array:
        """All gradients, 1-D and live. Assignment writes through and counts as a new gradient of every parameter.

        Raises:
            StaleParameters: On assignment, if the parameters have moved into another model.
        """
        return self._grads

    @grads.setter
    def grads(self, grads: object) -> None:
        self._check_not_stale()
        self._grads[...] = shaped(grads, self._grads.shape, self._grads.dtype, "what is assigned to the gradients")
        for parameter in self.parameters:
            parameter.new_grads += 1
            parameter.assigned_by_hand = True

    @property
    def is_stale(self) -> bool:
        """Whether the parameters have moved into another model's memory."""
        return self.whole._given_up

    def _check_not_stale(self) -> None:
        if self.is_stale:
            raise StaleParameters(
                "the parameters of this vector have moved into another model; ask ParameterVector.of again"
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
                f"parameter '{name}' is the same object as '{first}'; give each place a parameter of its own"
            )
    for name, parameter in named:
        if parameter.dtype != named[0][1].dtype:
            raise KindError(
                f"one dtype a model: '{named[0][0]}' is {named[0][1].dtype}, but '{name}' is {parameter.dtype}; "
                f"build both with the same dtype"
            )
