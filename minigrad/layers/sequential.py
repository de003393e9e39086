"""`Sequential`, layers in a chain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, SupportsIndex, final, overload

from numpy import ndarray

from minigrad._messages import described
from minigrad._printable import printable
from minigrad._types import override
from minigrad._validation import batch
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError, ShapeError
from minigrad.hooks import Backward, Forward, Hook
from minigrad.hooks.dispatch import tell, telling
from minigrad.hooks.listener import Listener
from minigrad.layers.layer import Layer
from minigrad.parameters.backward_pass import backward_pass, paused
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.names import check_names
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import ParameterVector


@final
class Sequential(Layer, checks_calls=True):
    """Layers in a chain: each gets what the one before it gives.

    It is a layer itself, so it nests. It allocates the memory of all parameters inside, in one
    vector, and tells hooks about each layer's forward and backward.

    Args:
        *layers: The layers in order, named "0", "1", ...
        **named: Or the layers by name: `Sequential(hidden=Dense(784, 10), out=Dense(10, 10))`. Any
            text that files can hold is a name: without NUL and lone surrogates, and with the names
            of the layers around it and the dots between, "hidden.weight", at most 10,000
            characters.

    Raises:
        KindError: Something is not a layer, or two parameters have different dtypes.
        ModelError: There is no layer, a layer is used twice, or some have names and some have none;
            a name is one that no file can hold, or two parts of the model would have the same.
    """

    _vector: ParameterVector | None = None

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
        names = tuple(named) or tuple(str(index) for index in range(len(layers)))
        self._chain(names, layers or tuple(named.values()))
        inside = list(self._walk())
        check_names(name for name, _ in inside)  # before the parameters move
        parameters = [(name, part) for name, part in inside if isinstance(part, Parameter)]
        self._vector = ParameterVector.take_over(parameters)
        for _, part in inside:
            if part is not self and not isinstance(part, Parameter):
                vars(part).pop("_vector", None)  # which was given up, and would keep its memory

    def _chain(self, names: tuple[str, ...], layers: tuple[Layer, ...]) -> None:
        """Set the layers, and what is derived from them so that a pass need not look for it."""
        self._names: tuple[str, ...] = names
        self._layers: tuple[Layer, ...] = layers
        self._parameters: tuple[Parameter, ...] = tuple(part for _, part in self.parameters())
        self._lowest: int = next(
            (n for n, layer in enumerate(layers) if any(True for _ in layer.parameters())),
            len(layers),
        )  # the first layer with parameters
        self._listeners: list[Listener] = []
        self._announcer = _Announcer(names, layers, self._listeners)

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
        outputs, rows, listeners = [x], len(x), self._listeners
        for layer in self._layers:
            output = layer.forward(x)
            if type(output) is not ndarray or output.ndim == 0 or len(output) != rows:
                expected = f"an array of {rows} rows, as many as its input"
                raise _wrong("forward", layer, output, expected)
            if listeners:
                self._announcer.forward(len(outputs) - 1, layer.training, x, output)
            outputs.append(output)
            x = output
        self._outputs = outputs
        # A layer may keep its output for backward; what leaves is the caller's.
        return self._await_gradient(x.copy())

    @override
    def backward(
        self,
        grad: Array,
        *,
        accumulate: bool = False,
        parameters: bool = True,
        input_grad: bool | None = None,
    ) -> Array | None:
        """The chain rule, from the last layer to the first.

        Each layer gets the gradient that the one above returns.

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
            CallOrderError: No forward came before, or backward was already called for it; the
                gradient belongs to the output of an earlier forward; or `accumulate` inside of
                another layer's backward.
            KindError: A layer returns something that is no array.
            ShapeError: The gradient does not have the output's shape, or a layer's not its input's.
            HookError: A hook failed.
        """
        wanted = (self._is_nested or not parameters) if input_grad is None else input_grad
        grad = self._take_output_grad(grad)
        if not self._listeners:
            return self._run_backward(grad, accumulate, parameters, wanted)
        with telling():
            return self._run_backward(grad, accumulate, parameters, wanted)

    def _run_backward(
        self, grad: Array, accumulate: bool, parameters: bool, wanted: bool
    ) -> Array | None:
        gradients, listeners = self._gradients(), self._listeners
        layers, inputs, lowest = self._layers, self._outputs, self._lowest
        with backward_pass(gradients, accumulate, parameters):
            # Below the lowest layer with parameters nobody needs a gradient, unless it is wanted.
            for index in range(len(layers) - 1, -1 if wanted else lowest - 1, -1):
                layer, below = layers[index], None
                if index == lowest and not wanted:
                    layer.backward_parameters(grad)
                else:
                    below = layer.backward(grad)
                    if type(below) is not ndarray or below.shape != inputs[index].shape:
                        expected = f"the gradient of its input, of shape {inputs[index].shape}"
                        raise _wrong("backward", layer, below, expected)
                if listeners:
                    with paused(gradients):  # what a hook assigns is none of backward's
                        self._announcer.backward(index, grad, below)
                if below is not None:
                    grad = below
        return grad.copy() if wanted else None

    def _gradients(self) -> Gradients:
        """How gradients arrive in the model that holds the parameters."""
        if self._vector is None or self._vector.is_stale:
            own = bool(self._parameters)
            self._vector = ParameterVector.of(self) if own else ParameterVector.take_over(())
        return self._vector.gradients

    @override
    def backward_parameters(self, grad: Array) -> None:
        """The gradients of the parameters alone."""
        self.backward(grad, input_grad=False)

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
        """A layer by position or name; a slice is a `Sequential` over the same parameters.

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
        layers, names = self._layers[index], self._names[index]
        if self._names[0] == "0":
            names = tuple(str(number) for number in range(len(layers)))
        part = Sequential.__new__(Sequential)  # not by __init__, which takes the parameters over
        Sequential._chain(part, names, layers)
        part.owns_memory = False
        return part

    @override
    def __repr__(self) -> str:
        named = self._names[0] != "0"
        inside = [
            f"{printable(name)}={layer!r}" if named else repr(layer) for name, layer in self.parts()
        ]
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
    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in _DERIVED}

    @override
    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._chain(self._names, self._layers)


_DERIVED = ("_listeners", "_announcer", "_parameters", "_lowest", "owns_memory", "_outputs")


@final
class _Announcer:
    """Tells hooks of each layer's forward and backward.

    It is shared with the copies that predict, so that hooks see the layers themselves.
    """

    __slots__ = ("_layers", "_listeners", "_names")

    def __init__(
        self, names: tuple[str, ...], layers: tuple[Layer, ...], listeners: list[Listener]
    ) -> None:
        self._names = names
        self._layers = layers
        self._listeners = listeners

    def forward(self, index: int, training: bool, x: Array, output: Array) -> None:
        name, layer = self._names[index], self._layers[index]

        def event(prefix: str) -> Forward:
            return Forward(prefix + name, layer, training, x, output)

        tell(self._listeners, Hook.on_forward, event)

    def backward(self, index: int, grad: Array, below: Array | None) -> None:
        name, layer = self._names[index], self._layers[index]

        def event(prefix: str) -> Backward:
            return Backward(prefix + name, layer, grad, below)

        tell(self._listeners, Hook.on_backward, event)


def _wrong(method: str, layer: Layer, result: object, expected: str) -> KindError | ShapeError:
    if not isinstance(result, ndarray):
        return KindError(
            f"{layer.called}: {method} returned {type(result).__name__}, expected {expected}"
        )
    return ShapeError(
        f"{layer.called}: {method} returned an array of shape {result.shape}, expected {expected}"
    )
