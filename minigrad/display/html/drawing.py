"""How a parameter's entries become pictures: an image per unit, or the matrix.

Every entry counts, none is interpolated.
"""

from __future__ import annotations

import math
from base64 import b64encode
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask
from minigrad.display.pictures import diverging, png
from minigrad.runs.reasons import COLORS, ORDER, Why, code

Pixels = npt.NDArray[np.uint8]

UNIT_SCALE = 3
"""How many CSS pixels wide a pixel is, in the picture of a unit."""

_SIDE = 320  # pixels: as many as the narrowest screen shows without losing one
_SMALLEST_IMAGE = 7  # pixels a side: 49 inputs or more look like an image if they fill a square
_LEVELS = 127


@dataclass(frozen=True)
class Drawing:
    """The layout of one parameter.

    Attributes:
        units: The units that are drawn, each as an image of its weights; None: one picture of the
            whole parameter.
        grid: Height and width of a picture, in entries.
        block: Height and width of the entries that share a pixel.
        turned: Whether a unit's weights are a row, because there are more inputs than units.
        says: How to read it.
    """

    units: tuple[int, ...] | None
    grid: tuple[int, int]
    block: tuple[int, int]
    turned: bool
    says: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a picture, in pixels."""
        return -(-self.grid[0] // self.block[0]), -(-self.grid[1] // self.block[1])

    @property
    def pixels(self) -> int:
        """How many pixels all pictures have."""
        return self.size[0] * self.size[1] * len(self.units or (0,))

    def pictures(self, array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
        """An array of the parameter's shape as pictures of entries, before they share pixels."""
        if self.units is not None:
            return [array[:, unit].reshape(self.grid) for unit in self.units]
        flat = array.reshape(-1, array.shape[-1]) if array.ndim > 1 else array.reshape(1, -1)
        return [flat.T if self.turned else flat]

    def amounts(self, array: Array, hidden: Mask, top: float) -> list[Pixels]:
        """Signed amounts as colors; of the entries that share a pixel the one of largest magnitude.

        Only an amount of exactly 0 is white: the smallest others still have the palest color.

        Args:
            array: The amounts, in the parameter's shape.
            hidden: The entries without an amount; a pixel is hidden if all of its entries are.
            top: The magnitude that has the full color.
        """
        colored = []
        for amounts, masked in zip(self.pictures(array), self.pictures(hidden), strict=True):
            entries = _shared(amounts.astype(np.float64), self.block, 0.0)
            rank = np.nan_to_num(np.abs(entries), nan=np.inf)
            one = np.take_along_axis(entries, rank.argmax(-1)[..., np.newaxis], -1)[..., 0]
            one[~np.isfinite(one)] = np.nan  # infinity would become the largest level
            levels = (
                np.sign(one)
                * np.ceil(np.minimum(np.abs(one) / (top or 1.0), 1.0) * _LEVELS)
                / _LEVELS
            )
            colored.append(
                diverging(levels, np.asarray(_shared(masked, self.block, True).all(-1)), 1.0)
            )
        return colored

    def reasons(self, why: Why, shape: tuple[int, ...]) -> list[Pixels]:
        """Reasons as colors; of the entries that share a pixel the one that came least far."""
        codes = np.full(shape, len(ORDER) - 1, np.uint8)
        for reason in why.counts:
            codes[why.where(reason)] = code(reason)
        palette = np.array([COLORS[reason] for reason in ORDER], np.uint8)
        return [
            palette[_shared(picture, self.block, len(ORDER) - 1).min(-1)]
            for picture in self.pictures(codes)
        ]


