"""`Adam` and `AdamW`, gradient descent with a step size of its own for each entry."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, final

import numpy as np

from minigrad._kernels import blocks
from minigrad._messages import described
from minigrad._types import override
from minigrad._validation import number
from minigrad.arrays import Array
from minigrad.errors import KindError
from minigrad.layers.layer import Layer
from minigrad.optimizers.optimizer import Optimizer
from minigrad.optimizers.settings import Rate
from minigrad.optimizers.transforms import Transform


class _Moments(Optimizer):
    """Running means of the gradient and of its square, and the step they give."""

    fills_update: ClassVar[bool] = True

    def __init__(
        self,
        model: Layer,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Mapping[str, float] = 0.0,
        amsgrad: bool = False,
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
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise KindError(
                f"betas is {described(betas)}, expected two numbers, such as (0.9, 0.999)"
            )
        self.betas: tuple[float, float] = (
            number(betas[0], "betas[0]", least=0, below=1),
            number(betas[1], "betas[1]", least=0, below=1),
        )
        self.eps: float = number(eps, "eps", above=0)
        self.weight_decay: float | Array = self.per_entry(weight_decay, "weight_decay")
        self.amsgrad: bool = bool(amsgrad)
        names = ["first_moment", "second_moment", *(["largest_second_moment"] if amsgrad else [])]
        for name in names:
            self.state(name)  # from the start, so that a state that lacks it is noticed

    def _adapt(self, grads: Array, update: Array) -> None:
        """The update: -lr m_ / (sqrt(v_) + eps), with m_ and v_ corrected for their start at 0."""
        beta1, beta2 = self.betas
        count = self.update_count + 1
        root = math.sqrt(1 - beta2**count)
        # The roots of the corrections are taken out of the fraction, which saves a division of each
        # entry.
        size, eps = self.current_lr * root / (1 - beta1**count), self.eps * root
        first, second = self.state("first_moment"), self.state("second_moment")
        largest = self.state("largest_second_moment") if self.amsgrad else second
        for g, m, v, top, u in blocks(grads, first, second, largest, update):
            m *= beta1
            m += np.multiply(g, 1 - beta1, out=u)  # m = beta1 m + (1 - beta1) g
            v *= beta2
            square = np.multiply(g, g, out=u)
            square *= 1 - beta2
            v += square  # v = beta2 v + (1 - beta2) g^2
            if self.amsgrad:
                np.maximum(top, v, out=top)
            np.sqrt(top, out=u)
            u += eps
            np.divide(m, u, out=u)
            u *= -size


@final
class Adam(_Moments):
    """Adam: the step of an entry is about lr at first, and small where its gradients disagree.

    With gradient g, value w, weight decay d and the number t of the update, counted from 1,
    PyTorch's definition (https://docs.pytorch.org/docs/stable/generated/torch.optim.Adam.html;
    Kingma and Ba 2015, https://arxiv.org/abs/1412.6980):

        g <- g + d w
        m <- beta1 m + (1 - beta1) g            v <- beta2 v + (1 - beta2) g^2
        update = -lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    A parameter that is left out of some steps, because it was frozen, has a t of its own.

    Args:
        model: Any layer, a part of a model too.
        lr: The learning rate, above 0; or a schedule `step -> rate`; or rates by pattern.
        betas: How much of m and of v stays from one step to the next, each 0 to below 1.
        eps: Added to the root, above 0.
        weight_decay: Added to the gradient, times the value; a number, or numbers by pattern,
            `{"*.weight": 1e-4}`.
        amsgrad: Use the largest v so far instead of v (Reddi et al. 2018,
            https://arxiv.org/abs/1904.09237).
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

    @override
    def compute(self, values: Array, grads: Array, update: Array) -> None:
        """The decay is part of the gradient."""
        self._adapt(self.with_decay(grads, values, self.weight_decay), update)


@final
class AdamW(_Moments):
    """Adam with a decoupled weight decay: it pulls the values towards 0 past m and v.

    PyTorch's definition (https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html;
    Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101), with the letters of `Adam`:

        update = -lr d w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)

    Args:
        model: Any layer, a part of a model too.
        lr: The learning rate, above 0; or a schedule `step -> rate`; or rates by pattern.
        betas: How much of m and of v stays from one step to the next, each 0 to below 1.
        eps: Added to the root, above 0.
        weight_decay: How fast the values shrink, relative to lr; a number, or numbers by pattern,
            `{"*.weight": 0.01}`.
        amsgrad: Use the largest v so far instead of v (Reddi et al. 2018,
            https://arxiv.org/abs/1904.09237).
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

    def __init__(
        self,
        model: Layer,
        lr: Rate = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Mapping[str, float] = 0.01,
        amsgrad: bool = False,
        lr_factors: Mapping[str, float] | None = None,
        grad_transforms: Iterable[Transform] = (),
        update_transforms: Iterable[Transform] = (),
        max_grad_norm: float | None = None,
        max_grad_value: float | None = None,
    ) -> None:
        super().__init__(
            model,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            amsgrad=amsgrad,
            lr_factors=lr_factors,
            grad_transforms=grad_transforms,
            update_transforms=update_transforms,
            max_grad_norm=max_grad_norm,
            max_grad_value=max_grad_value,
        )

    @override
    def compute(self, values: Array, grads: Array, update: Array) -> None:
        """The decay is added to the update."""
        self._adapt(grads, update)
        if not isinstance(self.weight_decay, float) or self.weight_decay:
            update -= self.current_lr * self.of_entries(self.weight_decay) * values
