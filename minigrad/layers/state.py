"""The state of a layer: loading one by name, where its buffers are, and leaving it untouched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from minigrad._messages import described, transposed
from minigrad._validation import float_array, real_array
from minigrad.errors import KindError, ModelError
from minigrad.parameters.parameter import Parameter


class HasState(Protocol):
    """A layer, as far as its state is concerned."""

    @property
    def buffers(self) -> tuple[str, ...]:
        """The names of the attributes that are state but not learnt."""
        ...

    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs."""
        ...

    def layers(self) -> Iterator[tuple[str, Any]]:
        """(name, layer) pairs."""
        ...


class BufferPlace(NamedTuple):
    """Where a buffer is.

    Attributes:
        name: Its name in the model that was asked.
        layer: The layer that has it.
        attribute: The name of the layer's attribute.
    """

    name: str
    layer: Any
    attribute: str


def buffer_places(model: HasState) -> Iterator[BufferPlace]:
    """The buffers of a layer and of all layers inside, in definition order."""
    for place, layer in model.layers():
        for attribute in layer.buffers:
            yield BufferPlace(f"{place}.{attribute}" if place else attribute, layer, attribute)


def live_state(model: HasState) -> Iterator[tuple[str, npt.NDArray[Any]]]:
    """(name, array) pairs of all parameters and buffers; not copies."""
    for name, parameter in model.parameters():
        yield name, parameter.value
    for name, layer, attribute in buffer_places(model):
        yield name, np.asarray(getattr(layer, attribute))


def load_state(model: HasState, state: Mapping[str, npt.ArrayLike], strict: bool) -> None:
    """Write values into the parameters and buffers: all of them, or after an error none.

    Raises:
        KindError: The state is no mapping, or something in it holds no real numbers.
        ModelError: The state does not fit; the message lists every difference.
        RangeError: A number does not fit into the dtype.
    """
    if not isinstance(state, Mapping):
        raise KindError(
            f"load_state_dict got {described(state)}, expected arrays by name, as state_dict() "
            f"gives them"
        )
    own = dict(live_state(model))
    problems: list[str] = []
    if strict:
        problems += [f"'{name}' is missing" for name in own if name not in state]
        problems += [f"{described(name)} is unknown" for name in state if name not in own]
    new = {
        name: np.array(_as(own[name].dtype, state[name], name))
        for name in own.keys() & state.keys()
    }
    problems += [
        f"'{name}' has shape {array.shape}, expected {own[name].shape}"
        for name, array in new.items()
        if array.shape != own[name].shape
    ]
    if problems:
        shapes = {
            name: (parameter.shape, np.shape(new.get(name, ())))
            for name, parameter in model.parameters()
        }
        raise ModelError(
            f"the state does not fit this model, which is unchanged: "
            f"{'; '.join(sorted(problems))}{transposed(shapes)}"
        )
    for name, parameter in model.parameters():
        if name in new:
            parameter.value = new[name]
    for name, layer, attribute in buffer_places(model):
        if name in new:
            setattr(layer, attribute, new[name])


def _as(dtype: np.dtype[Any], given: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """A value in the dtype of what it replaces; that of a buffer may be any."""
    array = real_array(given, f"'{name}'")
    return float_array(array, dtype, f"'{name}'") if dtype.kind == "f" else array.astype(dtype)


@contextmanager
def untouched(model: HasState) -> Iterator[None]:
    """Afterwards every attribute of every layer is as it was: modes, and what backward needs."""
    before = [(layer, dict(vars(layer))) for _, layer in model.layers()]
    try:
        yield
    finally:
        for layer, attributes in before:
            vars(layer).clear()
            vars(layer).update(attributes)
