"""`Subject`, a layer or a loss as one number that depends on arrays, with its gradients."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from numbers import Real
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._types import override
from minigrad.arrays import Array
from minigrad.errors import GradientError, KindError
from minigrad.layers import Sequential
from minigrad.layers.layer import Layer
from minigrad.layers.state import buffer_places
from minigrad.losses import Loss
from minigrad.parameters.parameter import Parameter
from minigrad.randomness import generators_of

MARK = np.pi
"""What stands in a gradient before a pass.

Where it still stands afterwards, nothing was assigned.
"""


class Tensor(NamedTuple):
    """An array that the number depends on.

    Attributes:
        name: What its gradient is called in errors: "the gradient of 'weight'".
        read: Gives the array as it is.
        write: Puts other values into it.
    """

    name: str
    read: Callable[[], Array]
    write: Callable[[Array], None]


class Subject(ABC):
    """One number, the sum of the outputs with random weights, as a function of several arrays.

    Attributes:
        name: What errors call it.
        tensors: The arrays: the input first, then the parameters.
        weighting: The weight of each output, which is the gradient that `backward` gets.
    """

    name: str
    tensors: list[Tensor]
    weighting: Array
    _generators: list[tuple[np.random.Generator, Any]]
    _given: dict[str, Callable[[], npt.NDArray[Any]]]  # what no method may change

    @abstractmethod
    def forward(self) -> Array:
        """The output for the arrays as they are, in float64.

        Each time it has the same random numbers and state.

        Raises:
            KindError: It is no output.
        """

    def attempt(self) -> Array | None:
        """The output for the arrays as they are.

        None if it is not finite, or forward does not take such values.
        """
        output: Array | None = None
        with suppress(Exception), np.errstate(all="ignore"):
            output = self.forward()
        return output if output is not None and np.isfinite(output).all() else None

    @abstractmethod
    def backward(self) -> list[Array]:
        """A copy of the gradient of each tensor, for the last `forward`.

        Raises:
            GradientError: One is missing, or has another shape or kind.
        """

    def keep_generators(self, generators: Iterable[np.random.Generator]) -> None:
        """Remember where the generators stand, so that each forward draws the same numbers."""
        self._generators = [(generator, generator.bit_generator.state) for generator in generators]

    def rewind(self) -> None:
        """Put the generators back, and what else is known to change with each forward."""
        for generator, state in self._generators:
            generator.bit_generator.state = state

    def gradients(self) -> list[Array]:
        """The gradient of each tensor, from passes each of which must be as if it were the first.

        Raises:
            GradientError: Forward or backward are not repeatable, or change what they are given; or
                gradients pile up.
        """
        output = self.checked("forward")
        self.expect_same(output)
        first = self._pass(output, "")
        second = self._pass(output, "; backward changes what the next forward gives")
        for number, (tensor, one, two) in enumerate(zip(self.tensors, first, second, strict=True)):
            if same(one, two):
                continue
            three = self._pass(output, "")[number]
            if same(three - two, two - one):
                raise GradientError(
                    f"{self.name}: {tensor.name} piles up: each backward adds to what was there "
                    f"before; assign what belongs to the last forward alone, self.weight.grad = "
                    f"..., and keep no sums or lists"
                )
            raise GradientError(
                f"{self.name}: {tensor.name} is another one the second time, for the same input "
                f"and the same incoming gradient: backward must depend on nothing but these and "
                f"its last forward"
            )
        return first

    def checked(self, method: Literal["forward", "backward"]) -> Any:
        """What a method gives, which must change nothing that it is given.

        Raises:
            GradientError: It does.
        """
        before = {what: array().copy() for what, array in self._given.items()}
        result = getattr(self, method)()
        for what, array in self._given.items():
            if not np.array_equal(array(), before[what], equal_nan=before[what].dtype.kind == "f"):
                raise GradientError(
                    f"{self.name}: {method} changes {what} in place; work on a copy"
                )
        return result

    def expect_same(self, output: Array, because: str = "") -> None:
        """Run forward again, and compare.

        Raises:
            GradientError: It gives another output.
        """
        again = self.forward()
        if again.shape == output.shape and same(again, output):
            return
        differs = f"outputs of shape {output.shape} and {again.shape}"
        if again.shape == output.shape:
            differs = f"outputs that differ by up to {np.abs(again - output).max():.3g}"
        because = because or (
            "; draw random numbers from a numpy.random.Generator that is an attribute, self.rng, "
            "and keep other state in attributes that the class attribute 'buffers' names: these "
            "are put back before each forward; let nothing else depend on earlier calls"
        )
        raise GradientError(
            f"{self.name}: forward is not repeatable: for the same input it gave {differs}, so "
            f"that its derivative cannot be found{because}"
        )

    def _pass(self, output: Array, because: str) -> list[Array]:
        self.expect_same(output, because)
        grads: list[Array] = self.checked("backward")
        return grads


class LossSubject(Subject):
    """A loss as a function of its logits."""

    def __init__(self, loss: Loss, logits: Array, targets: npt.ArrayLike) -> None:
        self._loss, self._logits, self._targets = loss, logits, copy.deepcopy(targets)
        self.name: str = repr(loss)
        self.tensors: list[Tensor] = [
            Tensor("the gradient of the logits", lambda: logits, lambda new: np.copyto(logits, new))
        ]
        self.weighting: Array = np.ones(())
        self._given = {
            "the logits": lambda: logits,
            "the targets": lambda: np.asarray(self._targets),
        }
        self.keep_generators(generator for _, generator in generators_of(loss))

    @override
    def forward(self) -> Array:
        """The loss, shape ()."""
        self.rewind()
        value: object = self._loss.forward(self._logits, self._targets)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        if not isinstance(value, Real):
            raise KindError(
                f"{self.name}: forward returned {described(value)}, expected a number, such as a "
                f"float"
            )
        return np.array(float(value))

    @override
    def backward(self) -> list[Array]:
        """The gradient of the logits."""
        return [_gradient(self._loss.backward(), self._logits, self.name)]


class LayerSubject(Subject):
    """A layer as a function of its input and its parameters.

    Args:
        layer: The layer, whose parameters are float64; it is used up.
        x: The input.
        rng: For the weighting of the outputs.
    """

    def __init__(self, layer: Layer, x: Array, rng: np.random.Generator) -> None:
        self.layer: Layer = layer
        self._x = x
        self.name: str = layer.called
        self._parameters = list(layer.parameters())
        self.tensors: list[Tensor] = [
            Tensor("the gradient of the input", lambda: x, lambda new: np.copyto(x, new))
        ]
        self.tensors += [_tensor(name, parameter) for name, parameter in self._parameters]
        self._given = {"its input": lambda: x, "the gradient that it is given": lambda: self._grad}
        self._given |= {
            f"the value of '{name}'": _tensor(name, own).read for name, own in self._parameters
        }
        self.keep_generators(generator for _, generator in layer.named_generators())
        self._buffers = [
            (own, name, copy.copy(getattr(own, name))) for _, own, name in buffer_places(layer)
        ]
        self._grad: Array = np.zeros(())
        self.weighting: Array = rng.normal(size=self.checked("forward").shape)
        self._grad = self.weighting.copy()

    @override
    def rewind(self) -> None:
        """Put generators and buffers back."""
        super().rewind()
        for layer, name, value in self._buffers:
            setattr(layer, name, copy.copy(value))

    @override
    def forward(self) -> Array:
        """The output."""
        self.rewind()
        output = self.layer.forward(self._x)
        if not isinstance(output, np.ndarray) or output.dtype.kind not in "biuf":
            kind = (
                f"an array of {output.dtype}"
                if isinstance(output, np.ndarray)
                else type(output).__name__
            )
            raise KindError(
                f"{self.name}: forward returned {kind}, expected an array of real numbers"
            )
        return output.astype(np.float64)

    @override
    def backward(self) -> list[Array]:
        """The gradients of the input and of the parameters."""
        layer, grad = self.layer, self._grad
        below = (
            layer.backward(grad, input_grad=True)
            if isinstance(layer, Sequential)
            else layer.backward(grad)
        )
        return [
            _gradient(below, self._x, self.name),
            *assigned(self._parameters, f"{self.name}: backward"),
        ]

    @override
    def gradients(self) -> list[Array]:
        """As for every subject; gradients that were there before are marked first."""
        mark(self._parameters)
        return super().gradients()


def in_float64(layer: Layer) -> Layer:
    """A copy that computes in float64, whose gradients nobody has assigned."""
    clone = copy.deepcopy(layer)
    for _, parameter in clone.parameters():
        parameter.cast(np.dtype(np.float64))
    for _, inner, name in buffer_places(clone):
        if isinstance(buffer := getattr(inner, name), np.ndarray) and buffer.dtype == np.float32:
            setattr(inner, name, buffer.astype(np.float64))
    return clone


def same(one: Array, other: Array) -> bool:
    """Whether two results of the same computation agree, up to rounding."""
    scale = float(np.abs(one).max(initial=0.0, where=np.isfinite(one)))
    return bool(np.allclose(one, other, rtol=1e-9, atol=1e-12 * scale, equal_nan=True))


def mark(parameters: Iterable[tuple[str, Parameter]]) -> None:
    """Put `MARK` into all gradients."""
    for _, parameter in parameters:
        parameter.grad = np.full(parameter.shape, MARK, parameter.dtype)


def assigned(parameters: Iterable[tuple[str, Parameter]], who: str) -> list[Array]:
    """Copies of the gradients that were assigned since `mark`.

    Raises:
        GradientError: One was not, or in part only.
    """
    grads = []
    for name, parameter in parameters:
        grad = parameter.grad.copy()
        left = int((grad == MARK).sum())
        if left and left == grad.size:
            raise GradientError(
                f"{who} assigns no gradient to '{name}'; write self.{name}.grad = ..."
            )
        if left:
            raise GradientError(
                f"{who} leaves {left} of the {grad.size} entries of the gradient of '{name}' as "
                f"they were before; assign all of them, 0 where nothing arrives"
            )
        grads.append(grad)
    return grads


def _tensor(name: str, parameter: Parameter) -> Tensor:
    def write(new: Array) -> None:
        parameter.value = new

    return Tensor(f"the gradient of '{name}'", lambda: parameter.value, write)


def _gradient(grad: object, like: Array, who: str) -> Array:
    expected = f"expected the input's gradient, shape {like.shape}"
    if not isinstance(grad, np.ndarray):
        raise GradientError(f"{who}: backward returned {type(grad).__name__}, {expected}")
    if grad.shape != like.shape:
        raise GradientError(
            f"{who}: backward returned a gradient of shape {grad.shape} for an input of shape "
            f"{like.shape}"
        )
    if grad.dtype.kind != "f":
        raise GradientError(
            f"{who}: backward returned an array of {grad.dtype}, {expected}, of {like.dtype}"
        )
    return grad.copy()
