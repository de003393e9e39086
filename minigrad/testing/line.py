"""`Line`, along which a derivative is found by differences: a slope, two at a kink, or a jump."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from minigrad.arrays import Array
from minigrad.testing.directions import Direction
from minigrad.testing.perturbation import displacements
from minigrad.testing.subject import Subject, Tensor


class Tolerance(NamedTuple):
    """What differences are taken over, and by how much a gradient may differ from them.

    Attributes:
        eps: Half the distance of the differences.
        rtol: Allowed relative to the larger of both.
        least: Allowed in any case.
    """

    eps: float
    rtol: float
    least: float

    @property
    def distances(self) -> tuple[float, ...]:
        """Half the distances of differences: the farther, the less they suffer from rounding."""
        return self.eps, 8 * self.eps, 64 * self.eps, 512 * self.eps

    def allowed(self, want: float, have: float) -> float:
        """By how much these two may differ."""
        return self.rtol * max(abs(want), abs(have)) + self.least

    def close(self, want: float, have: float) -> bool:
        """Whether these two agree; NaN agrees with nothing."""
        return abs(want - have) <= self.allowed(want, have)


Kind: TypeAlias = Literal["right", "wrong", "kink", "unknown"]


class Finding(NamedTuple):
    """What the differences along one direction say about backward.

    Attributes:
        kind: "right", "wrong", "kink" (wrong, as neither of its slopes nor between them), or
            "unknown": there is no derivative here, because forward jumps or its domain ends.
        left: The slope from the left.
        right: The slope from the right; the same as the left one, but at a kink.
        settled: Whether differences at another distance say the same.
    """

    kind: Kind
    left: float
    right: float
    settled: bool = True


class Line:
    """The subject's number as a function of the distance that a tensor moves along a direction.

    Attributes:
        direction: The direction.
    """

    def __init__(self, subject: Subject, tensor: Tensor, direction: Direction) -> None:
        self.direction: Direction = direction
        self._subject, self._tensor, self._origin = subject, tensor, tensor.read().copy()

    def output(self, distance: float) -> Array | None:
        """The output at a distance; None where that is outside of forward's domain."""
        self._tensor.write(self._origin + distance * self.direction.array)
        output = self._subject.attempt()
        self._tensor.write(self._origin)
        return output

    def at(self, distance: float) -> float:
        """The number there, or NaN."""
        output = self.output(distance)
        return math.nan if output is None else float((output * self._subject.weighting).sum())

    def central(self, distance: float) -> float:
        """The central difference."""
        return (self.at(distance) - self.at(-distance)) / (2 * distance)

    def judge(self, have: float, output: Array, tolerance: Tolerance) -> Finding:
        """Compare what backward says with differences.

        Args:
            have: The derivative according to backward.
            output: The output at distance 0.
            tolerance: What counts as right.
        """
        eps, value = tolerance.eps, float((output * self._subject.weighting).sum())
        near = eps / 8
        up, down = self.at(eps), self.at(-eps)
        slope = (up - down) / (2 * eps)
        if tolerance.close(slope, have):
            return Finding("right", slope, slope)
        up_near, down_near = self.at(near), self.at(-near)
        slope_near = (up_near - down_near) / (2 * near)
        # Nearer where a kink is close by, farther where rounding hides a small slope. Not nearer
        # than eps / 8 where eps is coarse: who asks for that wants to see what it does.
        others = [distance for distance in (eps / 64, eps / 512) if distance < 1e-7] + [
            *tolerance.distances[1:]
        ]
        if tolerance.close(slope_near, have) or any(
            tolerance.close(self.central(other), have) for other in others
        ):
            return Finding("right", slope, slope)
        if not math.isfinite(up_near - down_near):
            return self._judge_at_the_edge(have, value, tolerance)

        mismatch = abs(slope - have)
        jump = max(abs(up_near - value), abs(down_near - value))
        # A jump is as large from near by, and what it does to the difference is enough to explain
        # the mismatch.
        if (
            jump > 0.5 * max(abs(up - value), abs(down - value))
            and jump / (2 * eps) > 0.3 * mismatch
        ):
            return Finding("unknown", slope, slope)

        right, right_near = (up - value) / eps, (up_near - value) / near
        left, left_near = (value - down) / eps, (value - down_near) / near
        bend = abs(right_near - left_near)
        unsure = max(abs(right - right_near), abs(left - left_near))
        # Curvature bends by less from near by; a kink by the same amount.
        if unsure <= 0.3 * bend and bend > max(1e-4 * mismatch, 1e-7 * max(1.0, abs(value))):
            kind = self._judge_at_a_kink(
                have, output, near, 2 * unsure + tolerance.allowed(bend, have)
            )
            return Finding(kind, left_near, right_near)
        return Finding("wrong", slope, slope, settled=abs(slope - slope_near) <= 0.1 * mismatch)

    def _judge_at_a_kink(self, have: float, output: Array, distance: float, slack: float) -> Kind:
        """Whether a gradient lies between the slopes from both sides, for each output its own."""
        if len(self.direction.entries) > 1:
            # of several entries together; what holds for each alone need not hold for their mixture
            return "kink"
        up, down = self.output(distance), self.output(-distance)
        if up is None or down is None:
            return "unknown"
        weighting = self._subject.weighting
        sides = weighting * np.stack([output - down, up - output]) / distance
        low, high = sides.min(axis=0), sides.max(axis=0)
        if low.sum() - slack <= have <= high.sum() + slack:
            return "right"
        # Where several kinks lie in one place, as in a row of zeros before dense, relu, dense, each
        # of them may take a slope of its own. Near by they come apart: then an output has more
        # slopes than two.
        around = np.stack([*sides, *self._slopes_around(distance)])
        apart = np.abs(around[:, np.newaxis] - sides).min(axis=1)
        if not (apart > 0.05 * float((high - low).max()) + 1e-2 * np.abs(sides).max(axis=0)).any():
            return "kink"
        low, high = around.min(axis=0), around.max(axis=0)
        width = float((high - low).sum())  # the samples may miss the outermost
        return "unknown" if low.sum() - width <= have <= high.sum() + width else "kink"

    def _slopes_around(self, distance: float) -> list[Array]:
        """The slope of each output, weighted, where all tensors are elsewhere by a thousandth."""
        slopes: list[Array] = []
        tensors = self._subject.tensors
        given = [tensor.read().copy() for tensor in tensors]
        rng = np.random.default_rng(0)
        for _ in range(16):
            for tensor, values in zip(tensors, given, strict=True):
                tensor.write(values + displacements(values, 1e-3, "both ways", rng))
            line = Line(self._subject, self._tensor, self.direction)
            up, down = line.output(distance), line.output(-distance)
            if up is not None and down is not None:
                slopes.append(self._subject.weighting * (up - down) / (2 * distance))
        for tensor, values in zip(tensors, given, strict=True):
            tensor.write(values)
        return slopes

    def _judge_at_the_edge(self, have: float, value: float, tolerance: Tolerance) -> Finding:
        """Where forward has values on one side only, such as a square root at 0."""
        for side in (1, -1):
            far, near = (
                (4 * self.at(distance) - self.at(2 * distance) - 3 * value) / (2 * distance)
                for distance in (side * tolerance.eps, side * tolerance.eps / 8)
            )
            if abs(far - near) <= 1e-3 * max(abs(far), abs(near)) + tolerance.least:
                right = abs(near - have) <= tolerance.allowed(near, have) + 2 * abs(far - near)
                return Finding("right" if right else "wrong", near, near)
        return Finding("unknown", math.nan, math.nan)
