"""Metrics: figures that are better to read than the loss, over a whole epoch.

A metric is a function `(outputs, targets) -> float`. `Running` puts the figures of the batches of
an epoch together to that of the epoch: their mean, weighted by the batches' sizes; except for r2,
which is no mean of anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._types import override
from minigrad.arrays import Array
from minigrad.errors import KindError, RangeError, ShapeError
from minigrad.losses import Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy
from minigrad.losses.loss import one_number

Metric: TypeAlias = Callable[[Array, npt.NDArray[Any]], float]
"""`(outputs, targets) -> float`, for outputs and targets of shape (batch, ...)."""

Metrics: TypeAlias = str | Metric | Sequence[str | Metric] | Mapping[str, str | Metric]
"""What `fit` takes as `metrics`: "auto", a name, a function, several of these, or a mapping of names to them."""


class Mean:
    """The mean of the figures of batches, weighted by their sizes.

    Attributes:
        sums: All that it holds; plain numbers, so that a checkpoint can keep them.
    """

    def __init__(self) -> None:
        self.sums: list[float] = [0.0] * 4

    @final
    def take(self, figure: float, size: float) -> None:
        """Take in the figure of a batch of this size."""
        if not size:
            return
        mean, count, *_ = self.sums
        # In this form the mean of a single batch is its figure, to the bit.
        self.sums[0] = mean + (figure - mean) * (size / (count + size))
        self.sums[1] = count + size

    def value(self) -> float:
        """The figure of all batches so far; NaN before the first."""
        mean, count, *_ = self.sums
        return mean if count else float("nan")

    @final
    def clear(self) -> None:
        """Begin anew."""
        self.sums = [0.0] * 4


@final
class MeanLoss(Mean):
    """The mean of a loss over the samples of several batches, also where the loss of a batch is a sum."""

    def add(self, loss: Loss, value: float, samples: int) -> None:
        """Take in the loss of a batch, which it has just computed."""
        if getattr(loss, "reduction", "mean") == "sum":
            self.take(value / samples, samples)
        else:
            self.take(value, samples if loss.weight is None else loss.weight)


class Running(Mean, ABC):
    """A metric over the batches of an epoch."""

    @abstractmethod
    def add(self, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in a batch."""

    @final
    def of(self, outputs: Array, targets: npt.NDArray[Any]) -> float:
        """The figure of these alone."""
        self.clear()
        self.add(outputs, targets)
        return self.value()


