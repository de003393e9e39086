"""What each class counts: the values that `class_weight` takes, and the balanced ones."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import SupportsIndex, TypeAlias

import numpy as np

from minigrad._messages import described
from minigrad._validation import float_array, number
from minigrad.arrays import Array, Integers
from minigrad.display.words import in_words
from minigrad.errors import KindError, RangeError, ShapeError

ClassWeights: TypeAlias = Array | dict[int, float]
"""A weight for each class, or for some, where the others have the weight 1."""


def checked_weights(class_weight: object) -> ClassWeights | None:
    """The weights that somebody gave, if they are some.

    Raises:
        RangeError: A weight is negative or not finite, or there is none for each class.
        KindError: A weight is no number, or a key no label.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        raise RangeError(
            f"class_weight is {described(class_weight)}, expected a weight for each class, "
            f"{{class: weight}} or 'balanced'"
        )
    if isinstance(class_weight, Mapping):
        return {
            _label(key): number(weight, f"class_weight[{key}]", least=0)
            for key, weight in class_weight.items()
        }
    weights = np.array(float_array(class_weight, np.dtype(np.float64), "class_weight"))
    if weights.ndim != 1 or not np.all(np.isfinite(weights)) or np.any(weights < 0):
        raise RangeError(
            f"class_weight is {in_words(weights)}, expected one finite weight of 0 or more for "
            f"each class"
        )
    return weights


def _label(key: object) -> int:
    if isinstance(key, bool) or not isinstance(key, SupportsIndex):
        raise KindError(
            f"class_weight has a weight for {described(key)}, expected labels as keys, {{0: 1.0, "
            f"1: 2.5}}"
        )
    if operator.index(key) < 0:
        raise RangeError(f"class_weight has a weight for class {key}, expected labels of 0 or more")
    return operator.index(key)


def balanced_weights(labels: Integers) -> dict[int, float]:
    """The weight n / (classes * count) for each class that occurs `count` times among n labels."""
    classes, counts = np.unique(labels, return_counts=True)
    weights = len(labels) / (len(classes) * counts)
    return dict(zip(classes.tolist(), weights.tolist(), strict=True))


def as_array(weights: ClassWeights, classes: int, is_checked: bool) -> Array:
    """The weights of so many classes, shape (classes,).

    Args:
        weights: The weights.
        classes: How many classes the logits have.
        is_checked: Whether weights of further classes are an error.

    Raises:
        ShapeError: They are weights for another number of classes.
    """
    if not isinstance(weights, dict):
        if len(weights) != classes:
            raise ShapeError(
                f"class_weight has {len(weights)} weights for logits of {classes} classes"
            )
        return weights
    beyond = [label for label in weights if label >= classes]
    if beyond and is_checked:
        raise ShapeError(
            f"class_weight has a weight for class {beyond[0]}, but the logits are of {classes} "
            f"classes, 0 to {classes - 1}"
        )
    array = np.ones(classes)
    for label, weight in weights.items():
        if 0 <= label < classes:
            array[label] = weight
    return array


def weights_in_words(weights: ClassWeights) -> str:
    """The weights in a few words, for a `repr`."""
    return described(weights) if isinstance(weights, dict) else in_words(weights)
