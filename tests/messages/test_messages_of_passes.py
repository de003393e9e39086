"""Passes out of order, and layers of one's own that return something wrong, are named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from message_support import Wrong, fails, small, snapshot

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import (
    CallOrderError,
    KindError,
    MinigradError,
    MissingGradientError,
    ShapeError,
)

CHECKED: dict[str, Callable[[], mg.Layer]] = {
    "Dense": lambda: mg.Dense(6, 3, rng=0),
    "Activation": lambda: mg.Activation("tanh"),
    "Dropout": lambda: mg.Dropout(0.5, rng=0),
    "Dropout in eval mode": lambda: mg.Dropout(0.5, rng=0).eval(),
    "BatchNorm": lambda: mg.BatchNorm(6),
    "BatchNorm in eval mode": lambda: mg.BatchNorm(6).eval(),
    "LayerNorm": lambda: mg.LayerNorm(6),
    "Flatten": lambda: mg.Flatten(),
    "Sequential": small,
}
checked = pytest.mark.parametrize("make", CHECKED.values(), ids=CHECKED.keys())


@checked
def test_backward_before_forward(make: Callable[[], mg.Layer]) -> None:
    """Backward needs a forward."""
    layer = make()
    before = snapshot(layer)
    fails(
        lambda: layer.backward(np.ones((2, 3))),
        CallOrderError,
        RuntimeError,
        "before forward",
        "call forward(x) first",
    )
    assert before == snapshot(layer)


@checked
def test_backward_twice(make: Callable[[], mg.Layer]) -> None:
    """Each forward has one backward; the second changes no gradient and counts as none."""
    layer = make()
    grad = layer(np.ones((2, 6)))
    layer.backward(grad)
    before = snapshot(layer)
    arrivals = [parameter.arrival for _, parameter in layer.parameters()]
    fails(
        lambda: layer.backward(grad * 2),
        CallOrderError,
        RuntimeError,
        "a second time",
        "forward(x) first",
    )
    assert before == snapshot(layer)
    assert arrivals == [parameter.arrival for _, parameter in layer.parameters()]


@checked
def test_backward_with_another_batch(make: Callable[[], mg.Layer]) -> None:
    """A gradient of another shape is refused; the right one still works."""
    layer = make()
    output = layer(np.ones((2, 6)))
    other = np.ones((3, *output.shape[1:]))
    fails(
        lambda: layer.backward(other),
        ShapeError,
        ValueError,
        str(other.shape),
        str(output.shape),
        "broadcast",
    )
    layer.backward(output)


@checked
@pytest.mark.parametrize(
    ("grad", "content"),
    [(1j, "complex128"), ("a", "text"), (None, "object")],
    ids=["complex", "text", "none"],
)
def test_backward_with_no_numbers(make: Callable[[], mg.Layer], grad: Any, content: str) -> None:
    """A gradient that holds no real numbers is refused; the right one still works."""
    layer = make()
    output = layer(np.ones((2, 6)))
    fails(
        lambda: layer.backward(np.full(output.shape, grad)),
        KindError,
        TypeError,
        "gradient",
        content,
    )
    layer.backward(output)


def test_the_model_names_itself() -> None:
    """The outermost model is called so, and an inner layer by its name."""
    model = small()
    fails(lambda: model.backward(np.ones((2, 3))), CallOrderError, RuntimeError, "the model")
    fails(
        lambda: model[2].backward(np.ones((2, 3))),
        CallOrderError,
        RuntimeError,
        "layer '2', Dense(4, 3)",
    )


def test_step_without_a_new_gradient() -> None:
    """A step needs a backward since the last one."""
    model = small()
    optimizer = mg.SGD(model, lr=0.1)
    before = snapshot(model)
    fails(
        optimizer.step,
        MissingGradientError,
        RuntimeError,
        "new gradient",
        "call model.backward(grad)",
        "weight.grad = ",
    )
    assert before == snapshot(model)
    assert 0 == optimizer.step_count


@pytest.mark.parametrize(
    ("result", "error", "contents"),
    [
        (np.ones((3, 4), np.float32), ShapeError, ["(3, 4)", "2 rows"]),
        (np.float32(1), KindError, ["float32", "2 rows"]),
        ([[1.0], [1.0]], KindError, ["list", "an array of 2 rows"]),
    ],
    ids=["rows", "number", "list"],
)
def test_a_custom_forward_that_returns_something_wrong(
    result: Any, error: type[MinigradError], contents: list[str]
) -> None:
    """The message names the layer by place and class, what it returned and what was expected."""
    model = mg.Sequential(mg.Dense(6, 4, rng=0), Wrong(forward=result), mg.Dense(4, 3, rng=1))
    builtin = TypeError if error is KindError else ValueError
    fails(
        lambda: model(np.ones((2, 6))),
        error,
        builtin,
        "layer '1', Wrong",
        "forward returned",
        *contents,
    )


def test_a_custom_forward_of_a_wrong_width() -> None:
    """The layer after it says what it got."""
    model = mg.Sequential(Wrong(forward=np.ones((2, 5))), mg.Dense(4, 3, rng=1))
    fails(
        lambda: model(np.ones((2, 4))),
        ShapeError,
        ValueError,
        "layer '1', Dense(4, 3)",
        "(2, 5)",
        "(batch, 4)",
    )


@pytest.mark.parametrize(
    ("result", "error", "contents"),
    [
        (np.ones((2, 5), np.float32), ShapeError, ["(2, 5)", "(2, 4)"]),
        (np.ones(4, np.float32), ShapeError, ["(4,)", "(2, 4)"]),
        (1.0, KindError, ["float", "(2, 4)"]),
    ],
    ids=["width", "axis", "number"],
)
def test_a_custom_backward_that_returns_something_wrong(
    result: Any, error: type[MinigradError], contents: list[str]
) -> None:
    """The same for backward; and no step is made with half of the gradients."""
    model = mg.Sequential(mg.Dense(6, 4, rng=0), Wrong(backward=result), mg.Dense(4, 3, rng=1))
    builtin = TypeError if error is KindError else ValueError
    output = model(np.ones((2, 6)))
    fails(
        lambda: model.backward(output),
        error,
        builtin,
        "layer '1', Wrong",
        "backward returned",
        *contents,
    )


def test_a_custom_backward_that_returns_nothing() -> None:
    """A forgotten `return` is told so."""

    class Forgot(mg.Layer):
        def forward(self, x: Array) -> Array:
            return x * 2

        def backward(self, grad: Array) -> Array | None:
            return None

    model = mg.Sequential(mg.Dense(6, 4, rng=0), Forgot())
    output = model(np.ones((2, 6)))
    fails(
        lambda: model.backward(output),
        KindError,
        TypeError,
        "layer '1', Forgot",
        "NoneType",
        "(2, 4)",
    )


def test_a_layer_without_backward() -> None:
    """There is no autograd, and the message says so when the layer is made."""

    class Half(mg.Layer):
        def forward(self, x: Array) -> Array:
            return x

    class Nothing(mg.Layer):
        pass

    fails(Half, KindError, TypeError, "Half lacks backward", "backward(grad)", "no autograd")
    fails(Nothing, KindError, TypeError, "Nothing lacks backward and forward")
