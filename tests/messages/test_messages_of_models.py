"""A model that is put together wrongly says how to do it, and stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from message_support import Wrong, fails, small, snapshot

import minigrad as mg
from minigrad.errors import (
    KindError,
    MinigradError,
    ModelError,
    RangeError,
    ShapeError,
    StaleParametersError,
)


def test_two_dtypes_in_one_model() -> None:
    """One dtype a model; both parameters are named, and the layers are as before."""
    single, double = mg.Dense(6, 4, rng=0), mg.Dense(4, 3, dtype=np.float64, rng=0)
    message = ["one dtype a model", "'0.weight' is float32", "'1.weight' is float64"]
    fails(lambda: mg.Sequential(single, double), KindError, TypeError, *message)
    assert "" == single.weight.name
    assert (np.float32, np.float64) == (
        single(np.ones((1, 6))).dtype.type,
        double(np.ones((1, 4))).dtype.type,
    )


def test_two_dtypes_leave_another_model_alone() -> None:
    """A model whose layer was to be joined with another dtype goes on as if nothing had
    happened.
    """
    model = small()
    optimizer = mg.SGD(model, lr=0.1)
    fails(
        lambda: mg.Sequential(model, mg.Dense(3, 1, dtype=np.float64, rng=0)),
        KindError,
        TypeError,
        "'1.weight'",
    )
    model.backward(model(np.ones((2, 6))))
    optimizer.step()
    assert ["0.weight", "0.bias", "2.weight", "2.bias"] == [
        parameter.name for _, parameter in model.parameters()
    ]
    assert model.backward(model(np.ones((2, 6)))) is None  # it is still the outermost


@pytest.mark.parametrize("dtype", [np.float16, np.int64, np.complex64, "longdouble"])
def test_other_dtypes(dtype: Any) -> None:
    """Float32 and float64 are what minigrad computes in."""
    fails(
        lambda: mg.Dense(2, 2, dtype=dtype),
        KindError,
        TypeError,
        np.dtype(dtype).name,
        "np.float32 or np.float64",
    )


def test_a_layer_used_twice() -> None:
    """A layer keeps what its backward needs, so it has one place; both places are named."""
    layer = mg.Dense(3, 3, rng=0)
    contents = ["same layer is used twice", "'0'", "'2'", "one of its own"]
    fails(
        lambda: mg.Sequential(layer, mg.Activation("relu"), layer),
        ModelError,
        ValueError,
        *contents,
    )
    relu = mg.Activation("relu")
    inside = lambda: mg.Sequential(relu, mg.Sequential(layer, relu))
    fails(inside, ModelError, ValueError, "same layer is used twice", "'0'", "'1.1'")


def test_a_parameter_used_twice() -> None:
    """Two attributes that hold one parameter are named."""

    class Tied(Wrong):
        def __init__(self) -> None:
            self.first = self.second = mg.Parameter(np.ones(3))

    fails(
        lambda: mg.ParameterVector.of(Tied()),
        ModelError,
        ValueError,
        "same parameter is used twice",
        "'first'",
        "'second'",
    )


ACTIVATIONS = [
    "linear",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "sigmoid",
    "tanh",
    "softplus",
    "softmax",
    "log_softmax",
]
NO_MODELS: dict[str, tuple[Callable[[], object], type[MinigradError], list[str]]] = {
    "no layers": (lambda: mg.Sequential(), ModelError, ["at least one layer"]),
    "a list": (
        lambda: mg.Sequential([mg.Dense(1, 1)]),  # type: ignore[arg-type]
        KindError,
        ["layer '0'", "Sequential(*layers)"],
    ),
    "a class": (lambda: mg.Sequential(mg.Activation), KindError, ["layer '0'", "make an instance"]),  # type: ignore[arg-type]
    "a function": (
        lambda: mg.Sequential(out=np.tanh),  # type: ignore[arg-type]
        KindError,
        ["layer 'out'", "expected a Layer"],
    ),
    "some names": (
        lambda: mg.Sequential(mg.Activation("relu"), out=mg.Activation("relu")),
        ModelError,
        ["names, or none"],
    ),
    "empty slice": (lambda: small()[2:2], ModelError, ["2:2", "empty"]),
    "unknown layer": (lambda: small()["out"], ModelError, ["'out'", "0, 1, 2"]),
    "activation name": (
        lambda: mg.Activation("rellu"),  # type: ignore[arg-type] # what is to be found out
        ModelError,
        ["'rellu'", *ACTIVATIONS],
    ),
    "activation kind": (lambda: mg.Activation(np.tanh), KindError, ["tanh", "ActivationFunction"]),  # type: ignore[arg-type]
    "no width": (lambda: mg.Dense(0, 3), RangeError, ["n_in is 0", "1 or more"]),
    "half a width": (lambda: mg.Dense(3, 1.5), KindError, ["n_out is 1.5", "whole number"]),  # type: ignore[arg-type]
    "init name": (
        lambda: mg.Dense(1, 1, init="he"),  # type: ignore[arg-type] # what is to be found out
        ModelError,
        ["'he'", "he_normal", "(shape, rng)"],
    ),
    "init shape": (
        lambda: mg.Dense(2, 3, init=lambda shape, rng: np.ones(3)),
        ShapeError,
        ["init", "(3,)", "(2, 3)"],
    ),
    "init kind": (lambda: mg.Dense(1, 1, init=3), KindError, ["init is 3", "callable"]),  # type: ignore[arg-type]
    "rate above 1": (
        lambda: mg.Dropout(1.5),
        RangeError,
        ["rate is 1.5", "at least 0", "at most 1"],
    ),
    "rate below 0": (lambda: mg.Dropout(-0.1), RangeError, ["rate is -0.1", "at least 0"]),
    "rate NaN": (lambda: mg.Dropout(np.nan), RangeError, ["rate is nan", "finite"]),
    "rate as text": (lambda: mg.Dropout("0.5"), KindError, ["rate is '0.5'", "number"]),  # type: ignore[arg-type]
    "rate of nothing": (lambda: mg.Dropout(None), KindError, ["rate is None", "number"]),  # type: ignore[arg-type]
    "rate as a truth": (lambda: mg.Dropout(True), KindError, ["rate is True", "number"]),
    "rng of Dropout": (lambda: mg.Dropout(0.5, rng="a"), KindError, ["rng is 'a'", "default_rng"]),  # type: ignore[arg-type]
    "no features": (lambda: mg.BatchNorm(0), RangeError, ["features is 0", "1 or more"]),
    "half a feature": (lambda: mg.BatchNorm(2.5), KindError, ["features is 2.5", "whole number"]),  # type: ignore[arg-type]
    "a shape": (lambda: mg.LayerNorm((3, 4)), KindError, ["features is (3, 4)", "whole number"]),  # type: ignore[arg-type]
    "negative features": (lambda: mg.LayerNorm(-1), RangeError, ["features is -1", "1 or more"]),
    "momentum above 1": (
        lambda: mg.BatchNorm(3, momentum=1.5),
        RangeError,
        ["momentum is 1.5", "at most 1"],
    ),
    "momentum below 0": (
        lambda: mg.BatchNorm(3, momentum=-1),
        RangeError,
        ["momentum is -1", "at least 0"],
    ),
    "no momentum": (lambda: mg.BatchNorm(3, momentum=None), KindError, ["momentum is None"]),  # type: ignore[arg-type]
    "eps 0": (lambda: mg.BatchNorm(3, eps=0), RangeError, ["eps is 0", "above 0"]),
    "eps below 0": (lambda: mg.LayerNorm(3, eps=-1e-5), RangeError, ["eps is -1e-05", "above 0"]),
    "eps as text": (lambda: mg.LayerNorm(3, eps="small"), KindError, ["eps is 'small'"]),  # type: ignore[arg-type]
    "half precision": (
        lambda: mg.BatchNorm(3, dtype=np.float16),
        KindError,
        ["float16", "np.float32 or np.float64"],
    ),
    "whole numbers": (
        lambda: mg.LayerNorm(3, dtype=int),
        KindError,
        ["int64", "np.float32 or np.float64"],
    ),
    "two dtypes": (
        lambda: mg.Sequential(mg.Dense(3, 3, dtype=np.float64, rng=0), mg.BatchNorm(3)),
        KindError,
        ["one dtype a model", "'0.weight' is float64", "'1.weight' is float32"],
    ),
    "optimizer of Dropout": (
        lambda: mg.SGD(mg.Dropout(0.5), 0.1),
        ModelError,
        ["without parameters"],
    ),
    "optimizer of nothing": (
        lambda: mg.SGD(mg.Activation("relu"), 0.1),
        ModelError,
        ["without parameters"],
    ),
    "optimizer of a slice of nothing": (
        lambda: mg.SGD(small()[1:2], 0.1),
        ModelError,
        ["without parameters"],
    ),
    "optimizer of an array": (
        lambda: mg.SGD(np.ones(3), 0.1),  # type: ignore[arg-type]
        KindError,
        ["SGD got", "expected a layer"],
    ),
    "decay of nothing": (
        lambda: mg.SGD(small(), 0.1, weight_decay={"*.wieght": 1}),
        ModelError,
        ["'*.wieght' matches no parameter", "0.weight"],
    ),
}


@pytest.mark.parametrize(("act", "error", "contents"), NO_MODELS.values(), ids=NO_MODELS.keys())
def test_models(act: Callable[[], object], error: type[MinigradError], contents: list[str]) -> None:
    """A model that is put together wrongly says how to do it."""
    fails(act, error, TypeError if error is KindError else ValueError, *contents)


def test_an_optimizer_whose_model_was_put_into_a_larger_one() -> None:
    """It says that the parameters have moved and what to do, and writes nothing."""
    model = small()
    optimizer = mg.SGD(model, lr=0.1)
    whole = mg.Sequential(model, mg.Dense(3, 1, rng=0))
    whole.backward(whole(np.ones((2, 6))))
    before = snapshot(whole)
    fails(
        optimizer.step,
        StaleParametersError,
        RuntimeError,
        "this SGD",
        "moved into another model",
        "make a new one",
    )
    assert before == snapshot(whole)
    assert 0 == optimizer.step_count


def test_a_slice_with_steps_has_no_memory_side_by_side() -> None:
    """An optimizer over every second layer is told why that does not work.

    Nothing has moved anywhere.
    """
    model = mg.Sequential(*[mg.Dense(2, 2, rng=0) for _ in range(3)])
    with pytest.raises(MinigradError, match="side by side"):
        mg.SGD(model[::2], lr=0.1)


@pytest.mark.parametrize("attribute", ["value", "grad"])
@pytest.mark.parametrize("shape", [(3, 4), (4,), (4, 1), ()])
def test_assignment_of_a_wrong_shape(attribute: str, shape: tuple[int, ...]) -> None:
    """The parameter is named; its array is unchanged, and no new gradient is counted."""
    model = small()
    weight = dict(model.parameters())["2.weight"]
    before = snapshot(model)
    act = lambda: setattr(weight, attribute, np.ones(shape))
    fails(act, ShapeError, ValueError, "'2.weight'", f"shape {shape}", "expected (4, 3)", "reshape")
    assert before == snapshot(model)
    assert weight.arrival is None


@pytest.mark.parametrize("attribute", ["value", "grad"])
@pytest.mark.parametrize(
    "thing", ["a", 1j, None, [[1], [1, 2]]], ids=["text", "complex", "none", "ragged"]
)
def test_assignment_of_no_numbers(attribute: str, thing: object) -> None:
    """Only real numbers can be assigned."""
    parameter = mg.Parameter(np.ones(2))
    fails(lambda: setattr(parameter, attribute, thing), KindError, TypeError, "assigned to", "(2,)")
    assert [1, 1] == parameter.value.tolist()
    assert parameter.arrival is None