@final
class RunningMean(Running):
    """A function of one's own: the mean of what it says of the batches."""

    def __init__(self, function: Metric, name: str) -> None:
        super().__init__()
        self._function = function
        self._name = name

    @override
    def add(self, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in a batch."""
        self.take(
            one_number(self._function(outputs, targets), f"the metric '{self._name}'"), len(outputs)
        )


@final
class RunningAccuracy(Running):
    """The share of samples whose largest output is that of their class.

    Those of `ignore_index` do not count.
    """

    def __init__(self, ignore_index: int | None) -> None:
        super().__init__()
        self._ignored = ignore_index

    @override
    def add(self, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in a batch."""
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ShapeError(
                f"accuracy got outputs of shape {outputs.shape}, expected (batch, classes): one "
                f"column for each class"
            )
        if targets.shape == outputs.shape:
            targets = targets.argmax(axis=1)
        if targets.shape != (len(outputs),):
            raise ShapeError(
                f"accuracy got targets of shape {targets.shape}, expected labels, ({len(outputs)},)"
            )
        right = outputs.argmax(axis=1) == targets
        if self._ignored is not None:
            right = right[targets != self._ignored]
        self.sums[0] += np.count_nonzero(right)
        self.sums[1] += len(right)

    @override
    def value(self) -> float:
        """The share of all samples so far; NaN before the first."""
        hits, count, *_ = self.sums
        return hits / count if count else float("nan")


@final
class RunningR2(Running):
    """The coefficient of determination, 1 - sum (y - o)^2 / sum (y - mean of y)^2, over all
    entries.

    The second sum is put together from those of the batches, as in Chan, Golub and LeVeque 1983
    (https://doi.org/10.1080/00031305.1983.10483115), which loses no digits where the mean is large.
    """

    @override
    def add(self, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in a batch."""
        o, y = _same_shape(outputs, targets, "r2")
        residual, spread, mean, count = self.sums
        of_batch = float(y.mean())
        apart, total = of_batch - mean, count + y.size
        self.sums[:] = [
            residual + float(((y - o) ** 2).sum()),
            spread + float(((y - of_batch) ** 2).sum()) + apart**2 * count * y.size / total,
            mean + apart * y.size / total,
            total,
        ]

    @override
    def value(self) -> float:
        """That of all batches so far.

        NaN before the first, and 1 or 0 where all targets are the same.
        """
        residual, spread, _, count = self.sums
        if not count:
            return float("nan")
        if not spread:  # scikit-learn's convention
            return 0.0 if residual else 1.0
        return 1 - residual / spread


def binary_accuracy(logits: Array, targets: npt.NDArray[Any]) -> float:
    """The share of entries that are on the right side: logits above 0 where targets are above one half."""
    z, t = _same_shape(logits, targets, "accuracy")
    return float(((z > 0) == (t > 0.5)).mean())


def mean_absolute_error(outputs: Array, targets: npt.NDArray[Any]) -> float:
    """The mean of |output - target| over all entries."""
    o, y = _same_shape(outputs, targets, "mean_absolute_error")
    return float(np.abs(o - y).mean())


def _same_shape(outputs: Array, targets: npt.NDArray[Any], who: str) -> tuple[Array, Array]:
    """Both in float64, if they have the same shape."""
    if outputs.shape != targets.shape:
        raise ShapeError(
            f"{who} got outputs of shape {outputs.shape} and targets of shape {targets.shape}; "
            f"nothing is broadcast"
        )
    return outputs.astype(np.float64), targets.astype(np.float64)


NAMES = ("accuracy", "mean_absolute_error", "r2")
"""The metrics that have a name."""


def chosen(metrics: Metrics, loss: Loss) -> dict[str, Running]:
    """What `fit` was asked to measure, by name.

    Raises:
        KindError: Something is neither a name nor a function.
        RangeError: There is no metric of this name, or two have the same name.
    """
    if isinstance(metrics, str) and metrics == "auto":
        metrics = (
            ("accuracy",) if isinstance(loss, SoftmaxCrossEntropy | SigmoidCrossEntropy) else ()
        )
    if isinstance(metrics, str) or callable(metrics):
        metrics = (metrics,)
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    elif isinstance(metrics, Sequence):
        named = [
            (metric if isinstance(metric, str) else _name_of(metric), metric) for metric in metrics
        ]
    else:
        raise KindError(
            f"metrics is {described(metrics)}, expected 'auto', names ({', '.join(NAMES)}) or "
            f"functions"
        )
    found: dict[str, Running] = {}
    for name, metric in named:
        if not isinstance(name, str):
            raise KindError(
                f"metrics names one {described(name)}, expected text, metrics={{'my_name': "
                f"function}}"
            )
        if name in found or name in ("loss", "<lambda>") or name.startswith("val_"):
            raise RangeError(
                f"a metric cannot be called '{name}' here; give it a name, metrics={{'my_name': "
                f"function}}"
            )
        found[name] = _running(name, metric, loss)
    return found


def _name_of(metric: object) -> str:
    return str(getattr(metric, "__name__", type(metric).__name__))


def _running(name: str, metric: str | Metric, loss: Loss) -> Running:
    if callable(metric):
        return RunningMean(metric, name)
    if not isinstance(metric, str):
        raise KindError(
            f"metric '{name}' is {described(metric)}, expected a name ({', '.join(NAMES)}) or a "
            f"function"
        )
    if metric == "accuracy":
        if isinstance(loss, SigmoidCrossEntropy):
            return RunningMean(binary_accuracy, metric)
        return RunningAccuracy(loss.ignore_index if isinstance(loss, SoftmaxCrossEntropy) else None)
    if metric == "mean_absolute_error":
        return RunningMean(mean_absolute_error, metric)
    if metric == "r2":
        return RunningR2()
    raise RangeError(
        f"there is no metric '{metric}'; there are {', '.join(NAMES)}, or give a function"
    )
