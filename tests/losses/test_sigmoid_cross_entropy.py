"""`SigmoidCrossEntropy` against PyTorch's numbers, high-precision ones, a second implementation and
central differences.

The definition: https://docs.pytorch.org/docs/stable/generated/torch.nn.BCEWithLogitsLoss.html
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pytest
from case_support import sparse
from loss_support import FloatType, central_differences, dtypes, fails, fails_and_changes_nothing

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, KindError, LabelError, RangeError, ShapeError

Reduction = Literal["mean", "sum"]
Weights = float | Sequence[float] | None

reductions = pytest.mark.parametrize("reduction", ["mean", "sum"])
weightings = pytest.mark.parametrize(
    "pos_weight",
    [None, 1.0, 3.0, 0.0, [0.5, 2.0, 4.0], [0.0, 1.0, 7.0]],
    ids=lambda weights: f"weights {weights}",
)

LOGITS = [[1.5, -0.5, 0.25], [-2.0, 0.75, 12.0], [0.0, -30.0, 2.5], [3.5, -3.0, 0.5]]
TARGETS = [[1.0, 0.0, 0.5], [0.25, 1.0, 0.0], [0.75, 0.0, 1.0], [1.0, 0.9, 0.1]]

# PyTorch 2.13.0, torch.nn.BCEWithLogitsLoss in float64 for LOGITS and TARGETS: pos_weight, the sum,
# and its gradient.
PYTORCHS_NUMBERS: list[tuple[Weights, float, list[list[float]]]] = [
    (
        None,
        18.864686512272108,
        [
            [-0.18242552380635635, 0.3775406687981454, 0.06217650088579807],
            [-0.13079707797788245, -0.320821300824607, 0.9999938558253978],
            [-0.25, 9.357622968839299e-14, -0.07585818002124345],
            [-0.02931223075135636, -0.8525741268224333, 0.5224593312018546],
        ],
    ),
    (
        3.0,
        28.519932211506756,
        [
            [-0.547276571419069, 0.3775406687981454, -0.37564699822840386],
            [-0.5711956169668237, -0.9624639024738211, 0.9999938558253978],
            [-1.0, 9.357622968839299e-14, -0.22757454006373035],
            [-0.0879366922540692, -2.5672075551028133, 0.44695119744222545],
        ],
    ),
    (
        [0.5, 2.0, 4.0],
        22.596709520535285,
        [
            [-0.09121276190317817, 0.3775406687981454, -0.5945587477855048],
            [-0.02069744323064715, -0.641642601649214, 0.9999938558253978],
            [-0.0625, 9.357622968839299e-14, -0.3034327200849738],
            [-0.01465611537567818, -1.7098908409626232, 0.4091971305624108],
        ],
    ),
]
# The mean that PyTorch prints for the same, in the same order.
PYTORCHS_MEANS = [1.572057209356009, 2.376661017625563, 1.8830591267112737]

# mpmath 1.3 with 1400 digits: logit, target, weight, loss, slope.
PRECISE = [
    (1e-10, 0, 1, 0.69314718060994531, 0.500000000025),
    (1e-10, 1, 1, 0.69314718050994531, -0.499999999975),
    (-0.5, 1, 3, 2.92223095254032, -1.8673779936055637),
    (0.5, 0.25, 3, 1.08611547627016, 0.18368899680278185),
    (17.25, 1, 1, 3.2241866852798338e-8, -3.2241866333029355e-8),
    (-17.25, 0, 1, 3.2241866852798338e-8, 3.2241866333029355e-8),
    (17.25, 0.75, 0.5, 4.3125000201511668, 0.24999997984883354),
    (36.75, 1, 2, 2.1913300066524733e-16, -2.1913300066524732e-16),
    (-36.75, 0, 2, 1.0956650033262367e-16, 1.0956650033262366e-16),
    (36.75, 0, 2, 36.75, 0.99999999999999989),
    (-80.5, 0, 1, 1.0946977029531417e-35, 1.0946977029531417e-35),
    (-80.5, 1, 4, 322.0, -4.0),
    (80.5, 0.5, 4, 40.25, 0.5),
    (-700.0, 0, 1, 9.8596765437597709e-305, 9.8596765437597709e-305),
    (700.0, 1, 1, 9.8596765437597709e-305, -9.8596765437597709e-305),
    (700.0, 0, 1, 700.0, 1.0),
    (1e6, 0, 1, 1000000.0, 1.0),
    (-1e6, 1, 3, 3000000.0, -3.0),
    (1e6, 0.25, 3, 750000.0, 0.75),
    (-1e6, 0.25, 3, 750000.0, -0.75),
    (1e6, 1, 1, 0.0, 0.0),
    (-1e6, 0, 1, 0.0, 0.0),
]


def by_loops(logits: Array, targets: Array, pos_weight: Weights, reduction: str) -> float:
    """The definition, number by number, with the logarithms of s and 1 - s taken apart so that
    nothing overflows.
    """
    terms = []
    for place in np.ndindex(logits.shape):
        z, t = float(logits[place]), float(targets[place])
        weight = 1.0 if pos_weight is None else pos_weight
        w = weight if isinstance(weight, float) else weight[place[-1]]
        tail = math.log1p(math.exp(-abs(z)))
        log_yes, log_no = min(z, 0.0) - tail, min(-z, 0.0) - tail
        terms.append(-w * t * log_yes - (1 - t) * log_no)
    return math.fsum(terms) / (len(terms) if reduction == "mean" else 1)


def data(
    shape: tuple[int, ...], hard: bool = False, dtype: FloatType = np.float64
) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    targets: Array = rng.random(shape).astype(dtype)
    logits: Array = rng.normal(scale=3, size=shape).astype(dtype)
    return logits, np.asarray(np.rint(targets), dtype) if hard else targets


# -- values and gradients ------------------------------------------------------------------------


@pytest.mark.parametrize(("row", "mean"), list(zip(PYTORCHS_NUMBERS, PYTORCHS_MEANS, strict=True)))
@reductions
@dtypes
def test_pytorchs_numbers(
    row: tuple[Weights, float, list[list[float]]],
    mean: float,
    reduction: Reduction,
    dtype: FloatType,
) -> None:
    """Value and gradient are those that PyTorch printed.

    The mean is over all 12 entries, whatever they weigh.
    """
    pos_weight, total, slopes = row
    loss = mg.SigmoidCrossEntropy(pos_weight=pos_weight, reduction=reduction)
    rtol = 1e-12 if dtype is np.float64 else 1e-5
    value = loss.forward(np.array(LOGITS, dtype), TARGETS)
    assert math.isclose(total if reduction == "sum" else mean, value, rel_tol=rtol)
    expected = np.array(slopes) / (1 if reduction == "sum" else 12)
    np.testing.assert_allclose(loss.backward(), expected, rtol=rtol, atol=1e-16)


@sparse(pytest.mark.parametrize(("logit", "target", "weight", "value", "slope"), PRECISE), dtypes)
def test_high_precision(
    logit: float, target: float, weight: float, value: float, slope: float, dtype: FloatType
) -> None:
    """The relative error of value and slope is of rounding's size, for logits of any size, right
    and wrong answers.
    """
    loss = mg.SigmoidCrossEntropy(pos_weight=weight)
    found = loss.forward(np.array([[logit]], dtype), [[target]])
    grad = loss.backward()
    rtol = 1e-13 if dtype is np.float64 else 1e-5
    smallest = float(np.finfo(dtype).tiny)
    assert math.isclose(value, found, rel_tol=rtol, abs_tol=smallest)
    np.testing.assert_allclose(grad, np.array([[slope]]), rtol=rtol, atol=smallest)
    assert dtype is grad.dtype.type


@sparse(
    weightings,
    pytest.mark.parametrize("shape", [(1, 3), (7, 3), (2, 5, 3)]),
    reductions,
    dtypes,
    pytest.mark.parametrize("hard", [False, True]),
    full=2,
)
def test_values_are_those_of_the_definition(
    pos_weight: Weights, reduction: Reduction, dtype: FloatType, hard: bool, shape: tuple[int, ...]
) -> None:
    """The value for every combination of weights, reduction, kinds of targets and shapes."""
    logits, targets = data(shape, hard, dtype)
    loss = mg.SigmoidCrossEntropy(pos_weight=pos_weight, reduction=reduction)
    expected = by_loops(logits, targets, pos_weight, reduction)
    assert math.isclose(
        expected, loss.forward(logits, targets), rel_tol=1e-12 if dtype is np.float64 else 1e-5
    )


@sparse(
    weightings,
    pytest.mark.parametrize("shape", [(1, 3), (7, 3), (2, 5, 3)]),
    reductions,
    pytest.mark.parametrize("hard", [False, True]),
    full=2,
)
def test_gradients_are_the_derivatives(
    pos_weight: Weights, reduction: Reduction, hard: bool, shape: tuple[int, ...]
) -> None:
    """The gradient agrees with central differences of the loss's own value and of the second
    implementation's.
    """
    logits, targets = data(shape, hard)
    loss = mg.SigmoidCrossEntropy(pos_weight=pos_weight, reduction=reduction)
    loss.forward(logits, targets)
    found = loss.backward()
    assert logits.shape == found.shape
    own = central_differences(lambda z: loss.forward(z, targets), logits)
    np.testing.assert_allclose(found, own, rtol=1e-6, atol=1e-8)
    other = central_differences(lambda z: by_loops(z, targets, pos_weight, reduction), logits)
    np.testing.assert_allclose(found, other, rtol=1e-6, atol=1e-8)
    loss.forward(logits.astype(np.float32), targets.astype(np.float32))
    np.testing.assert_allclose(loss.backward(), other, rtol=1e-4, atol=1e-6)


@sparse(weightings, reductions, dtypes)
def test_extreme_logits(pos_weight: Weights, reduction: Reduction, dtype: FloatType) -> None:
    """At a million the loss is w t |z| on the wrong side, (1 - t) |z| on the other, and the slope w
    t or 1 - t.
    """
    size, yes = 1e6, 0.25
    logits: Array = np.array(
        [[size] * 3, [-size] * 3, [size] * 3, [-size] * 3, [size] * 3, [-size] * 3], dtype
    )
    targets = np.array([[yes] * 3, [yes] * 3, [1.0] * 3, [1.0] * 3, [0.0] * 3, [0.0] * 3])
    weights = np.broadcast_to(1.0 if pos_weight is None else pos_weight, 3)
    slopes = np.array([[0.75] * 3, -yes * weights, [0] * 3, -weights, [1] * 3, [0] * 3])
    loss = mg.SigmoidCrossEntropy(pos_weight=pos_weight, reduction=reduction)
    count = 18 if reduction == "mean" else 1
    rtol = 1e-6 if dtype is np.float32 else 1e-14
    assert math.isclose(
        size * np.abs(slopes).sum() / count, loss.forward(logits, targets), rel_tol=rtol
    )
    np.testing.assert_allclose(loss.backward(), slopes / count, rtol=rtol)


@dtypes
def test_by_hand(dtype: FloatType) -> None:
    """A logit of log 3 is a probability of 3/4: losses log(4/3) and log 4, slopes -1/4 and 3/4."""
    loss = mg.SigmoidCrossEntropy(reduction="sum")
    logits = np.full((1, 2), math.log(3), dtype)
    assert math.isclose(math.log(4 / 3) + math.log(4), loss.forward(logits, [[1, 0]]), rel_tol=1e-6)
    np.testing.assert_allclose(loss.backward(), [[-1 / 4, 3 / 4]], rtol=1e-6)


def test_the_mean_does_not_divide_by_weights() -> None:
    """Twice the weight is twice the loss of a yes: the mean is over the entries, not over what they
    weigh.
    """
    once, twice = mg.SigmoidCrossEntropy(), mg.SigmoidCrossEntropy(pos_weight=2)
    logits, yes = np.array([[0.5, -1.0]]), [[1, 1]]
    assert math.isclose(2 * once.forward(logits, yes), twice.forward(logits, yes), rel_tol=1e-15)
    assert once.forward(logits, [[0, 0]]) == twice.forward(logits, [[0, 0]])


@dtypes
def test_at_the_minimum(dtype: FloatType) -> None:
    """Where the sigmoid is the target the gradient is 0, and the loss the entropy of the target."""
    loss = mg.SigmoidCrossEntropy()
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    assert math.isclose(
        entropy, loss.forward(np.array([[-math.log(3)]], dtype), [[0.25]]), rel_tol=1e-6
    )
    np.testing.assert_allclose(loss.backward(), [[0]], atol=1e-7)


def test_nan_logits_are_not_hidden() -> None:
    """A model that has diverged has a loss of NaN, in silence, and NaN in the gradient where the
    logit is NaN.
    """
    loss = mg.SigmoidCrossEntropy()
    assert math.isnan(loss.forward(np.array([[np.nan, 0.0]]), [[0, 1]]))
    assert [[True, False]] == np.isnan(loss.backward()).tolist()


# -- shapes and kinds ----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3), (2, 3, 4), (1,)])
def test_shapes(shape: tuple[int, ...]) -> None:
    """Targets and gradient have exactly the outputs' shape, whatever that is."""
    logits, targets = data(shape)
    loss = mg.SigmoidCrossEntropy()
    assert math.isclose(
        by_loops(logits, targets, None, "mean"), loss.forward(logits, targets), rel_tol=1e-12
    )
    assert shape == loss.backward().shape


