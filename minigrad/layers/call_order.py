"""`CallOrder`: a layer's `forward`, and then its `backward` once, checked for every layer.

The checks stand around the `forward` and the `backward` that a class defines, so that authors write
only the mathematics. A forward leaves the output whose gradient is awaited; a backward takes that
gradient, and is a part of the model's.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import isfunction
from typing import Any, final
from weakref import ref

import numpy as np
from numpy import ndarray

from minigrad._validation import shaped
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ModelError, RepeatedForward
from minigrad.layers import lineage
from minigrad.parameters.backward_pass import backward_pass
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.parameter import Parameter

CHECKED = ("forward", "backward", "backward_parameters")
"""The methods around which the checks stand."""

_STATE = ("_awaited", "_earlier", "_of_passes", "_noted")  # neither copied nor pickled
_TAKEN = object()  # the gradient of the last output has arrived
_RUNNING = object()  # a backward is running
_FORWARD = object()  # a forward is running
_EARLIER = 8  # outputs that are remembered, where forward is called again and again


@final
class OwnParameters:
    """The parameters that a layer itself holds, as they were when it was made.

    Not a dict, so that whoever looks for parameters in a layer's attributes does not find them
    twice.

    Args:
        by_name: The parameters by the attribute that holds them.

    Attributes:
        first: The first of them; None if there is none.
    """

    __slots__ = ("by_name", "first")

    def __init__(self, by_name: Mapping[str, Parameter]) -> None:
        self.by_name: Mapping[str, Parameter] = by_name
        self.first: Parameter | None = next(iter(by_name.values()), None)


class CallOrder(ABC):
    """What `Layer` knows of the order of its calls."""

    _awaited: Any = None  # the output whose gradient is to come back
    _earlier: tuple[Any, ...] = ()  # outputs of forwards that were repeated before a backward
    _noted: bool = False  # whether a first backward has shown what it leaves in the layer
    _place: str = ""  # the name in the model
    _is_nested: bool = False  # whether another layer holds this one
    _own: OwnParameters = OwnParameters({})

    @property
    @abstractmethod
    def called(self) -> str:
        """Which layer it is, as errors name it."""

    @property
    @abstractmethod
    def _called_in_code(self) -> str:
        """What an example in an error calls it."""

    def _await_gradient(self, output: Array) -> Array:
        """A forward has given this output, whose gradient is to come back. Returns the output."""
        before = self._awaited
        if type(before) is np.ndarray and not self._is_nested:
            self._earlier = (*self._earlier, (ref(before), before.shape))[-_EARLIER:]
        self._awaited = output
        return output

    def _take_output_grad(self, grad: Array) -> Array:
        """The gradient of the output that is awaited, which is awaited no more.

        Raises:
            CallOrderError: No forward came before, or its gradient was already taken; or this is
                that of another output.
            KindError: The gradient holds no real numbers.
            ShapeError: The gradient does not have the output's shape.
        """
        output = self._awaited
        if output is None or output is _TAKEN or output is _FORWARD:
            when = "a second time for the same forward" if output is _TAKEN else "before forward"
            raise CallOrderError(
                f"{self.called}: backward was called {when}; call forward(x) first, then "
                f"backward(grad) once (a layer remembers its last forward alone: a layer of its "
                f"own in each place)"
            )
        if isinstance(output, np.ndarray):  # not several arrays, of which the layer itself knows
            if self._earlier:
                self._check_repeated(grad, output)
            if not _fits(grad, output):
                what = f"{self.called}: the gradient of its last output"
                grad = shaped(grad, output.shape, output.dtype, what)
        self._awaited = _TAKEN
        return grad

    # -- a forward that is repeated before backward -----------------------------------------------

    def _check_repeated(self, grad: object, output: Array) -> None:
        """Find out whether a gradient belongs to an earlier output than the last one."""
        shapes = [shape for _, shape in self._earlier]
        earlier, self._earlier = [output_of() for output_of, _ in self._earlier], ()
        source = lineage.output_of(grad)
        advice = (
            f"to look at other data before backward, use {self._called_in_code}.predict(x), which "
            f"leaves no trace"
        )
        if source is not None and any(source is other for other in earlier):
            raise CallOrderError(
                f"{self.called}: this gradient belongs to an earlier output; forward was called "
                f"again since, and what backward needs is that of the last forward; {advice}"
            )
        shape = np.shape(grad) if isinstance(grad, np.ndarray) else None
        if shape is not None and shape != output.shape and shape in shapes:
            raise CallOrderError(
                f"{self.called}: the gradient has shape {shape}, and the last output has "
                f"{output.shape}: forward was called again before backward, with other data; "
                f"{advice}"
            )
        if source is None and any(
            other is not None
            and other.shape == output.shape
            and not np.array_equal(other, output, equal_nan=True)
            for other in earlier
        ):
            warnings.warn(
                f"{self.called}: forward was called again before backward, which goes by the last "
                f"forward alone; if the gradient is that of an earlier output, it is wrong: "
                f"{advice}",
                RepeatedForward,
                stacklevel=4,
            )

    # -- what a pass leaves in a layer ------------------------------------------------------------

    def _note_new(self, before: dict[str, Any]) -> None:
        """Note the arrays that a pass has left where nothing or None was.

        Backward needs them, and they are no state of the layer.
        """
        attributes = vars(self)
        left_out = (*_STATE, *getattr(self, "buffers", ()))
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

    def _without_passes(self) -> dict[str, Any]:
        """The attributes without what a forward or a backward has left in them."""
        attributes = vars(self)
        passes = attributes.get("_of_passes", {})  # whether the attribute was there before, as None
        kept = {
            name: value
            for name, value in attributes.items()
            if name not in _STATE and name not in passes
        }
        return kept | {name: None for name, was_there in passes.items() if was_there}

    # -- a parameter that was replaced ------------------------------------------------------------

    def _check_replaced(self, error: BaseException) -> None:
        """Say so, if an attribute that held a parameter holds something else now.

        Raises:
            ModelError: One does.
        """
        if not isinstance(error, AttributeError):
            return
        for name, parameter in self._own.by_name.items():
            now = vars(self).get(name, parameter)
            if now is not parameter and not isinstance(now, Parameter):
                raise ModelError(
                    f"layer '{self._place}', {type(self).__name__}: '{name}' was a Parameter, and "
                    f"was replaced by {type(now).__name__}; assign the numbers instead, which "
                    f"writes them into the parameter: layer.{name}.value = array"
                ) from error


def _fits(grad: Any, output: Any) -> bool:
    """Whether a gradient is one of this output as it is."""
    return (
        type(grad) is ndarray
        and type(output) is ndarray
        and grad.shape == output.shape
        and grad.dtype is output.dtype
    )


def check_calls(cls: Any, base: Any) -> None:
    """Put the checks around the methods of a class of layers.

    Args:
        cls: The class.
        base: `Layer`, whose own methods compute nothing.
    """
    for name in CHECKED:
        method = getattr(cls, name)
        if isfunction(method) and method is not getattr(base, name) and not is_checked(method):
            checked = (_checked_forward if name == "forward" else _checked_backward)(method)
            vars(checked)["is_checked"] = True
            setattr(cls, name, checked)


def is_checked(method: object) -> bool:
    """Whether the checks stand around a method."""
    return getattr(method, "is_checked", False)


def _checked_forward(forward: Callable[..., Array]) -> Callable[..., Array]:
    """A `forward` after which a gradient of its output is awaited."""

    @wraps(forward)
    def checked(self: Any, x: Array, *more: Any, **named: Any) -> Array:
        if self._awaited is not _TAKEN:
            return first_or_repeated(self, x, *more, **named)
        try:
            self._awaited = _FORWARD
            # Without the stars a call takes half the time.
            output = forward(self, x, *more, **named) if more or named else forward(self, x)
            self._awaited = output
        except BaseException as error:
            self._awaited = _TAKEN
            self._check_replaced(error)
            raise
        return output

    def first_or_repeated(self: Any, *args: Any, **named: Any) -> Array:
        """It may leave new attributes, and a gradient may be awaited already."""
        awaited = self._awaited
        if awaited is _FORWARD:  # called by the forward of a subclass
            return forward(self, *args, **named)
        before = dict(vars(self))
        try:
            self._awaited = _FORWARD
            output = forward(self, *args, **named)
        except BaseException as error:
            self._check_replaced(error)
            raise
        finally:
            self._awaited = awaited
            self._note_new(before)
        return self._await_gradient(output)  # type: ignore[no-any-return] # of any layer

    return checked


def _checked_backward(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A `backward` that follows a forward, once, with a gradient of its output's shape."""

    @wraps(backward)
    def checked(self: Any, grad: Array, *more: Any, **named: Any) -> Any:
        output = self._awaited
        if output is _RUNNING:  # called by that of a subclass, or by `backward_parameters`
            return backward(self, grad, *more, **named)
        if (  # not a call of `_fits`, which would take as long as the rest
            type(grad) is not ndarray
            or type(output) is not ndarray
            or grad.shape != output.shape
            or grad.dtype is not output.dtype
            or self._earlier
        ):
            grad = self._take_output_grad(grad)
        first = self._own.first
        gradients = None if first is None else first.gradients
        try:
            self._awaited = _RUNNING
            if more or named or not self._noted:
                return noting(self, gradients, grad, *more, **named)
            if gradients is None or gradients.running is not None:
                return backward(self, grad)
            with backward_pass(gradients):  # the layer is the model, or it is called by itself
                return backward(self, grad)
        except AttributeError as error:
            self._check_replaced(error)
            raise
        finally:
            self._awaited = _TAKEN

    def noting(self: Any, gradients: Gradients | None, *args: Any, **named: Any) -> Any:
        """The first backward of a layer, which may leave new attributes."""
        before, self._noted = dict(vars(self)), True
        try:
            if gradients is None or gradients.running is not None:
                return backward(self, *args, **named)
            with backward_pass(gradients):
                return backward(self, *args, **named)
        finally:
            self._note_new(before)

    return checked
