"""`check_gradients`: is a `backward` the derivative of its `forward`? For authors of layers and losses."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Seed, described, float_array, generator, number
from minigrad.errors import GradientError, KindError, OrderError
from minigrad.layer import Layer
from minigrad.layers import Sequential
from minigrad.losses import Loss

_EACH_ENTRY = 64  # tensors up to this size are checked entry by entry, larger ones along random directions
_DIRECTIONS = 24


def check_gradients(
    layer_or_loss: Layer | Loss,
    x: npt.ArrayLike,
    targets: npt.ArrayLike | None = None,
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    rng: Seed = 0,
) -> None:
    """Compare every gradient with central differences in float64, (f(v + eps) - f(v - eps)) / 2 eps.

    A layer is reduced to one number by a random weighting of its outputs. It runs in its current mode, as a copy
    that computes in float64, so it stays as it is; a layer that draws random numbers from a generator of its own, such
    as Dropout, draws the same ones each time. An entry at a kink (a relu at 0), where the derivative from the
    left is not that from the right, is passed over.

    Args:
        layer_or_loss: What to check.
        x: An input, shape (batch, ...); for a loss the logits.
        targets: For a loss, its targets.
        eps: Half the distance of the differences.
        rtol: The largest difference allowed, relative to the larger of both.
        atol: The largest difference allowed in any case, relative to the tensor's largest gradient.
        rng: A seed or a generator for weighting and directions.

    Raises:
        GradientError: A gradient is not the derivative; says which tensor and entry, both numbers, and what they
            have in common if anything. Or the layer changes its input or the gradient that it is given.
        KindError: Something is neither a layer nor a loss, a layer returns no array, or targets are missing.
        ShapeError: A layer does not accept the input.
        OrderError: Every entry lies at a kink, so that nothing could be checked.
    """
    number(eps, "eps", above=0)
    rtol, atol = number(rtol, "rtol", least=0), number(atol, "atol", least=0)
    x64 = np.array(float_array(x, np.dtype(np.float64), "x of check_gradients"))
    random = generator(rng).spawn(1)[0]  # a stream of its own, also where the caller drew x with the same seed
    if isinstance(layer_or_loss, Loss):
        if targets is None:
            raise KindError(
                f"check_gradients needs targets for a loss: check_gradients({described(layer_or_loss)}, logits, targets)"
            )
        subject: _Subject = _LossSubject(copy.deepcopy(layer_or_loss), x64, targets)
    elif isinstance(layer_or_loss, Layer):
        subject = _LayerSubject(_in_float64(layer_or_loss), x64, random)
    else:
        raise KindError(f"check_gradients got {described(layer_or_loss)}, expected a layer or a loss")
    checked = 0
    for name, array, grad in subject.tensors():
        checked += _check(
            f"{type(layer_or_loss).__name__}: {name}", subject.value, array, grad, eps, rtol, atol, random
        )
    if checked == 0:
        raise OrderError("check_gradients could not check anything: every entry lies at a kink; use other inputs")


class _Subject:
    """One number that depends on some arrays, and its gradients."""

    def value(self) -> float:
        """The number, for the arrays as they are now."""
        raise AssertionError

    def tensors(self) -> Iterator[tuple[str, Array, Array]]:
        """(name, array, gradient), where changing the array in place changes the number."""
        raise AssertionError


class _LossSubject(_Subject):
    def __init__(self, loss: Loss, logits: Array, targets: npt.ArrayLike) -> None:
        self._loss, self._logits, self._targets = loss, logits, targets

    def value(self) -> float:
        return self._loss.forward(self._logits, self._targets)

    def tensors(self) -> Iterator[tuple[str, Array, Array]]:
        before = self._logits.copy()
        self.value()
        grad = self._loss.backward()
        if not np.array_equal(self._logits, before):
            raise GradientError(f"{self._loss!r}: forward or backward changes the logits in place; work on a copy")
        yield "the gradient of the logits", self._logits, _result(grad, self._logits, "backward")


class _LayerSubject(_Subject):
    def __init__(self, layer: Layer, x: Array, rng: np.random.Generator) -> None:
        self._layer, self._x = layer, x
        self._generators = [
            (attribute, attribute.bit_generator.state)
            for _, inner in layer.layers()
            for attribute in vars(inner).values()
            if isinstance(attribute, np.random.Generator)
        ]
        output = layer.forward(x.copy())
        if not isinstance(output, np.ndarray):
            raise KindError(f"{layer.called}: forward returned {type(output).__name__}, expected an array")
        self._weighting: Array = rng.normal(size=output.shape)

    def _forward(self) -> Array:
        """The output; each time with the same random numbers, where the layer draws any."""
        for own, state in self._generators:
            own.bit_generator.state = state
        return self._layer.forward(self._x)

    def value(self) -> float:
        return float((self._forward() * self._weighting).sum())

    def tensors(self) -> Iterator[tuple[str, Array, Array]]:
        layer, before = self._layer, self._x.copy()
        grad = self._weighting.copy()
        self._forward()
        below = layer.backward(grad, input_grad=True) if isinstance(layer, Sequential) else layer.backward(grad)
        if not np.array_equal(self._x, before):
            raise GradientError(f"{layer.called}: forward or backward changes its input in place; work on a copy")
        if not np.array_equal(grad, self._weighting):
            raise GradientError(f"{layer.called}: backward changes the gradient that it is given; work on a copy")
        yield "the gradient of the input", self._x, _result(below, self._x, "backward")
        for name, parameter in layer.parameters():
            if parameter.arrival is None:
                raise GradientError(
                    f"{layer.called}: backward assigns no gradient to '{name}'; write self.{name}.grad = ..."
                )
            yield f"the gradient of '{name}'", parameter.value, parameter.grad.copy()


def _in_float64(layer: Layer) -> Layer:
    clone = copy.deepcopy(layer)
    for _, parameter in clone.parameters():
        parameter.cast(np.dtype(np.float64))
    return clone


def _result(grad: object, like: Array, what: str) -> Array:
    if not isinstance(grad, np.ndarray):
        raise GradientError(f"{what} returned {type(grad).__name__}, expected the input's gradient, shape {like.shape}")
    if grad.shape != like.shape:
        raise GradientError(f"{what} returned a gradient of shape {grad.shape} for an input of shape {like.shape}")
    return grad.copy()


def _check(
    name: str,
    value: Callable[[], float],
    array: Array,
    grad: Array,
    eps: float,
    rtol: float,
    atol: float,
    rng: np.random.Generator,
) -> int:
    """Check one tensor; returns how many differences were compared."""
    scale = float(np.abs(grad).max(initial=0.0))
    compared = 0
    expected, found, places = [], [], []
    for place, direction in _directions(array.shape, rng):
        slopes = _slopes(value, array, direction, eps)
        if slopes is None:
            continue
        compared += 1
        expected.append(slopes)
        found.append(float((grad * direction).sum()))
        places.append(place)
    want, have = np.array(expected), np.array(found)
    if not np.all(np.isfinite(have)):
        raise GradientError(f"{name} holds NaN or infinity")
    noise = 1e-9 * max(1.0, abs(value()))  # what rounding leaves of a difference at the usual distance
    allowed = (
        rtol * np.maximum(np.abs(want), np.abs(have)) + atol * max(scale, float(np.abs(want).max(initial=0.0))) + noise
    )
    wrong = np.abs(want - have) > allowed
    if wrong.any():
        worst = int(np.argmax(np.abs(want - have) / allowed))
        raise GradientError(
            f"{name} is wrong {places[worst]}: backward says {have[worst]:.6g}, central differences say {want[worst]:.6g}"
            f" ({int(wrong.sum())} of {compared} compared differ){_hint(want, have)}"
        )
    return compared


def _directions(shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Each entry of a small tensor; random directions, each a mixture of all entries, through a large one."""
    size = int(np.prod(shape))
    for flat in range(size if size <= _EACH_ENTRY else 0):
        direction = np.zeros(size)
        direction[flat] = 1.0
        yield f"at {tuple(int(i) for i in np.unravel_index(flat, shape))}", direction.reshape(shape)
    for _ in range(_DIRECTIONS if size > _EACH_ENTRY else 0):
        direction = rng.normal(size=shape)
        yield "along a random direction", direction / np.linalg.norm(direction)


