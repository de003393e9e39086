"""`TensorCheck`, which compares the gradient of one tensor with differences, and names mistakes."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from minigrad.arrays import Array
from minigrad.errors import GradientError
from minigrad.testing.directions import Direction
from minigrad.testing.line import Finding, Line, Tolerance
from minigrad.testing.perturbation import displacements
from minigrad.testing.roughness import FLOAT32, FLOAT64, roughness
from minigrad.testing.subject import Subject, Tensor

_SPLITS = 20  # how many directions with kinks are split into halves


class Comparison(NamedTuple):
    """A line, what differences say there, and what backward says."""

    line: Line
    finding: Finding
    have: float


class TensorCheck:
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
        # whether all derivatives are 0 so far, according to backward and to differences
        self._flat = True

    def along(self, directions: list[Direction], split: bool = True) -> int:
        """Check along directions; returns how many could be compared.

        Args:
            directions: The directions.
            split: Whether a direction of many entries with kinks is looked at in halves.

        Raises:
            GradientError: Backward is wrong, or forward is such that nothing can be said.
        """
        pending = deque(directions)
        splits = _SPLITS if split else 0
        comparisons: list[Comparison] = []
        while pending:
            direction = pending.popleft()
            line = Line(self._subject, self._tensor, direction)
            have = float((self._grad * direction.array).sum())
            finding = line.judge(have, self._output, self._tolerance)
            if finding.kind == "kink" and len(direction.entries) > 1:
                finding = finding._replace(kind="unknown")
                if splits > 0:
                    splits -= 1
                    pending.extendleft(direction.halves())  # to reach single entries soon
            comparisons.append(Comparison(line, finding, have))
        if any(item.finding.kind != "right" for item in comparisons):
            self._expect_smooth()
            comparisons = self._without_noise(comparisons)
        compared = [item for item in comparisons if item.finding.kind != "unknown"]
        self._flat &= all(item.have == 0 == item.finding.left for item in compared)
        wrong = [item for item in compared if item.finding.kind != "right"]
        if wrong:
            for scale in (1e-2, 1e-4):  # where the output is saturated, rounding cannot be seen
                self._expect_precision(roughness(self._subject, scale))
            raise GradientError(self._message(max(wrong, key=self._badness), compared, len(wrong)))
        return len(compared)

    def _expect_smooth(self) -> None:
        """Make sure that differences mean something, before anything is said against backward.

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

    def _without_noise(self, comparisons: list[Comparison]) -> list[Comparison]:
        """What float64's rounding explains, as in the variance of equal numbers, says nothing."""
        rough = self._rough if self._rough is not None and self._rough > 1e-14 else 0.0
        noise = 10 * rough * float(np.abs(self._output * self._subject.weighting).sum())
        moved = self._moved_grads()

        def explained(item: Comparison) -> bool:
            of_backward = 10 * max(
                abs(float(((grad - self._grad) * item.line.direction.array).sum()))
                for grad in moved
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
            for item in comparisons
        ]

    def _moved_grads(self) -> list[Array]:
        """The gradient after moves by no more than rounding.

        How much it changes is how exact backward can be. All tensors move by the same factor, so
        that what is 0 or tied stays so.
        """
        tensors = self._subject.tensors
        given = [tensor.read().copy() for tensor in tensors]
        number = [tensor is self._tensor for tensor in tensors].index(True)
        grads = []
        for ulps in (1, 2, 3):
            for tensor, values in zip(tensors, given, strict=True):
                tensor.write(values * (1 + ulps * np.finfo(np.float64).eps))
            grads.append(
                self._subject.backward()[number]
                if self._subject.attempt() is not None
                else self._grad
            )
        for tensor, values in zip(tensors, given, strict=True):
            tensor.write(values)
        return grads

    def expect_no_plateau(self, rng: np.random.Generator) -> None:
        """Where every difference is 0, see that it is not because forward rounds all of them away.

        Raises:
            GradientError: It does.
        """
        if not self._flat or not self._grad.size:
            return
        far = displacements(self._tensor.read(), 0.1, "both ways", rng)
        farther = Line(self._subject, self._tensor, Direction("", far)).output(1.0)
        if farther is not None and not np.array_equal(farther, self._output):
            rough = roughness(self._subject)
            if rough < FLOAT32:  # what is coarser may be meant: a function of steps
                self._expect_precision(rough)

    def _badness(self, item: Comparison) -> float:
        want = _nearest(item)
        return item.finding.kind != "unknown" and abs(want - item.have) / self._tolerance.allowed(
            want, item.have
        )

    def _message(self, worst: Comparison, compared: list[Comparison], wrong: int) -> str:
        line, finding, have = worst
        differences = f"central differences say {finding.left:.6g}"
        if finding.kind == "kink":
            differences = (
                f"the slope there is {finding.left:.6g} from the left and {finding.right:.6g} from "
                f"the right"
            )
        elif not finding.settled:
            differences += (
                " (which is not settled: at another distance they say another number; try another "
                "eps)"
            )
        want = np.array([_nearest(item) for item in compared])
        hint = _hint(want, np.array([item.have for item in compared]), self._grad)
        return (
            f"{self._name} is wrong {line.direction.place}: backward says {have:.6g}, "
            f"{differences} ({wrong} of {len(compared)} compared differ){hint}{self._where}"
        )


def _nearest(item: Comparison) -> float:
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
