"""`Layer`: what an author of a layer may take for granted."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import numpy as np
import pytest
from layer_support import Residual

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ModelError, ShapeError


class Scale(mg.Layer):
    """Ten lines: no super().__init__(), no registration, no names."""

    def __init__(self, features: int, start: float = 1.0) -> None:
        self.scale = mg.Parameter(np.full(features, start, np.float32))

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.scale.value

    def backward(self, grad: Array) -> Array:
        self.scale.grad = (grad * self.x).sum(axis=0)
        return grad * self.scale.value


class InPlace(Scale):
    """Writes its gradient in place, without an assignment."""

    def backward(self, grad: Array) -> Array:
        self.scale.grad[...] = (grad * self.x).sum(axis=0)
        return grad * self.scale.value


class Many(mg.Layer):
    """Holds layers and parameters in lists, tuples, dicts and attributes, also nested ones."""

    def __init__(self) -> None:
        self.single = Scale(2)
        self.listed = [Scale(2), Scale(2)]
        self.pair = (mg.Parameter(np.zeros(2, np.float32)), Scale(2))
        self.table = {
            "left": Scale(2),
            "deep": [mg.Parameter(np.zeros(1, np.float32)), {"er": Scale(2)}],
        }
        self.settings = {"rate": 0.5, "names": ["a", "b"]}
        self.last = mg.Parameter(np.zeros(3, np.float32))

    def forward(self, x: Array) -> Array:
        for layer in (self.single, *self.listed):
            x = layer(x)
        return x

    def backward(self, grad: Array) -> Array:
        for layer in (*reversed(self.listed), self.single):
            grad = layer.backward(grad)
        return grad


def residual(features: int) -> Residual:
    """A composite with an inner chain as a plain attribute."""
    return Residual(mg.Dense(features, features, rng=3), mg.Activation("tanh"))


class Average(mg.Layer):
    """Has a buffer: state that is not learnt."""

    buffers: ClassVar[tuple[str, ...]] = ("mean",)

    def __init__(self) -> None:
        self.mean = np.zeros(2, np.float32)

    def forward(self, x: Array) -> Array:
        if self.training:
            self.mean[...] = x.mean(axis=0)
        return x - self.mean

    def backward(self, grad: Array) -> Array:
        return grad.copy()


NAMES = (
    "single.scale listed.0.scale listed.1.scale pair.0 pair.1.scale table.left.scale table.deep.0 "
    "table.deep.1.er.scale last"
)


def test_parameters_are_found_wherever_they_are() -> None:
    """Layers and parameters in attributes, lists, tuples and dicts have names, in definition
    order.
    """
    assert NAMES.split() == [name for name, _ in Many().parameters()]
    assert [f"0.{name}" for name in NAMES.split()] == [
        name for name, _ in mg.Sequential(Many()).parameters()
    ]
    inside = [name for name, _ in mg.Sequential(Many()).layers()]
    assert [
        "",
        "0",
        "0.single",
        "0.listed.0",
        "0.listed.1",
        "0.pair.1",
        "0.table.left",
        "0.table.deep.1.er",
    ] == inside


def test_a_layer_is_called_like_a_function() -> None:
    """`layer(x)` is `layer.forward(x)`."""
    assert [[2, 6]] == Scale(2, start=2.0)(np.array([[1, 3]], np.float32)).tolist()


@pytest.mark.parametrize("kind", [Scale, InPlace])
def test_a_custom_layer_of_ten_lines_trains(kind: type[Scale]) -> None:
    """In a Sequential it is found, gets its memory and its update.

    A gradient written in place counts as well.
    """
    layer = kind(3, 2.0)
    model = mg.Sequential(mg.Activation("linear"), layer)
    optimizer = mg.SGD(model, lr=0.5)
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    for step in range(2):
        expected = layer.scale.value - np.float32(0.5) * x.sum(axis=0)
        model(x)
        model.backward(np.ones((2, 3)))
        optimizer.step()
        assert expected.tolist() == layer.scale.value.tolist()
        assert step + 1 == optimizer.step_count
    assert np.shares_memory(layer.scale.value, mg.ParameterVector.of(model).values)


def test_a_gradient_written_in_place_counts_at_any_depth() -> None:
    """Also inside of a composite, and of a Sequential in a Sequential.

    And only in the pass that wrote it.
    """
    model = mg.Sequential(mg.Sequential(mg.Sequential(InPlace(2)), InPlace(2)), residual(2))
    optimizer = mg.SGD(model, lr=0.1)
    for _ in range(2):
        model.backward(model(np.ones((3, 2))))
        assert all(parameter.arrival is not None for _, parameter in model.parameters())
        optimizer.step()
        assert all(parameter.arrival is None for _, parameter in model.parameters())


def test_a_composite_gives_the_same_everywhere() -> None:
    """A residual block alone, in a Sequential, and by hand: the same output and gradients."""
    alone, held = residual(2), mg.Sequential(residual(2))
    x, grad = np.array([[1.0, -2.0]], np.float32), np.array([[3.0, 1.0]], np.float32)
    weight = dict(alone.parameters())["inner.0.weight"].value
    y = np.tanh(x @ weight)
    slope = grad * (1 - y * y)
    np.testing.assert_allclose(alone(x), x + y, rtol=1e-6)
    np.testing.assert_allclose(held(x), x + y, rtol=1e-6)
    below = held.backward(grad, input_grad=True)
    assert below is not None
    for found in (alone.backward(grad), below):
        np.testing.assert_allclose(found, grad + slope @ weight.T, rtol=1e-6)
    for model in (alone, held):
        for name, parameter in model.parameters():
            np.testing.assert_allclose(
                parameter.grad, x.T @ slope if name.endswith("weight") else slope[0], rtol=1e-6
            )


@pytest.mark.parametrize("deep", [False, True])
def test_a_composite_can_be_trained_alone(deep: bool) -> None:
    """An optimizer takes any layer, not only a Sequential."""
    model: mg.Layer = mg.Sequential(residual(2)) if deep else residual(2)
    optimizer = mg.SGD(model, lr=0.1)
    x = np.ones((4, 2), np.float32)
    first = float((model(x) ** 2).sum())
    for _ in range(20):
        model.backward(model(x))
        optimizer.step()
    assert float((model(x) ** 2).sum()) < first / 2


def test_modes_reach_every_layer_inside() -> None:
    """`train` and `eval` are for the layer and all inside, and return the layer."""
    model = mg.Sequential(Many(), residual(2))
    assert model.eval() is model
    assert {False} == {layer.training for _, layer in model.layers()}
    assert model.train() is model
    assert {True} == {layer.training for _, layer in model.layers()}
    model[1].eval()
    assert (True, False) == (model.training, model[1].training)


def test_freezing_reaches_every_parameter_inside() -> None:
    """`freeze` and `unfreeze` are for all parameters of the layer, and return it."""
    model = mg.Sequential(Many(), residual(2))
    assert model[0].freeze() is model[0]
    frozen = [name for name, parameter in model.parameters() if not parameter.trainable]
    assert [f"0.{name}" for name in NAMES.split()] == frozen
    model.unfreeze()
    assert all(parameter.trainable for _, parameter in model.parameters())


def test_the_state_has_parameters_and_buffers() -> None:
    """A state is a mapping of copies by name, and brings back what it was taken from."""
    model = mg.Sequential(Average(), mg.Dense(2, 1, rng=0))
    model(np.array([[1.0, 2.0], [3.0, 4.0]]))
    state = model.state_dict()
    assert ["1.weight", "1.bias", "0.mean"] == list(state)
    assert [2, 3] == state["0.mean"].tolist()
    other = mg.Sequential(Average(), mg.Dense(2, 1, rng=9))
    mean = other[0]
    assert isinstance(mean, Average)
    held = mean.mean
    other.load_state_dict(state)
    assert [0, 0] == held.tolist()  # an array that somebody holds does not change
    assert {n: a.tolist() for n, a in state.items()} == {
        n: a.tolist() for n, a in other.state_dict().items()
    }
    state["0.mean"].fill(9)
    assert [2, 3] == mean.mean.tolist()


class Counter(mg.Layer):
    """Has buffers without a dimension: an array, and plain numbers."""

    buffers: ClassVar[tuple[str, ...]] = ("seen", "rate", "scale")

    def __init__(self) -> None:
        self.seen = 0
        self.rate = np.zeros((), np.float32)
        self.scale = 1.0

    def forward(self, x: Array) -> Array:
        if self.training:
            self.seen += len(x)
            self.rate = self.rate + np.float32(0.5)
            self.scale *= 2.0
        return x * x.dtype.type(self.scale)

    def backward(self, grad: Array) -> Array:
        return grad * grad.dtype.type(self.scale)


def test_buffers_without_a_dimension() -> None:
    """Plain numbers and 0-d arrays are state too: they are saved, loaded and go on."""
    model = mg.Sequential(Counter(), mg.Dense(2, 1, rng=0))
    model(np.ones((3, 2)))
    model(np.ones((4, 2)))
    state = model.state_dict()
    assert [(), (), ()] == [state[f"0.{name}"].shape for name in Counter.buffers]
    other = mg.Sequential(Counter(), mg.Dense(2, 1, rng=9))
    other.load_state_dict(state)
    for name, array in model.state_dict().items():
        loaded = other.state_dict()[name]
        assert (array.dtype, array.shape, array.tobytes()) == (
            loaded.dtype,
            loaded.shape,
            loaded.tobytes(),
        )
    for one in (model, other):
        one(np.ones((5, 2)))
        assert (12, 1.5, 8) == (one[0].seen, one[0].rate, one[0].scale)
    assert 7 == state["0.seen"]
    other.load_state_dict({"0.seen": 3, "0.rate": 0.25}, strict=False)  # plain numbers will do
    assert (3, 0.25, 8) == (other[0].seen, other[0].rate, other[0].scale)
    with pytest.raises(ModelError, match=r"'0.seen' has shape \(1,\), expected \(\)"):
        other.load_state_dict({"0.seen": [3]}, strict=False)


def test_a_state_may_fit_in_part() -> None:
    """With `strict=False` names that one side does not have are passed over.

    Shapes must still fit.
    """
    model = mg.Sequential(mg.Dense(2, 2, rng=0), mg.Dense(2, 1, rng=0))
    before = model.state_dict()
    model.load_state_dict({"0.bias": [1, 2], "head.weight": [[1.0]]}, strict=False)
    after = model.state_dict()
    assert [1, 2] == after.pop("0.bias").tolist()
    assert all(before[name].tobytes() == array.tobytes() for name, array in after.items())
    with pytest.raises(ModelError, match=r"'0.bias' has shape \(3,\)"):
        model.load_state_dict({"0.bias": [1, 2, 3]}, strict=False)


def test_loading_is_no_gradient_and_keeps_the_optimizer() -> None:
    """Values are loaded into the memory that the optimizer knows."""
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    optimizer = mg.SGD(model, lr=1.0)
    model.load_state_dict({"0.weight": [[5.0], [6.0]], "0.bias": [7.0]})
    assert [5, 6, 7] == mg.ParameterVector.of(model).values.tolist()
    model(np.ones((1, 2)))
    model.backward(np.ones((1, 1)))
    optimizer.step()
    assert [4, 5, 6] == mg.ParameterVector.of(model).values.tolist()


def test_the_summary_counts() -> None:
    """A table with each layer, its parameters, shapes and entries, and the sums."""
    model = mg.Sequential(mg.Dense(784, 10, rng=0), mg.Activation("relu"), residual(10))
    model[0].freeze()
    text = model.summary()
    for part in (
        "Dense(784, 10)",
        "weight (784, 10), bias (10,)",
        "7,850",
        "frozen",
        "2.inner.0",
        "110",
    ):
        assert part in text
    assert "7,960 entries, 110 of them trainable" == text.splitlines()[-1]
    assert "Activation('relu')" in text


def test_its_repr_shows_what_is_inside() -> None:
    """A layer of one's own needs no repr."""
    assert "Residual(inner=Sequential(Dense(2, 2), Activation('tanh')))" == repr(residual(2))