@pytest.mark.parametrize("kind", ["bool", "u1", "i1", "i8", ">i4", "f2", "f4", "f8", ">f8"])
def test_targets_of_any_kind(kind: str) -> None:
    """Yes and no may be booleans, integers or floats, also a list, and strided."""
    logits, targets = data((6, 2), hard=True)
    expected = mg.SigmoidCrossEntropy().forward(logits, targets)
    loss = mg.SigmoidCrossEntropy()
    forms = [
        targets.astype(kind),
        targets.tolist(),
        np.repeat(targets, 2, axis=1).astype(kind)[:, ::2],
    ]
    for form in forms:
        assert math.isclose(expected, loss.forward(logits, form), rel_tol=1e-15)
        assert math.isclose(expected, loss.forward(logits.copy(order="F"), form), rel_tol=1e-15)


def test_integer_logits() -> None:
    """Integer logits are converted."""
    assert math.isclose(
        math.log(2), mg.SigmoidCrossEntropy()(np.zeros((2, 2), int), np.eye(2)), rel_tol=1e-7
    )


WRONG_TARGETS: dict[str, tuple[Any, type[mg.MinigradError], list[str]]] = {
    "a vector against a column": (
        np.zeros(4),
        ShapeError,
        ["SigmoidCrossEntropy", "(4, 1)", "(4,)", "broadcast", "targets[..., np.newaxis]"],
    ),
    "a row against a column": (np.zeros((1, 4)), ShapeError, ["(4, 1)", "(1, 4)", "broadcast"]),
    "too few": (np.zeros((3, 1)), ShapeError, ["(4, 1)", "(3, 1)", "exactly the outputs' shape"]),
    "too wide": (np.zeros((4, 2)), ShapeError, ["(4, 1)", "(4, 2)", "exactly the outputs' shape"]),
    "a number": (0, ShapeError, ["(4, 1)", "()", "broadcast"]),
    "nothing": ([], ShapeError, ["(4, 1)", "(0,)"]),
    "more axes": (np.zeros((4, 1, 1)), ShapeError, ["(4, 1)", "(4, 1, 1)", "targets[..., 0]"]),
    "above 1": (
        [[0], [1.25], [0], [2]],
        LabelError,
        ["SigmoidCrossEntropy", "1.25", "0 (no) to 1 (yes)", "2 of 4"],
    ),
    "below 0": (
        [[0], [0], [0], [-0.5]],
        LabelError,
        ["-0.5", "0 (no) to 1 (yes)", "1 of 4 targets"],
    ),
    "minus one for no": (
        [[-1], [1], [-1], [1]],
        LabelError,
        ["-1", "0 (no) to 1 (yes)", "2 of 4 targets"],
    ),
    "bytes": (np.full((4, 1), 255, np.uint8), LabelError, ["255", "4 of 4 targets"]),
    "NaN": ([[0], [np.nan], [0], [1]], LabelError, ["nan", "1 of 4 targets"]),
    "infinity": ([[np.inf], [0], [0], [0]], LabelError, ["inf", "1 of 4 targets"]),
    "text": ([["a"]] * 4, KindError, ["targets", "SigmoidCrossEntropy", "text"]),
    "complex": (np.zeros((4, 1), complex), KindError, ["targets", "complex128"]),
    "objects": ([[None]] * 4, KindError, ["targets", "object"]),
}


