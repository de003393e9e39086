"""`check_gradients`, and what it says."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._validation import float_array, number
from minigrad.arrays import Array, Seed
from minigrad.display.pictures import in_words
from minigrad.errors import CallOrderError, GradientError, KindError
from minigrad.layers.layer import Layer
from minigrad.losses import Loss
from minigrad.randomness import generator
from minigrad.testing.differences import Finding, Line, Tolerance
from minigrad.testing.overrides import check_overrides
from minigrad.testing.perturbing import moves, perturb
from minigrad.testing.rounding import FLOAT32, FLOAT64, roughness
from minigrad.testing.subjects import LayerSubject, LossSubject, Subject, Tensor, in_float64

_EACH_ENTRY = (
    64  # tensors up to this size are checked entry by entry, larger ones along random directions
)
_DIRECTIONS = 24
_PARTS = 40  # how many parts of directions are looked at where there are kinks


def check_gradients(
    layer_or_loss: Layer | Loss,
    x: npt.ArrayLike,
    targets: npt.ArrayLike | None = None,
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    perturbation: float = 0.1,
    rng: Seed = 0,
) -> None:
    """Compare every gradient with central differences in float64, (f(v + eps) - f(v - eps)) / 2
    eps.

    A layer is reduced to one number by a random weighting of its outputs. It runs in its current
    mode, as a copy that computes in float64, so it stays as it is; a layer that draws random
    numbers from a generator of its own, such as Dropout, draws the same ones each time; its
    buffers, such as running statistics, are put back each time.

    - Gradients are compared at the given values, and once more after input and parameters have been
      moved a little at random: at zeros, ones or a symmetric weight, a missing transpose makes no
      difference. Where the layer does not take values so moved, or gives NaN for them, fewer are
      moved, or none.
    - At a kink, such as a relu at exactly 0, a gradient must be the slope from the left, that from
      the right, or between. Where forward jumps there is no derivative, and nothing is compared.
    - Forward and backward run several times, and must give the same each time.
    - A `backward_parameters` that the layer or one inside overrides must leave the gradients that
      `backward` does.

    Args:
        layer_or_loss: What to check.
        x: An input, shape (batch, ...); for a loss the logits.
        targets: For a loss, its targets.
        eps: Half the distance of the differences.
        rtol: The largest difference allowed, relative to the larger of both.
        atol: The largest difference allowed in any case, relative to the tensor's largest gradient.
        perturbation: How far values are moved, relative to their size; 0 checks at the given values
            only.
        rng: A seed or a generator for weighting, directions and moves.

    Raises:
        GradientError: A gradient is not the derivative; says which tensor and entry, both numbers,
            and what they have in common if anything. Or that could not be found out, and the
            message says why: forward is not repeatable, gives NaN, or rounds. Or something is
            changed in place, or a gradient is not assigned.
        KindError: Something is neither a layer nor a loss, forward returns no array or number, or
            targets are missing.
        ShapeError: A layer does not accept the input.
        CallOrderError: Nothing could be compared, as forward has no derivative in any entry.
    """
    number(eps, "eps", above=0)
    number(perturbation, "perturbation", least=0, most=1)
    rtol, atol = number(rtol, "rtol", least=0), number(atol, "atol", least=0)
    x64 = np.array(float_array(x, np.dtype(np.float64), "x of check_gradients"))
    random = generator(rng).spawn(1)[
        0
    ]  # a stream of its own, also where the caller drew x with the same seed
    if isinstance(layer_or_loss, Loss):
        if targets is None:
            raise KindError(
                f"check_gradients needs targets for a loss: "
                f"check_gradients({described(layer_or_loss)}, logits, targets)"
            )
        subject: LossSubject | LayerSubject = LossSubject(
            copy.deepcopy(layer_or_loss), x64, targets
        )
    elif isinstance(layer_or_loss, Layer):
        subject = LayerSubject(in_float64(layer_or_loss), x64, random)
    else:
        raise KindError(
            f"check_gradients got {described(layer_or_loss)}, expected a layer or a loss"
        )
    output = subject.checked("forward")
    if not np.isfinite(output).all():
        raise GradientError(
            f"{subject.name}: forward gives NaN or infinity for this input, so it has no "
            f"derivative: an output of {in_words(output)}, for an input of {in_words(x64)}; check "
            f"it where it is finite"
        )
    kind = type(layer_or_loss).__name__
    compared = _check_here(subject, kind, "", eps, rtol, atol, random)
    if perturbation and perturb(subject, perturbation, random):
        where = f", with values moved at random by up to {perturbation:.0%}; at the given values it seems right"
        compared += _check_here(subject, kind, where, eps, rtol, atol, random)
    if compared == 0:
        raise CallOrderError(
            "check_gradients could not check anything: in every entry forward jumps, or its domain "
            "ends, or rounding hides all differences; use other inputs, or another eps"
        )


def _check_here(
    subject: LossSubject | LayerSubject,
    kind: str,
    where: str,
    eps: float,
    rtol: float,
    atol: float,
    rng: np.random.Generator,
) -> int:
    """Check all gradients at the present values; returns how many differences were compared."""
    grads = subject.gradients()
    magnitude = float(np.linalg.norm(subject.forward() * subject.weighting))
    noise = 1e-9 * max(1.0, magnitude)  # what rounding leaves of a difference at the usual distance
    compared = 0
    for tensor, grad in zip(subject.tensors, grads, strict=True):
        if not np.isfinite(grad).all():
            raise GradientError(f"{kind}: {tensor.name} holds NaN or infinity{where}")
        tolerance = Tolerance(eps, rtol, atol * float(np.abs(grad).max(initial=0.0)) + noise)
        check = _Check(subject, tensor, grad, tolerance, f"{kind}: {tensor.name}", where)
        compared += check.along(_directions(grad.shape, rng))
        if grad.size > 1:
            # Tied maxima are a kink in each entry alone, but not where they move together.
            check.along(
                [("where all entries move together", np.full(grad.shape, grad.size**-0.5))],
                split=False,
            )
        check.expect_no_plateau(rng)
    if isinstance(subject, LayerSubject):
        check_overrides(subject)
    return compared


class _Compared(NamedTuple):
    """A line, what differences say there, and what backward says."""

    line: Line
    finding: Finding
    have: float


class _Check:
    """One tensor, its gradient, and what differences along directions say about it."""

    def __init__(
        self,
        subject: Subject,
        tensor: Tensor,
        grad: Array,
        tolerance: Tolerance,
        name: str,
        where: str,
    ) -> None:
        self._subject, self._tensor, self._grad, self._tolerance = subject, tensor, grad, tolerance
        self._name, self._where = name, where
        self._output = subject.forward()
        self._rough: float | None = None
        self._flat = (
            True  # whether all derivatives are 0 so far, according to backward and to differences
        )

    def along(self, directions: list[tuple[str, Array]], split: bool = True) -> int:
        """Check along directions; returns how many could be compared.

        Args:
            directions: (place, direction) pairs.
            split: Whether a direction of many entries with kinks is looked at part by part.

        Raises:
            GradientError: Backward is wrong, or forward is such that nothing can be said.
        """
        pending = deque(directions)
        parts = _PARTS if split else 0
        found: list[_Compared] = []
        while pending:
            place, direction = pending.popleft()
            line = Line(self._subject, self._tensor, place, direction)
            have = float((self._grad * direction).sum())
            finding = line.judge(have, self._output, self._tolerance)
            entries = np.flatnonzero(direction)
            if finding.kind == "kink" and len(entries) > 1:
                finding = finding._replace(kind="unknown")
                if parts > 0:
                    parts -= 2
                    pending.extendleft(_halves(direction, entries))  # to reach single ones soon
            found.append(_Compared(line, finding, have))
        if any(item.finding.kind != "right" for item in found):
            self._expect_smooth()
            found = self._without_noise(found)
        compared = [item for item in found if item.finding.kind != "unknown"]
        self._flat &= all(item.have == 0 == item.finding.left for item in compared)
        wrong = [item for item in compared if item.finding.kind != "right"]
        if wrong:
            for scale in (
                1e-2,
                1e-4,
            ):  # rounding is not seen where the output is saturated, but there it is also
                self._expect_precision(roughness(self._subject, scale))
            raise GradientError(self._told(max(wrong, key=self._badness), compared, len(wrong)))
        return len(compared)

    def _expect_smooth(self) -> None:
        """Before anything is said against backward: is forward such that differences mean
        something?

        Raises:
            GradientError: Forward is not repeatable, or rounds.
        """
        if self._rough is None:
            for _ in range(3):
                self._subject.expect_same(self._output)
            self._rough = roughness(self._subject)
            self._expect_precision(self._rough)

    def _expect_precision(self, rough: float) -> None:
        if rough > FLOAT64:
            kind = "float32" if rough < FLOAT32 else "float16"
            raise GradientError(
                f"{self._name} cannot be checked, as forward rounds: its output is exact to about "
                f"{rough:.0e} of its size, which is the precision of {kind}. That says nothing "
                f"against backward. Here everything is given in float64: compute in the dtype of "
                f"the input and of the parameters (np.zeros(shape, x.dtype), no astype, nothing in "
                f"{kind} in between), and check again"
            )

    def _without_noise(self, found: list[_Compared]) -> list[_Compared]:
        """What float64's own rounding explains, such as that of a variance of equal numbers, says nothing."""
        rough = self._rough if self._rough is not None and self._rough > 1e-14 else 0.0
        noise = 10 * rough * float(np.abs(self._output * self._subject.weighting).sum())
        moved = self._moved_grads()

        def explained(item: _Compared) -> bool:
            of_backward = 10 * max(
                abs(float(((grad - self._grad) * item.line.direction).sum())) for grad in moved
            )
            return any(
                abs(slope - item.have)
                <= self._tolerance.allowed(slope, item.have) + noise / distance + of_backward
                for distance in self._tolerance.distances
                for slope in [item.line.central(distance)]
            )

        return [
            item._replace(finding=item.finding._replace(kind="unknown"))
            if item.finding.kind == "wrong" and explained(item)
            else item
            for item in found
        ]

    def _moved_grads(self) -> list[Array]:
        """The gradient after moves by no more than rounding: how much it changes is how exact
        backward can be.

        All move by the same factor, so that what is 0 or tied stays so.
        """
        tensors = self._subject.tensors
        given = [tensor.read().copy() for tensor in tensors]
        number = [tensor is self._tensor for tensor in tensors].index(True)
        found = []
        for ulps in (1, 2, 3):
            for tensor, values in zip(tensors, given, strict=True):
                tensor.write(values * (1 + ulps * np.finfo(np.float64).eps))
            found.append(
                self._subject.backward()[number]
                if self._subject.attempt() is not None
                else self._grad
            )
        for tensor, values in zip(tensors, given, strict=True):
            tensor.write(values)
        return found

    def expect_no_plateau(self, rng: np.random.Generator) -> None:
        """Where every difference is 0, see that it is not because forward rounds all of them away.

        Raises:
            GradientError: It does.
        """
        if not self._flat or not self._grad.size:
            return
        farther = Line(
            self._subject, self._tensor, "", moves(self._tensor.read(), 0.1, "both ways", rng)
        ).output(1.0)
        if farther is not None and not np.array_equal(farther, self._output):
            rough = roughness(self._subject)
            if rough < FLOAT32:  # what is coarser may be meant: a function of steps
                self._expect_precision(rough)

    def _badness(self, item: _Compared) -> float:
        want = _nearest(item)
        return item.finding.kind != "unknown" and abs(want - item.have) / self._tolerance.allowed(
            want, item.have
        )

    def _told(self, worst: _Compared, compared: list[_Compared], wrong: int) -> str:
        line, finding, have = worst
        differences = f"central differences say {finding.left:.6g}"
        if finding.kind == "kink":
            differences = f"the slope there is {finding.left:.6g} from the left and {finding.right:.6g} from the right"
        elif not finding.settled:
            differences += " (which is not settled: at another distance they say another number; try another eps)"
        want = np.array([_nearest(item) for item in compared])
        hint = _hint(want, np.array([item.have for item in compared]), self._grad)
        return (
            f"{self._name} is wrong {line.place}: backward says {have:.6g}, {differences} "
            f"({wrong} of {len(compared)} compared differ){hint}{self._where}"
        )


