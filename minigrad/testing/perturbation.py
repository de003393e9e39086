"""`perturb`, which moves input and parameters, so that no special value hides what is wrong."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from minigrad.arrays import Array
from minigrad.testing.subject import Subject

Way = Literal["both ways", "inwards", "zeros stay"]
"""Inwards is towards 0, and from 0 up, so that what lies in [0, 1] stays there."""


def perturb(subject: Subject, amount: float, rng: np.random.Generator) -> bool:
    """Move all tensors at random, or as many as the subject takes; returns whether any are moved.

    An entry moves relative to its own size, so it keeps its sign; a 0 relative to the others' size.

    Args:
        subject: Whose tensors.
        amount: How far at most, relative to their size.
        rng: For how far each one moves.
    """
    given = [tensor.read().copy() for tensor in subject.tensors]
    shares = [slice(None), slice(1, None), slice(0, 1)]  # all; the parameters; the input
    for share in shares if len(given) > 1 else shares[:1]:
        for way in get_args(Way):
            for tensor, values in list(zip(subject.tensors, given, strict=True))[share]:
                tensor.write(values + displacements(values, amount, way, rng))
            if subject.attempt() is not None:
                return True
            for tensor, values in zip(subject.tensors, given, strict=True):
                tensor.write(values)
    return False


def displacements(values: Array, amount: float, way: Way, rng: np.random.Generator) -> Array:
    """How far each entry moves: at least a quarter of the amount."""
    known = np.where(np.isfinite(values), values, 0.0)
    sizes = np.abs(known)
    typical = float(np.median(sizes[sizes > 0])) if sizes.any() else 1.0
    signs = rng.choice([-1.0, 1.0], size=values.shape)
    if way != "both ways":
        signs = np.where(known == 0, float(way == "inwards"), -np.sign(known))
    far: Array = (
        signs
        * rng.uniform(amount / 4, amount, size=values.shape)
        * np.where(sizes > 0, sizes, typical)
    )
    return np.where(np.isfinite(values), far, 0.0)
