"""Arrays and counts in words, as sentences everywhere need them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def in_words(array: npt.NDArray[Any]) -> str:
    """Shape, dtype, range and counts: "(784, 10) float32, -0.5 to 0.5, 3 of 7,840 are 0".

    Never a corner of the array.
    """
    words = f"{array.shape} {array.dtype}"
    if array.size == 0:
        return f"{words}, empty"
    finite = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    if finite.size:
        low, high = float(finite.min()), float(finite.max())
        words += f", all {low:.4g}" if low == high else f", {low:.4g} to {high:.4g}"
    if zeros := array.size - np.count_nonzero(array):
        words += f", {zeros:,} of {array.size:,} are 0"
    if strange := array.size - finite.size:
        words += f", {strange:,} of {array.size:,} are NaN or infinite"
    return words


def not_finite(array: npt.NDArray[Any]) -> tuple[int, int]:
    """How many entries are NaN, and how many infinite."""
    if array.dtype.kind != "f":
        return 0, 0
    return int(np.count_nonzero(np.isnan(array))), int(np.count_nonzero(np.isinf(array)))


def not_finite_in_words(nan: int, infinite: int) -> str:
    """How many entries are NaN and infinite: "3 are NaN and 1 is infinite"; empty if none is."""
    words = [
        f"{count:,} {'is' if count == 1 else 'are'} {kind}"
        for count, kind in ((nan, "NaN"), (infinite, "infinite"))
        if count
    ]
    return " and ".join(words)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: "1 step", "1,200 steps"; `plural` where that is not noun + s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"
