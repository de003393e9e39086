"""The order of calls of a layer: `forward`, and then `backward` once. It is checked for every
layer, also for those of users.

`Layer` puts these checks around the `forward` and the `backward` that a class defines, so that
authors write only the mathematics. A forward leaves the output whose gradient is awaited; a
backward takes it, and is a part of the model's.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import isfunction
from typing import Any, NamedTuple, final
from weakref import ref

import numpy as np

from minigrad.arrays import Array, shaped
from minigrad.errors import CallOrderError, ModelError, RepeatedForward
from minigrad.layers import lineage
from minigrad.parameters.backward_pass import backward_pass
from minigrad.parameters.parameter import Parameter

OF_PASSES = ("_awaited", "_earlier", "_of_passes", "_noted")
"""The attributes in which these checks keep what they know of a layer.

Neither copied nor pickled with it.
"""


@final
class Own:
    """The parameters that a layer itself holds, as they were when it was made: out of the sight of
    those who look into it.

    Args:
        by_name: The parameters by the attribute that holds them.

    Attributes:
        first: The first of them, if there is any.
    """

    __slots__ = ("by_name", "first")

    def __init__(self, by_name: Mapping[str, Parameter]) -> None:
        self.by_name: Mapping[str, Parameter] = by_name
        self.first: Parameter | None = next(iter(by_name.values()), None)


TAKEN = object()  # the gradient of the last output has arrived
RUNNING = object()  # a backward is running
FORWARD = object()  # a forward is running
_EARLIER = 8  # outputs that are remembered, where forward is called again and again


class Unchecked(NamedTuple):
    """What a class of layers defines, without the checks: for `Sequential`, where the order of its calls is the right one."""

    forward: Callable[[Any, Array], Array]
    backward: Callable[[Any, Array], Any]
    backward_parameters: Callable[[Any, Array], Any]


def checked_forward(forward: Callable[..., Array]) -> Callable[..., Array]:
    """A `forward` after which a gradient of its output is awaited."""

    @wraps(forward)
    def checked(self: Any, x: Array, *more: Any, **named: Any) -> Array:
        if self._awaited is not TAKEN:
            return _first_or_repeated(forward, self, x, *more, **named)
        self._awaited = FORWARD
        try:
            output = self._awaited = forward(self, x, *more, **named)
        except BaseException as error:
            self._awaited = TAKEN
            look_for_replaced(self, error)
            raise
        return output

    return checked


def checked_backward(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A `backward` that follows a forward, once, with a gradient of its output's shape."""

    @wraps(backward)
    def checked(self: Any, grad: Array, *more: Any, **named: Any) -> Any:
        output = self._awaited
        if (
            output is RUNNING
        ):  # it calls that of its base class, or `backward_parameters` calls `backward`
            return backward(self, grad, *more, **named)
        grad, self._awaited = take(self, grad), RUNNING
        run = backward if self._noted else _first(backward)
        try:
            first = self._own.first
            if first is None or first.gradients is None or first.gradients.running is not None:
                return run(self, grad, *more, **named)
            # This layer is the model, or somebody calls the layers one by one.
            with backward_pass(first.gradients):
                return run(self, grad, *more, **named)
        except AttributeError as error:
            look_for_replaced(self, error)
            raise
        finally:
            self._awaited = TAKEN

    return checked


def check_calls(cls: Any, base: Any) -> None:
    """Put the checks around the methods of a class of layers.

    Args:
        cls: The class.
        base: `Layer`, whose own methods compute nothing.
    """
    own: dict[str, Callable[..., Any]] = {}
    for name, check in (
        ("forward", checked_forward),
        ("backward", checked_backward),
        ("backward_parameters", checked_backward),
    ):
        method = getattr(cls, name)
        own[name] = getattr(method, "unchecked", method)
        if isfunction(method) and method is not getattr(base, name) and own[name] is method:
            checked = check(method)
            setattr(checked, "unchecked", method)  # noqa: B010 - mypy knows no other way
            setattr(cls, name, checked)
    cls._unchecked = Unchecked(**own)


def _first_or_repeated(
    forward: Callable[..., Array], layer: Any, *given: Any, **named: Any
) -> Array:
    """A forward that does not follow a backward: it may leave new attributes, and a gradient may be awaited already."""
    awaited = layer._awaited
    if awaited is FORWARD:  # it calls that of its base class
        return forward(layer, *given, **named)
    before, layer._awaited = dict(vars(layer)), FORWARD
    try:
        output = forward(layer, *given, **named)
    except BaseException as error:
        look_for_replaced(layer, error)
        raise
    finally:
        layer._awaited = awaited
        _note(layer, before)
    await_gradient(layer, output)
    return output


