"""Does forward round, to float32 say? Then differences say nothing about backward."""

from __future__ import annotations

import numpy as np

from minigrad.arrays import Array
from minigrad.testing.perturbing import moves
from minigrad.testing.subjects import Subject

FLOAT64, FLOAT32 = 1e-9, 3e-6
"""What is rougher than the first is not float64's own rounding, what is rougher than the second not float32's."""

_SIXTH = np.array([1.0, -6, 15, -20, 15, -6, 1])  # the sixth difference: 0 for whatever is smooth, but not for noise


def roughness(subject: Subject, scale: float = 1.0) -> float:
    """By how much, relative to its size, the output differs from a smooth one.

    All tensors move together in seven equal steps, and the sixth difference of each output is taken. Of a smooth
    function it is next to nothing; of a rounded one it is as large as the rounding, however short the steps are. That tells
    it from a kink, of which less is seen in shorter steps; and a jump is seen in few places.

    Args:
        subject: What to look at.
        scale: Look where the input is the given one times this: what saturates shows no rounding.
    """
    given = [tensor.read().copy() for tensor in subject.tensors]
    rng = np.random.default_rng(0)
    found = 0.0
    try:
        for step in (1e-5, 3e-3):
            places = [scale * given[0], *given[1:]]
            long, short = (_differences(subject, places, distance, rng) for distance in (step, step / 10))
            rough = np.where(short > 0.2 * long, short, 0.0)
            if rough.any():
                typical = float(np.median(rough[rough > 0.1 * rough.max()]))
                found = max(
                    found, typical if typical < 1e-2 else 0.0
                )  # more is no rounding, but jumps all over the place
    finally:
        for tensor, values in zip(subject.tensors, given, strict=True):
            tensor.write(values)
    return found


def _differences(subject: Subject, places: list[Array], step: float, rng: np.random.Generator) -> Array:
    """The sixth difference of each output, scaled as noise would be: the median of several places."""
    size = np.zeros(subject.weighting.shape)
    found: list[Array] = []
    for _ in range(9):
        directions = [moves(values, 1.0, "both ways", rng) for values in places]
        outputs: list[Array] = []
        for place in rng.uniform(-0.01, 0.01) + step * np.arange(7):
            for tensor, values, direction in zip(subject.tensors, places, directions, strict=True):
                tensor.write(values + place * direction)
            output = subject.attempt()
            if output is None or output.shape != size.shape:
                break
            outputs.append(output)
            size = np.maximum(size, np.abs(output))
        else:
            found.append(np.abs(np.tensordot(_SIXTH, np.stack(outputs), axes=1)) / np.linalg.norm(_SIXTH))
    if not found:
        return size
    floor = max(float(size.max(initial=0.0)) * 1e-3, float(np.finfo(np.float64).tiny))
    medians: Array = np.median(np.stack(found), axis=0) / np.maximum(size, floor)
    return medians
