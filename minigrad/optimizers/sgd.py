"""`SGD`, stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from minigrad._types import override
from minigrad._validation import number
from minigrad.arrays import Array
from minigrad.errors import RangeError
from minigrad.layers.layer import Layer
from minigrad.optimizers.optimizer import Optimizer
from minigrad.optimizers.settings import Rate
from minigrad.optimizers.transforms import Transform


@final
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum as a velocity.

    With gradient g, value w, learning rate lr, momentum m and weight decay d, PyTorch's definition
    (https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html; momentum after Sutskever
    et al. 2013):

        g <- g + d w
        v <- m v + g
        update = -lr v, or with Nesterov -lr (g + m v)

    Args:
        model: Any layer, a part of a model too.
        lr: The learning rate, above 0; or a schedule `step -> rate`; or rates by pattern.
        momentum: How much of the velocity stays from one step to the next, 0 to below 1.
        nesterov: Look one step ahead; needs momentum.
        weight_decay: Pulls the values towards 0; a number, or numbers by pattern, `{"*.weight":
            1e-4}`.
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
        RangeError: A setting is out of range; Nesterov without momentum.
    """

    fills_update: ClassVar[bool] = True  # `compute` writes every entry

    def __init__(
        self,
        model: Layer,
        lr: Rate,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
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
        self.momentum: float = number(momentum, "momentum", least=0, below=1)
        self.nesterov: bool = bool(nesterov)
        if self.nesterov and self.momentum == 0:
            raise RangeError("nesterov=True needs momentum above 0, got momentum=0.0")
        self.weight_decay: float | Array = self.per_entry(weight_decay, "weight_decay")
        if self.momentum:
            self.state("velocity")  # from the start, so that a state that lacks it is noticed

    @override
    def compute(self, values: Array, grads: Array, update: Array) -> None:
        """Fill the update by the formulas above."""
        grads = self.with_decay(grads, values, self.weight_decay)  # g + d w
        if self.momentum:
            velocity = self.state("velocity")
            velocity *= self.momentum
            velocity += grads  # m v + g
            grads = grads + self.momentum * velocity if self.nesterov else velocity
        np.multiply(grads, -self.current_lr, out=update)
