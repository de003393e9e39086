"""`Layer`, the abstract base of everything that has a forward and a backward."""

from __future__ import annotations

import inspect
from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, TypeVar, final

import numpy as np
import numpy.typing as npt

from minigrad._wording import transposed
from minigrad.arrays import Array, described, float_array, real_array, whole
from minigrad.errors import KindError, ModelError
from minigrad.hooks.hook import Handle, Hook, Listener, attach
from minigrad.layers.calls import Own, Unchecked, check_calls, without_passes
from minigrad.layers.factors import Factors
from minigrad.layers.inside import found_in, generators_of, walk, with_copies
from minigrad.parameters.parameter import Parameter

T = TypeVar("T")


class _LayerType(ABCMeta):
    """Looks at each layer once, when its own `__init__` is done: so authors need no `super().__init__()`."""

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of `__init__`, which `__call__` below would hide from `help` and notebooks."""
        own = inspect.signature(cls.__init__)  # type: ignore[misc] # a subclass's differs, and its own is meant
        return own.replace(parameters=list(own.parameters.values())[1:])

    def __setattr__(cls, name: str, value: Any) -> None:
        """A method that is replaced in a class later, in a notebook say, is the one that runs."""
        super().__setattr__(name, value)
        if name in ("forward", "backward", "backward_parameters") and not hasattr(
            value, "unchecked"
        ):
            for one in (cls, *_below(cls)):
                if vars(one).get("_unchecked") is not None:
                    check_calls(one, Layer)

    def __call__(cls: type[T], *args: Any, **kwargs: Any) -> T:
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise KindError(
                f"{cls.__name__} lacks {' and '.join(missing)}: a layer defines forward(x) and "
                f"backward(grad); there is no autograd"
            )
        layer: T = super().__call__(*args, **kwargs)  # type: ignore[misc] # `cls` is typed by what it makes
        assert isinstance(layer, Layer)
        _settle(layer)
        return layer


class Layer(ABC, metaclass=_LayerType):
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
        min_batch_size: The fewest samples that the layer can be trained on at once.
    """

    training: bool = True
    buffers: ClassVar[tuple[str, ...]] = ()
    min_batch_size: ClassVar[int] = 1
    _place: str = ""
    _held: bool = False
    _not_copied: ClassVar[tuple[str, ...]] = ("_vector", "_place", "_held", "_own")
    _awaited: Any = None  # the output whose gradient is to come back
    _earlier: tuple[Any, ...] = ()  # outputs of forwards that were repeated before a backward
    _noted: bool = False  # whether a first backward has shown what it leaves in the layer
    _unchecked: ClassVar[Unchecked | None] = None
    _own: Own = Own({})  # the parameters that the layer holds itself
    _stands_for: Layer | None = None  # of a copy that predicts: the layer itself

    def __init_subclass__(cls, checks_calls: bool = False, **kwargs: Any) -> None:
        """Have the order of calls checked, so that authors need not; a class may do so itself."""
        super().__init_subclass__(**kwargs)
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
        """The output in eval mode, batch by batch. It leaves no trace, a pending backward intact,
        and is safe in threads.

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
        """The parameters and layers that this one holds itself, with their names, in definition order."""
        for name, attribute in tuple(vars(self).items()):  # a training may go on in another thread
            yield from found_in(_PARTS, name, attribute)

    @final
    def layers(self) -> Iterator[tuple[str, Layer]]:
        """(name, layer) pairs: this layer with an empty name, and all layers inside, in definition
        order.

        Raises:
            ModelError: A layer is used twice.
        """
        return ((name, thing) for name, thing in walk(self) if not isinstance(thing, Parameter))

    @final
    def parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(name, parameter) pairs of this layer and all layers inside, in definition order.

        Raises:
            ModelError: A layer or a parameter is used twice.
        """
        return ((name, thing) for name, thing in walk(self) if isinstance(thing, Parameter))

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
        """What the gradients of the last backward were made of, by the attribute that holds the
        parameter.

        A layer that offers this lets a recorder say whether an entry did not move because its input
        was 0, because its unit was silent, or because the two never met.
        """
        return {}

    # -- state ------------------------------------------------------------------------------------

    @final
    def state_dict(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of all parameters and buffers by name: "0.weight", "1.running_mean"."""
        return {name: np.array(array) for name, array in self._live_state()}

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
        if not isinstance(state, Mapping):
            raise KindError(
                f"load_state_dict got {described(state)}, expected arrays by name, as state_dict() "
                f"gives them"
            )
        own = dict(self._live_state())
        problems = [f"'{name}' is missing" for name in own if name not in state] if strict else []
        problems += (
            [f"{described(name)} is unknown" for name in state if name not in own] if strict else []
        )
        new: dict[str, npt.NDArray[Any]] = {}
        for name in own.keys() & state.keys():
            found = real_array(state[name], f"'{name}'")
            known = own[name].dtype  # that of a buffer may be any
            new[name] = np.array(
                float_array(found, known, f"'{name}'") if known.kind == "f" else found.astype(known)
            )
            if new[name].shape != own[name].shape:
                problems.append(f"'{name}' has shape {new[name].shape}, expected {own[name].shape}")
        if problems:
            told = f"the state does not fit this model, which is unchanged: {'; '.join(sorted(problems))}"
            shapes = {
                name: (parameter.shape, np.shape(new.get(name, ())))
                for name, parameter in self.parameters()
            }
            raise ModelError(told + transposed(shapes))
        for name, parameter in self.parameters():
            if name in new:
                parameter.value = new.pop(name)
        for name, layer, buffer in self.named_buffers():
            if name in new:
                setattr(layer, buffer, new[name])

    def __getstate__(self) -> dict[str, Any]:
        """A copied or pickled layer has memory and hooks of its own.

        Its vector is made when it is first needed.
        """
        own = {
            name: value
            for name, value in without_passes(vars(self)).items()
            if name not in self._not_copied
        }
        if self._held:
            return own
        # Those inside come first, the innermost before what holds it: so no copy descends, however
        # deep they nest.
        return {"_inside": [layer for _, layer in self.layers()][:0:-1], **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update((name, value) for name, value in state.items() if name != "_inside")
        _settle(self)

    @final
    def _live_state(self) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """(name, array) of all parameters and buffers, live: what `state_dict` copies."""
        for name, parameter in self.parameters():
            yield name, parameter.value
        for name, layer, buffer in self.named_buffers():
            yield name, np.asarray(getattr(layer, buffer))

    @final
    def named_buffers(self) -> Iterator[tuple[str, Layer, str]]:
        """(name, layer, attribute) of each buffer of this layer and all layers inside."""
        for place, layer in self.layers():
            for buffer in layer.buffers:
                yield _joined(place, buffer), layer, buffer

    @final
    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """(name, generator) of each random generator that this layer or one inside holds: "2.rng"."""
        for place, layer in self.layers():
            yield from (
                (_joined(place, name), generator) for name, generator in generators_of(layer)
            )

    @final
    def attach(self, hook: Hook) -> Handle:
        """Have the hook called after each inner layer's forward and backward.

        Raises:
            KindError: `hook` is not a Hook.
            AttachError: The hook has neither `on_forward` nor `on_backward`, or no `Sequential` is
                inside to tell it.
        """
        return attach(
            hook, ("on_forward", "on_backward"), self.places(), f"{type(self).__name__}.attach"
        )

    @final
    def places(self) -> list[tuple[list[Listener], str]]:
        """Where hooks are attached: the listeners of each `Sequential` inside, and the prefix of its layers' names."""
        every = [(getattr(layer, "_listeners", None), place) for place, layer in self.layers()]
        return [
            (listeners, _joined(place, "")) for listeners, place in every if listeners is not None
        ]

    # -- text -------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """The class and what is inside; layers with settings show those."""
        inside = []
        for name, part in self.parts():
            shown = (
                part.shape if isinstance(part, Parameter) else part.__repr__()
            )  # as few frames as can be
            inside.append(f"{name}={shown}")
        return f"{type(self).__name__}({', '.join(inside)})"

    def place_of(self, attribute: str) -> str:
        """The name of an attribute in the whole model: "2.running_mean"."""
        return _joined(self._place, attribute)

    @property
    def called(self) -> str:
        """Which layer of which kind, as errors name it: "layer '0', Dense(784, 10)"."""
        return f"layer '{self._place}', {self!r}" if self._place else repr(self)

    @property
    def called_in_code(self) -> str:
        """What an example in an error calls it."""
        return "layer" if self._held else "model"

    @final
    def summary(self) -> str:
        """A table of the layers with their parameters, shapes and counts, as text."""
        lines = []
        for place, layer in self.layers():
            own = [(name, part) for name, part in layer.parts() if isinstance(part, Parameter)]
            if own or not any(True for _ in layer.parts()):
                shapes = ", ".join(f"{name} {parameter.shape}" for name, parameter in own)
                still = [parameter.trainable is not True for _, parameter in own]
                frozen = (
                    ""
                    if not any(still)
                    else "frozen"
                    if not any(p.moving for _, p in own)
                    else "partly frozen"
                )
                lines.append(
                    (
                        place,
                        repr(layer),
                        shapes,
                        f"{sum(parameter.size for _, parameter in own):,}",
                        frozen,
                    )
                )
        lines.insert(0, ("name", "layer", "parameters", "entries", ""))
        total = sum(parameter.size for _, parameter in self.parameters())
        trainable = sum(parameter.moving for _, parameter in self.parameters())
        widths = [max(len(line[column]) for line in lines) for column in range(5)]
        table = [
            f"{name:<{widths[0]}}  {layer:<{widths[1]}}  {shapes:<{widths[2]}}  {count:>{widths[3]}}  {frozen}".rstrip()
            for name, layer, shapes, count, frozen in lines
        ]
        return "\n".join([*table, f"{total:,} entries, {trainable:,} of them trainable"])


def _below(cls: type[Any]) -> Iterator[type[Any]]:
    for one in cls.__subclasses__():
        yield one
        yield from _below(one)


def _settle(layer: Layer) -> None:
    """Tell the layers inside where they stand, and that another layer holds them."""
    for place, inner in layer.layers():
        own = {name: part for name, part in inner.parts() if isinstance(part, Parameter)}
        inner._own = Own(own)
        if inner is not layer:
            inner._place, inner._held = place, True


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


_PARTS: tuple[type[Parameter | Layer], ...] = (Parameter, Layer)


def predicting(model: Layer) -> Layer:
    """A copy of all layers in eval mode, with the same parameters, arrays and hooks: what it does leaves no trace in them."""
    layers = [layer for _, layer in model.layers()]
    copies = {id(layer): object.__new__(type(layer)) for layer in layers}
    for layer in layers:
        copied = copies[id(layer)]
        vars(copied).update(
            (name, with_copies(thing, Layer, copies)) for name, thing in tuple(vars(layer).items())
        )
        copied._stands_for, copied.training = layer, False
    return copies[id(model)]