def await_gradient(layer: Any, output: Array) -> None:
    """A forward has given this output, whose gradient is to come back."""
    before = layer._awaited
    if type(before) is np.ndarray and not layer._held:
        layer._earlier = (*layer._earlier, (ref(before), before.shape))[-_EARLIER:]
    layer._awaited = output


def take(layer: Any, grad: Array) -> Array:
    """The gradient of the output that is awaited; the caller says that it is taken.

    Raises:
        CallOrderError: No forward came before, or its gradient was already taken; or this is that of
            another output.
        KindError: The gradient holds no real numbers.
        ShapeError: The gradient does not have the output's shape.
    """
    output = layer._awaited
    if output is None or output is TAKEN or output is FORWARD:
        again = "a second time for the same forward" if output is TAKEN else "before forward"
        raise CallOrderError(
            f"{layer.called}: backward was called {again}; call forward(x) first, then "
            f"backward(grad) once (a layer remembers its last forward alone: a layer of its own in "
            f"each place)"
        )
    if not isinstance(
        output, np.ndarray
    ):  # several arrays, say, whose gradients the layer knows to tell
        return grad
    if layer._earlier:
        _check_repeated(layer, grad, output)
    if type(grad) is not np.ndarray or grad.shape != output.shape or grad.dtype != output.dtype:
        grad = shaped(
            grad, output.shape, output.dtype, f"{layer.called}: the gradient of its last output"
        )
    return grad


# -- what a pass leaves in a layer ---------------------------------------------------------------


def _first(backward: Callable[..., Any]) -> Callable[..., Any]:
    """The first backward of a layer, which may leave new attributes."""

    def noting(layer: Any, *given: Any, **named: Any) -> Any:
        before, layer._noted = dict(vars(layer)), True
        try:
            return backward(layer, *given, **named)
        finally:
            _note(layer, before)

    return noting


def _note(layer: Any, before: dict[str, Any]) -> None:
    """A pass has left arrays of a batch where nothing or None was: backward needs them, and they are no state of the layer."""
    attributes = vars(layer)
    left_out = (*OF_PASSES, *layer.buffers)
    new = {
        name: name in before
        for name, value in attributes.items()
        if before.get(name) is None
        and isinstance(value, np.ndarray | tuple | list | dict | None)
        and (value is not None or name not in before)
        and name not in left_out
    }
    if new:
        attributes["_of_passes"] = {**attributes.get("_of_passes", {}), **new}


def without_passes(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a layer without what a forward or a backward has left in them."""
    passes = attributes.get("_of_passes", {})  # whether the attribute was there before, as None
    kept = {
        name: value
        for name, value in attributes.items()
        if name not in OF_PASSES and name not in passes
    }
    return kept | {name: None for name, was_there in passes.items() if was_there}


# -- a forward that is repeated before backward --------------------------------------------------


def _check_repeated(layer: Any, grad: object, output: Array) -> None:
    """Find out whether a gradient belongs to an earlier output than the last one."""
    shapes = [shape for _, shape in layer._earlier]
    earlier, layer._earlier = [one() for one, _ in layer._earlier], ()
    source = lineage.output_of(grad)
    advice = f"to look at other data before backward, use {layer.called_in_code}.predict(x), which leaves no trace"
    if source is not None and any(source is one for one in earlier):
        raise CallOrderError(
            f"{layer.called}: this gradient belongs to an earlier output; forward was called again "
            f"since, and what backward needs is that of the last forward; {advice}"
        )
    shape = np.shape(grad) if isinstance(grad, np.ndarray) else None
    if shape is not None and shape != output.shape and shape in shapes:
        raise CallOrderError(
            f"{layer.called}: the gradient has shape {shape}, and the last output has "
            f"{output.shape}: forward was called again before backward, with other data; {advice}"
        )
    if source is None and any(
        one is not None
        and one.shape == output.shape
        and not np.array_equal(one, output, equal_nan=True)
        for one in earlier
    ):
        warnings.warn(
            f"{layer.called}: forward was called again before backward, which goes by the last "
            f"forward alone; if the gradient is that of an earlier output, it is wrong: {advice}",
            RepeatedForward,
            stacklevel=4,
        )


# -- parameters that were replaced ---------------------------------------------------------------


def look_for_replaced(layer: Any, error: BaseException) -> None:
    """Say so, if an attribute that held a parameter holds something else now.

    Raises:
        ModelError: One does.
    """
    for name, before in layer._own.by_name.items() if isinstance(error, AttributeError) else ():
        now = vars(layer).get(name, before)
        if now is not before and not isinstance(now, Parameter):
            raise ModelError(
                f"layer '{layer._place}', {type(layer).__name__}: '{name}' was a Parameter, and "
                f"was replaced by {type(now).__name__}; assign the numbers instead, which writes "
                f"them into the parameter: layer.{name}.value = array"
            ) from error
