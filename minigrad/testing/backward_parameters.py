"""Does a layer's own `backward_parameters` leave the same gradients as its `backward`?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from minigrad.arrays import Array
from minigrad.errors import GradientError
from minigrad.layers import Sequential
from minigrad.layers.layer import Layer
from minigrad.testing.subject import MARK, LayerSubject, assigned, mark, same

METHODS = ("forward", "backward", "backward_parameters")


def check_backward_parameters(subject: LayerSubject) -> None:
    """Compare `backward_parameters` with `backward`, where a layer or one inside overrides it.

    Each is run by itself, with what it got in a pass through the outermost layer. A `Sequential`
    cannot be wrong: it calls that of its layers.

    Raises:
        GradientError: It leaves other gradients, leaves one out, or changes what it is given.
    """
    own = [
        inner
        for _, inner in subject.layer.layers()
        if type(inner).backward_parameters is not Layer.backward_parameters
        and not isinstance(inner, Sequential)
    ]
    with ExitStack() as stack:
        # backward_parameters too: a composite may call that of an inner layer itself
        recorded = [
            [stack.enter_context(_recorded(inner, method)) for method in METHODS] for inner in own
        ]
        subject.forward()
        subject.backward()
    for inner, (forward, *backward) in zip(own, recorded, strict=True):
        incoming = next((calls for calls in backward if calls), None)
        if forward and incoming:  # a layer that the model does not use is in no pass
            _check_one(inner, subject.rewind, forward[-1], incoming[-1])


@contextmanager
def _recorded(layer: Layer, method: str) -> Iterator[list[Any]]:
    """The arguments of each call of a method of this one object meanwhile, as copies."""
    original = getattr(layer, method)
    calls: list[Any] = []

    def recording(*args: Any, **options: Any) -> Any:
        calls.append(copy.deepcopy(args))
        return original(*args, **options)

    setattr(layer, method, recording)
    try:
        yield calls
    finally:
        delattr(layer, method)


def _check_one(
    layer: Layer, rewind: Callable[[], None], inputs: tuple[Any, ...], grads: tuple[Any, ...]
) -> None:
    parameters = list(layer.parameters())
    who = f"{layer.called}: backward_parameters"
    _run(layer, "backward", rewind, inputs, grads)
    expected = [parameter.grad.copy() for _, parameter in parameters]
    for _ in range(2):
        mark(parameters)
        _run(layer, "backward_parameters", rewind, inputs, grads)
        for (name, _), want, have in zip(
            parameters, expected, assigned(parameters, who), strict=True
        ):
            if _close(have, want):
                continue
            if same(have - MARK, want):
                raise GradientError(
                    f"{who}: the gradient of '{name}' piles up: assign it, do not add to what is "
                    f"there"
                )
            place = tuple(map(int, np.unravel_index(np.abs(have - want).argmax(), want.shape)))
            wrong = int((~np.isclose(have, want, 1e-5)).sum())
            sign = "; the sign is wrong everywhere" if _close(-have, want) else ""
            raise GradientError(
                f"{who} leaves another gradient of '{name}' than backward: at {place} "
                f"{have[place]:.6g}, where backward says {want[place]:.6g} ({wrong} of {want.size} "
                f"entries differ){sign}; it must leave the same ones, as it stands in for backward "
                f"at the first layer of a model"
            )


def _run(
    layer: Layer,
    method: str,
    rewind: Callable[[], None],
    inputs: tuple[Any, ...],
    grads: tuple[Any, ...],
) -> None:
    own_inputs, own_grads = copy.deepcopy(inputs), copy.deepcopy(grads)
    rewind()
    layer.forward(*own_inputs)
    getattr(layer, method)(*own_grads)
    for what, before, after in (
        ("input", inputs, own_inputs),
        ("gradient that it is given", grads, own_grads),
    ):
        for one, other in zip(before, after, strict=True):
            if isinstance(other, np.ndarray) and not np.array_equal(one, other, equal_nan=True):
                raise GradientError(
                    f"{layer.called}: {method} changes the {what} in place; work on a copy"
                )


def _close(have: Array, want: Array) -> bool:
    scale = float(np.abs(want).max(initial=0.0))
    return bool(np.allclose(have, want, rtol=1e-5, atol=1e-7 * scale))
