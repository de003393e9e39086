"""`SoftmaxCrossEntropy`, for one class of several."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, SupportsIndex, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import (
    Array,
    Integers,
    Mask,
    described,
    float_array,
    number,
    ones,
    real_array,
    row_starts,
)
from minigrad.display.pictures import in_words
from minigrad.errors import CallOrderError, KindError, RangeError, ShapeError
from minigrad.losses.loss import BestConstant, Loss, Reduction, checked_reduction
from minigrad.losses.targets import (
    LEAST_SHARE,
    Wrong,
    check_integers,
    class_targets,
    wrong_labels,
    wrong_probabilities,
)


@final
class SoftmaxCrossEntropy(Loss):
    """The cross-entropy of class probabilities, given as logits: softmax and -log in one, so that
    nothing overflows.

    With p = softmax(z) and target probabilities t (a label is 1 for its class), a sample's loss and
    gradient are

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

    default_metric = "accuracy"

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
        self.class_weight: Array | dict[int, float] | None = (
            None if self.balanced else _checked_weights(class_weight)
        )
        self.ignore_index: int | None = ignore_index
        self.reduction: Reduction = checked_reduction(reduction)
        self.weight: float | None = None
        self._last: _Pass | None = None

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
        last = self._last = self._run(logits, targets)
        self.weight = last.divisor if self.reduction == "mean" else None
        losses = last.losses
        if (
            len(losses) > 256
        ):  # a sum of very many in float32 loses digits; of few it takes half the time
            return float(losses.sum(dtype=np.float64)) / last.divisor
        return float(losses.dot(ones(len(losses), losses.dtype.char))) / last.divisor

    @override
    def backward(self) -> Array:
        """Shape (batch, classes): the softmax less the target, p - t, for a plain sum over the
        batch.

        Raises:
            CallOrderError: No forward came before.
        """
        last = self._last
        if last is None:
            raise CallOrderError(
                "SoftmaxCrossEntropy: backward was called before forward(logits, targets)"
            )
        grad: Array
        if last.weighted is None:
            share = 1 / last.divisor
            grad = last.probabilities * share
            flat, places = grad.reshape(-1), last.places
            assert places is not None
            flat[places] = flat.take(places) - share
            return grad
        grad = last.probabilities * last.weighted.sum(axis=1, keepdims=True) - last.weighted
        grad /= last.divisor
        return grad

    @property
    def probabilities(self) -> Array | None:
        """The softmax of the last logits, shape (batch, classes), a copy; None before the first."""
        return None if self._last is None else self._last.probabilities.copy()

    def per_sample(self, logits: Array, targets: npt.ArrayLike) -> Array:
        """The loss of each sample before the reduction, shape (batch,); those of ignored samples
        are 0.

        Raises:
            KindError: Logits or targets hold no real numbers.
            ShapeError: Logits have another rank, or targets another length or width.
            LabelError: Labels out of range or not integers; probabilities negative or rows that do
                not sum to 1.
            CallOrderError: The weights are to be balanced, and nobody has called `balance`.
        """
        return self._run(logits, targets).losses

    def balance(self, labels: npt.ArrayLike) -> None:
        """Set the weights of `class_weight="balanced"`: n / (classes * count) for a class that
        occurs `count` times.

        `fit` does it with all labels that it trains on, before the first step. In a loop of your
        own call it once, with all labels, for in a batch a class may be missing:

            loss = minigrad.SoftmaxCrossEntropy(class_weight="balanced")
            loss.balance(y_train)

        These are scikit-learn's weights
        (https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html): n is the number of labels, without those of `ignore_index`, and classes that of the classes that occur. A class
        that does not occur has the weight 1.

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
        found = real_array(labels, "the labels")
        if found.ndim != 1:
            raise ShapeError(
                f'class_weight="balanced" got labels of shape {found.shape}, expected labels (n,) '
                f"to count"
            )
        check_integers(found)
        if self.ignore_index is not None:
            found = found[found != self.ignore_index]
        classes, counts = np.unique(found, return_counts=True)
        weights = len(found) / (len(classes) * counts)
        self.class_weight = dict(zip(classes.tolist(), weights.tolist(), strict=True))

    def weights_for(self, classes: int) -> Array | None:
        """The weights for so many classes, shape (classes,); None where all count the same.

        Raises:
            ShapeError: They are weights for another number of classes.
            CallOrderError: They are to be balanced, and nobody has called `balance`.
        """
        given = self.class_weight
        if given is None:
            if self.balanced:
                raise CallOrderError(
                    'class_weight="balanced" has no weights yet: fit counts the labels that it '
                    "trains on; in a loop of your "
                    "own call loss.balance(y_train) before the first step"
                )
            return None
        if not isinstance(given, dict):
            if len(given) != classes:
                raise ShapeError(
                    f"class_weight has {len(given)} weights for logits of {classes} classes"
                )
            return given
        beyond = [label for label in given if label >= classes]
        if (
            beyond and not self.balanced
        ):  # what `balance` was given is looked at together with the logits
            raise ShapeError(
                f"class_weight has a weight for class {beyond[0]}, but the logits are of {classes} "
                f"classes, 0 to {classes - 1}"
            )
        weights = np.ones(classes)
        for label, weight in given.items():
            if 0 <= label < classes:
                weights[label] = weight
        return weights

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
        weights = self.weights_for(classes)
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

    def _run(self, logits: Array, targets: npt.ArrayLike) -> _Pass:
        """Everything that a pass computes; changes nothing."""
        logits = float_array(logits, None, "the logits of SoftmaxCrossEntropy")
        if logits.ndim != 2 or logits.size == 0:
            raise ShapeError(
                f"SoftmaxCrossEntropy got logits of shape {logits.shape}, expected (batch, classes)"
            )
        n, classes = logits.shape
        if classes == 1:
            raise ShapeError(
                f"SoftmaxCrossEntropy got logits of shape {logits.shape}: the softmax of a single "
                f"column is always 1, and there is nothing to learn; use SigmoidCrossEntropy for "
                f"yes or no, or give the last layer a unit for each class"
            )
        weights = (
            None if self.class_weight is None and not self.balanced else self.weights_for(classes)
        )
        found = class_targets(targets, logits.shape, self.ignore_index)
        starts = row_starts(n, classes)
        largest = logits.take(starts + logits.argmax(axis=1))
        shifted = logits - largest[:, np.newaxis]  # the softmax is the same, and exp is at most 1
        probabilities = np.exp(shifted)
        sums = probabilities.dot(ones(classes, logits.dtype.char))
        probabilities /= sums[:, np.newaxis]
        plain = weights is None and self.ignore_index is None and not self.label_smoothing
        if plain and found.ndim == 1:
            places = starts + found
            losses = np.log(sums) - shifted.take(places)
            return _Pass(
                losses, probabilities, float(n) if self.reduction == "mean" else 1.0, places, None
            )
        weighted, divisor = self._weigh(found, logits, weights)
        log_probabilities = shifted - np.log(sums)[:, np.newaxis]
        # A target of exactly 0 contributes nothing, also where the logarithm is -infinity.
        terms = np.multiply(
            weighted, log_probabilities, out=np.zeros_like(logits), where=weighted != 0
        )
        return _Pass(-terms.sum(axis=1), probabilities, divisor, None, weighted)

    def _weigh(
        self, targets: Array | Integers, like: Array, class_weights: Array | None
    ) -> tuple[Array, float]:
        """w_c t_c for every sample and class, smoothed, and 0 where ignored.

        And what the sum is divided by.
        """
        classes = like.shape[1]
        weights = (
            np.ones(classes, like.dtype)
            if class_weights is None
            else class_weights.astype(like.dtype)
        )
        counted = targets != self.ignore_index if targets.ndim == 1 else np.ones(len(targets), bool)
        labels = np.where(counted, targets, 0).astype(np.intp) if targets.ndim == 1 else None
        rows = targets
        if labels is not None:
            rows = np.zeros(like.shape, like.dtype)
            rows.reshape(-1)[row_starts(*like.shape) + labels] = 1
        smooth = (
            rows.astype(like.dtype) * (1 - self.label_smoothing) + self.label_smoothing / classes
        )
        divisor = 1.0
        if self.reduction == "mean":
            # With labels the mean is over their weights; the mean over nothing is NaN, as PyTorch
            # says.
            divisor = (
                float(len(targets))
                if labels is None
                else float(weights[labels][counted].sum()) or float("nan")
            )
        return np.asarray(smooth * weights * counted[:, np.newaxis]), divisor

    @override
    def __repr__(self) -> str:
        weights = None if self.class_weight is None else f"<{_told(self.class_weight)}>"
        if self.balanced:
            weights = "'balanced'"
        given = {
            "label_smoothing": self.label_smoothing or None,
            "class_weight": weights,
            "ignore_index": self.ignore_index,
            "reduction": "'sum'" if self.reduction == "sum" else None,
        }
        told = ", ".join(f"{name}={value}" for name, value in given.items() if value is not None)
        return f"SoftmaxCrossEntropy({told})"


class _Pass(NamedTuple):
    """What one pass computed: the losses of the samples, the softmax, what the sum is divided by, and the targets."""

    losses: Array
    probabilities: Array
    divisor: float
    places: (
        npt.NDArray[Any] | None
    )  # plain labels: where each sample's entry lies in the flat form of the logits
    weighted: Array | None  # other targets: w_c t_c for every sample and class


def _checked_weights(class_weight: object) -> Array | dict[int, float] | None:
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


def _told(weights: Array | dict[int, float]) -> str:
    return described(weights) if isinstance(weights, dict) else in_words(weights)
