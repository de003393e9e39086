"""How every picture is drawn: where an array's entries lie, how they share pixels, their colors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask
from minigrad.display.png import Pixels
from minigrad.reason import Color

HIDDEN: Color = (200, 214, 190)
"""The color of an entry that never moved; no amount has it."""

STRANGE: Color = (0, 0, 0)
"""The color of NaN and infinity; no amount has it."""

FALLING: Color = (33, 82, 180)
"""The full color of amounts below 0."""

RISING: Color = (190, 30, 45)
"""The full color of amounts above 0."""

_SHADES = 120
"""Of each of these two; with the other colors there are fewer than an animated PNG can have."""


@dataclass(frozen=True)
class Layout:
    """Where the entries of an array lie in its pictures.

    Attributes:
        grid: Height and width of a picture, in entries.
        units: The units that are drawn, each as a picture of its weights, a column of (n_in,
            n_out); None: one picture of the whole array.
        cell: Height and width of the entries that share a pixel.
        turned: Whether the array's first axis runs from left to right.
        says: How to read the pictures, for people.
    """

    grid: tuple[int, int]
    units: tuple[int, ...] | None = None
    cell: tuple[int, int] = (1, 1)
    turned: bool = False
    says: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture, in pixels."""
        return -(-self.grid[0] // self.cell[0]), -(-self.grid[1] // self.cell[1])

    @property
    def pixels(self) -> int:
        """How many pixels all pictures have."""
        return self.size[0] * self.size[1] * len(self.units or (0,))

    def tiles(self, array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """An array's entries as they lie in each picture, before they share pixels."""
        if self.units is not None:
            return [array[:, unit].reshape(self.grid) for unit in self.units]
        if self.turned:
            return [array.reshape(self.grid[::-1]).T]
        return [array.reshape(self.grid)]

    def amounts(self, array: Array, hidden: Mask, top: float) -> list[Pixels]:
        """Signed amounts as pictures in the colors of `diverging`.

        Of the entries that share a pixel the one of the largest magnitude is shown; NaN and
        infinity are larger than any other.

        Args:
            array: The amounts.
            hidden: The entries without an amount, same shape; a pixel is hidden if all of its
                entries are.
            top: The magnitude that has the full color.
        """
        pictures = []
        for tile, mask in zip(self.tiles(array), self.tiles(hidden), strict=True):
            entries = self._shared(tile.astype(np.float64), 0.0)
            rank = np.nan_to_num(np.abs(entries), nan=np.inf).argmax(-1)
            largest_ones = np.take_along_axis(entries, rank[..., np.newaxis], -1)[..., 0]
            covered = np.asarray(self._shared(mask, True).all(-1))
            pictures.append(diverging(largest_ones, covered, top))
        return pictures

    def categories(
        self, codes: npt.NDArray[np.integer[Any]], colors: Sequence[Color]
    ) -> list[Pixels]:
        """Small whole numbers as pictures; of the entries that share a pixel the smallest is shown.

        Args:
            codes: The numbers.
            colors: The color of each number.
        """
        palette = np.array(colors, np.uint8)
        return [palette[self._shared(tile, len(colors) - 1).min(-1)] for tile in self.tiles(codes)]

    def _shared(self, tile: npt.NDArray[Any], filling: float) -> npt.NDArray[Any]:
        """The entries that share each pixel, on a last axis: (pixels down, pixels across, entries).

        Where the last cells reach beyond the tile they are filled up.
        """
        (down, across), (high, wide) = self.size, self.cell
        filled = np.full((down * high, across * wide), filling, tile.dtype)
        filled[: tile.shape[0], : tile.shape[1]] = tile
        return filled.reshape(down, high, across, wide).swapaxes(1, 2).reshape(down, across, -1)


def diverging(amounts: Array, hidden: Mask, top: float) -> Pixels:
    """Signed amounts as colors: white is 0, blue negative, red positive.

    Only an amount of exactly 0 is white: the smallest others still have the palest shade.

    Args:
        amounts: Shape (height, width). What is NaN or infinite gets the color `STRANGE`, hidden or
            not.
        hidden: The entries that get the color `HIDDEN`; same shape.
        top: The magnitude that has the full color.
    """
    exact = np.asarray(amounts, np.float64)
    finite = np.isfinite(exact)
    drawn = np.where(finite, exact, 0)
    strength = np.ceil(np.minimum(np.abs(drawn) / (top or 1.0), 1.0) * _SHADES) / _SHADES
    full = np.where(drawn[..., np.newaxis] < 0, FALLING, RISING)
    colors: Pixels = np.rint(255 + strength[..., np.newaxis] * (full - 255)).astype(np.uint8)
    colors[hidden] = HIDDEN
    colors[~finite] = STRANGE
    return colors


def largest(*arrays: Array) -> float:
    """The largest finite magnitude; 0 if there is none."""
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in arrays), default=0.0)


def enlarged(pixels: Pixels, scale: int) -> Pixels:
    """A picture whose every pixel is `scale` pixels wide and high."""
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def tiled(pictures: Sequence[Pixels], columns: int, scale: int = 1) -> Pixels:
    """Pictures of one size side by side, with a thin grey line between.

    Args:
        pictures: The pictures.
        columns: How many stand in a row.
        scale: How wide and high a pixel becomes; the lines do not.
    """
    height, width = pictures[0].shape[0] * scale, pictures[0].shape[1] * scale
    lines = -(-len(pictures) // columns)
    sheet = np.full((lines * (height + 2) + 2, columns * (width + 2) + 2, 3), 128, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = 2 + place // columns * (height + 2), 2 + place % columns * (width + 2)
        sheet[top : top + height, left : left + width] = enlarged(picture, scale)
    return sheet
