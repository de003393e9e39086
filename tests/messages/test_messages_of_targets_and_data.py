"""Bad targets, settings of a loss and data say which sample or setting is wrong, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from message_support import fails

import minigrad as mg
from minigrad.errors import (
    CallOrderError,
    KindError,
    LabelError,
    MinigradError,
    ModelError,
    RangeError,
    ShapeError,
)

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