@pytest.mark.parametrize(
    ("targets", "error", "contents"), WRONG_TARGETS.values(), ids=WRONG_TARGETS.keys()
)
def test_wrong_targets(targets: Any, error: type[mg.MinigradError], contents: list[str]) -> None:
    """Bad targets say what came and what is expected.

    Value and gradient stay those of the last forward.
    """
    loss, logits = mg.SigmoidCrossEntropy(), np.array([[0.5], [1.0], [-1.0], [2.0]])
    loss.forward(logits, [[0], [1], [0], [1]])
    fails_and_changes_nothing(loss, lambda: loss.forward(-logits, targets), error, *contents)


def test_a_column_against_a_vector() -> None:
    """The other way round, outputs (n,) with targets (n, 1), is an error too, and says what to
    do.
    """
    fails(
        lambda: mg.SigmoidCrossEntropy().forward(np.zeros(4), np.zeros((4, 1))),
        ShapeError,
        "SigmoidCrossEntropy",
        "outputs of shape (4,)",
        "targets of shape (4, 1)",
        "broadcast",
        "pass targets[..., 0]",
    )


def test_labels_against_rows() -> None:
    """Labels of classes are not targets of this loss: the error names the one that takes them, and
    how to make rows.
    """
    fails(
        lambda: mg.SigmoidCrossEntropy().forward(np.zeros((4, 3)), [0, 2, 1, 1]),
        ShapeError,
        "(4, 3)",
        "(4,)",
        "SoftmaxCrossEntropy",
        "np.eye(3)[targets]",
    )


