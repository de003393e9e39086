"""`Parameter` and `ParameterVector`: one owner of memory, and named views of it."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError


class Pair(mg.Layer):
    """Two parameters and nothing else."""

    def __init__(self, *values: object) -> None:
        self.first, self.second = (mg.Parameter(value) for value in values)

    def forward(self, x: Array) -> Array:
        return x.copy()

    def backward(self, grad: Array) -> Array:
        return grad.copy()


# -- Parameter -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("f4", "f4"),
        ("f8", "f8"),
        ("f2", "f4"),
        ("i8", "f4"),
        ("u1", "f4"),
        ("bool", "f4"),
        (">f8", "f8"),
    ],
)
def test_the_value_is_copied_as_float32_or_float64(given: str, kept: str) -> None:
    """Float32 and float64 are kept, other numbers become float32, and the array it was made of is
    left alone.
    """
    array = np.array([[0, 1], [1, 0]], given)
    parameter = mg.Parameter(array)
    assert np.dtype(kept) == parameter.dtype == parameter.value.dtype == parameter.grad.dtype
    assert parameter.value.dtype.isnative
    parameter.value[0, 0] = 1
    assert [[0, 1], [1, 0]] == array.tolist()
    assert ((2, 2), 4) == (parameter.shape, parameter.size)


def test_a_value_of_any_layout_becomes_row_major() -> None:
    """A transposed array makes a parameter like any other."""
    parameter = mg.Parameter(np.arange(6.0).reshape(2, 3).T)
    assert [[0, 3], [1, 4], [2, 5]] == parameter.value.tolist()
    assert parameter.value.flags.c_contiguous
    assert [0, 3, 1, 4, 2, 5] == mg.ParameterVector.of(Pair(parameter.value, 1.0)).values[
        :6
    ].tolist()


def test_the_gradient_starts_at_0() -> None:
    """Before the first backward the gradient is 0, and none has arrived."""
    parameter = mg.Parameter(np.ones((2, 2)))
    assert not parameter.grad.any()
    assert parameter.arrival is None


def test_assignment_writes_into_the_same_memory() -> None:
    """Whoever holds the live array sees the assigned numbers.

    The assigned array stays the caller's.
    """
    parameter = mg.Parameter(np.zeros(3))
    value, grad, mine = parameter.value, parameter.grad, np.array([1.0, 2, 3])
    parameter.value = mine
    parameter.grad = mine
    assert value is parameter.value
    assert grad is parameter.grad
    assert [1, 2, 3] == value.tolist() == grad.tolist()
    mine[:] = 9
    assert [1, 2, 3] == value.tolist() == grad.tolist()


def test_assignment_of_itself_turned_around() -> None:
    """A value computed from a view of itself is right: nothing is overwritten while it is read."""
    parameter = mg.Parameter(np.arange(4.0))
    parameter.value = parameter.value[::-1]
    assert [3, 2, 1, 0] == parameter.value.tolist()


@pytest.mark.parametrize(
    ("write", "arrives"),
    [
        (lambda p: setattr(p, "grad", np.ones(2)), True),
        (lambda p: np.copyto(p.new_grad, 1), True),
        (lambda p: [setattr(p, "grad", np.full(2, number)) for number in (0, 1)], True),  # type: ignore[func-returns-value]
        (lambda p: p.grad.fill(1), True),
        (lambda p: p.grad.__setitem__(slice(None), 1), True),
        (lambda p: setattr(p, "value", np.ones(2)), False),
        (lambda p: p.grad.sum(), False),
        (lambda p: p.grad.fill(0), False),
        (lambda p: np.multiply(p.grad, 2, out=p.grad), False),
    ],
    ids=[
        "assigned",
        "new_grad",
        "twice",
        "filled",
        "in place",
        "value",
        "read",
        "zeros where none is",
        "arithmetic of none",
    ],
)
def test_a_gradient_arrives_when_it_is_written(
    write: Callable[[mg.Parameter], object], arrives: bool
) -> None:
    """Each way to write one is known.

    A look at it, or zeros and arithmetic where none has arrived, make none.
    """
    parameter = mg.Parameter(np.zeros(2))
    write(parameter)
    assert arrives == (parameter.arrival is not None)
    assert [int(arrives)] * 2 == parameter.grad.tolist()


def test_a_gradient_beyond_float32_becomes_infinite() -> None:
    """So that a training that diverges is reported as that."""
    parameter = mg.Parameter(np.ones(3, np.float32))
    with np.errstate(over="ignore"):
        parameter.grad = np.array([1e300, -1e39, 2.0])
    assert [np.inf, -np.inf, 2.0] == parameter.grad.tolist()


@pytest.mark.parametrize(
    "view", [lambda grad: grad.T, lambda grad: grad.reshape(-1)], ids=["T", "flat"]
)
def test_a_gradient_in_another_shape_is_read_only(view: Callable[[Array], Array]) -> None:
    """What would write past its owner raises NumPy's error, and writes nothing."""
    model = mg.Sequential(mg.Dense(2, 3, rng=0))
    grad = dict(model.parameters())["0.weight"].grad
    with pytest.raises(ValueError, match="read-only"):
        view(grad)[0] = 1.0
    other = view(grad)
    with pytest.raises(ValueError, match="read-only"):
        other += 1.0
    assert not grad.any()


