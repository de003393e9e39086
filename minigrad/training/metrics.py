"""Metrics: figures that are easier to read than the loss, over a whole epoch.

A metric is a function `(outputs, targets) -> float`. A `RunningMetric` combines the batches of an
epoch: it gives the mean of their figures, weighted by the batches' sizes; except for r2, which is
not a mean.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, final

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._types import override
from minigrad.arrays import Array
from minigrad.errors import KindError, RangeError, ShapeError
from minigrad.losses import Loss
from minigrad.losses.loss import one_number

Metric: TypeAlias = Callable[[Array, npt.NDArray[Any]], float]
"""`(outputs, targets) -> float`, for outputs and targets of shape (batch, ...)."""

MetricName: TypeAlias = Literal["accuracy", "mean_absolute_error", "r2"]
"""The metrics that have a name."""

Metrics: TypeAlias = (
    Literal["auto"]
    | MetricName
    | Metric
    | Sequence[MetricName | Metric]
    | Mapping[str, MetricName | Metric]
)
"""What `fit` takes as `metrics`: "auto", a name, a function, several, or a mapping of names."""


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
    """The mean loss of a sample over several batches, also where the loss of a batch is a sum."""

    def add(self, loss: Loss, value: float, samples: int) -> None:
        """Take in the loss of a batch, which it has just computed."""
        if loss.reduction == "sum":
            self.take(value / samples, samples)
        else:
            self.take(value, samples if loss.weight is None else loss.weight)


class RunningMetric(Mean, ABC):
    """A metric over the batches of an epoch."""

    @abstractmethod
    def add(self, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in a batch."""


@final
class RunningMean(RunningMetric):
    """The mean of a function of each batch."""

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
class RunningAccuracy(RunningMetric):
    """The share of predictions that are correct; the loss knows which are, and which count."""

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        self._loss = loss

    @override
    def add(self, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in a batch."""
        correct = self._loss.correct(outputs, targets)
        self.sums[0] += np.count_nonzero(correct)
        self.sums[1] += correct.size

    @override
    def value(self) -> float:
        """The share of all predictions so far; NaN before the first."""
        hits, count, *_ = self.sums
        return hits / count if count else float("nan")


@final
class RunningR2(RunningMetric):
    """The coefficient of determination over all entries, 1 - sum (y - o)^2 / sum (y - mean of y)^2.

    The second sum is combined from those of the batches, as in Chan, Golub and LeVeque 1983
    (https://doi.org/10.1080/00031305.1983.10483115), which loses no digits where the mean is large.
    """

    @override
    def add(self, outputs: Array, targets: npt.NDArray[Any]) -> None:
        """Take in a batch."""
        o, y = _same_shape(outputs, targets, "r2")
        residual, spread, mean, count = self.sums
        batch_mean = float(y.mean())
        difference, total = batch_mean - mean, count + y.size
        self.sums[:] = [
            residual + float(((y - o) ** 2).sum()),
            spread + float(((y - batch_mean) ** 2).sum()) + difference**2 * count * y.size / total,
            mean + difference * y.size / total,
            total,
        ]

    @override
    def value(self) -> float:
        """That of all batches so far; NaN before the first, 1 or 0 if all targets are equal."""
        residual, spread, _, count = self.sums
        if not count:
            return float("nan")
        if not spread:  # scikit-learn's convention
            return 0.0 if residual else 1.0
        return 1 - residual / spread


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


METRICS: dict[MetricName, Callable[[Loss], RunningMetric]] = {
    "accuracy": RunningAccuracy,
    "mean_absolute_error": lambda _: RunningMean(mean_absolute_error, "mean_absolute_error"),
    "r2": lambda _: RunningR2(),
}
"""The metrics that have a name, for a loss."""


def metrics_for(metrics: Metrics, loss: Loss) -> dict[str, RunningMetric]:
    """What `fit` was asked to measure, by name.

    Raises:
        KindError: Something is neither a name nor a function.
        RangeError: There is no metric of this name, or two have the same name.
    """
    given: object = metrics
    if isinstance(given, str) and given == "auto":
        given = () if loss.default_metric is None else (loss.default_metric,)
    if isinstance(given, str) or callable(given):
        given = (given,)
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Sequence):
        pairs = [(_name_of(metric), metric) for metric in given]
    else:
        raise KindError(
            f"metrics is {described(metrics)}, expected 'auto', names ({', '.join(METRICS)}) or "
            f"functions"
        )
    result: dict[str, RunningMetric] = {}
    for name, metric in pairs:
        if not isinstance(name, str):
            raise KindError(
                f"metrics names one {described(name)}, expected text, metrics={{'my_name': "
                f"function}}"
            )
        if name in result or name in ("loss", "<lambda>") or name.startswith("val_"):
            raise RangeError(
                f"a metric cannot be called '{name}' here; give it a name, metrics={{'my_name': "
                f"function}}"
            )
        result[name] = _running(name, metric, loss)
    return result


def _name_of(metric: object) -> str:
    return metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)


def _running(name: str, metric: object, loss: Loss) -> RunningMetric:
    if callable(metric):
        return RunningMean(metric, name)
    if not isinstance(metric, str):
        raise KindError(
            f"metric '{name}' is {described(metric)}, expected a name ({', '.join(METRICS)}) or a "
            f"function"
        )
    for known, running in METRICS.items():
        if metric == known:
            return running(loss)
    raise RangeError(
        f"there is no metric '{metric}'; there are {', '.join(METRICS)}, or give a function"
    )
