"""`Loss`, the abstract base, and the losses that come with minigrad."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from minigrad.arrays import Array, Integers, float_array, number, ones, real_array, row_starts
from minigrad.errors import LabelError, ModelError, OrderError, RangeError, ShapeError

Reduction = Literal["mean", "sum"]
"""How the losses of the samples become one number."""


class Loss(ABC):
    """What training makes small: one number for a batch, and its gradient.

    A subclass writes `forward` and `backward`. `forward` keeps what `backward` needs.

    Attributes:
        value: The last value, for recorders; NaN where `forward` does not set it.
    """

    value: float = float("nan")

    @abstractmethod
    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        """The loss of a batch.

        Args:
            logits: What the model gave, shape (batch, ...).
            targets: What it should have given.
        """

    @abstractmethod
    def backward(self) -> Array:
        """The gradient of the last `forward`'s value with respect to its logits, same shape as those."""

    @final
    def __call__(self, logits: Array, targets: npt.ArrayLike) -> float:
        """`loss(logits, targets)` is `loss.forward(logits, targets)`."""
        return self.forward(logits, targets)


@final
class SoftmaxCrossEntropy(Loss):
    """The cross-entropy of class probabilities, given as logits: softmax and -log in one, so that nothing overflows.

    With p = softmax(z) and target probabilities t (a label is 1 for its class), a sample's loss and gradient are

        L = - sum_c w_c t_c log p_c           dL/dz_c = p_c (sum_k w_k t_k) - w_c t_c

    where w are the class weights and t is smoothed, t (1 - s) + s / classes. The mean is over the weights of the labels:
    sum of L / sum of w_label; with probabilities as targets, and with the sum, weights only scale. These are PyTorch's
    definitions (https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html).

    Args:
        label_smoothing: How much of each target is spread evenly over the classes, 0 to 1.
        class_weight: One weight, 0 or more, for each class.
        ignore_index: A label whose samples count for nothing.
        reduction: "mean" or "sum".

    Attributes:
        value: The last value; NaN before the first.
        probabilities: softmax of the last logits, shape (batch, classes).

    Raises:
        RangeError: A setting is out of range.
        KindError: A setting is no number.
    """

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        class_weight: Sequence[float] | Array | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
    ) -> None:
        if reduction not in ("mean", "sum"):
            raise ModelError(f"reduction is {reduction!r}, expected 'mean' or 'sum'")
        self.label_smoothing: float = number(label_smoothing, "label_smoothing", least=0, most=1)
        self.class_weight: Array | None = None
        if class_weight is not None:
            weights = float_array(class_weight, np.dtype(np.float64), "class_weight")
            if weights.ndim != 1 or not np.all(np.isfinite(weights)) or np.any(weights < 0):
                raise RangeError(
                    f"class_weight is {class_weight!r}, expected one finite weight of 0 or more for each class"
                )
            self.class_weight = weights
        self.ignore_index: int | None = ignore_index
        self.reduction: Reduction = reduction
        self.value: float = float("nan")
        self.probabilities: Array | None = None
        self._targets: Array | Integers | None = None

    @override
    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        """The loss of a batch.

        Args:
            logits: Shape (batch, classes), before any softmax.
            targets: Labels 0 ... classes - 1, integers of shape (batch,); or probabilities, shape (batch, classes).

        Raises:
            KindError: Logits or targets hold no real numbers.
            ShapeError: Logits have another rank, or targets another length or width.
            LabelError: Labels out of range or not integers; probabilities negative or rows that do not sum to 1.
        """
        samples = self.per_sample(logits, targets)
        self.value = float(samples.dot(ones(len(samples), samples.dtype.char))) / self._divisor()
        return self.value

    @override
    def backward(self) -> Array:
        """Shape (batch, classes): the softmax less the target, p - t, for a plain sum over the batch.

        Raises:
            OrderError: No forward came before.
        """
        if self.probabilities is None or self._targets is None:
            raise OrderError("SoftmaxCrossEntropy: backward was called before forward(logits, targets)")
        targets = self._targets
        if targets.ndim == 1 and self._plain:
            share = 1 / self._divisor()
            grad: Array = self.probabilities * share
            grad.reshape(-1)[row_starts(*grad.shape) + targets] -= share
            return grad
        weighted = self._weighted_targets(targets, self.probabilities)
        grad = self.probabilities * weighted.sum(axis=1, keepdims=True) - weighted
        grad /= self._divisor()
        return grad

    def per_sample(self, logits: Array, targets: npt.ArrayLike) -> Array:
        """The loss of each sample before the reduction, shape (batch,); those of ignored samples are 0.

        Raises:
            KindError: Logits or targets hold no real numbers.
            ShapeError: Logits have another rank, or targets another length or width.
            LabelError: Labels out of range or not integers; probabilities negative or rows that do not sum to 1.
        """
        logits = float_array(logits, None, "the logits of SoftmaxCrossEntropy")
        if logits.ndim != 2 or logits.size == 0:
            raise ShapeError(f"SoftmaxCrossEntropy got logits of shape {logits.shape}, expected (batch, classes)")
        if self.class_weight is not None and len(self.class_weight) != logits.shape[1]:
            raise ShapeError(
                f"class_weight has {len(self.class_weight)} weights for logits of {logits.shape[1]} classes"
            )
        found = self._checked(targets, logits)
        starts = row_starts(*logits.shape)
        largest = logits.take(starts + logits.argmax(axis=1))
        shifted = logits - largest[:, np.newaxis]  # the softmax is the same, and exp is at most 1
        exponentials = np.exp(shifted)
        sums = exponentials.dot(ones(logits.shape[1], logits.dtype.char))
        self.probabilities = exponentials / sums[:, np.newaxis]
        self._targets = found
        if found.ndim == 1 and self._plain:
            return np.asarray(np.log(sums) - shifted.take(starts + found))
        log_probabilities = shifted - np.log(sums)[:, np.newaxis]
        weighted = self._weighted_targets(found, logits)
        # A target of exactly 0 contributes nothing, also where the logarithm is -infinity.
        terms = np.multiply(weighted, log_probabilities, out=np.zeros_like(weighted), where=weighted != 0)
        return np.asarray(-terms.sum(axis=1))

    @property
    def _plain(self) -> bool:
        return self.class_weight is None and self.label_smoothing == 0 and self.ignore_index is None

    def _weighted_targets(self, targets: Array | Integers, like: Array) -> Array:
        """w_c t_c for every sample and class: smoothed, weighted, and 0 for ignored samples."""
        classes = like.shape[1]
        if targets.ndim == 1:
            ignored = targets == self.ignore_index
            probabilities = np.eye(classes, dtype=like.dtype)[np.where(ignored, 0, targets)]
        else:
            ignored = np.zeros(len(targets), bool)
            probabilities = targets.astype(like.dtype, copy=False)
        probabilities = probabilities * (1 - self.label_smoothing) + self.label_smoothing / classes
        if self.class_weight is not None:
            probabilities = probabilities * self.class_weight.astype(like.dtype)
        probabilities[ignored] = 0
        return np.asarray(probabilities)

    def _divisor(self) -> float:
        """What the sum over the batch is divided by."""
        targets = self._targets
        assert targets is not None
        if self.reduction == "sum":
            return 1.0
        if targets.ndim == 2 or (self.ignore_index is None and self.class_weight is None):
            return float(len(targets))
        counted = targets[targets != self.ignore_index]
        total = float(len(counted)) if self.class_weight is None else float(self.class_weight[counted].sum())
        return total or float("nan")  # the mean over nothing, as PyTorch says

    def _checked(self, targets: npt.ArrayLike, logits: Array) -> Array | Integers:
        """Targets as labels or as probability rows."""
        found = real_array(targets, "the targets of SoftmaxCrossEntropy")
        n, classes = logits.shape
        if found.shape == (n,):
            return self._checked_labels(found, classes)
        if found.shape == (n, classes) and found.ndim == 2:
            return self._checked_probabilities(found, classes)
        expected = f"SoftmaxCrossEntropy expects labels of shape ({n},) or probabilities of shape ({n}, {classes})"
        if found.shape == (n, 1):
            raise ShapeError(f"{expected}, got {found.shape}: pass targets[:, 0]")
        if found.ndim and len(found) != n:
            raise ShapeError(f"{expected}, got {found.shape}: {len(found)} targets for {n} samples")
        raise ShapeError(f"{expected}, got {found.shape}")

    def _checked_labels(self, labels: npt.NDArray[np.generic], classes: int) -> Integers:
        if labels.dtype.kind not in "iu":
            advice = "labels.astype(np.int64)" if labels.dtype.kind in "fb" else "integers"
            raise LabelError(
                f"labels of dtype {labels.dtype}, expected integers from 0 to {classes - 1}: pass {advice}"
            )
        found: Integers = labels.astype(np.int64, copy=False)
        # Seen as unsigned, negative labels are huge: one look finds both kinds of wrong.
        if np.maximum.reduce(found.view(np.uint64)) >= classes:
            counted = found if self.ignore_index is None else found[found != self.ignore_index]
            wrong = counted[(counted < 0) | (counted >= classes)]
            if len(wrong):
                first = int(np.flatnonzero(np.isin(found, wrong[:1]))[0])
                raise LabelError(
                    f"label {wrong[0]} of sample {first} is out of range: there are {classes} classes, so labels go "
                    f"from 0 to {classes - 1} ({len(wrong)} of {len(found)} labels are out of range)"
                )
        return found

    def _checked_probabilities(self, rows: npt.NDArray[np.generic], classes: int) -> Array:
        found = float_array(rows, np.dtype(np.float64), "the targets of SoftmaxCrossEntropy")
        sums = found.sum(axis=1)
        wrong = np.flatnonzero(~(np.abs(sums - 1) <= 1e-4) | (found < 0).any(axis=1))
        if len(wrong):
            row = int(wrong[0])
            low = float(found[row].min())
            told = f"contains {low:g}" if low < 0 else f"sums to {sums[row]:g}"
            advice = ""
            if rows.dtype.kind in "iu" and classes > 1 and not np.all(np.isin(found, (0, 1))):
                advice = "; for labels pass integers of shape (batch,)"
            raise LabelError(
                f"target row {row} {told}, expected probabilities of 0 or more that sum to 1 "
                f"({len(wrong)} of {len(found)} rows are wrong){advice}"
            )
        return found

    @override
    def __repr__(self) -> str:
        settings = {"label_smoothing": 0.0, "class_weight": None, "ignore_index": None, "reduction": "mean"}
        told = [
            f"{name}={getattr(self, name)!r}"
            for name, default in settings.items()
            if getattr(self, name) is not default
        ]
        return f"SoftmaxCrossEntropy({', '.join(told)})"
