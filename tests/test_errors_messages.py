"""One test a message: bad input is told what came, what was expected, where, and what to do.

And nothing is half done.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import minigrad as mg
from minigrad.arrays import Array, described
from minigrad.errors import (
    AttachError,
    CallOrderError,
    KindError,
    LabelError,
    MinigradError,
    MissingGradientError,
    ModelError,
    RangeError,
    ShapeError,
    SharedMemoryError,
    StaleParametersError,
)


def fails(
    act: Callable[[], object], error: type[MinigradError], builtin: type[Exception], *contents: str
) -> MinigradError:
    """`act` raises exactly this error, which is the built-in one too, with a message that contains
    all of these.
    """
    with pytest.raises(MinigradError) as caught:
        act()
    assert error is type(caught.value)
    assert isinstance(caught.value, builtin)
    message = str(caught.value)
    assert [] == [content for content in contents if content not in message], message
    assert "\n" not in message
    assert "object at 0x" not in message
    return caught.value


def small() -> mg.Sequential:
    return mg.Sequential(mg.Dense(6, 4, rng=0), mg.Activation("relu"), mg.Dense(4, 3, rng=1))


def snapshot(model: mg.Layer) -> list[bytes]:
    return [array.tobytes() for _, p in model.parameters() for array in (p.value, p.grad)]


# -- inputs --------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: mg.BatchNorm(6),
        lambda: mg.BatchNorm(6).eval(),
        lambda: mg.LayerNorm(6),
        lambda: mg.Dropout(0.5),
        lambda: mg.Flatten(),
    ],
    ids=["BatchNorm", "BatchNorm in eval mode", "LayerNorm", "Dropout", "Flatten"],
)
@pytest.mark.parametrize("kind", NO_NUMBERS)
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", REAL_KINDS)
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


# -- targets -------------------------------------------------------------------------------------

TARGETS: dict[str, tuple[object, type[MinigradError], type[Exception], list[str]]] = {
    "out of range": (
        [0, 3, 3],
        LabelError,
        ValueError,
        ["label 3 of sample 1", "3 classes", "from 0 to 2", "2 of 3 labels"],
    ),
    "negative": (
        [0, 1, -1],
        LabelError,
        ValueError,
        ["label -1 of sample 2", "from 0 to 2", "1 of 3 labels"],
    ),
    "small integers": (
        np.array([0, 1, 200], np.uint8),
        LabelError,
        ValueError,
        ["label 200 of sample 2", "from 0 to 2"],
    ),
    "floats": (
        [0.0, 1.0, 2.0],
        LabelError,
        ValueError,
        ["float64", "integers from 0 to 2", "astype(np.int64)"],
    ),
    "booleans": ([True, False, True], LabelError, ValueError, ["bool", "integers from 0 to 2"]),
    "a column": (
        [[0], [1], [2]],
        ShapeError,
        ValueError,
        ["(3, 1)", "(3,)", "(3, 3)", "targets[:, 0]"],
    ),
    "do not sum to 1": (
        [[0.5, 0.5, 0], [0.5, 0.6, 0], [1, 0, 0]],
        LabelError,
        ValueError,
        ["row 1", "1.1", "sum to 1", "1 of 3 rows"],
    ),
    "negative probability": (
        [[1, 0, 0], [1, 0, 0], [1.5, -0.5, 0]],
        LabelError,
        ValueError,
        ["row 2", "-0.5", "0 or more"],
    ),
    "NaN": (np.full((3, 3), np.nan), LabelError, ValueError, ["row 0", "nan", "3 of 3 rows"]),
    "too few": ([0, 1], ShapeError, ValueError, ["(2,)", "2 targets for 3 samples"]),
    "too many rows": (
        np.full((4, 3), 1 / 3),
        ShapeError,
        ValueError,
        ["(4, 3)", "4 targets for 3 samples"],
    ),
    "another width": (np.full((3, 2), 1 / 2), ShapeError, ValueError, ["(3, 2)", "(3, 3)", "(3,)"]),
    "one label": (1, ShapeError, ValueError, ["()", "(3,)"]),
    "empty": ([], ShapeError, ValueError, ["(0,)", "0 targets for 3 samples"]),
    "text": (["cat", "dog", "cat"], KindError, TypeError, ["targets", "text", "encode"]),
    "complex": (np.ones(3, complex), KindError, TypeError, ["targets", "complex128"]),
}


@pytest.mark.parametrize(
    ("targets", "error", "builtin", "contents"), TARGETS.values(), ids=TARGETS.keys()
)
def test_targets(
    targets: Any, error: type[MinigradError], builtin: type[Exception], contents: list[str]
) -> None:
    """Bad targets say which sample is wrong and what is expected.

    Value and gradient stay those of the last forward.
    """
    loss, logits = mg.SoftmaxCrossEntropy(), np.eye(3)
    value = loss.forward(logits, [0, 1, 2])
    grad = loss.backward()
    fails(lambda: loss.forward(logits, targets), error, builtin, *contents)
    assert value == loss.value
    assert grad.tobytes() == loss.backward().tobytes()


@pytest.mark.parametrize("shape", [(3,), (3, 2, 1), (0, 2), (3, 0), ()])
def test_logits(shape: tuple[int, ...]) -> None:
    """Logits are rows of classes."""
    fails(
        lambda: mg.SoftmaxCrossEntropy().forward(np.ones(shape), [0, 0, 0]),
        ShapeError,
        ValueError,
        f"logits of shape {shape}",
        "(batch, classes)",
    )


def test_class_weights_for_other_classes() -> None:
    """One weight for each class."""
    loss = mg.SoftmaxCrossEntropy(class_weight=[1, 2])
    fails(
        lambda: loss.forward(np.eye(3), [0, 1, 2]),
        ShapeError,
        ValueError,
        "class_weight",
        "2 weights",
        "3 classes",
    )


def test_the_loss_before_forward() -> None:
    """A gradient needs a value first."""
    fails(
        mg.SoftmaxCrossEntropy().backward,
        CallOrderError,
        RuntimeError,
        "SoftmaxCrossEntropy",
        "before forward",
    )


LOSS_SETTINGS: dict[str, tuple[dict[str, Any], type[MinigradError], list[str]]] = {
    "smoothing above 1": (
        {"label_smoothing": 1.5},
        RangeError,
        ["label_smoothing", "1.5", "at most 1"],
    ),
    "smoothing below 0": (
        {"label_smoothing": -0.1},
        RangeError,
        ["label_smoothing", "-0.1", "at least 0"],
    ),
    "smoothing as text": ({"label_smoothing": "a"}, KindError, ["label_smoothing", "'a'"]),
    "negative weight": ({"class_weight": [1, -1]}, RangeError, ["class_weight", "0 or more"]),
    "NaN weight": ({"class_weight": [1, np.nan]}, RangeError, ["class_weight", "finite"]),
    "weights as text": ({"class_weight": ["a"]}, KindError, ["class_weight", "text"]),
    "reduction": (
        {"reduction": "median"},
        RangeError,
        ["reduction", "'median'", "'mean'", "'sum'"],
    ),
    "ignored float": ({"ignore_index": 1.5}, KindError, ["ignore_index", "1.5", "whole number"]),
}


@pytest.mark.parametrize(
    ("settings", "error", "contents"), LOSS_SETTINGS.values(), ids=LOSS_SETTINGS.keys()
)
def test_settings_of_the_loss(
    settings: dict[str, Any], error: type[MinigradError], contents: list[str]
) -> None:
    """A setting out of range or of a wrong kind is an error where it is given."""
    builtin = TypeError if error is KindError else ValueError
    fails(lambda: mg.SoftmaxCrossEntropy(**settings), error, builtin, *contents)


# -- data ----------------------------------------------------------------------------------------

DATA: dict[str, tuple[Callable[[], object], type[MinigradError], list[str]]] = {
    "lengths differ": (
        lambda: mg.Batches(np.ones((3, 2)), np.ones(4), 1),
        ShapeError,
        ["3 samples", "4 targets"],
    ),
    "no samples": (
        lambda: mg.Batches(np.ones((0, 2)), np.ones(0), 1),
        ShapeError,
        ["(0, 2)", "no samples"],
    ),
    "a number": (lambda: mg.Batches(1.0, 2.0, 1), ShapeError, ["()", "no samples"]),
    "text": (lambda: mg.Batches(["a"], [1], 1), KindError, ["x of Batches", "text"]),
    "complex targets": (
        lambda: mg.Batches([1.0], [1j], 1),
        KindError,
        ["y of Batches", "complex128"],
    ),
    "batch of 0": (lambda: mg.Batches([1.0], [1], 0), RangeError, ["batch_size is 0", "1 or more"]),
    "large batch": (
        lambda: mg.Batches([1.0, 2.0], [1, 1], 3),
        RangeError,
        ["batch_size is 3", "2 samples"],
    ),
    "half a batch": (
        lambda: mg.Batches([1.0], [1], 0.5),  # type: ignore[arg-type]
        KindError,
        ["batch_size is 0.5", "whole number"],
    ),
    "scale": (
        lambda: mg.Batches([1.0], [1], 1, scale=np.nan),
        RangeError,
        ["scale is nan", "finite"],
    ),
    "rng": (lambda: mg.Batches([1.0], [1], 1, rng="a"), KindError, ["rng is 'a'", "default_rng"]),  # type: ignore[arg-type]
    "old rng": (
        lambda: mg.Dense(1, 1, rng=np.random.RandomState(0)),  # type: ignore[arg-type]
        KindError,
        ["rng is a RandomState", "default_rng"],
    ),
    "negative seed": (lambda: mg.Dense(1, 1, rng=-1), RangeError, ["rng is -1", "0 or more"]),
    "other state": (
        lambda: mg.Batches([1.0], [1], 1).load_state_dict(
            mg.Batches([1.0, 2], [1, 1], 1, shuffle=False).state_dict() | {"order": [0, 1]}
        ),
        ModelError,
        ["2 samples", "there are 1"],
    ),
    "no state": (
        lambda: mg.Batches([1.0], [1], 1).load_state_dict({}),
        ModelError,
        ["no state of Batches", "rng"],
    ),
    "indices": (
        lambda: mg.Batches([1.0], [1], 1).indices,
        CallOrderError,
        ["no batch was given yet", "iterate"],
    ),
}


@pytest.mark.parametrize(("act", "error", "contents"), DATA.values(), ids=DATA.keys())
def test_data(act: Callable[[], object], error: type[MinigradError], contents: list[str]) -> None:
    """Data that cannot be batched says why."""
    builtin = {KindError: TypeError, CallOrderError: RuntimeError}.get(error, ValueError)
    fails(act, error, builtin, *contents)


# -- order of calls ------------------------------------------------------------------------------

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


# -- layers of one's own -------------------------------------------------------------------------


class Wrong(mg.Layer):
    """A layer that returns what it is told to."""

    def __init__(self, forward: Any = None, backward: Any = None) -> None:
        self.results = forward, backward

    def forward(self, x: Array) -> Array:
        return x.copy() if self.results[0] is None else self.results[0]

    def backward(self, grad: Array) -> Array:
        return grad.copy() if self.results[1] is None else self.results[1]


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


# -- models --------------------------------------------------------------------------------------


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
    "activation name": (lambda: mg.Activation("rellu"), ModelError, ["'rellu'", *ACTIVATIONS]),
    "activation kind": (lambda: mg.Activation(np.tanh), KindError, ["tanh", "ActivationFunction"]),  # type: ignore[arg-type]
    "no width": (lambda: mg.Dense(0, 3), RangeError, ["n_in is 0", "1 or more"]),
    "half a width": (lambda: mg.Dense(3, 1.5), KindError, ["n_out is 1.5", "whole number"]),  # type: ignore[arg-type]
    "init name": (
        lambda: mg.Dense(1, 1, init="he"),
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


STATES: dict[str, tuple[Callable[[dict[str, Any]], object], type[MinigradError], list[str]]] = {
    "missing": (lambda state: state.pop("0.bias"), ModelError, ["'0.bias' is missing"]),
    "unknown": (lambda state: state.update(other=1), ModelError, ["'other' is unknown"]),
    "shape": (
        lambda state: state.update({"2.bias": np.ones(4)}),
        ModelError,
        ["'2.bias'", "(4,)", "(3,)"],
    ),
    "several": (
        lambda state: (state.pop("0.bias"), state.update({"2.bias": 1.0})),
        ModelError,
        ["'0.bias' is missing", "'2.bias' has shape ()"],
    ),
    "text": (
        lambda state: state.update({"2.bias": ["a", "b", "c"]}),
        KindError,
        ["'2.bias'", "text"],
    ),
}


@pytest.mark.parametrize(("change", "error", "contents"), STATES.values(), ids=STATES.keys())
def test_a_state_that_does_not_fit(
    change: Callable[[dict[str, Any]], object], error: type[MinigradError], contents: list[str]
) -> None:
    """Every difference is listed, and the model is unchanged."""
    model = small()
    before, state = snapshot(model), {name: array + 1 for name, array in model.state_dict().items()}
    change(state)
    fails(
        lambda: model.load_state_dict(state),
        error,
        TypeError if error is KindError else ValueError,
        *contents,
    )
    assert before == snapshot(model)


BUFFERS: dict[str, tuple[object, type[MinigradError], list[str]]] = {
    "shape": (np.ones(5), ModelError, ["'1.running_var' has shape (5,), expected (4,)"]),
    "a number": (1.0, ModelError, ["'1.running_var' has shape ()"]),
    "text": (["a", "b", "c", "d"], KindError, ["'1.running_var'", "text"]),
    "complex": (np.ones(4, complex), KindError, ["'1.running_var'", "complex128"]),
}


@pytest.mark.parametrize(("array", "error", "contents"), BUFFERS.values(), ids=BUFFERS.keys())
def test_running_statistics_that_do_not_fit(
    array: object, error: type[MinigradError], contents: list[str]
) -> None:
    """State that is not learnt is checked as parameters are, before anything is written."""
    model = mg.Sequential(mg.Dense(6, 4, rng=0), mg.BatchNorm(4))
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    state: dict[str, Any] = {name: array + 1 for name, array in model.state_dict().items()}
    state["1.running_var"] = array
    fails(
        lambda: model.load_state_dict(state),
        error,
        TypeError if error is KindError else ValueError,
        *contents,
    )
    assert before == {name: array.tobytes() for name, array in model.state_dict().items()}


def test_an_optimizer_state_that_does_not_fit() -> None:
    """The state of other parameters, or of another shape, is refused whole."""
    model, other = small(), mg.Sequential(mg.Dense(6, 4, rng=0))
    optimizer, theirs = mg.SGD(model, lr=0.1, momentum=0.9), mg.SGD(other, lr=0.1, momentum=0.9)
    for net, sgd in ((model, optimizer), (other, theirs)):
        net.backward(net(np.ones((2, 6))))
        sgd.step()
    before = optimizer.state_dict()
    fails(
        lambda: optimizer.load_state_dict(theirs.state_dict()),
        ModelError,
        ValueError,
        "'velocity'",
        "2.weight",
    )
    fails(
        lambda: optimizer.load_state_dict({}),
        ModelError,
        ValueError,
        "no state of an optimizer",
        "step_count",
    )
    wrong = copy.deepcopy(before)
    wrong["state"]["velocity"]["2.bias"] = np.ones(4)
    fails(
        lambda: optimizer.load_state_dict(wrong | {"step_count": 9}),
        ShapeError,
        ValueError,
        "2.bias",
        "(4,)",
        "(3,)",
    )
    assert 1 == optimizer.step_count
    for name, array in optimizer.state_dict()["state"]["velocity"].items():
        assert np.array_equal(before["state"]["velocity"][name], array)


# -- compare -------------------------------------------------------------------------------------


def test_compare_of_one_live_array_with_itself() -> None:
    """The trap of the story: what was kept from before is the live array."""
    weight = mg.Dense(4, 3, rng=0).weight
    for before, after in (
        (weight.value, weight.value),
        (weight.value[:], weight.value),
        (weight.value[::-1], weight.value),
    ):
        fails(
            lambda before=before, after=after: mg.compare(before, after),  # type: ignore[misc]
            SharedMemoryError,
            ValueError,
            "same live array",
            "keep a copy from before",
            ".copy()",
        )


COMPARISONS: dict[str, tuple[Callable[[], object], type[MinigradError], list[str]]] = {
    "shapes": (lambda: mg.compare(np.ones(3), np.zeros(4)), ShapeError, ["(3,)", "(4,)"]),
    "text": (lambda: mg.compare(["a"], ["b"]), KindError, ["before", "text"]),
    "inputs": (
        lambda: mg.compare(np.ones((3, 2)), np.zeros((3, 2)), inputs=np.ones((5, 4))),
        ShapeError,
        ["4 features", "(3, 2)", "no axis"],
    ),
    "inputs of one axis": (
        lambda: mg.compare(np.ones((3, 2)), np.zeros((3, 2)), inputs=np.ones(3)),
        ShapeError,
        ["inputs", "(3,)", "(n, features)"],
    ),
    "names": (
        lambda: mg.compare(np.ones((3, 2)), np.zeros((3, 2)), names=["a", "b", "c"]),
        ShapeError,
        ["3 names", "(3, 2)", "each axis"],
    ),
}


@pytest.mark.parametrize(("act", "error", "contents"), COMPARISONS.values(), ids=COMPARISONS.keys())
def test_compare(
    act: Callable[[], object], error: type[MinigradError], contents: list[str]
) -> None:
    """Arrays that cannot be compared say why."""
    fails(act, error, TypeError if error is KindError else ValueError, *contents)


# -- rates and other numbers ---------------------------------------------------------------------

BAD_RATES: dict[str, tuple[object, type[MinigradError]]] = {
    "negative": (-0.1, RangeError),
    "zero": (0, RangeError),
    "minus zero": (-0.0, RangeError),
    "NaN": (float("nan"), RangeError),
    "infinite": (float("inf"), RangeError),
    "far too large": (10**400, RangeError),
    "text": ("0.1", KindError),
    "none": (None, KindError),
    "boolean": (True, KindError),
    "complex": (0.1 + 0j, KindError),
    "NumPy's complex": (np.complex64(0.1), KindError),
    "list": ([0.1], KindError),
    "array": (np.array([0.1, 0.2]), KindError),
    "array of one": (np.array([0.1]), KindError),
}


@pytest.mark.parametrize(("lr", "error"), BAD_RATES.values(), ids=BAD_RATES.keys())
def test_rates(lr: Any, error: type[MinigradError]) -> None:
    """A rate is a finite number above 0, when it is given and when it is assigned later."""
    builtin = TypeError if error is KindError else ValueError
    shown = "lr is" if isinstance(lr, int | np.generic) else f"lr is {described(lr)}"
    fails(lambda: mg.SGD(small(), lr=lr), error, builtin, shown, "a finite number", "above 0")
    optimizer = mg.SGD(small(), lr=0.25)
    fails(lambda: setattr(optimizer, "lr", lr), error, builtin, shown)
    assert 0.25 == optimizer.lr


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.float16, np.array, np.int64, int])
def test_numbers_of_other_types_are_rates(kind: Callable[[int], Any]) -> None:
    """NumPy's numbers and whole numbers are as good as Python's floats."""
    optimizer = mg.SGD(small(), lr=kind(2))
    assert (2.0, float) == (optimizer.lr, type(optimizer.lr))


@pytest.mark.parametrize("rate", [-0.1, float("nan"), float("inf"), "a", None], ids=str)
def test_rates_of_a_schedule(rate: Any) -> None:
    """A schedule that gives no rate is named with its step.

    The step is not made, and may be repeated.
    """
    model = small()
    optimizer = mg.SGD(model, lr=lambda step: 0.1 if step == 0 else rate, momentum=0.9)
    for _ in range(2):
        model.backward(model(np.ones((2, 6))))
        if optimizer.step_count == 0:
            optimizer.step()
    before = snapshot(model)
    error: type[MinigradError] = RangeError if isinstance(rate, float) else KindError
    builtin = ValueError if isinstance(rate, float) else TypeError
    fails(optimizer.step, error, builtin, f"lr(1) is {rate!r}", "at least 0")
    assert before == snapshot(model)
    assert 1 == optimizer.step_count
    optimizer.lr = 0.1
    optimizer.step()


SETTINGS: dict[str, tuple[dict[str, Any], type[MinigradError], list[str]]] = {
    "momentum 1": ({"momentum": 1}, RangeError, ["momentum is 1", "below 1"]),
    "momentum below 0": ({"momentum": -0.5}, RangeError, ["momentum is -0.5", "at least 0"]),
    "momentum NaN": ({"momentum": np.nan}, RangeError, ["momentum is nan"]),
    "momentum text": ({"momentum": "0.9"}, KindError, ["momentum is '0.9'"]),
    "Nesterov alone": ({"nesterov": True}, RangeError, ["nesterov=True", "momentum above 0"]),
    "decay": ({"weight_decay": -1}, RangeError, ["weight_decay is -1", "at least 0"]),
    "decay by name": (
        {"weight_decay": {"*.bias": -1}},
        RangeError,
        ["weight_decay['*.bias'] is -1"],
    ),
    "decay text": ({"weight_decay": "l2"}, KindError, ["weight_decay is 'l2'"]),
    "norm 0": ({"max_grad_norm": 0}, RangeError, ["max_grad_norm is 0", "above 0"]),
    "norm NaN": ({"max_grad_norm": np.nan}, RangeError, ["max_grad_norm is nan"]),
}


@pytest.mark.parametrize(("settings", "error", "contents"), SETTINGS.values(), ids=SETTINGS.keys())
def test_settings_of_sgd(
    settings: dict[str, Any], error: type[MinigradError], contents: list[str]
) -> None:
    """Each setting has its range."""
    builtin = TypeError if error is KindError else ValueError
    fails(lambda: mg.SGD(small(), 0.1, **settings), error, builtin, *contents)


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


# -- hooks ---------------------------------------------------------------------------------------


class OnStep(mg.Hook):
    def on_step(self, event: mg.Step) -> None:
        raise AssertionError


class OnForward(mg.Hook):
    def on_forward(self, event: mg.Forward) -> None:
        raise AssertionError


class OnEpoch(mg.Hook):
    def on_epoch(self, event: mg.Epoch) -> None:
        raise AssertionError


HOOKS: dict[str, tuple[Callable[[], object], type[MinigradError], list[str]]] = {
    "on_step at a model": (
        lambda: small().attach(OnStep()),
        AttachError,
        [
            "Sequential.attach calls on_forward and on_backward",
            "OnStep has only on_step",
            "never be called",
        ],
    ),
    "on_forward at an optimizer": (
        lambda: mg.SGD(small(), 0.1).attach(OnForward()),
        AttachError,
        ["SGD.attach calls before_step, on_step and flush", "OnForward has only on_forward"],
    ),
    "on_epoch at an optimizer": (
        lambda: mg.SGD(small(), 0.1).attach(OnEpoch()),
        AttachError,
        ["OnEpoch has only on_epoch"],
    ),
    "nothing": (lambda: small().attach(mg.Hook()), AttachError, ["overrides no method"]),
    "a layer without Sequential": (
        lambda: mg.Dense(2, 2, rng=0).attach(OnForward()),
        AttachError,
        ["Dense.attach", "no Sequential", "OnForward would never be called"],
    ),
    "a function": (
        lambda: small().attach(print),  # type: ignore[arg-type]
        KindError,
        ["print", "subclass of minigrad.Hook"],
    ),
    "a class": (lambda: small().attach(OnForward), KindError, ["OnForward", "instance"]),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("act", "error", "contents"), HOOKS.values(), ids=HOOKS.keys())
def test_hooks(act: Callable[[], object], error: type[MinigradError], contents: list[str]) -> None:
    """A hook that would never be called is refused, and told why."""
    fails(act, error, TypeError, *contents)


def test_every_error_of_a_message_is_one_line_that_ends_without_a_stop() -> None:
    """Messages are phrases, as Python's are."""
    told = fails(lambda: mg.Dense(6, 4, rng=0)(np.ones((2, 5))), ShapeError, ValueError)
    assert not re.search(r"\.$", str(told))
