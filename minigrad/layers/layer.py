"""`Layer`, the abstract base of everything that has a forward and a backward."""

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar, final

import numpy as np
import numpy.typing as npt

from minigrad._containers import found_in, with_replaced
from minigrad._printable import printable
from minigrad._types import override
from minigrad._validation import real_array, whole
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError
from minigrad.hooks import Handle, Hook
from minigrad.hooks.handle import attach
from minigrad.hooks.listener import Listener
from minigrad.layers.call_order import CHECKED, CallOrder, OwnParameters, check_calls, is_checked
from minigrad.layers.factors import Factors
from minigrad.layers.state import buffer_places, live_state, load_state
from minigrad.layers.summary import summary_of
from minigrad.parameters.names import check_names
from minigrad.parameters.parameter import Parameter
from minigrad.randomness import generators_of

T = TypeVar("T")


class _LayerType(ABCMeta):
    """Names the parts of each layer when its own `__init__` is done.

    So authors need no `super().__init__()`.
    """

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of `__init__`, which `__call__` below would hide from `help` and notebooks."""
        own = inspect.signature(cls.__init__)  # type: ignore[misc] # a subclass's differs, and its own is meant
        return own.replace(parameters=list(own.parameters.values())[1:])

    def __setattr__(cls, name: str, value: Any) -> None:
        """Have the calls of a method checked that replaces one of the class, in a notebook say."""
        super().__setattr__(name, value)
        if name in CHECKED and not is_checked(value) and not getattr(cls, "_checks_calls", True):
            check_calls(cls, Layer)

    def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T:
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise KindError(
                f"{cls.__name__} lacks {' and '.join(missing)}: a layer defines forward(x) and "
                f"backward(grad); there is no autograd"
            )
        layer: T = super().__call__(*args, **kwargs)  # type: ignore[misc] # `cls` is typed by what it makes
        cls._bind_names(layer)  # type: ignore[attr-defined] # `T` is a layer
        return layer


class Layer(CallOrder, metaclass=_LayerType):
    """Something with a forward and a backward.

    A subclass writes `__init__`, which assigns its `Parameter`s and inner layers to attributes,
    `forward` and `backward`, and nothing else: no `super().__init__()`, no registration, no names.
    Parameters and layers are also found in lists, tuples and dicts. Inner layers that a
    `Sequential` chains are seen by hooks.

        class Scale(minigrad.Layer):
            def __init__(self, features):
                self.scale = minigrad.Parameter(numpy.ones(features, numpy.float32))

            def forward(self, x):
                self.x = x
                return x * self.scale.value

            def backward(self, grad):
                self.scale.grad = (grad * self.x).sum(axis=0)
                return grad * self.scale.value

    Attributes:
        training: Whether the layer runs in training mode; `train()` and `eval()` set it.
        buffers: The names of the attributes that are state but not learnt, such as running
            statistics.
        owns_memory: Whether a vector of its own may be made for the parameters; a slice of a
            `Sequential` shares that of the model.
        min_batch_size: The fewest samples that the layer can be trained on at once.
    """

    training: bool = True
    owns_memory: bool = True
    buffers: ClassVar[tuple[str, ...]] = ()
    min_batch_size: ClassVar[int] = 1
    _listeners: list[Listener] | None = None  # the hooks of a layer that tells hooks
    _checks_calls: ClassVar[bool] = True  # whether the class itself checks the order of its calls

    def __init_subclass__(cls, checks_calls: bool = False, **kwargs: Any) -> None:
        """Have the order of calls checked, so that authors need not; a class may do so itself."""
        super().__init_subclass__(**kwargs)
        cls._checks_calls = checks_calls
        if not checks_calls:
            check_calls(cls, Layer)

    @abstractmethod
    def forward(self, x: Array) -> Array:
        """The output for a batch; keeps what `backward` needs.

        Args:
            x: Shape (batch, ...). It must not change before `backward` is done with it.

        Returns:
            Shape (batch, ...), an array of its own: neither `x` nor one that the layer keeps.
        """

    @abstractmethod
    def backward(self, grad: Array) -> Array | None:
        """Assign the gradients of the parameters, `self.weight.grad = ...`, and return the input's.

        Args:
            grad: The gradient of the loss with respect to the last output, same shape; it must not
                be changed.

        Returns:
            The gradient with respect to the last input, same shape as that.
        """

    def backward_parameters(self, grad: Array) -> None:
        """As `backward`, where nobody needs the input's gradient: at the first layer of a model.

        Override it where leaving that out saves work.
        """
        self.backward(grad)

    @final
    def __call__(self, x: Array) -> Array:
        """`layer(x)` is `layer.forward(x)`."""
        return self.forward(x)

    @final
    def predict(self, x: Array, batch_size: int = 1024) -> Array:
        """The output in eval mode, batch by batch.

        It leaves no trace and a pending backward intact, and is safe in threads.

        Args:
            x: Shape (n, ...). It may be a memory map; each batch is read and converted by itself.
            batch_size: How many rows go through at once.

        Returns:
            Shape (n, ...).

        Raises:
            KindError: The input holds no real numbers, or `batch_size` is not a whole number.
            ShapeError: The input has no rows, or does not fit.
            RangeError: `batch_size` is less than 1.
        """
        size = whole(batch_size, "batch_size")
        x = real_array(x, f"the input of {self.called}")
        model = predicting(self)
        if x.ndim == 0 or len(x) <= size:
            return np.array(model.forward(x))
        return np.concatenate(
            [model.forward(x[start : start + size]) for start in range(0, len(x), size)]
        )

    # -- what is inside ---------------------------------------------------------------------------

    def parts(self) -> Iterator[tuple[str, Parameter | Layer]]:
        """(name, part) pairs of what this layer holds itself, in definition order.

        A part is a parameter or a layer, held by an attribute or a list, tuple or dict in one.
        """
        for name, attribute in tuple(vars(self).items()):  # a training may go on in another thread
            if type(attribute) not in _HOLDING_NOTHING:  # saves most of the time
                yield from found_in(_PARTS, name, attribute)

    def _walk(self) -> Iterator[tuple[str, Any]]:
        """This layer and everything inside, each thing once, depth first in definition order."""
        seen: dict[int, str] = {}
        pending: list[tuple[str, Any]] = [("", self)]
        while pending:
            name, thing = pending.pop()
            is_parameter = isinstance(thing, Parameter)
            if id(thing) in seen:
                what, kept = ("layer", "what its backward needs")
                if is_parameter:
                    what, kept = ("parameter", "one gradient")
                raise ModelError(
                    f"the same {what} is used twice: as '{seen[id(thing)]}' and as '{name}'; it "
                    f"keeps {kept}, so give each place one of its own"
                )
            seen[id(thing)] = name
            yield name, thing
            if not is_parameter:
                pending += [(_joined(name, part), inner) for part, inner in thing.parts()][::-1]

    @final
    def layers(self) -> Iterator[tuple[str, Layer]]:
        """(name, layer) pairs of this layer and all layers inside, in definition order.

        The name of this layer itself is empty.

        Raises:
            ModelError: A layer is used twice.
        """
        return ((name, thing) for name, thing in self._walk() if not isinstance(thing, Parameter))

    @final
    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs of this layer and all layers inside, in definition order.

        Raises:
            ModelError: A layer or a parameter is used twice.
        """
        return ((name, thing) for name, thing in self._walk() if isinstance(thing, Parameter))

    @final
    def train(self) -> Self:
        """Switch this layer and all inside to training mode. Returns the layer."""
        for _, layer in self.layers():
            layer.training = True
        return self

    @final
    def eval(self) -> Self:
        """Switch this layer and all inside to eval mode. Returns the layer."""
        for _, layer in self.layers():
            layer.training = False
        return self

    @final
    def freeze(self) -> Self:
        """Let no optimizer change the parameters of this layer. Returns the layer."""
        for _, parameter in self.parameters():
            parameter.trainable = False
        return self

    @final
    def unfreeze(self) -> Self:
        """Let optimizers change the parameters of this layer again. Returns the layer."""
        for _, parameter in self.parameters():
            parameter.trainable = True
        return self

    def explain(self) -> Mapping[str, Factors]:
        """What the gradients of the last backward were made of, by the parameter's attribute.

        A layer that offers this lets a recorder say whether an entry did not move because its input
        was 0, because its unit was silent, or because the two never met.
        """
        return {}

    # -- state ------------------------------------------------------------------------------------

    @final
    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all parameters and buffers by name: "0.weight", "1.running_mean"."""
        return {name: np.array(array) for name, array in live_state(self)}

    @final
    def load_state_dict(self, state: Mapping[str, npt.ArrayLike], strict: bool = True) -> None:
        """Write values into the parameters and buffers: all of them, or after an error none.

        The weight of a `Dense` has the shape (n_in, n_out); that of a `torch.nn.Linear` is (n_out,
        n_in), and must be transposed first, `.T`. An error says so where the shapes tell; those of
        square weights do not, and if all are square nothing does.

        Args:
            state: Arrays by name, as from `state_dict`.
            strict: Whether names that are missing or unknown are an error; otherwise they are
                passed over.

        Raises:
            KindError: The state is no mapping, or something in it holds no real numbers.
            ModelError: The state does not fit; the message lists every difference.
            RangeError: A number is beyond the range of the model's dtype, or an integer has too
                many digits for it.
        """
        load_state(self, state, strict)

    def __getstate__(self) -> dict[str, Any]:
        """A copied or pickled layer has memory and hooks of its own.

        Its vector is made when it is first needed.
        """
        attributes = self._without_passes()
        return {name: value for name, value in attributes.items() if name not in _NOT_COPIED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind_names()

    @final
    def named_buffers(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """(name, array) pairs of the buffers of this layer and all layers inside."""
        for name, layer, attribute in buffer_places(self):
            yield name, np.asarray(getattr(layer, attribute))

    @final
    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """(name, generator) pairs of the random generators of this layer and all layers inside."""
        for place, layer in self.layers():
            for name, generator in generators_of(layer):
                yield _joined(place, name), generator

    @final
    def attach(self, hook: Hook) -> Handle:
        """Have the hook called after each inner layer's forward and backward.

        Raises:
            KindError: `hook` is not a Hook.
            AttachError: The hook has neither `on_forward` nor `on_backward`, or no `Sequential` is
                inside to tell it.
        """
        methods = Hook.on_forward, Hook.on_backward
        return attach(hook, methods, self.places(), f"{type(self).__name__}.attach")

    @final
    def places(self) -> list[tuple[list[Listener], str]]:
        """Where hooks are attached: the listeners of each `Sequential`, and its layers' prefix."""
        inside = [(Layer._get_listeners(layer), place) for place, layer in self.layers()]
        return [
            (listeners, _joined(place, "")) for listeners, place in inside if listeners is not None
        ]

    def _get_listeners(self) -> list[Listener] | None:
        return self._listeners

    # -- text -------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """The class and what is inside; layers with settings show those."""
        inside = []
        for name, part in self.parts():
            shown = part.shape if isinstance(part, Parameter) else part
            inside.append(f"{printable(name)}={shown}")
        return f"{printable(type(self).__name__)}({', '.join(inside)})"

    def place_of(self, attribute: str) -> str:
        """The name of an attribute in the whole model: "2.running_mean"."""
        return _joined(self._place, attribute)

    @property
    @override
    def called(self) -> str:
        """Which layer of which kind, as errors name it: "layer '0', Dense(784, 10)"."""
        return f"layer '{self._place}', {self!r}" if self._place else repr(self)

    @property
    @override
    def _called_in_code(self) -> str:
        """What an example in an error calls it."""
        return "layer" if self._is_nested else "model"

    @final
    def summary(self) -> str:
        """A table of the layers with their parameters, shapes and counts, as text."""
        return summary_of(self)

    @final
    def _bind_names(self) -> None:
        """Tell the layers inside their names in this one, and that another layer holds them."""
        check_names(name for name, _ in self._walk())
        for place, inner in self._walk():
            if not isinstance(inner, Parameter):
                Layer._bind_name(inner, place, inner is not self)

    def _bind_name(self, place: str, is_nested: bool) -> None:
        own = {name: part for name, part in self.parts() if isinstance(part, Parameter)}
        self._own = OwnParameters(own)
        if is_nested:
            self._place, self._is_nested = place, True


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


_NOT_COPIED = ("_vector", "_place", "_is_nested", "_own")
_PARTS: tuple[type[Parameter | Layer], ...] = (Parameter, Layer)
_HOLDING_NOTHING: frozenset[type] = frozenset({int, float, bool, str, type(None), np.ndarray})


def predicting(model: Layer) -> Layer:
    """A copy of all layers in eval mode that leaves no trace in them.

    Parameters, arrays and hooks are shared.
    """
    layers = [layer for _, layer in model.layers()]
    copies = {id(layer): object.__new__(type(layer)) for layer in layers}
    for layer in layers:
        copy = copies[id(layer)]
        vars(copy).update(
            (name, with_replaced(thing, Layer, copies))
            for name, thing in tuple(vars(layer).items())
        )
        copy.training = False
    return copies[id(model)]