def test_the_repr_of_a_parameter_tells_counts_and_range() -> None:
    """Shape, dtype, range, zeros, and whether it is frozen; the name where it has one."""
    parameter = mg.Parameter(np.array([[0.0, -1.5], [2, 0]], np.float32), trainable=False)
    for part in ("(2, 2)", "float32", "-1.5 to 2", "2 of 4 are 0", "frozen"):
        assert part in repr(parameter)
    model = mg.Sequential(mg.Dense(2, 3, rng=0))
    assert "'0.weight'" in repr(dict(model.parameters())["0.weight"])
    assert "parameter '0.bias'" == dict(model.parameters())["0.bias"].called
    assert "NaN" in repr(mg.Parameter([1.0, np.nan]))


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))],
    ids=["copy", "deep", "pickle"],
)
def test_a_copy_has_memory_of_its_own(copied: Callable[[Any], Any]) -> None:
    """A copied parameter has value, gradient, name and count, but belongs to no model."""
    model = mg.Sequential(mg.Dense(2, 3, rng=0))
    model.backward(model(np.ones((1, 2))))
    for name, parameter in model.freeze().parameters():
        other = copied(parameter)
        assert (name, False, False) == (other.name, other.trainable, other.arrival is None)
        assert parameter.value.tobytes() == other.value.tobytes()
        assert parameter.grad.tobytes() == other.grad.tobytes()
        other.value.fill(9)
        other.grad.fill(9)
        assert not (parameter.value == 9).any()
        assert not (parameter.grad == 9).any()


# -- ParameterVector -----------------------------------------------------------------------------


def test_slots_follow_the_definition_order() -> None:
    """Names, slices and shapes lie one after the other, as defined and not sorted."""
    model = mg.Sequential(
        mg.Dense(2, 3, rng=0), mg.Sequential(mg.Dense(3, 1, bias=False, rng=0)), Pair([1], [[2]])
    )
    vector = mg.ParameterVector.of(model)
    expected = [
        ("0.weight", 0, 6, (2, 3)),
        ("0.bias", 6, 9, (3,)),
        ("1.0.weight", 9, 12, (3, 1)),
        ("2.first", 12, 13, (1,)),
        ("2.second", 13, 14, (1, 1)),
    ]
    assert expected == [
        (name, part.start, part.stop, shape) for name, (part, shape) in vector.slots.items()
    ]
    assert ((14,), (14,)) == (vector.values.shape, vector.grads.shape)
    assert [name for name, *_ in expected] == [parameter.name for parameter in vector.parameters]
    with pytest.raises(TypeError):
        vector.slots["x"] = vector.slots["0.bias"]  # type: ignore[index]


def test_names_with_two_digits_are_not_sorted() -> None:
    """The tenth layer comes after the ninth."""
    model = mg.Sequential(*[mg.Dense(1, 1, bias=False, rng=0) for _ in range(12)])
    assert [f"{index}.weight" for index in range(12)] == list(mg.ParameterVector.of(model).slots)


