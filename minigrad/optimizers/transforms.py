"""Transforms of gradients and of updates, each of which changes a flat array in place.

    gradient arrives -> gradient transforms -> compute -> update transforms -> write

A transform is anything that can be called with `(names, values, array)`, a function too:

    def mean_over_processes(names, values, grads):
        communicator.Allreduce(MPI.IN_PLACE, grads)
        grads /= communicator.size

    optimizer = minigrad.SGD(model, lr=0.1, grad_transforms=[mean_over_processes])

`names` maps each parameter's name to its `Slot(slice, shape)`, `values` are all values before the
step, flat and read-only, and `array` holds the gradients or the update, flat. Parameters that get
no update in this step are 0 in it, and stay as they are. A transform with a state has `state_dict`
and `load_state_dict`, which checkpoints use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any, ClassVar, TypeAlias, final

import numpy as np

from minigrad._messages import described
from minigrad._validation import number, whole
from minigrad.arrays import Array, Seed
from minigrad.arrays import Mask as Booleans
from minigrad.errors import KindError, ModelError, ShapeError
from minigrad.parameters.vector import Slot
from minigrad.randomness import generator, set_generator

Names: TypeAlias = Mapping[str, Slot]
"""Where each parameter lies in the flat arrays, by its name."""

Transform: TypeAlias = Callable[[Names, Array, Array], None]
"""`(names, values, array) -> None`: changes the array in place."""


@final
class ClipValue:
    """Limits each entry of the gradients to between `-limit` and `limit`.

    PyTorch's `clip_grad_value_` does the same.

    Args:
        limit: The largest magnitude, above 0.

    Raises:
        KindError: It is no number.
        RangeError: It is not above 0.
    """

    keeps_zeros: ClassVar[bool] = True

    def __init__(self, limit: float) -> None:
        self.limit: float = number(limit, "limit", above=0)

    def __call__(self, names: Names, values: Array, array: Array) -> None:
        """Limit them."""
        np.clip(array, -self.limit, self.limit, out=array)

    def __repr__(self) -> str:
        return f"ClipValue({self.limit:g})"


@final
class ClipNorm:
    """Scales the gradients down so that their norm over all parameters is at most `limit`.

    PyTorch's `clip_grad_norm_` does the same.

    Args:
        limit: The largest Euclidean norm, above 0.

    Attributes:
        factor: What the gradients of the last step were multiplied by.

    Raises:
        KindError: It is no number.
        RangeError: It is not above 0.
    """

    keeps_zeros: ClassVar[bool] = True

    def __init__(self, limit: float) -> None:
        self.limit: float = number(limit, "limit", above=0)
        self.factor: float = 1.0

    def __call__(self, names: Names, values: Array, array: Array) -> None:
        """Scale them."""
        with np.errstate(over="ignore"):
            norm = math.sqrt(float(np.dot(array, array)))
        if not math.isfinite(norm):  # squares overflow in float32 long before the norm does
            norm = float(np.linalg.norm(array.astype(np.float64)))
        self.factor = min(1.0, self.limit / (norm + 1e-6))
        if self.factor != 1.0:
            array *= array.dtype.type(self.factor)

    def __repr__(self) -> str:
        return f"ClipNorm({self.limit:g})"


@final
class GradientNoise:
    """Adds normal noise to the gradients, less from step to step.

    Its variance in step t is std^2 / (1 + t)^decay (Neelakantan et al. 2015,
    https://arxiv.org/abs/1511.06807, with decay 0.55).

    Args:
        std: The standard deviation in the first step, 0 or more.
        decay: How fast the variance falls, 0 or more; with 0 it stays.
        rng: A seed or a generator for the noise.

    Raises:
        KindError: A setting is no number, or `rng` neither a seed nor a generator.
        RangeError: A setting is negative.
    """

    def __init__(self, std: float, *, decay: float = 0.55, rng: Seed = None) -> None:
        self.std: float = number(std, "std", least=0)
        self.decay: float = number(decay, "decay", least=0)
        self.rng: np.random.Generator = generator(rng)
        self.steps: int = 0

    def __call__(self, names: Names, values: Array, array: Array) -> None:
        """Add it; parameters that get no update in this step do not count."""
        std = self.std * (1 + self.steps) ** (-self.decay / 2)
        array += self.rng.normal(0.0, std, array.size).astype(array.dtype)
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """How many steps it has seen, and where its generator stands."""
        return {"steps": self.steps, "rng": deepcopy(self.rng.bit_generator.state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Raises:
            ModelError: It is the state of another kind of generator.
        """
        steps = whole(state["steps"], "steps", least=0)
        set_generator(self.rng, state["rng"], "the rng of GradientNoise")
        self.steps = steps

    def __repr__(self) -> str:
        return f"GradientNoise({self.std:g}, decay={self.decay:g})"


@final
class Mask:
    """Lets only some entries move; the others keep their value, whatever the optimizer asks for.

    As an update transform, it is applied after momentum and decay. Pruned weights stay 0 with it:

        minigrad.SGD(model, lr=0.1, update_transforms=[minigrad.Mask({"0.weight":
        model[0].weight.value != 0})])

    Args:
        moving: For each parameter's name, or a pattern such as "*.weight", the entries that may
            move: booleans of the parameter's shape, copied.

    Raises:
        KindError: It is no mapping of names to arrays of booleans.
    """

    keeps_zeros: ClassVar[bool] = True

    def __init__(self, moving: Mapping[str, Booleans]) -> None:
        if not isinstance(moving, Mapping) or not moving:
            raise KindError(
                f"Mask got {described(moving)}, expected booleans by name, such as {{'0.weight': "
                f"array}}"
            )
        for name, mask in moving.items():
            if not isinstance(mask, np.ndarray) or mask.dtype != bool:
                raise KindError(
                    f"Mask['{name}'] is {described(mask)}, expected an array of booleans: True may "
                    f"move"
                )
        self.moving: dict[str, Booleans] = {name: mask.copy() for name, mask in moving.items()}

    def __call__(self, names: Names, values: Array, array: Array) -> None:
        """Put zeros where nothing may move.

        Raises:
            ModelError: A name or pattern fits no parameter.
            ShapeError: A mask has another shape than its parameter.
        """
        for pattern, mask in self.moving.items():
            for name, (part, shape) in matching(names, pattern, "Mask"):
                if mask.shape != shape:
                    raise ShapeError(
                        f"Mask['{pattern}'] has shape {mask.shape}, and '{name}' has {shape}"
                    )
                # Adding -0.0 changes no bit of any number; +0.0 would turn -0.0 into 0.0.
                array[part][~mask.ravel()] = -0.0

    def __repr__(self) -> str:
        held = sum(int(np.count_nonzero(~mask)) for mask in self.moving.values())
        return f"Mask({', '.join(self.moving)}: {held:,} entries may not move)"


@final
class MaxNorm:
    """Keeps the norm of each unit's weights at a limit: an update that would leave it is shortened.

    With the new value w' = w + update of a unit's weights, it becomes w' limit / |w'| where |w'| is
    larger than the limit (Srivastava et al. 2014, section 5.1,
    https://jmlr.org/papers/v15/srivastava14a.html).

    Args:
        limit: The largest Euclidean norm, above 0.
        params: Which parameters, a pattern.
        axis: The axis over which the norm of a unit goes: 0 for the weights of `Dense`, which are
            (n_in, n_out).

    Raises:
        KindError: A setting is of the wrong kind.
        RangeError: The limit is not above 0.
    """

    def __init__(self, limit: float, params: str = "*weight", *, axis: int = 0) -> None:
        self.limit: float = number(limit, "limit", above=0)
        if not isinstance(params, str):
            raise KindError(
                f"params of MaxNorm is {described(params)}, expected a pattern, such as '*.weight'"
            )
        self.params: str = params
        self.axis: int = whole(axis, "axis", least=0)

    def __call__(self, names: Names, values: Array, array: Array) -> None:
        """Shorten the update.

        Raises:
            ModelError: The pattern fits no parameter.
            ShapeError: A parameter has no such axis.
        """
        for name, (part, shape) in matching(names, self.params, "MaxNorm"):
            if self.axis >= len(shape):
                raise ShapeError(
                    f"MaxNorm goes over axis {self.axis}, and '{name}' of shape {shape} has none; "
                    f"give params"
                )
            before, update = values[part].reshape(shape), array[part].reshape(shape)
            after = before + update
            norms = np.linalg.norm(after, axis=self.axis, keepdims=True)
            too_long = np.broadcast_to(norms > self.limit, shape)
            with np.errstate(invalid="ignore", divide="ignore"):
                update[too_long] = (after * (self.limit / norms) - before)[too_long]

    def __repr__(self) -> str:
        return f"MaxNorm({self.limit:g}, '{self.params}')"


def matching(names: Names, pattern: str, who: str) -> Iterator[tuple[str, Slot]]:
    """The parameters that a name or a pattern fits.

    Raises:
        ModelError: It fits none.
    """
    result = [(name, slot) for name, slot in names.items() if fnmatchcase(name, pattern)]
    if not result:
        raise ModelError(f"{who}: '{pattern}' matches no parameter; there are {', '.join(names)}")
    yield from result


def name_of(transform: object) -> str:
    """What a transform is called: its class, or its function."""
    return getattr(transform, "__name__", type(transform).__name__)