def test_a_model_prints_as_what_it_is() -> None:
    """`print(model)` shows its layers with their settings, and no numbers of theirs."""
    model = mg.Sequential(
        mg.Dense(784, 10, rng=0), mg.Activation("relu"), mg.Sequential(mg.Dense(10, 3, bias=False))
    )
    shown = "Sequential(Dense(784, 10), Activation('relu'), Sequential(Dense(10, 3, bias=False)))"
    assert shown == str(model) == repr(model)
    named = mg.Sequential(body=mg.Dense(2, 1), act=mg.Activation("tanh"))
    assert "Sequential(body=Dense(2, 1), act=Activation('tanh'))" == str(named)


def test_errors_call_a_layer_by_its_place() -> None:
    """An error says which layer of which kind it is about, as `called` does.

    A layer by itself has no place.
    """
    model = mg.Sequential(mg.Dense(3, 2), mg.Sequential(mg.Dense(2, 2), mg.Dense(5, 1)))
    assert "layer '1.1', Dense(5, 1)" == model[1][1].called
    assert "layer '1', a Sequential of 2 layers" == model[1].called
    assert "the model" == model.called
    assert "Dense(3, 2)" == mg.Dense(3, 2).called
    with pytest.raises(ShapeError) as shape:
        model(np.ones((4, 7)))
    assert model[0].called in str(shape.value)
    with pytest.raises(ShapeError) as shape:
        model(np.ones((4, 3)))
    assert model[1][1].called in str(shape.value)
    with pytest.raises(CallOrderError) as order:
        model[1][1].backward(np.ones((4, 1)))
    assert str(order.value).startswith("layer '1.1', Dense(5, 1): ")


