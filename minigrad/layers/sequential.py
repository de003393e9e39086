"""`Sequential`, layers in a chain."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, SupportsIndex, final, overload

import numpy as np

from minigrad._types import override
from minigrad.arrays import Array, batch, described
from minigrad.errors import KindError, ModelError, ShapeError
from minigrad.hooks import Backward, Forward, Hook
from minigrad.hooks.dispatch import tell, telling
from minigrad.hooks.listener import Listener
from minigrad.layers.calls import RUNNING, TAKEN, await_gradient, look_for_replaced, take
from minigrad.layers.layer import Layer
from minigrad.parameters.backward_pass import backward_pass, paused
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import ParameterVector


@final
class Sequential(Layer, checks_calls=True):
    """Layers in a chain: each gets what the one before it gives.

    It is a layer itself, so it nests. It allocates the memory of all parameters inside, in one
    vector, and tells hooks about each layer's forward and backward.

    Args:
        *layers: The layers in order, named "0", "1", ...
        **named: Or the layers by name: `Sequential(hidden=Dense(784, 10), out=Dense(10, 10))`.

    Raises:
        KindError: Something is not a layer, or two parameters have different dtypes.
        ModelError: There is no layer, a layer is used twice, or some have names and some have none.
    """

    _vector: ParameterVector | None = None
    _not_copied = (
        *Layer._not_copied,
        "_listeners",
        "_parameters",
        "_lowest",
        "owns_memory",
        "_outputs",
    )

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a subclass: what it holds besides the layers would be no part of the model."""
        raise KindError(
            f"{cls.__name__} is a subclass of Sequential, which is final, because what it holds "
            f"besides its layers would never be trained: write a Layer that holds a Sequential in "
            f"an attribute"
        )

    def __init__(self, *layers: Layer, **named: Layer) -> None:
        if layers and named:
            raise ModelError("give all layers of a Sequential names, or none")
        if not layers and not named:
            raise ModelError("a Sequential needs at least one layer")
        for name, layer in [*enumerate(layers), *named.items()]:
            if not isinstance(layer, Layer):
                advice = "expected a Layer"
                if isinstance(layer, list | tuple):
                    advice = "pass the layers one by one, Sequential(*layers)"
                elif isinstance(layer, type):
                    advice = "make an instance of it"
                raise KindError(f"layer '{name}' of a Sequential is {described(layer)}: {advice}")
        self._names: tuple[str, ...] = tuple(named) or tuple(
            str(index) for index in range(len(layers))
        )
        self._layers: tuple[Layer, ...] = layers or tuple(named.values())
        parameters = list(self.parameters())
        self._assemble(parameters)
        self._vector = ParameterVector.take_over(parameters)
        for _, layer in self.layers():
            if layer is not self:
                vars(layer).pop("_vector", None)  # which was given up, and would keep its memory

    def _assemble(self, named: list[tuple[str, Parameter]]) -> None:
        """What is derived from the layers, so that a pass need not look for it."""
        self._listeners: list[Listener] = []
        self._parameters: tuple[Parameter, ...] = tuple(parameter for _, parameter in named)
        with_parameters = (
            n for n, layer in enumerate(self._layers) if any(True for _ in layer.parameters())
        )
        self._lowest: int = next(with_parameters, len(self._layers))

    @override
    def parts(self) -> Iterator[tuple[str, Parameter | Layer]]:
        """The layers with their names."""
        yield from zip(self._names, self._layers, strict=True)

    # -- forward and backward ---------------------------------------------------------------------

    @override
    def forward(self, x: Array) -> Array:
        """(batch, ...) through all layers.

        Raises:
            KindError: The input holds no real numbers, or a layer returns something that is no
                array.
            ShapeError: The input has no rows, or does not fit a layer; a layer returns another
                number of rows.
            HookError: A hook failed.
        """
        if not self._listeners:
            return self._run_forward(x)
        with telling():
            return self._run_forward(x)

    def _run_forward(self, x: Array) -> Array:
        x = batch(x, self._parameters[0].dtype if self._parameters else None, self)
        n = len(x)
        outputs = [x]
        for layer in self._layers:
            direct = (
                layer._unchecked
                if layer._awaited is TAKEN and "forward" not in layer.__dict__
                else None
            )
            if (
                direct is not None
            ):  # the order of the calls is the right one: it need not be checked
                try:
                    output = layer._awaited = direct.forward(layer, x)
                except AttributeError as error:
                    look_for_replaced(layer, error)
                    raise
            else:
                output = layer.forward(x)
            if type(output) is not np.ndarray or output.ndim == 0 or len(output) != n:
                raise _wrong(
                    "forward", layer, output, f"an array of {n} rows, as many as its input"
                )
            if self._listeners:
                name = self._names[len(outputs) - 1]
                tell(self._listeners, Hook.on_forward, partial(_forward, name, layer, x, output))
            outputs.append(output)
            x = output
        self._outputs = outputs
        x = x.copy()  # a layer may keep its output for backward; what leaves is the caller's
        if self._awaited is TAKEN:
            self._awaited = x
        else:
            await_gradient(self, x)
        return x

    @override
    def backward(
        self,
        grad: Array,
        *,
        accumulate: bool = False,
        parameters: bool = True,
        input_grad: bool | None = None,
    ) -> Array | None:
        """The chain rule: from the last layer to the first, each gets the gradient that the one
        above returns.

        Args:
            grad: The gradient of the last output, same shape.
            accumulate: Add to the gradients that have arrived since the last step, in place of
                overwriting them.
            parameters: Whether the gradients of the parameters are wanted. If not, they and a step
                that is pending stay as they are, and what is returned is the gradient of the input:
                a saliency map, say.
            input_grad: Whether to return the gradient of the input. None: where another layer holds
                this one, or that of the parameters is not wanted. The model as a whole has no use
                for it, and leaving it out saves the first layer half its work.

        Returns:
            The gradient of the last input, or None.

        Raises:
            CallOrderError: No forward came before, or backward was already called for it; the gradient
                belongs to the output of an earlier forward; or `accumulate` inside of another
                layer's backward.
            KindError: A layer returns something that is no array.
            ShapeError: The gradient does not have the output's shape, or a layer's not its input's.
            HookError: A hook failed.
        """
        wanted = (self._held or not parameters) if input_grad is None else input_grad
        if not self._listeners:
            return self._run_backward(grad, accumulate, parameters, wanted)
        with telling():
            return self._run_backward(grad, accumulate, parameters, wanted)

    def _run_backward(
        self, grad: Array, accumulate: bool, parameters: bool, wanted: bool
    ) -> Array | None:
        grad, self._awaited = take(self, grad), TAKEN
        gradients, lowest, layer = self._gradients(), self._lowest, None
        with backward_pass(gradients, accumulate, parameters):
            try:
                # From the last layer to the first; or to the lowest with parameters, whose input's
                # gradient nobody needs.
                for index in range(len(self._layers) - 1, -1 if wanted else lowest - 1, -1):
                    layer, x, output = (
                        self._layers[index],
                        self._outputs[index],
                        self._outputs[index + 1],
                    )
                    method = "backward" if wanted or index > lowest else "backward_parameters"
                    in_order = (
                        layer._noted and layer._awaited is output and grad.dtype is output.dtype
                    )
                    if (
                        in_order and method not in layer.__dict__
                    ):  # the order of the calls need not be checked
                        layer._awaited = RUNNING
                        below = getattr(layer._unchecked, method)(layer, grad)
                        layer._awaited = TAKEN
                    else:
                        below = getattr(layer, method)(grad)
                    if method == "backward_parameters":
                        below = None
                    elif type(below) is not np.ndarray or below.shape != x.shape:
                        raise _wrong(
                            "backward",
                            layer,
                            below,
                            f"the gradient of its input, of shape {x.shape}",
                        )
                    if self._listeners:
                        self._tell_backward(gradients, index, grad, below)
                    grad = below
            except BaseException as error:
                if layer is not None:
                    layer._awaited = TAKEN
                    look_for_replaced(layer, error)
                raise
        return grad.copy() if wanted else None

    def _gradients(self) -> Gradients:
        """How gradients arrive in the model that holds the parameters."""
        if self._vector is None or self._vector.is_stale:
            self._vector = (
                ParameterVector.of(self) if self._parameters else ParameterVector.take_over(())
            )
        return self._vector.gradients

    def _tell_backward(
        self, gradients: Gradients, index: int, grad: Array, below: Array | None
    ) -> None:
        with paused(gradients):  # a gradient that a hook assigns is none of backward's
            tell(
                self._listeners,
                Hook.on_backward,
                partial(_backward, self._names[index], self._layers[index], grad, below),
            )

    @override
    def backward_parameters(self, grad: Array) -> None:
        """The gradients of the parameters alone."""
        if not self._listeners:  # as in `backward`, without the frame of a call: models nest deeply
            self._run_backward(grad, False, True, False)
            return
        with telling():
            self._run_backward(grad, False, True, False)

    # -- a sequence of layers ---------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    @overload
    def __getitem__(
        self, index: SupportsIndex | str
    ) -> Any: ...  # not Layer, so that model[0].weight type-checks
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: SupportsIndex | str | slice) -> Any:
        """A layer by position or name; a slice gives a `Sequential` over the same layers and
        parameters.

        Raises:
            ModelError: There is no such layer, or the slice is empty.
        """
        if isinstance(index, str):
            if index not in self._names:
                raise ModelError(f"no layer '{index}'; there are {', '.join(self._names)}")
            return self._layers[self._names.index(index)]
        if not isinstance(index, slice):
            return self._layers[index]
        if not self._layers[index]:
            raise ModelError(f"the slice {index.start}:{index.stop} of {len(self)} layers is empty")
        part = Sequential.__new__(Sequential)  # not by __init__, which takes the parameters over
        numbered = self._names[0] == "0"
        part._layers = self._layers[index]
        part._names = tuple(map(str, range(len(part._layers)))) if numbered else self._names[index]
        part.owns_memory = False
        part._assemble(list(part.parameters()))
        return part

    @override
    def __repr__(self) -> str:
        named = self._names[0] != "0"
        inside = []
        for name, layer in self.parts():
            shown = (
                layer.__repr__()
            )  # not repr(layer): the frames of deeply nested models are few enough
            inside.append(f"{name}={shown}" if named else shown)
        return f"Sequential({', '.join(inside)})"

    @property
    @override
    def called(self) -> str:
        """Which part of the model it is, as errors name it."""
        return (
            f"layer '{self._place}', a Sequential of {len(self)} layers"
            if self._place
            else "the model"
        )

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._assemble(list(self.parameters()))


def _forward(name: str, layer: Layer, x: Array, output: Array, prefix: str) -> Forward:
    return Forward(prefix + name, layer._stands_for or layer, layer.training, x, output)


def _backward(name: str, layer: Layer, grad: Array, below: Array | None, prefix: str) -> Backward:
    return Backward(prefix + name, layer, grad, below)


def _wrong(method: str, layer: Layer, result: object, expected: str) -> KindError | ShapeError:
    if not isinstance(result, np.ndarray):
        return KindError(
            f"{layer.called}: {method} returned {type(result).__name__}, expected {expected}"
        )
    return ShapeError(
        f"{layer.called}: {method} returned an array of shape {result.shape}, expected {expected}"
    )
