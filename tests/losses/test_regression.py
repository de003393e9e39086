"""`MeanSquaredError`, `MeanAbsoluteError` and `Huber` against PyTorch's numbers, numbers by hand
and central differences.

The definitions: https://docs.pytorch.org/docs/stable/nn.html#loss-functions (MSELoss, L1Loss,
HuberLoss)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from loss_support import FloatType, central_differences, dtypes, fails, fails_and_changes_nothing

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, KindError, RangeError, ShapeError

Reduction = Literal["mean", "sum"]
Make = Callable[[Reduction], mg.Loss]
Entry = Callable[[float], float]

LOSSES: dict[str, Make] = {
    "MeanSquaredError": lambda reduction: mg.MeanSquaredError(reduction=reduction),
    "MeanAbsoluteError": lambda reduction: mg.MeanAbsoluteError(reduction=reduction),
    "Huber": lambda reduction: mg.Huber(reduction=reduction),
    "Huber 0.4": lambda reduction: mg.Huber(delta=0.4, reduction=reduction),
    "Huber 2.5": lambda reduction: mg.Huber(delta=2.5, reduction=reduction),
    "Huber 1e6": lambda reduction: mg.Huber(delta=1e6, reduction=reduction),
}


def huber(delta: float) -> Entry:
    return lambda d: d * d / 2 if abs(d) <= delta else delta * (abs(d) - delta / 2)


ENTRIES: dict[str, Entry] = {  # the loss of a difference, by the definition
    "MeanSquaredError": lambda d: d * d,
    "MeanAbsoluteError": abs,
    "Huber": huber(1.0),
    "Huber 0.4": huber(0.4),
    "Huber 2.5": huber(2.5),
    "Huber 1e6": huber(1e6),
}

names = pytest.mark.parametrize("name", LOSSES)
reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])
kinds = pytest.mark.parametrize("kind", [mg.MeanSquaredError, mg.MeanAbsoluteError, mg.Huber])

OUTPUTS = [[1.5, -0.5, 0.25], [-2.0, 0.75, 12.0], [0.0, -30.0, 2.5], [3.5, -3.0, 0.5]]
TARGETS = [[1.0, 0.0, 2.25], [-2.5, 0.75, 2.0], [0.5, -3.0, 2.5], [3.0, -2.0, -0.5]]

# PyTorch 2.13.0 in float64 for OUTPUTS and TARGETS: the mean, the sum, and the gradient of the sum.
PYTORCHS_NUMBERS = {
    "MeanSquaredError": (69.6875, 836.25, [[1, -1, -4], [1, 0, 20], [-1, -54, 0], [1, -2, 2]]),
    "MeanAbsoluteError": (3.625, 43.5, [[1, -1, -1], [1, 0, 1], [-1, -1, 0], [1, -1, 1]]),
    "Huber": (
        3.2604166666666665,
        39.125,
        [[0.5, -0.5, -1], [0.5, 0, 1], [-0.5, -1, 0], [0.5, -1, 1]],
    ),
    "Huber 0.4": (
        1.3833333333333335,
        16.6,
        [[0.4, -0.4, -0.4], [0.4, 0, 0.4], [-0.4, -0.4, 0], [0.4, -0.4, 0.4]],
    ),
    "Huber 2.5": (
        7.489583333333333,
        89.875,
        [[0.5, -0.5, -2], [0.5, 0, 2.5], [-0.5, -2.5, 0], [0.5, -1, 1]],
    ),
}


def by_loops(name: str, outputs: Array, targets: Array, reduction: str) -> float:
    """The definition, number by number."""
    terms = [
        ENTRIES[name](float(outputs[at]) - float(targets[at])) for at in np.ndindex(outputs.shape)
    ]
    return math.fsum(terms) / (len(terms) if reduction == "mean" else 1)


def data(shape: tuple[int, ...], dtype: FloatType = np.float64) -> tuple[Array, Array]:
    rng = np.random.default_rng(11)
    return rng.normal(scale=3, size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)


# -- values and gradients ------------------------------------------------------------------------


@sparse(pytest.mark.parametrize("name", PYTORCHS_NUMBERS), reductions, dtypes, full=2)
def test_pytorchs_numbers(name: str, reduction: Reduction, dtype: FloatType) -> None:
    """Value and gradient are those that PyTorch printed."""
    mean, total, slopes = PYTORCHS_NUMBERS[name]
    loss = LOSSES[name](reduction)
    rtol = 1e-13 if dtype is np.float64 else 1e-6
    value = loss.forward(np.array(OUTPUTS, dtype), TARGETS)
    assert math.isclose(total if reduction == "sum" else mean, value, rel_tol=rtol)
    grad = loss.backward()
    np.testing.assert_allclose(
        grad, np.array(slopes) / (1 if reduction == "sum" else 12), rtol=rtol
    )
    assert dtype is grad.dtype.type


@sparse(
    names,
    pytest.mark.parametrize("shape", [(1, 1), (5,), (7, 3), (2, 5, 3)]),
    reductions,
    dtypes,
    full=2,
)
def test_values_are_those_of_the_definition(
    name: str, reduction: Reduction, dtype: FloatType, shape: tuple[int, ...]
) -> None:
    """The value for every loss, reduction and shape."""
    outputs, targets = data(shape, dtype)
    expected = by_loops(name, outputs, targets, reduction)
    found = LOSSES[name](reduction).forward(outputs, targets)
    assert math.isclose(expected, found, rel_tol=1e-13 if dtype is np.float64 else 1e-5)


@sparse(
    names, pytest.mark.parametrize("shape", [(1, 1), (5,), (7, 3), (2, 5, 3)]), reductions, full=2
)
def test_gradients_are_the_derivatives(
    name: str, reduction: Reduction, shape: tuple[int, ...]
) -> None:
    """The gradient agrees with central differences of the loss's own value and of the second
    implementation's.
    """
    outputs, targets = data(shape)
    loss = LOSSES[name](reduction)
    loss.forward(outputs, targets)
    found = loss.backward()
    assert outputs.shape == found.shape
    own = central_differences(lambda y: loss.forward(y, targets), outputs)
    np.testing.assert_allclose(found, own, rtol=1e-6, atol=1e-8)
    other = central_differences(lambda y: by_loops(name, y, targets, reduction), outputs)
    np.testing.assert_allclose(found, other, rtol=1e-6, atol=1e-8)
    loss.forward(outputs.astype(np.float32), targets.astype(np.float32))
    np.testing.assert_allclose(loss.backward(), other, rtol=1e-4, atol=1e-6)


@dtypes
@reductions
@pytest.mark.parametrize("size", [1e-15, 1e6, -1e6])
def test_tiny_and_extreme_outputs(size: float, reduction: Reduction, dtype: FloatType) -> None:
    """Outputs of a million, and differences next to nothing: finite and right, by hand, in float32
    too.
    """
    outputs, targets = np.full((2, 3), size, dtype), np.zeros((2, 3))
    times, share = (1, 1 / 6) if reduction == "mean" else (6, 1)
    far = abs(size) > 1
    expected = {
        "MeanSquaredError": (size**2, 2 * size),
        "MeanAbsoluteError": (abs(size), math.copysign(1, size)),
        "Huber": (abs(size) - 0.5 if far else size**2 / 2, math.copysign(1, size) if far else size),
        "Huber 2.5": (
            2.5 * (abs(size) - 1.25) if far else size**2 / 2,
            math.copysign(2.5, size) if far else size,
        ),
    }
    rtol = 1e-13 if dtype is np.float64 else 1e-6
    for name, (value, slope) in expected.items():
        loss = LOSSES[name](reduction)
        assert math.isclose(times * value, loss.forward(outputs, targets), rel_tol=rtol), name
        np.testing.assert_allclose(
            loss.backward(), np.full((2, 3), slope * share), rtol=rtol, err_msg=name
        )


@dtypes
def test_the_slope_at_0(dtype: FloatType) -> None:
    """Where output and target agree every loss is 0 and has slope 0, also the absolute error, and
    also for -0.0.
    """
    for make in LOSSES.values():
        loss = make("sum")
        assert 0 == loss.forward(np.array([[2.5, 0.0, -0.0]], dtype), [[2.5, -0.0, 0.0]])
        assert [[0, 0, 0]] == loss.backward().tolist()


@pytest.mark.parametrize(
    ("difference", "value", "slope"),
    [
        (0.0, 0, 0),
        (0.5, 0.125, 0.5),
        (1, 0.5, 1),
        (-1, 0.5, -1),
        (1.5, 1, 1),
        (-3, 2.5, -1),
        (100, 99.5, 1),
    ],
)
def test_huber_by_hand(difference: float, value: float, slope: float) -> None:
    """Half the square up to delta = 1, a straight line of slope 1 from there on; both meet at 1."""
    loss = mg.Huber()
    assert value == loss.forward(np.array([[difference]]), [[0]])
    assert [[slope]] == loss.backward().tolist()
    assert value == loss.forward(np.array([[7.0]]), [[7.0 - difference]])


def test_huber_between_the_others() -> None:
    """With a delta above all differences Huber is half the squared error.

    With a small one, delta times the absolute.
    """
    outputs, targets = data((9, 4))
    squared, absolute = mg.MeanSquaredError(), mg.MeanAbsoluteError()
    wide, narrow = mg.Huber(delta=1e3), mg.Huber(delta=1e-9)
    assert math.isclose(squared(outputs, targets) / 2, wide(outputs, targets), rel_tol=1e-13)
    assert math.isclose(absolute(outputs, targets) * 1e-9, narrow(outputs, targets), rel_tol=1e-6)
    np.testing.assert_allclose(wide.backward(), squared.backward() / 2, rtol=1e-13)
    np.testing.assert_allclose(narrow.backward(), absolute.backward() * 1e-9, rtol=1e-13)


@names
def test_nan_is_not_hidden(name: str) -> None:
    """NaN among the outputs gives NaN as the value, in silence, and in the gradient where it
    stands.
    """
    loss = LOSSES[name]("mean")
    assert math.isnan(loss.forward(np.array([[np.nan, 1.0]]), [[0.0, 0.0]]))
    assert [[True, False]] == np.isnan(loss.backward()).tolist()
    assert loss.backward()[0, 1] > 0


@names
def test_the_mean_is_over_all_entries(name: str) -> None:
    """The mean over (n, k) divides by n k, not by n: the sum is n k times as large, in value and
    gradient.
    """
    outputs, targets = data((5, 3))
    mean, total = LOSSES[name]("mean"), LOSSES[name]("sum")
    assert math.isclose(
        15 * mean.forward(outputs, targets), total.forward(outputs, targets), rel_tol=1e-13
    )
    np.testing.assert_allclose(15 * mean.backward(), total.backward(), rtol=1e-13)


def test_a_large_batch_in_float32() -> None:
    """A float32 batch of a million entries is summed so that its mean keeps six digits."""
    outputs = np.full((1_000_000, 1), 0.1, np.float32)
    expected = float(np.float32(0.1))
    found = mg.MeanAbsoluteError().forward(outputs, np.zeros((1_000_000, 1), np.float32))
    assert math.isclose(expected, found, rel_tol=1e-6)


# -- shapes and kinds ----------------------------------------------------------------------------


@kinds
@pytest.mark.parametrize(
    "target", [np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 4]], np.uint8), [[1, 2], [3, 4]]]
)
def test_targets_of_integers(kind: Callable[[], mg.Loss], target: Any) -> None:
    """Integers as targets are numbers too: nothing wraps around below 0."""
    outputs = np.array([[0.25, 2.0], [5.0, -1.0]])
    assert kind()(outputs, np.array([[1.0, 2.0], [3.0, 4.0]])) == kind()(outputs, target)


@kinds
def test_large_integers_of_both(kind: Callable[[], mg.Loss]) -> None:
    """Outputs that are integers are converted to floats before anything is subtracted."""
    outputs: Any = np.array([[1, 2]], np.uint8)
    loss = kind()
    assert loss(np.array([[1.0, 2.0]], np.float32), [[3, 3]]) == loss(
        outputs, np.array([[3, 3]], np.uint8)
    )


WRONG_TARGETS: dict[str, tuple[Any, type[mg.MinigradError], list[str]]] = {
    "a vector against a column": (
        np.zeros(4),
        ShapeError,
        ["(4, 1)", "(4,)", "broadcast", "targets[..., np.newaxis]"],
    ),
    "a row against a column": (np.zeros((1, 4)), ShapeError, ["(4, 1)", "(1, 4)", "broadcast"]),
    "too few": (np.zeros((3, 1)), ShapeError, ["(4, 1)", "(3, 1)", "exactly the outputs' shape"]),
    "one": (np.zeros((1, 1)), ShapeError, ["(4, 1)", "(1, 1)", "exactly the outputs' shape"]),
    "too wide": (np.zeros((4, 2)), ShapeError, ["(4, 1)", "(4, 2)", "exactly the outputs' shape"]),
    "a number": (0.5, ShapeError, ["(4, 1)", "()", "broadcast"]),
    "nothing": ([], ShapeError, ["(4, 1)", "(0,)"]),
    "more axes": (np.zeros((4, 1, 1)), ShapeError, ["(4, 1)", "(4, 1, 1)", "targets[..., 0]"]),
    "text": ([["a"]] * 4, KindError, ["targets", "text"]),
    "complex": (np.zeros((4, 1), complex), KindError, ["targets", "complex128"]),
    "ragged": ([[1], [1, 2], [1], [1]], KindError, ["targets", "ragged"]),
}


@pytest.mark.parametrize(
    ("targets", "error", "contents"), WRONG_TARGETS.values(), ids=WRONG_TARGETS.keys()
)
@kinds
def test_wrong_targets(
    kind: Callable[[], mg.Loss], targets: Any, error: type[mg.MinigradError], contents: list[str]
) -> None:
    """Bad targets say what came, where and what is expected.

    Value and gradient stay those of the last forward.
    """
    loss, outputs = kind(), np.array([[0.5], [1.0], [-1.0], [2.0]])
    loss.forward(outputs, [[0], [1], [0], [1]])
    name = type(loss).__name__
    fails_and_changes_nothing(loss, lambda: loss.forward(-outputs, targets), error, name, *contents)


@kinds
def test_a_column_against_a_vector(kind: Callable[[], mg.Loss]) -> None:
    """The other way round, outputs (n,) with targets (n, 1), is an error too, and says what to
    do.
    """
    loss = kind()
    fails(
        lambda: loss.forward(np.zeros(4), np.zeros((4, 1))),
        ShapeError,
        type(loss).__name__,
        "outputs of shape (4,)",
        "targets of shape (4, 1)",
        "broadcast",
        "pass targets[..., 0]",
    )


@kinds
def test_labels_against_rows(kind: Callable[[], mg.Loss]) -> None:
    """Labels of classes are not the targets of many outputs: the error names the loss that takes
    them.
    """
    contents = ["(4, 3)", "(4,)", "SoftmaxCrossEntropy", "np.eye(3)[targets]"]
    fails(lambda: kind().forward(np.zeros((4, 3)), [0, 2, 1, 1]), ShapeError, *contents)


@kinds
def test_floats_against_rows(kind: Callable[[], mg.Loss]) -> None:
    """A vector of numbers for several outputs a sample does not fit either.

    It is not called labels.
    """
    with pytest.raises(
        ShapeError, match=r"outputs of shape \(4, 3\) and targets of shape \(4,\)"
    ) as caught:
        kind().forward(np.zeros((4, 3)), [0.5, 2, 1, 1])
    assert "label" not in str(caught.value)


@kinds
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_no_outputs(kind: Callable[[], mg.Loss], shape: tuple[int, ...]) -> None:
    """A loss over nothing is an error, not NaN."""
    loss = kind()
    contents = [type(loss).__name__, f"outputs of shape {shape}", "at least one row"]
    fails(lambda: loss.forward(np.zeros(shape), np.zeros(shape)), ShapeError, *contents)


@kinds
@pytest.mark.parametrize(
    ("outputs", "content"), [(np.zeros((2, 2), complex), "complex128"), ([["a"]], "text")]
)
def test_outputs_that_are_no_numbers(
    kind: Callable[[], mg.Loss], outputs: Any, content: str
) -> None:
    """Outputs that are no real numbers are named as the outputs."""
    loss = kind()
    fails(lambda: loss.forward(outputs, [[1]]), KindError, "outputs", type(loss).__name__, content)


# -- settings ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [mg.MeanSquaredError, mg.MeanAbsoluteError, mg.Huber])
@pytest.mark.parametrize("reduction", ["median", "none", None, "", "Mean"])
def test_wrong_reductions(kind: Any, reduction: Any) -> None:
    """A reduction is one of two words."""
    fails(
        lambda: kind(reduction=reduction),
        RangeError,
        "reduction",
        repr(reduction),
        "'mean'",
        "'sum'",
    )


@pytest.mark.parametrize(
    ("delta", "error", "contents"),
    [
        (0, RangeError, ["delta is 0", "above 0"]),
        (-1.0, RangeError, ["delta is -1.0", "above 0"]),
        (math.nan, RangeError, ["delta is nan", "finite"]),
        (math.inf, RangeError, ["delta is inf", "finite"]),
        ("1", KindError, ["delta is '1'", "number"]),
        (True, KindError, ["delta is True", "number"]),
        (None, KindError, ["delta is None", "number"]),
    ],
)
def test_wrong_deltas(delta: Any, error: type[mg.MinigradError], contents: list[str]) -> None:
    """Delta is a finite number above 0."""
    fails(lambda: mg.Huber(delta=delta), error, *contents)


@kinds
def test_before_forward(kind: Callable[[], mg.Loss]) -> None:
    """Before the first forward there is neither value nor gradient.

    A failed one changes nothing.
    """
    loss = kind()
    name = type(loss).__name__
    fails(loss.backward, CallOrderError, name, "before forward")
    fails(lambda: loss.forward(np.zeros((2, 2)), np.zeros((3, 2))), ShapeError, name)
    assert math.isnan(loss.value)
    fails(loss.backward, CallOrderError, name, "before forward")


def test_their_reprs() -> None:
    """The repr shows the settings that are not the default."""
    assert "MeanSquaredError()" == repr(mg.MeanSquaredError())
    assert "MeanAbsoluteError(reduction='sum')" == repr(mg.MeanAbsoluteError(reduction="sum"))
    assert "Huber()" == repr(mg.Huber())
    assert "Huber(delta=0.5, reduction='sum')" == repr(mg.Huber(delta=0.5, reduction="sum"))


def test_a_loss_of_ones_own_by_entries() -> None:
    """An author of a loss that compares entry by entry writes `entries` alone.

    Shapes are checked for him.
    """

    class LogCosh(mg.ElementwiseLoss):
        def entries(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
            return np.log(np.cosh(outputs - targets)), np.tanh(outputs - targets)

    loss = LogCosh(reduction="sum")
    outputs, targets = data((5, 3))
    expected = math.fsum(math.log(math.cosh(d)) for d in (outputs - targets).ravel().tolist())
    assert math.isclose(expected, loss.forward(outputs, targets), rel_tol=1e-13)
    mg.testing.check_gradients(loss, outputs, targets)
    fails(lambda: loss.forward(outputs, targets[:, 0]), ShapeError, "LogCosh", "(5, 3)", "(5,)")


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float32, np.bool_])
def test_what_is_taken_for_labels(dtype: npt.DTypeLike) -> None:
    """Whole numbers, one for each row of outputs, are labels; other numbers have a wrong shape."""
    message = "these are labels; use SoftmaxCrossEntropy"
    if np.dtype(dtype).kind not in "iu":
        message = "targets must have exactly the outputs' shape"
    with pytest.raises(ShapeError, match=message):
        mg.MeanSquaredError()(np.ones((4, 3), np.float32), np.ones(4, dtype))
