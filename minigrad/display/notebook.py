"""What notebooks show: small pieces of HTML that need nothing else, on light and dark pages.

Text has the notebook's own color and background. All text is escaped here. Pictures are small PNGs
inside the HTML; an array that is too large for one is reduced, and the caption says how.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Mask
from minigrad.display.drawing import HIDDEN, RISING, STRANGE, Layout, enlarged, largest
from minigrad.display.escaping import escape
from minigrad.display.png import Pixels, data_uri
from minigrad.reason import Color

# Cells of a picture at most, so that its bytes stay few even if no two cells are alike.
_HIGH, _WIDE = 80, 160
_PIXELS = 480  # about as wide as a picture is drawn
_ROWS = 50  # of a table at most


def block(*parts: str) -> str:
    """Pieces of HTML, one below the other."""
    return f"<div>{''.join(parts)}</div>"


def title(text: str) -> str:
    """A line in bold."""
    return f"<div><strong>{escape(_short(text))}</strong></div>"


def line(text: str) -> str:
    """A line of text."""
    return f"<div>{escape(_short(text))}</div>"


def lines(texts: Iterable[str]) -> str:
    """Several lines of text."""
    return "".join(line(text) for text in texts)


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], colors: Sequence[Color] | None = None
) -> str:
    """A table; whole numbers stand to the right, with commas.

    Rows beyond the fiftieth are only counted.

    Args:
        head: The titles of the columns.
        rows: For each row its cells.
        colors: A color for each row, shown in front of it: the legend of a picture.
    """
    titles = "".join(
        f'<th scope="col" style="text-align:left">{escape(text)}</th>' for text in head
    )
    drawn = [f"<tr>{titles}</tr>"]
    for place, row in enumerate(rows[:_ROWS]):
        cells = [_cell(cell) for cell in row]
        if colors is not None:
            cells[0] = cells[0].replace(">", f">{_swatch(colors[place])}", 1)
        drawn.append(f"<tr>{''.join(cells)}</tr>")
    more = line(f"and {len(rows) - _ROWS:,} more") if len(rows) > _ROWS else ""
    return f"<table>{''.join(drawn)}</table>{more}"


def amounts(array: npt.NDArray[Any], hidden: Mask | None = None, what: str = "amounts") -> str:
    """Signed amounts as a picture: red above 0, blue below, white 0.

    Nothing, if there are none, or only one.

    Args:
        array: Any shape. All axes but the first are laid side by side; a tall picture lies on its
            side.
        hidden: The entries that never moved; same shape.
        what: What the amounts are, for the caption.
    """
    if array.size < 2:
        return ""
    layout, top = _layout(array.shape), largest(array)
    mask = np.zeros(array.shape, bool) if hidden is None else hidden
    [pixels] = layout.amounts(array, mask, top)
    scale = f"red above 0, blue below, full color at {top:.3g}, white 0" if top else "white 0"
    scale += ", green never moved" if (pixels == HIDDEN).all(axis=2).any() else ""
    scale += ", black NaN or infinite" if (pixels == STRANGE).all(axis=2).any() else ""
    reduced = _reduced(layout, "the one with the largest magnitude")
    return _picture(pixels, f"{what}: {scale}; {layout.says}{reduced}")


def categories(codes: npt.NDArray[np.uint8], colors: Sequence[Color], what: str, which: str) -> str:
    """An array of small whole numbers as a picture. Nothing, if there are no entries, or only one.

    Args:
        codes: Any shape, laid as by `amounts`.
        colors: The color of each number.
        what: What the picture shows, for the caption.
        which: Which entry of several a cell shows, in words; it is the one with the smallest
            number.
    """
    if codes.size < 2:
        return ""
    layout = _layout(codes.shape)
    [pixels] = layout.categories(codes, colors)
    return _picture(pixels, f"{what}; {layout.says}{_reduced(layout, which)}")


def differences(mask: Mask, strange: Mask) -> str:
    """Which entries differ, as a picture with its legend.

    Args:
        mask: The entries that differ.
        strange: Those that are NaN or infinite in either array, whether they differ or not; same
            shape.
    """
    colors = [STRANGE, RISING, HIDDEN]
    which = (
        "one that is NaN or infinite, if any is, and else one that differs"
        if strange.any()
        else "one that differs, if any does"
    )
    codes = np.where(strange, 0, np.where(mask, 1, 2)).astype(np.uint8)
    picture = categories(codes, colors, "where they differ", which)
    if not picture:
        return ""
    legend = f"{_swatch(RISING)}differs {_swatch(HIDDEN)}is the same"
    if strange.any():
        legend += f" {_swatch(STRANGE)}NaN or infinite"
    return f"{picture}<div>{legend}</div>"


def _layout(shape: tuple[int, ...]) -> Layout:
    """All axes but the first side by side; a tall picture lies on its side."""
    height, width = (shape[0], math.prod(shape[1:])) if len(shape) > 1 else (1, math.prod(shape))
    across = "axis 1" if len(shape) == 2 else f"axes 1 to {len(shape) - 1}"
    turned = height > width
    if len(shape) < 2:
        says = f"{width:,} entries from left to right"
    elif turned:
        height, width = width, height
        says = f"axis 0 from left to right, {across} from top to bottom"
    else:
        says = f"axis 0 from top to bottom, {across} from left to right"
    cell = (-(-height // _HIGH), -(-width // _WIDE))
    return Layout((height, width), cell=cell, turned=turned, says=says)


def _reduced(layout: Layout, which: str) -> str:
    """What a cell is, in words; nothing, if it is an entry."""
    if layout.cell == (1, 1):
        return ""
    (rows, columns), (high, wide) = layout.grid, layout.cell
    return (
        f"; of the {rows:,} x {columns:,} entries each cell shows, out of {high:,} x {wide:,}, "
        f"{which}"
    )


def _picture(pixels: Pixels, caption: str) -> str:
    scale = max(1, min(8, _PIXELS // pixels.shape[1]))
    text = escape(caption)
    return (
        f'<div><img alt="{text}" src="{data_uri(enlarged(pixels, scale))}"></div>'
        f"<div><small>{text}</small></div>"
    )


def _swatch(color: Color) -> str:
    """A small square of a color, with a border that shows on any page."""
    style = (
        "display:inline-block;width:0.8em;height:0.8em;border:1px solid currentColor;"
        f"background:rgb{color}"
    )
    return f'<span style="{style}" aria-hidden="true"></span> '


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td style="text-align:right">{value:,}</td>'
    text = _short(str(value), 300)
    wrap = "" if len(text) > 40 else ";white-space:nowrap"
    return f'<td style="text-align:left{wrap}">{escape(text)}</td>'


def _short(text: str, most: int = 1000) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