@pytest.mark.parametrize("at", [(0, 0), (2, 1), (5, 2)])
def test_the_error_says_which_target(at: tuple[int, int]) -> None:
    """The message about a target out of range says where it stands."""
    targets = np.zeros((6, 3))
    targets[at] = 1.5
    fails(
        lambda: mg.SigmoidCrossEntropy().forward(np.zeros((6, 3)), targets),
        LabelError,
        "1.5",
        str(at),
    )


def test_a_target_just_above_1() -> None:
    """A target that is above 1 by rounding is not shown as 1."""
    targets = np.array([[np.nextafter(1.0, 2.0)]])
    fails(
        lambda: mg.SigmoidCrossEntropy().forward(np.zeros((1, 1)), targets),
        LabelError,
        "1.0000000000000002",
    )


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (3, 0)])
def test_no_outputs(shape: tuple[int, ...]) -> None:
    """A loss over nothing is an error."""
    fails(
        lambda: mg.SigmoidCrossEntropy().forward(np.zeros(shape), np.zeros(shape)),
        ShapeError,
        "SigmoidCrossEntropy",
        f"outputs of shape {shape}",
        "at least one row",
    )


@pytest.mark.parametrize(
    ("logits", "content"), [(np.zeros((2, 2), complex), "complex128"), ([["a"]], "text")]
)
def test_outputs_that_are_no_numbers(logits: Any, content: str) -> None:
    """Outputs that are no real numbers are named as the outputs."""
    fails(
        lambda: mg.SigmoidCrossEntropy().forward(logits, [[1]]),
        KindError,
        "outputs",
        "SigmoidCrossEntropy",
        content,
    )


