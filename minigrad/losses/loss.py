"""`Loss`, the abstract base."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, Literal, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad.arrays import Array, Mask
from minigrad.errors import KindError, RangeError, ShapeError
from minigrad.layers import lineage
from minigrad.losses.targets import Wrong

Reduction = Literal["mean", "sum"]
"""How the losses of the samples become one number."""


class BestConstant(NamedTuple):
    """The output that a model can do no better than if it gives the same for every sample.

    Attributes:
        output: The outputs of one sample, in float64.
        name: What it is called: "the class shares", "the mean", "the median".
    """

    output: Array
    name: str


class Loss(ABC):
    """What training makes small: one number for a batch, and its gradient.

    A subclass writes `forward` and `backward`. `forward` keeps what `backward` needs, and returns
    one number; anything else is a `KindError` that names the loss.

    Attributes:
        value: What `forward` returned last; NaN before the first.
        differentiated: The value whose gradient `backward` returned last; None before the first.
        weight: How much this counts in a mean over several batches; None: as much as the batch had
            samples.
        default_metric: The metric that `fit` reports for `metrics="auto"`; None for none.
        reduction: Whether the loss of a batch is the mean or the sum of its samples' losses.
    """

    default_metric: str | None = None
    reduction: Reduction = "mean"

    value: float = float("nan")
    differentiated: float | None = None
    _outputs: Any = None
    weight: float | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have each `forward` note its value, for recorders; so authors need not."""
        super().__init_subclass__(**kwargs)
        for name, noting in (("forward", _noting), ("backward", _noting_gradient)):
            if name in vars(cls):
                setattr(cls, name, noting(vars(cls)[name]))

    @abstractmethod
    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        """The loss of a batch.

        Args:
            logits: What the model gave, shape (batch, ...).
            targets: What it should have given.
        """

    @abstractmethod
    def backward(self) -> Array:
        """The gradient of the last `forward`'s value with respect to its logits, same shape."""

    def best_constant(
        self, targets: npt.NDArray[Any], n_outputs: int | None = None
    ) -> BestConstant | None:
        """The constant output that minimizes the loss on these targets: what a model has to beat.

        Args:
            targets: Shape (n, ...), as `forward` takes them.
            n_outputs: How many outputs a sample has, which labels alone do not tell.

        Returns:
            The output of one sample and its name; None where it is not known, as for a loss of your
            own that does not define it.
        """
        return None

    def prepare(self, targets: npt.NDArray[Any]) -> None:  # noqa: B027 - few need to
        """Take in all targets of a training; `fit` calls this before the first step.

        Args:
            targets: Shape (n, ...), of the whole data.
        """

    def correct(self, outputs: Array, targets: npt.NDArray[Any]) -> Mask:
        """Which predictions are correct, for the accuracy: the largest output is that of the class.

        Args:
            outputs: Shape (batch, classes).
            targets: Labels, shape (batch,), or a row for each sample, shape (batch, classes).

        Returns:
            One entry for each prediction that counts.

        Raises:
            ShapeError: Outputs or targets have another shape.
        """
        if outputs.ndim != 2 or outputs.shape[1] < 2:
            raise ShapeError(
                f"accuracy got outputs of shape {outputs.shape}, expected (batch, classes): one "
                f"column for each class"
            )
        labels = targets.argmax(axis=1) if targets.shape == outputs.shape else targets
        if labels.shape != (len(outputs),):
            raise ShapeError(
                f"accuracy got targets of shape {targets.shape}, expected labels, ({len(outputs)},)"
            )
        correct: Mask = outputs.argmax(axis=1) == labels
        return correct

    def wrong_targets(self, targets: npt.NDArray[Any], outputs: Array) -> Wrong | None:
        """Those of some targets that the loss cannot use; None if there are none, or it cannot say.

        Args:
            targets: Shape (n, ...).
            outputs: Outputs of the model, of any number of samples: they tell width and dtype.
        """
        return None

    @final
    def __call__(self, logits: Array, targets: npt.ArrayLike) -> float:
        """`loss(logits, targets)` is `loss.forward(logits, targets)`."""
        return self.forward(logits, targets)


def _noting(forward: Callable[..., float]) -> Callable[..., float]:
    @wraps(forward)
    def noted(self: Loss, *args: Any, **kwargs: Any) -> float:
        value = forward(self, *args, **kwargs)
        if type(value) is not float:
            if (
                type(self).forward is not noted
            ):  # called by the forward of a subclass, which makes something of it
                return value
            value = one_number(value, type(self).__name__)
        self.value = value
        self._outputs = args[0] if args else None
        return value

    return noted


def _noting_gradient(backward: Callable[..., Array]) -> Callable[..., Array]:
    """Note what a gradient belongs to: its output, for models, and its value, for recorders."""

    @wraps(backward)
    def noted(self: Loss) -> Array:
        grad = backward(self)
        self.differentiated = self.value
        lineage.note(grad, self._outputs)
        return grad

    return noted


def one_number(figure: object, who: str) -> float:
    """What a loss or a metric returned, as a number; NaN is one, and so is an array without axes.

    Args:
        figure: What was returned.
        who: By what, for the error.

    Raises:
        KindError: It is no number.
    """
    with suppress(TypeError, ValueError):
        if not isinstance(figure, str) and np.ndim(figure) == 0:  # type: ignore[arg-type] # asks whatever it is
            return float(figure)  # type: ignore[arg-type] # whatever it is
    advice = ", return float(...)" if np.size(figure) == 1 and figure is not None else ""  # type: ignore[arg-type]
    raise KindError(f"{who} returned {described(figure)}, expected one number{advice}")


def checked_reduction(reduction: Reduction) -> Reduction:
    """`reduction`, if it is one.

    Raises:
        RangeError: It is neither "mean" nor "sum".
    """
    if not isinstance(reduction, str) or reduction not in ("mean", "sum"):
        raise RangeError(f"reduction is {described(reduction)}, expected 'mean' or 'sum'")
    return reduction
