"""Does a `backward_parameters` that somebody wrote leave the same gradients as the layer's `backward`?"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.arrays import Array
from minigrad.errors import GradientError
from minigrad.layers import Sequential
from minigrad.layers.layer import Layer
from minigrad.testing.subjects import MARK, LayerSubject, assigned, mark, same


def check_overrides(subject: LayerSubject) -> None:
    """Compare `backward_parameters` with `backward`, in the layer and all inside that write one of
    their own.

    Each is run by itself, with what it got in a pass through the whole. A `Sequential` has none to
    be wrong: it calls that of its layers.

    Raises:
        GradientError: It leaves other gradients, leaves one out, or changes what it is given.
    """
    own = [
        inner
        for _, inner in subject.layer.layers()
        if type(inner).backward_parameters is not Layer.backward_parameters
        and not isinstance(inner, Sequential)
    ]
    calls = {
        method: [_recorded(inner, method) for inner in own] for method in ("forward", "backward")
    }
    through = [
        _recorded(inner, "backward_parameters") for inner in own
    ]  # which a composite may call itself
    try:
        subject.forward()
        subject.backward()
    finally:
        for inner in own:
            for method in ("forward", "backward", "backward_parameters"):
                vars(inner).pop(method)
    for inner, forward, *backward in zip(
        own, calls["forward"], calls["backward"], through, strict=True
    ):
        incoming = next((call for call in backward if call), None)
        if forward and incoming:  # a layer that the whole does not use is in no pass
            _check_one(inner, subject.rewind, forward, incoming)


def _recorded(layer: Layer, method: str) -> list[Any]:
    """The last arguments of a method of this one object, once it is called: `[args]`, copies."""
    original = getattr(layer, method)
    seen: list[Any] = []

    def recording(*args: Any, **options: Any) -> Any:
        seen[:] = [copy.deepcopy(args)]
        return original(*args, **options)

    vars(layer)[method] = recording
    return seen


def _check_one(
    layer: Layer, rewind: Callable[[], None], inputs: list[Any], incoming: list[Any]
) -> None:
    parameters = list(layer.parameters())
    who = f"{layer.called}: backward_parameters"
    _run(layer, "backward", rewind, inputs, incoming)
    expected = [parameter.grad.copy() for _, parameter in parameters]
    for _ in range(2):
        mark(parameters)
        _run(layer, "backward_parameters", rewind, inputs, incoming)
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
            at = np.unravel_index(int(np.argmax(np.abs(have - want))), want.shape)
            place = tuple(int(i) for i in at)
            raise GradientError(
                f"{who} leaves another gradient of '{name}' than backward: at {place} "
                f"{have[at]:.6g}, where backward says {want[at]:.6g} "
                f"({int((~np.isclose(have, want, 1e-5)).sum())} of {want.size} entries "
                f"differ){'; the sign is wrong everywhere' if _close(-have, want) else ''}; it "
                f"must leave the same ones, as it stands in for backward at the first layer of a "
                f"model"
            )


def _run(
    layer: Layer, method: str, rewind: Callable[[], None], inputs: list[Any], incoming: list[Any]
) -> None:
    given, grads = copy.deepcopy(inputs[0]), copy.deepcopy(incoming[0])
    rewind()
    layer.forward(*given)
    getattr(layer, method)(*grads)
    for what, before, now in (
        ("input", inputs[0], given),
        ("gradient that it is given", incoming[0], grads),
    ):
        for one, other in zip(before, now, strict=True):
            if isinstance(other, np.ndarray) and not np.array_equal(one, other, equal_nan=True):
                raise GradientError(
                    f"{layer.called}: {method} changes the {what} in place; work on a copy"
                )


def _close(have: Array, want: Array) -> bool:
    scale = float(np.abs(want).max(initial=0.0))
    return bool(np.allclose(have, want, rtol=1e-5, atol=1e-7 * scale))