# -- settings ------------------------------------------------------------------------------------

WRONG_SETTINGS: dict[str, tuple[dict[str, Any], type[mg.MinigradError], list[str]]] = {
    "reduction": (
        {"reduction": "median"},
        RangeError,
        ["reduction", "'median'", "'mean'", "'sum'"],
    ),
    "no reduction": ({"reduction": "none"}, RangeError, ["reduction", "'none'", "'mean'", "'sum'"]),
    "negative weight": ({"pos_weight": -1.0}, RangeError, ["pos_weight", "-1", "0 or more"]),
    "one negative weight": (
        {"pos_weight": [1, -2, 3]},
        RangeError,
        ["pos_weight", "-2", "0 or more"],
    ),
    "NaN weight": ({"pos_weight": [1, np.nan]}, RangeError, ["pos_weight", "finite"]),
    "infinite weight": ({"pos_weight": np.inf}, RangeError, ["pos_weight", "finite"]),
    "a matrix of weights": (
        {"pos_weight": [[1.0, 2.0]]},
        RangeError,
        ["pos_weight", "(1, 2)", "one for each column"],
    ),
    "text": ({"pos_weight": "a"}, KindError, ["pos_weight", "text"]),
    "complex": ({"pos_weight": 1j}, KindError, ["pos_weight", "complex128"]),
}


