"""The pictures of a page: an image per unit, or the whole parameter, with legends beside them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.display.drawing import HIDDEN, STRANGE, Layout
from minigrad.display.escaping import escape
from minigrad.display.html.charts import number
from minigrad.display.png import Pixels, data_uri
from minigrad.display.shown import ShownWhy
from minigrad.reason import Color, Reason

UNIT_SCALE = 3
"""How many CSS pixels wide a pixel is, in the picture of a unit."""

Part = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Takes what is drawn in one picture out of an array of the parameter's shape."""

_SIDE = 320  # pixels: as many as the narrowest screen shows without losing one
_SMALLEST_IMAGE = 7  # pixels a side: 49 inputs or more look like an image if they fill a square


def page_layout(shape: tuple[int, ...], first: bool, most: int) -> Layout:
    """Where the entries of a parameter lie on a page.

    Args:
        shape: Its shape.
        first: Whether its inputs are the data, so that they may be an image.
        most: How many pixels at most. Beyond that fewer units are drawn, or several entries share a
            pixel.
    """
    side = math.isqrt(shape[0]) if len(shape) == 2 else 0
    if first and side >= _SMALLEST_IMAGE and side * side == shape[0] and side <= _SIDE:
        return _images(shape[0], shape[1], side, most)
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
        says = (
            f"The shape {shape} is drawn as {height:,} × {width:,}, the last axis "
            f"{'down' if turned else 'across'}."
        )
    cell = (-(-height // _SIDE), -(-width // _SIDE))
    if (pixels := -(-height // cell[0]) * -(-width // cell[1])) > most:
        factor = math.sqrt(pixels / most) if min(height, width) > 1 else pixels / most
        cell = (
            min(height, math.ceil(cell[0] * factor)),
            min(width, math.ceil(cell[1] * factor)),
        )
    if cell != (1, 1):
        says += (
            f" Reduced: {cell[0]} × {cell[1]} entries share a pixel, which shows {{which}} of them."
        )
    return Layout((height, width), cell=cell, turned=turned, says=says)


def _images(inputs: int, units: int, side: int, most: int) -> Layout:
    """Each unit as an image; where these would be too many, some of them, evenly chosen."""
    count = min(units, max(1, most // inputs))
    chosen = tuple(np.unique(np.linspace(0, units - 1, count).round().astype(int)).tolist())
    says = (
        f"Each picture is one unit: its {inputs:,} weights lie as {side} × {side}, in the order of "
        f"the inputs."
    )
    if len(chosen) < units:
        says += f" {len(chosen)} of the {units:,} units are drawn, evenly chosen."
    return Layout((side, side), chosen, says=says)


def pictures_of_reasons(layout: Layout, why: ShownWhy, shape: tuple[int, ...]) -> list[Pixels]:
    """Reasons as colors; of the entries that share a pixel the one that came least far."""
    reasons = tuple(Reason)
    codes = np.full(shape, len(reasons) - 1, np.uint8)
    for reason in why.counts:
        codes[why.where(reason)] = reason.code
    return layout.categories(codes, [reason.color for reason in reasons])


def figures(
    name: str, layout: Layout, pictures: Sequence[Pixels], alt: Callable[[str, Part], str]
) -> str:
    """A parameter's pictures, each with the text that stands for it.

    Args:
        name: The parameter's name.
        layout: Their layout.
        pictures: The pictures.
        alt: From what a picture shows, by name and as part of an array, its text.
    """
    if layout.units is None:
        height, width = layout.size
        whole = alt(name, lambda array: array)
        return image(pictures[0], whole, scale_of(width), "strip" if height == 1 else "")
    html = ""
    for unit, picture in zip(layout.units, pictures, strict=True):
        text = alt(f"{name}, unit {unit}", partial(_of_unit, unit))
        html += (
            f"<figure>{image(picture, text, UNIT_SCALE)}<figcaption>unit {unit}</figcaption>"
            f"</figure>"
        )
    return f'<div class="units" style="--tile:{layout.size[1] * UNIT_SCALE}px">{html}</div>'


def _of_unit(unit: int, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[:, unit]


def image(pixels: Pixels, alt: str, scale: int, kind: str = "") -> str:
    """A picture, `scale` CSS pixels a pixel, or as wide as there is room."""
    height, width = pixels.shape[:2]
    return (
        f'<img class="pixels {kind}" src="{data_uri(pixels)}" width="{width}" height="{height}" '
        f'alt="{escape(alt)}" style="width:{width * scale}px">'
    )


def scale_of(width: int) -> int:
    """How many CSS pixels wide a pixel is, in a picture that has a column to itself."""
    return max(1, min(16, 560 // width))


def legend(top: float, still: bool, strange: bool) -> str:
    """The scale with its numbers, and the colors that no amount has."""
    text = f"{scale_bar(number(top))}<span>white: 0</span>"
    if still:
        text += f"<span>{swatch(HIDDEN)}never moved</span>"
    if strange:
        text += f"<span>{swatch(STRANGE)}NaN or infinite</span>"
    return f'<p class="legend">{text}</p>'


def scale_bar(top: str) -> str:
    """The colors from the most negative to the most positive amount, between their numbers."""
    low = "0" if top == "0" else f"-{top}"
    [colors] = Layout((1, 61)).amounts(np.linspace(-1, 1, 61), np.zeros(61, bool), 1.0)
    return (
        f'<span class="scale"><span>{low}</span><img class="pixels" src="{data_uri(colors)}" '
        f'width="61" height="1" '
        f'alt="blue, by white for 0, to red"><span>{top}</span></span>'
    )


def swatch(color: Color) -> str:
    """A small square of a color."""
    return f'<i class="swatch" style="background:{color_name(color)}"></i>'


def color_name(color: Color) -> str:
    """A color as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*color)