def test_building_a_model_keeps_values_and_gradients() -> None:
    """Parameters take their numbers along when a model takes them over."""
    layer = mg.Dense(2, 2, rng=0)
    layer.weight.grad = np.arange(4.0).reshape(2, 2)
    value = layer.weight.value.copy()
    vector = mg.ParameterVector.of(mg.Sequential(layer))
    assert value.ravel().tolist() == vector.values[:4].tolist()
    assert [0, 1, 2, 3, 0, 0] == vector.grads.tolist()
    assert layer.weight.arrival is not None


def test_the_vector_of_a_part_is_a_view_of_the_whole() -> None:
    """A nested model, a slice and a single layer share the whole's memory, under names of their
    own.
    """
    inner = mg.Sequential(mg.Dense(3, 3, rng=0), mg.Dense(3, 2, rng=0))
    model = mg.Sequential(mg.Dense(2, 3, rng=0), inner)
    whole = mg.ParameterVector.of(model)
    parts: list[tuple[mg.Layer, str, int, int]] = [
        (inner, "0.weight", 9, 29),
        (inner[1:], "0.weight", 21, 29),
        (model[0:1], "0.weight", 0, 9),
        (model[0], "weight", 0, 9),
        (model[:], "0.weight", 0, 29),
    ]
    for part, first, start, stop in parts:
        vector = mg.ParameterVector.of(part)
        assert first == next(iter(vector.slots))
        assert stop - start == vector.values.size
        whole.values[...] = np.arange(29)
        assert list(range(start, stop)) == vector.values.tolist()
        vector.values[...] = -1
        assert stop - start == np.count_nonzero(whole.values == -1)
    assert ["0.weight", "0.bias", "1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias"] == list(
        whole.slots
    )


def test_the_same_vector_is_given_again() -> None:
    """A model and each of its lasting parts have one vector for life."""
    inner = mg.Sequential(mg.Dense(3, 3, rng=0))
    model, other = mg.Sequential(inner), Pair(1.0, 2.0)
    for layer in (model, inner, inner[0], other):
        assert mg.ParameterVector.of(layer) is mg.ParameterVector.of(layer)


def test_of_a_layer_of_ones_own_memory_is_made_on_first_use() -> None:
    """A layer that no Sequential holds gets a vector when it is asked, with its values."""
    pair = Pair([1.0, 2.0], [3.0])
    vector = mg.ParameterVector.of(pair)
    assert [1, 2, 3] == vector.values.tolist()
    pair.second.value = np.array([7.0])
    assert [1, 2, 7] == vector.values.tolist()


def test_assigning_all_gradients_counts_for_each() -> None:
    """`vector.grads = ...` is a new gradient of every parameter."""
    pair = Pair([1.0, 2.0], [3.0])
    vector = mg.ParameterVector.of(pair)
    vector.grads = np.array([4, 5, 6])
    assert [4, 5] == pair.first.grad.tolist()
    assert None not in (pair.first.arrival, pair.second.arrival)
    vector.grads *= 2
    assert [12] == pair.second.grad.tolist()


def test_a_parameter_reached_twice_is_named() -> None:
    """Tied parameters are an error that says where both are, and whose advice is about
    parameters.
    """
    parameter = mg.Parameter(1.0)
    pair = Pair(1.0, 2.0)
    pair.second = pair.first = parameter
    with pytest.raises(
        ModelError, match=r"same parameter is used twice: as 'first' and as 'second'"
    ) as told:
        mg.ParameterVector.of(pair)
    assert "backward needs" not in str(told.value)  # that is about layers


def test_two_dtypes_are_named() -> None:
    """The first parameter of the other dtype is named."""
    with pytest.raises(KindError, match="'first' is float64, but 'second' is float32"):
        mg.ParameterVector.of(Pair(np.float64(1), np.float32(1)))


def test_the_repr_of_a_vector_tells_counts_and_range() -> None:
    """How many parameters and entries; whether they have moved elsewhere."""
    model = mg.Sequential(mg.Dense(2, 3, rng=0))
    vector = mg.ParameterVector.of(model)
    assert "2 parameters, (9,) float32" in repr(vector)
    assert "stale" not in repr(vector)
    mg.Sequential(model, mg.Dense(3, 1, rng=0))
    assert "stale" in repr(vector)
    assert vector.is_stale