@pytest.mark.parametrize(
    ("settings", "error", "contents"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS.keys()
)
def test_wrong_settings(
    settings: dict[str, Any], error: type[mg.MinigradError], contents: list[str]
) -> None:
    """A setting out of range or of a wrong kind is an error where it is given."""
    fails(lambda: mg.SigmoidCrossEntropy(**settings), error, *contents)


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0], [1.0, 2.0, 3.0, 4.0]])
def test_weights_for_other_columns(weights: list[float]) -> None:
    """One weight for each column, neither more nor fewer.

    A single one in a list is not spread over all.
    """
    loss = mg.SigmoidCrossEntropy(pos_weight=weights)
    contents = ["pos_weight", f"{len(weights)} weight", "(5, 3)", "3 columns"]
    fails(lambda: loss.forward(np.zeros((5, 3)), np.zeros((5, 3))), ShapeError, *contents)


def test_weights_by_column_need_columns() -> None:
    """Outputs of shape (n,) have no columns: n weights are not one for each sample by accident."""
    loss = mg.SigmoidCrossEntropy(pos_weight=[1.0, 2.0, 3.0])
    fails(lambda: loss.forward(np.zeros(3), np.zeros(3)), ShapeError, "pos_weight", "(3,)")


def test_weights_are_kept() -> None:
    """The weights belong to the loss; changing one's own array later does not change it."""
    weights = np.array([1.0, 2.0, 3.0])
    loss, (logits, targets) = mg.SigmoidCrossEntropy(pos_weight=weights), data((5, 3))
    expected = loss.forward(logits, targets)
    weights.fill(0)
    assert expected == loss.forward(logits, targets)


def test_before_forward() -> None:
    """Before the first forward there is neither value nor gradient.

    A failed one changes nothing.
    """
    loss = mg.SigmoidCrossEntropy()
    fails(loss.backward, CallOrderError, "SigmoidCrossEntropy", "before forward")
    fails(lambda: loss.forward(np.zeros((2, 2)), [[5, 5], [5, 5]]), LabelError, "5")
    assert math.isnan(loss.value)
    fails(loss.backward, CallOrderError, "before forward")


def test_its_repr() -> None:
    """The repr shows the settings that are not the default."""
    assert "SigmoidCrossEntropy()" == repr(mg.SigmoidCrossEntropy())
    assert "SigmoidCrossEntropy(reduction='sum')" == repr(mg.SigmoidCrossEntropy(reduction="sum"))
    assert "pos_weight=" in repr(mg.SigmoidCrossEntropy(pos_weight=[1, 2]))