def _directions(shape: tuple[int, ...], rng: np.random.Generator) -> list[tuple[str, Array]]:
    """Each entry of a small tensor.

    Random directions, each a mixture of all entries, through a large one.
    """
    size = int(np.prod(shape))
    if size <= _EACH_ENTRY:
        return [_entry(flat, shape) for flat in range(size)]
    drawn = [rng.normal(size=shape) for _ in range(_DIRECTIONS)]
    return [
        ("along a random direction", direction / np.linalg.norm(direction)) for direction in drawn
    ]


def _entry(flat: int, shape: tuple[int, ...]) -> tuple[str, Array]:
    direction = np.zeros(shape)
    direction.reshape(-1)[flat] = 1.0
    return f"at {tuple(int(i) for i in np.unravel_index(flat, shape))}", direction


def _halves(direction: Array, entries: npt.NDArray[np.intp]) -> Iterator[tuple[str, Array]]:
    """The direction in two: one half of the entries, and the other."""
    for half in np.array_split(entries, 2):
        if len(half) == 1:
            yield _entry(int(half[0]), direction.shape)
            continue
        part = np.zeros_like(direction)
        part.reshape(-1)[half] = direction.reshape(-1)[half]
        yield "along a random direction", part / np.linalg.norm(part)


def _nearest(item: _Compared) -> float:
    """The slope that is right, or the one nearest to what backward says."""
    _, finding, have = item
    return float(np.clip(have, min(finding.left, finding.right), max(finding.left, finding.right)))


def _hint(want: Array, have: Array, grad: Array) -> str:
    """What the wrong numbers have in common with the right ones, if anything."""
    both = np.abs(want) > 1e-12
    if not both.any() or not np.abs(have[both]).any():
        return "; it is 0 where it should not be" if both.any() else ""
    ratio = have[both] / want[both]
    if np.allclose(ratio, 1, rtol=3e-3):
        return _rounded(grad)
    if np.allclose(ratio, ratio[0], rtol=1e-3):
        if np.isclose(ratio[0], -1, rtol=1e-3):
            return "; the sign is wrong everywhere"
        return f"; it is {ratio[0]:.4g} times the right one everywhere"
    return ""


def _rounded(grad: Array) -> str:
    with np.errstate(all="ignore"):
        for dtype in (np.float16, np.float32):
            if np.array_equal(grad.astype(dtype).astype(grad.dtype), grad):
                return f"; it is right but for rounding: backward rounds to {np.dtype(dtype)}"
    return ""
