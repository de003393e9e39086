"""Promise 3: there are no stale views, whatever is done with a model."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import numpy as np
import pytest
from case_support import sparse
from promise_support import (
    FloatType,
    MakeOptimizer,
    bits,
    build,
    data_of,
    dtypes,
    optimizers,
    train,
)

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import StaleParametersError


def put_into_a_larger_one(model: mg.Sequential) -> mg.Sequential:
    return mg.Sequential(
        model, mg.Dense(3, 2, dtype=mg.ParameterVector.of(model).values.dtype, rng=0)
    )


def assign(model: mg.Sequential) -> mg.Sequential:
    for _, parameter in model.parameters():
        parameter.value = np.asarray(parameter.value * 2)
        parameter.grad = np.ones(parameter.shape)
    return model


def update_in_place(model: mg.Sequential) -> mg.Sequential:
    for _, parameter in model.parameters():
        parameter.value += 1
        parameter.grad -= 1
    return model


def load(model: mg.Sequential) -> mg.Sequential:
    model.load_state_dict(build(np.float64, seed=4).state_dict())
    return model


def freeze_and_thaw(model: mg.Sequential) -> mg.Sequential:
    model.freeze()
    return model.unfreeze()


def train_by_two(model: mg.Sequential) -> mg.Sequential:
    first, second = mg.SGD(model[:3], lr=0.1), mg.SGD(model[3:], lr=0.1, momentum=0.9)
    dtype = mg.ParameterVector.of(model).values.dtype
    for _ in range(3):
        model.backward(model(np.ones((2, 6), dtype)))
        first.step()
        second.step()
    return model


def take_slices(model: mg.Sequential) -> mg.Sequential:
    for part in (model[:2], model[2:], model[:], model[2:][0:1]):
        mg.ParameterVector.of(part)
    return model


def predict_and_look(model: mg.Sequential) -> mg.Sequential:
    model.predict(np.ones((5, 6)), batch_size=2)
    assert repr(model)
    assert model.summary()
    return model


OPERATIONS: dict[str, Callable[[mg.Sequential], mg.Sequential]] = {
    "nothing": lambda model: model,
    "assignment": assign,
    "change in place": update_in_place,
    "nesting": put_into_a_larger_one,
    "nesting twice": lambda model: put_into_a_larger_one(mg.Sequential(model)),
    "freezing": freeze_and_thaw,
    "load_state_dict": load,
    "two optimizers": train_by_two,
    "slices": take_slices,
    "predict": predict_and_look,
    "deep copy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "a copy made of it": lambda model: (copy.deepcopy(model), model)[1],
}


@sparse(pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys()), dtypes)
def test_3_named_arrays_are_views_of_the_flat_ones(
    operation: Callable[[mg.Sequential], mg.Sequential], dtype: FloatType
) -> None:
    """Whatever was done before, a write into the vector is seen by name, and one by name in the
    vector.
    """
    original = build(dtype)
    model = operation(original)
    vector = mg.ParameterVector.of(model)
    assert vector is mg.ParameterVector.of(model)
    assert [name for name, _ in model.parameters()] == list(vector.slots)
    assert vector.values.size == sum(parameter.size for _, parameter in model.parameters())
    vector.values[...] = np.arange(vector.values.size)
    vector.grads[...] = -np.arange(vector.values.size)
    for name, parameter in model.parameters():
        expected = np.arange(vector.slots[name].slice.start, vector.slots[name].slice.stop).reshape(
            parameter.shape
        )
        assert np.array_equal(expected, parameter.value)
        assert np.array_equal(-expected, parameter.grad)
        parameter.value = np.full(parameter.shape, 7)
        parameter.grad = np.full(parameter.shape, -7)
    assert (vector.values == 7).all()
    assert (vector.grads == -7).all()
    if model is not original and not isinstance(
        model[0], mg.Sequential
    ):  # a copy: the original is not concerned
        assert not (mg.ParameterVector.of(original).values == 7).any()


@dtypes
def test_3_an_optimizer_moves_what_forward_reads(dtype: FloatType) -> None:
    """After a step, the output is that of the new values, computed here from the named arrays."""
    model = mg.Sequential(
        mg.Dense(6, 4, dtype=dtype, rng=0),
        mg.Activation("tanh"),
        mg.Dense(4, 3, dtype=dtype, rng=1),
    )
    optimizer = mg.SGD(model, lr=0.5)
    x, _ = data_of(dtype)
    before = model(x)
    model.backward(before)
    optimizer.step()
    w1, b1, w2, b2 = (parameter.value for _, parameter in model.parameters())
    np.testing.assert_allclose(model(x), np.tanh(x @ w1 + b1) @ w2 + b2, rtol=1e-4, atol=1e-6)
    assert not np.allclose(before, model(x))


def test_3_a_model_put_into_a_larger_one_keeps_its_values() -> None:
    """The larger model takes the values over, bit for bit, and the smaller one goes on to work."""
    encoder = build(np.float32)
    before, x = bits(encoder), data_of(np.float32)[0]
    output = encoder(x)
    whole = put_into_a_larger_one(encoder)
    assert before == bits(encoder)
    assert output.tobytes() == encoder(x).tobytes()
    assert list(before.values()) == list(bits(whole).values())[:-2]
    optimizer = mg.SGD(whole, lr=0.5)
    whole.backward(whole(x))
    optimizer.step()
    assert list(bits(encoder).values()) == list(bits(whole).values())[:-2]
    assert before != bits(encoder)


@optimizers
def test_3_an_optimizer_whose_parameters_moved_raises(make: MakeOptimizer) -> None:
    """It does not write into a buffer that nobody reads, and changes nothing."""
    encoder = build(np.float32)
    optimizer = make(encoder)
    train(encoder, optimizer, 1)
    whole = put_into_a_larger_one(encoder)
    before = bits(whole)
    whole.backward(whole(data_of(np.float32)[0]))
    with pytest.raises(StaleParametersError, match="moved into another model; make a new one"):
        optimizer.step()
    assert 1 == optimizer.step_count
    assert before == bits(whole)


def test_3_a_part_that_was_taken_away_makes_the_whole_stale() -> None:
    """An optimizer of a model raises as well when one of its layers alone went into another
    model.
    """
    model = build(np.float32)
    optimizer = mg.SGD(model, lr=0.1)
    part = mg.SGD(model[2:], lr=0.1)
    mg.Sequential(model[0], mg.Dense(4, 1, rng=0))
    for stale in (optimizer, part):
        model.backward(model(data_of(np.float32)[0]))
        with pytest.raises(StaleParametersError):
            stale.step()


def test_3_a_slice_of_a_model_that_moved_apart_raises() -> None:
    """A slice whose layers lie in two models has no vector; the message says what to do."""
    model = build(np.float32)
    part = model[:3]
    mg.Sequential(model[0])
    with pytest.raises(StaleParametersError, match="take a slice of the new one"):
        mg.ParameterVector.of(part)


def test_3_assigning_to_the_vector_of_a_model_that_moved_raises() -> None:
    """Writing gradients into a vector that nobody reads any more is an error, not a silent loss."""
    model = build(np.float32)
    vector = mg.ParameterVector.of(model)
    put_into_a_larger_one(model)
    with pytest.raises(StaleParametersError):
        vector.grads = np.zeros(vector.values.size)


@pytest.mark.parametrize("moment", ["before backward", "between backward and step"])
def test_3_a_parameter_object_replaced_on_a_layer_raises(moment: str) -> None:
    """`layer.weight = Parameter(...)` takes the parameter out of the model's memory.

    The next step says so.
    """
    layer = mg.Dense(6, 3, rng=0)
    model = mg.Sequential(layer)
    optimizer = mg.SGD(model, lr=0.1)
    train(model, optimizer, 1)
    new = mg.Parameter(np.zeros((6, 3), np.float32))
    if moment == "between backward and step":
        model.backward(model(data_of(np.float32)[0]))
        layer.weight = new
    else:
        layer.weight = new
        model.backward(model(data_of(np.float32)[0]))
    with pytest.raises(StaleParametersError, match="replaced"):
        optimizer.step()
    assert not new.value.any()
    assert 1 == optimizer.step_count


class Holder(mg.Layer):
    """x times the sum of parameters that stand in an attribute, a list, a dict, a tuple, and a
    tuple in a list.
    """

    def __init__(self) -> None:
        self.plain = self.made(0.1)
        self.listed = [self.made(0.2), self.made(0.3)]
        self.table = {"a": self.made(0.4)}
        self.pair = (self.made(0.5), self.made(0.6))
        self.deep = [(self.made(0.7),)]

    @staticmethod
    def made(value: float) -> mg.Parameter:
        return mg.Parameter(np.full(2, value, np.float32))

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x * sum(parameter.value for _, parameter in self.parameters()))

    def backward(self, grad: Array) -> Array:
        for _, parameter in self.parameters():
            parameter.grad = (grad * self.x).sum(axis=0)
        return np.asarray(grad * sum(parameter.value for _, parameter in self.parameters()))


REPLACE: dict[str, Callable[[Holder, mg.Parameter], object]] = {
    "plain": lambda layer, new: setattr(layer, "plain", new),
    "listed.1": lambda layer, new: layer.listed.__setitem__(1, new),
    "listed.0": lambda layer, new: setattr(layer, "listed", [new, layer.listed[1]]),
    "table.a": lambda layer, new: layer.table.update(a=new),
    "pair.0": lambda layer, new: setattr(layer, "pair", (new, layer.pair[1])),
    "pair.1": lambda layer, new: setattr(layer, "pair", (layer.pair[0], new)),
    "deep.0.0": lambda layer, new: layer.deep.__setitem__(0, (new,)),
}


@pytest.mark.parametrize("name", REPLACE)
def test_3_a_new_optimizer_trains_the_parameter_that_was_put_in(name: str) -> None:
    """Wherever a parameter is replaced: the old optimizer raises, a new one and the model's vector
    have the new one.
    """
    layer = Holder()
    model = mg.Sequential(layer)
    x = np.ones((3, 2), np.float32)
    old, vector = mg.SGD(model, lr=0.1, momentum=0.5), mg.ParameterVector.of(model)
    model.backward(model(x))
    old.step()
    replaced = dict(model.parameters())[f"0.{name}"]
    new = Holder.made(5)
    REPLACE[name](layer, new)
    model.backward(model(x))
    before = bits(model)
    with pytest.raises(StaleParametersError, match=r"replaced by another object.*make a new SGD"):
        old.step()
    assert before == bits(model)
    assert 1 == old.step_count

    optimizer = mg.SGD(model, lr=0.1)
    again = mg.ParameterVector.of(model)
    assert vector is not again
    assert list(vector.slots) == list(again.slots)
    assert any(parameter is new for parameter in again.parameters)
    assert not any(parameter is replaced for parameter in again.parameters)
    assert np.shares_memory(new.value, again.values)
    model.backward(model(x))
    grad = new.grad.copy()
    optimizer.step()
    assert grad.any()
    assert np.array_equal(np.float32(5) - np.float32(0.1) * grad, new.value)
    assert np.array_equal(x * sum(parameter.value for _, parameter in model.parameters()), model(x))
    with pytest.raises(StaleParametersError):
        old.step()


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
def test_3_a_dense_weight_that_was_put_in_is_trained() -> None:
    """`model[0].weight = Parameter(...)` and a new optimizer: the model computes with it, and it
    learns.
    """
    model = build(np.float32)
    old = mg.SGD(model, lr=0.1)
    train(model, old, 2)
    new = mg.Parameter(np.zeros((6, 4), np.float32))
    model[0].weight = new
    with pytest.raises(StaleParametersError):
        train(model, old, 1)
    train(model, mg.SGD(model, lr=0.1), 1)
    assert new.value.any()
    assert "0.weight" == new.name
    assert np.shares_memory(new.value, mg.ParameterVector.of(model).values)
    assert new.value.tobytes() == model.state_dict()["0.weight"].tobytes()


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_3_a_parameter_that_was_taken_out_raises(kind: str) -> None:
    """A parameter that is gone from a list or a dict is noticed as one that was replaced."""
    layer = Holder()
    model = mg.Sequential(layer)
    old = mg.SGD(model, lr=0.1)
    if kind == "list":
        layer.listed.pop()
    else:
        layer.table.clear()
    model.backward(model(np.ones((3, 2))))
    with pytest.raises(StaleParametersError):
        old.step()
    optimizer = mg.SGD(model, lr=0.1)
    model.backward(model(np.ones((3, 2))))
    optimizer.step()
    assert 12 == mg.ParameterVector.of(model).values.size


def test_3_optimizers_over_slices_share_the_models_vector() -> None:
    """Two optimizers over parts write into the memory of the one model.

    Each leaves the other's part alone.
    """
    model = build(np.float64)
    vector = mg.ParameterVector.of(model)
    body, head = mg.ParameterVector.of(model[:3]), mg.ParameterVector.of(model[4])
    assert np.shares_memory(vector.values, body.values)
    assert np.shares_memory(vector.grads, head.grads)
    assert ["weight", "bias"] == list(head.slots)
    before = bits(model)
    model.backward(model(data_of(np.float64)[0]))
    mg.SGD(model[4], lr=0.1).step()
    assert ["4.weight", "4.bias"] == [
        name for name, value in bits(model).items() if value != before[name]
    ]
