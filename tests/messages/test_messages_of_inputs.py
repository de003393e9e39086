"""Bad input is told what came, what was expected, where, and what to do.

And nothing is half done.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from message_support import fails, small, snapshot

import minigrad as mg
from minigrad.errors import CallOrderError, KindError, MinigradError, RangeError, ShapeError


def objects() -> npt.NDArray[Any]:
    return np.array([[1.0, None, 2.0, 3.0, 4.0, 5.0]], dtype=object)


INPUTS: dict[str, tuple[object, type[MinigradError], type[Exception], list[str]]] = {
    "wrong width": (
        np.ones((2, 5)),
        ShapeError,
        ValueError,
        ["layer '0'", "Dense(6, 4)", "(2, 5)", "(batch, 6)", "5 features", "must have 6"],
    ),
    "one sample": (
        np.ones(6),
        ShapeError,
        ValueError,
        ["Dense(6, 4)", "(6,)", "(batch, 6)", "x[np.newaxis]"],
    ),
    "one axis": (np.ones(4), ShapeError, ValueError, ["Dense(6, 4)", "(4,)", "(batch, 6)"]),
    "images": (
        np.ones((5, 2, 3)),
        ShapeError,
        ValueError,
        ["(5, 2, 3)", "(batch, 6)", "reshape(len(x), -1)"],
    ),
    "three axes": (
        np.ones((5, 2, 6)),
        ShapeError,
        ValueError,
        ["(5, 2, 6)", "(batch, 6)", "2 axes", "has 3"],
    ),
    "empty batch": (
        np.ones((0, 6)),
        ShapeError,
        ValueError,
        ["empty batch", "(0, 6)", "at least one row"],
    ),
    "empty list": ([], ShapeError, ValueError, ["empty batch", "at least one row"]),
    "a number": (1.0, ShapeError, ValueError, ["a single number", "at least one row"]),
    "complex": (
        np.ones((2, 6), complex),
        KindError,
        TypeError,
        ["complex128", "real and the imaginary part"],
    ),
    "strings": (np.full((2, 6), "a"), KindError, TypeError, ["text", "numbers", "encode"]),
    "objects": (objects(), KindError, TypeError, ["object", "expected real numbers"]),
    "ragged": ([[1.0], [1.0, 2.0]], KindError, TypeError, ["ragged", "equal length"]),
    "dates": (
        np.full((2, 6), "2020-01-01", "M8[D]"),
        KindError,
        TypeError,
        ["datetime64", "real numbers"],
    ),
    "nothing": (None, KindError, TypeError, ["None", "expected real numbers"]),
}
inputs = pytest.mark.parametrize(
    ("x", "error", "builtin", "contents"), INPUTS.values(), ids=INPUTS.keys()
)


@inputs
def test_input(
    x: Any, error: type[MinigradError], builtin: type[Exception], contents: list[str]
) -> None:
    """A bad input names the layer, what it got and what it expected.

    The pending backward is still there.
    """
    model = small()
    model(np.ones((2, 6)))
    before = snapshot(model)
    fails(lambda: model(x), error, builtin, *contents)
    assert before == snapshot(model)
    model.eval()
    fails(lambda: model.predict(x), error, builtin, *contents)
    assert not model.training
    model(np.ones((2, 6)))
    model.backward(np.ones((2, 3)))


@inputs
def test_input_of_a_layer_alone(
    x: Any, error: type[MinigradError], builtin: type[Exception], contents: list[str]
) -> None:
    """The same messages without a model around, where the layer has no name yet."""
    told = fails(
        lambda: mg.Dense(6, 4, rng=0)(x),
        error,
        builtin,
        *[content for content in contents if content != "layer '0'"],
    )
    assert "Dense(6, 4)" in str(told)


NO_NUMBERS = [
    "empty batch",
    "empty list",
    "a number",
    "complex",
    "strings",
    "objects",
    "ragged",
    "dates",
    "nothing",
]


@sparse(
    pytest.mark.parametrize("kind", NO_NUMBERS),
    pytest.mark.parametrize(
        "make",
        [
            lambda: mg.BatchNorm(6),
            lambda: mg.BatchNorm(6).eval(),
            lambda: mg.LayerNorm(6),
            lambda: mg.Dropout(0.5),
            lambda: mg.Flatten(),
        ],
        ids=["BatchNorm", "BatchNorm in eval mode", "LayerNorm", "Dropout", "Flatten"],
    ),
)
def test_input_of_layers_of_other_kinds(make: Callable[[], mg.Layer], kind: str) -> None:
    """What is no batch of numbers is refused by every layer, which says its name.

    Its state stays.
    """
    layer: Any = make()
    x, error, builtin, contents = INPUTS[kind]
    before = {name: array.tobytes() for name, array in layer.state_dict().items()}
    fails(lambda: layer(x), error, builtin, repr(layer), *contents)
    assert before == {name: array.tobytes() for name, array in layer.state_dict().items()}
    fails(lambda: layer.backward(np.ones((2, 6))), CallOrderError, RuntimeError, "before forward")


LAYER_INPUTS: dict[str, tuple[Callable[[], mg.Layer], tuple[int, ...], list[str]]] = {
    "BatchNorm width": (
        lambda: mg.BatchNorm(6),
        (2, 5),
        ["(2, 5)", "(batch, 6)", "5 features", "must have 6"],
    ),
    "BatchNorm sample": (lambda: mg.BatchNorm(6), (6,), ["(6,)", "(batch, 6)", "x[np.newaxis]"]),
    "BatchNorm image": (
        lambda: mg.BatchNorm(6),
        (5, 2, 3),
        ["(5, 2, 3)", "(batch, 6)", "reshape(len(x), -1)"],
    ),
    "BatchNorm places": (lambda: mg.BatchNorm(6), (5, 2, 6), ["(5, 2, 6)", "(batch, 6)", "2 axes"]),
    "BatchNorm one row": (
        lambda: mg.BatchNorm(6),
        (1, 6),
        ["batch of 1", "variance", "drop_last=True", "eval()"],
    ),
    "LayerNorm width": (lambda: mg.LayerNorm(6), (2, 5), ["(2, 5)", "(batch, ..., 6)"]),
    "LayerNorm image": (lambda: mg.LayerNorm(6), (5, 6, 3), ["(5, 6, 3)", "(batch, ..., 6)"]),
    "LayerNorm sample": (
        lambda: mg.LayerNorm(6),
        (6,),
        ["(6,)", "(batch, ..., 6)", "x[np.newaxis]"],
    ),
}


@pytest.mark.parametrize(
    ("make", "shape", "contents"), LAYER_INPUTS.values(), ids=LAYER_INPUTS.keys()
)
def test_input_of_layers_that_normalize(
    make: Callable[[], mg.Layer], shape: tuple[int, ...], contents: list[str]
) -> None:
    """Named alone and by its place in a model, in training as in eval mode.

    The state and a pending backward stay.
    """
    layer = make()
    fails(lambda: layer(np.ones(shape)), ShapeError, ValueError, repr(layer), *contents)
    model = mg.Sequential(mg.Activation("linear"), mg.Sequential(inner=layer))
    y = model(np.arange(12.0).reshape(2, 6))
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    fails(
        lambda: layer(np.ones(shape)),
        ShapeError,
        ValueError,
        f"layer '1.inner', {layer!r}",
        *contents,
    )
    if shape != (1, 6):
        fails(lambda: model.predict(np.ones(shape)), ShapeError, ValueError, repr(layer), *contents)
    assert before == {name: array.tobytes() for name, array in model.state_dict().items()}
    assert layer.training
    layer.backward(y)


def test_input_of_an_inner_layer() -> None:
    """Where the widths of two layers do not fit, the message names the second by its place in the
    outermost model.
    """
    model = mg.Sequential(
        mg.Dense(2, 3, rng=0), mg.Sequential(mg.Activation("relu"), mg.Dense(4, 1, rng=0))
    )
    fails(
        lambda: model(np.ones((5, 2))),
        ShapeError,
        ValueError,
        "layer '1.1', Dense(4, 1)",
        "(5, 3)",
        "(batch, 4)",
    )


REAL_KINDS = ["bool", "u1", "i1", "i2", "u4", "i8", "u8", "f2", "f4", "f8", "g", ">f4", ">i2"]


@sparse(
    pytest.mark.parametrize("kind", REAL_KINDS),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
)
def test_real_kinds_are_converted(kind: str, dtype: type[np.float32 | np.float64]) -> None:
    """Any real numeric kind is welcome, also as the gradient, and gives the bits of the same
    numbers as floats.
    """
    model = mg.Sequential(mg.Dense(2, 3, dtype=dtype, rng=0), mg.Activation("tanh"))
    x = np.array([[0, 1], [1, 1]])
    expected = model(x.astype(dtype))
    expected_below = model.backward(np.ones((2, 3), dtype), input_grad=True)
    assert expected_below is not None
    found = model(x.astype(kind))
    found_below = model.backward(np.ones((2, 3), kind), input_grad=True)
    assert found_below is not None
    assert (dtype, dtype) == (found.dtype.type, found_below.dtype.type)
    assert expected.tobytes() == found.tobytes() == model.predict(x.astype(kind)).tobytes()
    assert expected_below.tobytes() == found_below.tobytes()


def test_lists_are_converted() -> None:
    """A list of rows is a batch too."""
    layer: Any = mg.Dense(2, 3, rng=0)
    assert layer(np.ones((1, 2), np.float32)).tobytes() == layer([[1, 1]]).tobytes()


@pytest.mark.parametrize("size", [0, -1, 2.5, "all"])
def test_batch_size_of_predict(size: Any) -> None:
    """It is a whole number, 1 or more."""
    error: type[MinigradError] = RangeError if isinstance(size, int) else KindError
    builtin = ValueError if isinstance(size, int) else TypeError
    fails(
        lambda: small().predict(np.ones((2, 6)), batch_size=size),
        error,
        builtin,
        f"batch_size is {size!r}",
    )


def test_every_error_of_a_message_is_one_line_that_ends_without_a_stop() -> None:
    """Messages are phrases, as Python's are."""
    told = fails(lambda: mg.Dense(6, 4, rng=0)(np.ones((2, 5))), ShapeError, ValueError)
    assert not re.search(r"\.$", str(told))