def test_the_signature_is_that_of_init() -> None:
    """`help`, notebooks and `inspect` show what a layer takes."""
    parameters = inspect.signature(mg.Dense).parameters
    assert ["n_in", "n_out", "bias", "init", "dtype", "rng"] == list(parameters)
    assert [inspect.Parameter.KEYWORD_ONLY] * 4 == [
        parameters[name].kind for name in list(parameters)[2:]
    ]
    assert parameters["bias"].default is True
    assert ["features", "start"] == list(inspect.signature(Scale).parameters)
    assert [] == list(inspect.signature(Many).parameters)
    assert ["layers", "named"] == list(inspect.signature(mg.Sequential).parameters)


def test_a_layer_may_take_any_arguments() -> None:
    """What makes a layer look at itself after `__init__` gets in nobody's way."""

    class Strange(Scale):
        def __init__(self, *args: Any, features: int = 2, **kwargs: Any) -> None:
            super().__init__(features)
            self.args, self.kwargs = args, kwargs

    layer = Strange(1, 2, features=3, other=4)
    assert ((1, 2), {"other": 4}, 3) == (layer.args, layer.kwargs, layer.scale.size)


def test_a_layer_that_leaves_the_input_gradient_out() -> None:
    """At the first place of the outermost model `backward_parameters` is called instead of
    `backward`, elsewhere not.
    """
    calls: list[str] = []

    class Watched(Scale):
        def backward(self, grad: Array) -> Array:
            calls.append("backward")
            return super().backward(grad)

        def backward_parameters(self, grad: Array) -> None:
            calls.append("parameters")
            super().backward(grad)

    first, second = Watched(2), Watched(2)
    model = mg.Sequential(mg.Activation("tanh"), first, second)
    model.backward(model(np.ones((1, 2))))
    assert ["backward", "parameters"] == calls
    calls.clear()
    model.backward(model(np.ones((1, 2))), input_grad=True)
    assert ["backward", "backward"] == calls