def _slopes(value: Callable[[], float], array: Array, direction: Array, eps: float) -> float | None:
    """The central difference along a direction; None at a kink, where two distances do not agree."""
    kept = array.copy()

    def at(distance: float) -> float:
        array[...] = kept + distance * direction
        return value()

    def central(distance: float) -> float:
        return (at(distance) - at(-distance)) / (2 * distance)

    def bend(distance: float) -> float:
        """How much the slope to the right differs from that to the left."""
        return abs(at(distance) - 2 * at(0.0) + at(-distance)) / distance

    try:
        slope, near = central(eps), eps / 8
        # Curvature bends by about eps, a kink by the same much larger amount at any distance.
        if bend(eps) <= 1e-3 * abs(slope) + 1e-8 * max(1.0, abs(at(0.0))) + 1e-6:
            return slope
        return None if bend(near) > 0.3 * bend(eps) else central(near)
    finally:
        array[...] = kept


def _hint(want: Array, have: Array) -> str:
    """What the wrong numbers have in common with the right ones, if anything."""
    both = np.abs(want) > 1e-12
    if not both.any() or not np.abs(have[both]).any():
        return "; it is 0 where it should not be" if both.any() else ""
    ratio = have[both] / want[both]
    if np.allclose(ratio, ratio[0], rtol=1e-3):
        if np.isclose(ratio[0], -1, rtol=1e-3):
            return "; the sign is wrong everywhere"
        return f"; it is {ratio[0]:.4g} times the right one everywhere"
    return ""
