"""`RMSprop`, gradient descent relative to the size of recent gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from minigrad._types import override
from minigrad._validation import number
from minigrad.arrays import Array
from minigrad.layers.layer import Layer
from minigrad.optimizers.optimizer import Optimizer
from minigrad.optimizers.settings import Rate
from minigrad.optimizers.transforms import Transform


@final
class RMSprop(Optimizer):
    """Each entry's gradient is divided by the root of the running mean of its square.

    With gradient g, value w, weight decay d and momentum p, PyTorch's definition
    (https://docs.pytorch.org/docs/stable/generated/torch.optim.RMSprop.html; Hinton 2012,
    https://www.cs.toronto.edu/~tijmen/csc321/slides/lecture_slides_lec6.pdf):

        g <- g + d w
        v <- alpha v + (1 - alpha) g^2
        a <- alpha a + (1 - alpha) g, if centered; otherwise a = 0
        b <- p b + g / (sqrt(v - a^2) + eps)
        update = -lr b

    Args:
        model: Any layer, a part of a model too.
        lr: The learning rate, above 0; or a schedule `step -> rate`; or rates by pattern.
        alpha: How much of the running means stays from one step to the next, 0 to below 1.
        eps: Added to the root, above 0.
        momentum: How much of the velocity b stays from one step to the next, 0 to below 1.
        centered: Divide by the standard deviation of the gradient, not by its root mean square.
        weight_decay: Added to the gradient, times the value; a number, or numbers by pattern,
            `{"*.weight": 1e-4}`.
        lr_factors: What the update of some parameters is multiplied by, by pattern: `{"0.*": 0.1}`.
        grad_transforms: What changes the gradients before they are used, in order:
            `[GradientNoise(0.1, rng=0)]`.
        update_transforms: What changes the update, in order: `[MaxNorm(3.0)]`.
        max_grad_norm: Scale the gradients down so that their norm over all parameters is at most
            this.
        max_grad_value: Before that, limit each entry of the gradients to between minus this and
            this.

    Raises:
        KindError: `model` is not a layer, or a setting is no number.
        ModelError: The model has no parameters, or a pattern matches none.
        RangeError: A setting is out of range.
    """

    fills_update: ClassVar[bool] = True

    def __init__(
        self,
        model: Layer,
        lr: Rate = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        centered: bool = False,
        weight_decay: float | Mapping[str, float] = 0.0,
        lr_factors: Mapping[str, float] | None = None,
        grad_transforms: Iterable[Transform] = (),
        update_transforms: Iterable[Transform] = (),
        max_grad_norm: float | None = None,
        max_grad_value: float | None = None,
    ) -> None:
        super().__init__(
            model,
            lr,
            lr_factors=lr_factors,
            grad_transforms=grad_transforms,
            update_transforms=update_transforms,
            max_grad_norm=max_grad_norm,
            max_grad_value=max_grad_value,
        )
        self.alpha: float = number(alpha, "alpha", least=0, below=1)
        self.eps: float = number(eps, "eps", above=0)
        self.momentum: float = number(momentum, "momentum", least=0, below=1)
        self.centered: bool = bool(centered)
        self.weight_decay: float | Array = self.per_entry(weight_decay, "weight_decay")
        for name, used in (
            ("mean_square", True),
            ("mean", self.centered),
            ("velocity", self.momentum > 0),
        ):
            if used:
                self.state(name)  # from the start, so that a loaded state that lacks it is noticed

    @override
    def compute(self, values: Array, grads: Array, update: Array) -> None:
        """Fill the update by the formulas above."""
        grads = self.with_decay(grads, values, self.weight_decay)
        square = self.state("mean_square")
        square *= self.alpha
        square += (1 - self.alpha) * grads * grads
        variance = square
        if self.centered:
            mean = self.state("mean")
            mean *= self.alpha
            mean += (1 - self.alpha) * grads
            variance = np.maximum(square - mean * mean, 0)  # rounding may leave less than 0
        np.sqrt(variance, out=update)
        update += self.eps
        np.divide(grads, update, out=update)
        if self.momentum:
            velocity = self.state("velocity")
            velocity *= self.momentum
            velocity += update
            np.copyto(update, velocity)
        update *= -self.current_lr