def drawing_of(shape: tuple[int, ...], first: bool, most: int) -> Drawing:
    """The layout of a parameter.

    Args:
        shape: Its shape.
        first: Whether its inputs are the data, so that they may be an image.
        most: How many pixels at most. Beyond that fewer units are drawn, or several entries share a
            pixel.
    """
    side = math.isqrt(shape[0]) if len(shape) == 2 else 0
    if first and side >= _SMALLEST_IMAGE and side * side == shape[0] and side <= _SIDE:
        count = min(shape[1], max(1, most // shape[0]))
        units = tuple(np.unique(np.linspace(0, shape[1] - 1, count).round().astype(int)).tolist())
        says = f"Each picture is one unit: its {shape[0]:,} weights lie as {side} × {side}, in the order of the inputs."
        if len(units) < shape[1]:
            says += f" {len(units)} of the {shape[1]:,} units are drawn, evenly chosen."
        return Drawing(units, (side, side), (1, 1), False, says)
    height, width = (math.prod(shape[:-1]), shape[-1]) if len(shape) > 1 else (1, math.prod(shape))
    turned = height > width
    if len(shape) < 2:
        says = "One pixel an entry, from left to right."
    elif turned:
        height, width = width, height
        says = "One row a unit, one column an input."
    else:
        says = "One row an input, one column a unit."
    if len(shape) > 2:
        says = f"The shape {shape} is drawn as {height:,} × {width:,}, the last axis {'down' if turned else 'across'}."
    block = (-(-height // _SIDE), -(-width // _SIDE))
    if (pixels := -(-height // block[0]) * -(-width // block[1])) > most:
        factor = math.sqrt(pixels / most) if min(height, width) > 1 else pixels / most
        block = (
            min(height, math.ceil(block[0] * factor)),
            min(width, math.ceil(block[1] * factor)),
        )
    if block != (1, 1):
        says += f" Reduced: {block[0]} × {block[1]} entries share a pixel, which shows {{which}} of them."
    return Drawing(None, (height, width), block, turned, says)


def _shared(picture: npt.NDArray[Any], block: tuple[int, int], filling: float) -> npt.NDArray[Any]:
    """The entries that share each pixel, on a last axis: (height, width) -> (pixels down, pixels across, entries)."""
    down, across = -(-picture.shape[0] // block[0]), -(-picture.shape[1] // block[1])
    whole = np.full((down * block[0], across * block[1]), filling, picture.dtype)
    whole[: picture.shape[0], : picture.shape[1]] = picture
    return whole.reshape(down, block[0], across, block[1]).swapaxes(1, 2).reshape(down, across, -1)


def largest(*arrays: Array) -> float:
    """The largest finite magnitude; 0 if there is none."""
    return max((float(np.abs(a[np.isfinite(a)]).max(initial=0.0)) for a in arrays), default=0.0)


def data_uri(pixels: Pixels) -> str:
    """A PNG as an address that holds the picture itself."""
    return f"data:image/png;base64,{b64encode(png(pixels)).decode('ascii')}"


def image(pixels: Pixels, alt: str, scale: int, kind: str = "") -> str:
    """A picture, `scale` CSS pixels a pixel, or as wide as there is room."""
    height, width = pixels.shape[:2]
    return (
        f'<img class="pixels {kind}" src="{data_uri(pixels)}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}" style="width:{width * scale}px">'
    )


def scale_bar(top: str) -> str:
    """The colors from the most negative to the most positive amount, between their numbers."""
    low = "0" if top == "0" else f"-{top}"
    colors = Drawing(None, (1, 61), (1, 1), False, "").amounts(
        np.linspace(-1, 1, 61), np.zeros(61, bool), 1.0
    )[0]
    return (
        f'<span class="scale"><span>{low}</span><img class="pixels" src="{data_uri(colors)}" '
        f'width="61" height="1" '
        f'alt="blue, by white for 0, to red"><span>{top}</span></span>'
    )


def scale_of(width: int) -> int:
    """How many CSS pixels wide a pixel is, in a picture that has a column to itself."""
    return max(1, min(16, 560 // width))


def color_name(color: tuple[int, int, int]) -> str:
    """A color as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)
