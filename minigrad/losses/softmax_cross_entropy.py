"""`SoftmaxCrossEntropy`, for one class of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, SupportsIndex, final

import numpy as np
import numpy.typing as npt

from minigrad._kernels import places_in_rows, sum_columns, total
from minigrad._messages import described
from minigrad._types import override
from minigrad._validation import float_array, number, real_array
from minigrad.arrays import Array, Mask
from minigrad.errors import CallOrderError, KindError, ShapeError
from minigrad.losses.class_weights import (
    ClassWeights,
    as_array,
    balanced_weights,
    checked_weights,
    weights_in_words,
)
from minigrad.losses.loss import BestConstant, Loss, Reduction, checked_reduction
from minigrad.losses.targets import (
    LEAST_SHARE,
    Wrong,
    check_integers,
    class_targets,
    wrong_labels,
    wrong_probabilities,
)
from minigrad.losses.weighted_targets import PlainLabels, WeightedRows, weighted_rows


@final
class SoftmaxCrossEntropy(Loss):
    """The cross-entropy of class probabilities, which are given as logits.

    Softmax and -log are computed in one, so that nothing overflows. With p = softmax(z) and target
    probabilities t (a label is 1 for its class), a sample's loss and gradient are

        L = - sum_c w_c t_c log p_c           dL/dz_c = p_c (sum_k w_k t_k) - w_c t_c

    where w are the class weights and t is smoothed, t (1 - s) + s / classes. The mean is over the
    weights of the labels: sum of L / sum of w_label; with probabilities as targets, and with the
    sum, weights only scale. These are PyTorch's definitions
    (https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html).

    Args:
        label_smoothing: How much of each target is spread evenly over the classes, 0 to 1.
        class_weight: One weight, 0 or more, for each class; or `{class: weight}`, where the other
            classes have the weight 1; or "balanced", for weights that make rare classes count as
            much as frequent ones, see `balance`.
        ignore_index: A label whose samples count for nothing.
        reduction: "mean" or "sum".

    Attributes:
        value: The last value; NaN before the first.
        weight: The sum of the weights of the labels in the last mean.
        class_weight: The weights, as an array or a dict; None where there are none, or where
            `balance` is still to set them.
        balanced: Whether `balance` sets them.

    Raises:
        RangeError: A setting is out of range.
        KindError: A setting is no number, or a key of `class_weight` no label.
    """

    default_metric: str | None = "accuracy"

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float]
        | Array
        | Mapping[int, float]
        | Literal["balanced"]
        | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        if ignore_index is not None and (
            isinstance(ignore_index, bool) or not isinstance(ignore_index, SupportsIndex)
        ):
            raise KindError(
                f"ignore_index is {described(ignore_index)}, expected a label, which is a whole "
                f"number"
            )
        self.label_smoothing: float = number(label_smoothing, "label_smoothing", least=0, most=1)
        self.balanced: bool = isinstance(class_weight, str) and class_weight == "balanced"
        self.class_weight: ClassWeights | None = (
            None if self.balanced else checked_weights(class_weight)
        )
        self.ignore_index: int | None = ignore_index
        self.reduction: Reduction = checked_reduction(reduction)
        self.weight: float | None = None
        self._last: tuple[Array, PlainLabels | WeightedRows] | None = None

    @override
    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        """The loss of a batch.

        Args:
            logits: Shape (batch, classes), before any softmax.
            targets: Labels 0 ... classes - 1, integers of shape (batch,); or probabilities, shape
                (batch, classes).

        Raises:
            KindError: Logits or targets hold no real numbers.
            ShapeError: Logits have another rank or a single column, or targets another length or
                width.
            LabelError: Labels out of range or not integers; probabilities negative or rows that do
                not sum to 1, or together with `ignore_index`.
            CallOrderError: The weights are to be balanced, and nobody has called `balance`.
        """
        losses, probabilities, target = self._compute(logits, targets)
        self._last = probabilities, target
        self.weight = target.divisor if self.reduction == "mean" else None
        return total(losses) / target.divisor

    @override
    def backward(self) -> Array:
        """Shape (batch, classes): for a plain sum over the batch, softmax less target, p - t.

        Raises:
            CallOrderError: No forward came before.
        """
        if self._last is None:
            raise CallOrderError(
                "SoftmaxCrossEntropy: backward was called before forward(logits, targets)"
            )
        probabilities, target = self._last
        return target.gradient(probabilities)

    def _compute(
        self, logits: Array, targets: npt.ArrayLike
    ) -> tuple[Array, Array, PlainLabels | WeightedRows]:
        """The loss of each sample, the softmax, and the targets as they count."""
        logits = self._checked_logits(logits)
        target = self._target(targets, logits)
        largest = logits.take(places_in_rows(logits.argmax(axis=1), logits.shape[1]))
        shifted = logits - largest[:, np.newaxis]  # the softmax is the same, and exp is at most 1
        probabilities = np.exp(shifted)
        sums = sum_columns(probabilities)
        probabilities /= sums[:, np.newaxis]
        return target.losses(shifted, np.log(sums)), probabilities, target

    @property
    def probabilities(self) -> Array | None:
        """The softmax of the last logits, shape (batch, classes), a copy; None before the first."""
        return None if self._last is None else self._last[0].copy()

    def per_sample(self, logits: Array, targets: npt.ArrayLike) -> Array:
        """The loss of each sample before the reduction, shape (batch,); 0 for ignored samples.

        Raises:
            KindError: Logits or targets hold no real numbers.
            ShapeError: Logits have another rank, or targets another length or width.
            LabelError: Labels out of range or not integers; probabilities negative or rows that do
                not sum to 1.
            CallOrderError: The weights are to be balanced, and nobody has called `balance`.
        """
        return self._compute(logits, targets)[0]

    def balance(self, labels: npt.ArrayLike) -> None:
        """Set the weights of `class_weight="balanced"`.

        A class that occurs `count` times has the weight n / (classes * count), where n is the
        number of labels, without those of `ignore_index`, and classes that of the classes that
        occur. A class that does not occur has the weight 1. These are scikit-learn's weights,
        https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html

        `fit` does it with all labels that it trains on, before the first step. In a loop of your
        own call it once, with all labels, for in a batch a class may be missing:

            loss = minigrad.SoftmaxCrossEntropy(class_weight="balanced")
            loss.balance(y_train)

        Args:
            labels: Integers of shape (n,).

        Raises:
            CallOrderError: The loss was not made with `class_weight="balanced"`.
            KindError: The labels hold no real numbers.
            ShapeError: They are not of shape (n,).
            LabelError: They are not integers.
        """
        if not self.balanced:
            raise CallOrderError(
                f'{self!r}: balance(labels) is for a loss made with class_weight="balanced"'
            )
        counted = real_array(labels, "the labels")
        if counted.ndim != 1:
            raise ShapeError(
                f'class_weight="balanced" got labels of shape {counted.shape}, expected labels '
                f"(n,) to count"
            )
        check_integers(counted)
        if self.ignore_index is not None:
            counted = counted[counted != self.ignore_index]
        self.class_weight = balanced_weights(counted)

    def _weights_for(self, classes: int) -> Array | None:
        """The weights for so many classes, shape (classes,); None where all count the same.

        Raises:
            ShapeError: They are weights for another number of classes.
            CallOrderError: They are to be balanced, and nobody has called `balance`.
        """
        if self.class_weight is not None:
            # What `balance` was given is checked together with the logits.
            return as_array(self.class_weight, classes, is_checked=not self.balanced)
        if self.balanced:
            raise CallOrderError(
                'class_weight="balanced" has no weights yet: fit counts the labels that it trains '
                "on; in a loop of your own call loss.balance(y_train) before the first step"
            )
        return None

    @override
    def best_constant(
        self, targets: npt.NDArray[Any], n_outputs: int | None = None
    ) -> BestConstant:
        """The logarithms of the class shares, which are logits of those; smoothed and weighted."""
        if targets.ndim == 1:
            labels = targets if self.ignore_index is None else targets[targets != self.ignore_index]
            counts = np.bincount(labels.astype(np.int64), minlength=n_outputs or 0)
            shares = counts / max(len(labels), 1)
        else:
            shares = targets.mean(axis=0, dtype=np.float64)
        classes = len(shares)
        shares = shares * (1 - self.label_smoothing) + self.label_smoothing / max(classes, 1)
        weights = self._weights_for(classes)
        if weights is not None:  # a sample that counts twice is as good as two
            shares = shares * weights
        return BestConstant(np.log(np.maximum(shares, LEAST_SHARE)), "the class shares")

    @override
    def prepare(self, targets: npt.NDArray[Any]) -> None:
        """Balance the weights, if they are to be balanced."""
        if self.balanced:
            self.balance(targets)

    @override
    def correct(self, outputs: Array, targets: npt.NDArray[Any]) -> Mask:
        """Where the largest logit is that of the class; ignored samples do not count."""
        correct = super().correct(outputs, targets)
        if self.ignore_index is None or targets.ndim != 1:
            return correct
        counted: Mask = correct[targets != self.ignore_index]
        return counted

    @override
    def wrong_targets(self, targets: npt.NDArray[Any], outputs: Array) -> Wrong | None:
        """Labels out of range, or rows that are no probabilities.

        Args:
            targets: Labels, integers of shape (n,); or rows of probabilities, (n, classes).
            outputs: Logits of any number of samples, (..., classes).

        Raises:
            LabelError: Labels are not integers.
        """
        if targets.ndim != 1:
            return wrong_probabilities(targets)
        classes = outputs.shape[1]
        check_integers(targets, classes)
        return wrong_labels(targets, classes, self.ignore_index)

    def _checked_logits(self, logits: Array) -> Array:
        logits = float_array(logits, None, "the logits of SoftmaxCrossEntropy")
        if logits.ndim != 2 or logits.size == 0:
            raise ShapeError(
                f"SoftmaxCrossEntropy got logits of shape {logits.shape}, expected (batch, classes)"
            )
        if logits.shape[1] == 1:
            raise ShapeError(
                f"SoftmaxCrossEntropy got logits of shape {logits.shape}: the softmax of a single "
                f"column is always 1, and there is nothing to learn; use SigmoidCrossEntropy for "
                f"yes or no, or give the last layer a unit for each class"
            )
        return logits

    def _target(self, targets: npt.ArrayLike, logits: Array) -> PlainLabels | WeightedRows:
        """The targets, smoothed and weighted, and what the sum of the losses is divided by."""
        is_mean = self.reduction == "mean"
        weights = self._weights_for(logits.shape[1])
        checked = class_targets(targets, logits.shape, self.ignore_index)
        plain = weights is None and self.ignore_index is None and not self.label_smoothing
        if plain and checked.ndim == 1:
            places = places_in_rows(checked, logits.shape[1])
            return PlainLabels(places, float(len(logits)) if is_mean else 1.0)
        return weighted_rows(
            checked,
            logits,
            class_weights=weights,
            smoothing=self.label_smoothing,
            ignore_index=self.ignore_index,
            is_mean=is_mean,
        )

    @override
    def __repr__(self) -> str:
        weights = None if self.class_weight is None else f"<{weights_in_words(self.class_weight)}>"
        if self.balanced:
            weights = "'balanced'"
        settings = {
            "label_smoothing": self.label_smoothing or None,
            "class_weight": weights,
            "ignore_index": self.ignore_index,
            "reduction": "'sum'" if self.reduction == "sum" else None,
        }
        shown = (f"{name}={value}" for name, value in settings.items() if value is not None)
        return f"SoftmaxCrossEntropy({', '.join(shown)})"
