"""`roughness`: does forward round, to float32 say? Then differences say nothing about backward."""

from __future__ import annotations

import numpy as np

from minigrad.arrays import Array
from minigrad.testing.perturbation import displacements
from minigrad.testing.subject import Subject

FLOAT64, FLOAT32 = 1e-9, 3e-6
"""What is rougher is not explained by the rounding of float64, or of float32."""

# the sixth difference: 0 for whatever is smooth, but not for noise
_SIXTH = np.array([1.0, -6, 15, -20, 15, -6, 1])


def roughness(subject: Subject, scale: float = 1.0) -> float:
    """By how much, relative to its size, the output differs from a smooth one.

    All tensors move together in seven equal steps, and the sixth difference of each output is
    taken. Of a smooth function it is next to nothing; of a rounded one it is as large as the
    rounding, however short the steps are. That tells it from a kink, of which less is seen in
    shorter steps; and a single jump is seen in few places.

    Args:
        subject: What to look at.
        scale: Look where the input is the given one times this: what saturates shows no rounding.
    """
    given = [tensor.read().copy() for tensor in subject.tensors]
    places = [scale * given[0], *given[1:]]
    rng = np.random.default_rng(0)
    result = 0.0
    for long, short in ((1e-5, 1e-6), (1e-3, 2e-4)):
        far, near = (_differences(_Path(subject, places, rng), step) for step in (long, short))
        if not near.any() or np.linalg.norm(near) < 0.3 * np.linalg.norm(far):
            continue
        typical = float(np.median(near[near > 0.1 * near.max()]))
        if typical < FLOAT64 or (
            typical < 1e-2 and _jumps(_Path(subject, places, rng), 6 * short, int(near.argmax()))
        ):
            result = max(result, typical)  # coarser than 1e-2 is no rounding
    for tensor, values in zip(subject.tensors, given, strict=True):
        tensor.write(values)
    return result


class _Path:
    """The output as all tensors move together from their places, each time in other directions."""

    def __init__(self, subject: Subject, places: list[Array], rng: np.random.Generator) -> None:
        self._subject, self._places, self.rng = subject, places, rng
        self.turn()

    def turn(self) -> float:
        """Take other directions; returns a distance to begin at."""
        self._directions = [
            displacements(values, 1.0, "both ways", self.rng) for values in self._places
        ]
        return float(self.rng.uniform(-0.01, 0.01))

    def at(self, distance: float) -> Array:
        """The outputs there, flat; NaN where they are not finite."""
        for tensor, values, direction in zip(
            self._subject.tensors, self._places, self._directions, strict=True
        ):
            tensor.write(values + distance * direction)
        output = self._subject.attempt()
        size = self._subject.weighting.size
        return (
            np.full(size, np.nan) if output is None or output.size != size else output.reshape(-1)
        )


def _differences(path: _Path, step: float) -> Array:
    """The sixth difference of each output, relative to its size: the median of several places."""
    differences: list[Array] = []
    size: Array = np.full(path.at(0.0).shape, np.finfo(np.float64).tiny)
    for _ in range(9):
        start = path.turn()
        outputs = np.stack([path.at(start + step * number) for number in range(7)])
        if np.isfinite(outputs).all():
            differences.append(np.abs(_SIXTH @ outputs) / np.linalg.norm(_SIXTH))
            size = np.maximum(size, np.abs(outputs).max(axis=0))
    if not differences:
        return np.zeros_like(size)
    medians: Array = np.median(np.stack(differences), axis=0) / np.maximum(
        size, 1e-3 * size.max(initial=0.0)
    )
    return medians


def _jumps(path: _Path, width: float, number: int) -> bool:
    """Whether an output jumps within such a width, here or there.

    A kink bends less the nearer one looks, a jump does not. Halves the stretch again and again, and
    keeps the half whose middle lies farther from the line through its ends.
    """
    for _ in range(5):
        low = path.turn()
        high = low + width
        first, middle, last = (
            float(path.at(place)[number]) for place in (low, (low + high) / 2, high)
        )
        bends = [abs(first - 2 * middle + last)]
        unseen = 1e-11 * abs(middle)  # what float64 itself may leave
        while high - low > 1e-11:
            between = (low + high) / 2
            left, right = (
                float(path.at(place)[number])
                for place in ((low + between) / 2, (between + high) / 2)
            )
            bend_left, bend_right = abs(first - 2 * left + middle), abs(middle - 2 * right + last)
            if bend_left > bend_right:
                high, middle, last = between, left, middle
            else:
                low, first, middle = between, middle, right
            bends.append(max(bend_left, bend_right))
        if bends[-1] > max(0.05 * max(bends), unseen):  # NaN is not
            return True
    return False
