"""What notebooks show: small pieces of HTML that need nothing else, readable on light and dark
pages.

Text has the notebook's own color and background. All text is escaped here. Pictures are small PNGs
inside the HTML; an array that is too large for one is reduced, and the caption says how.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Mask
from minigrad.display.pictures import HIDDEN, STRANGE, diverging, png

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

_HIGH, _WIDE = (
    80,
    160,
)  # cells of a picture at most, so that its bytes stay few even if no two cells are alike
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
    """A table; whole numbers stand to the right, with commas. Rows beyond the fiftieth are only
    counted.

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
    """Signed amounts as a picture: red above 0, blue below, white 0. Nothing, if there are none, or
    only one.

    Args:
        array: Any shape. All axes but the first are laid side by side; a tall picture lies on its
            side.
        hidden: The entries that never moved; same shape.
        what: What the amounts are, for the caption.
    """
    laid, sides = _laid(array)
    if laid is None:
        return ""
    strange = _reduced(~np.isfinite(laid), np.logical_or)
    finite = np.where(np.isfinite(laid), laid, 0)
    high, low = _reduced(finite, np.maximum), _reduced(finite, np.minimum)
    shown = np.where(-low > high, low, high).astype(np.float64)
    top = float(np.abs(shown).max())
    shown[strange] = np.nan
    mask = None if hidden is None else _laid(hidden)[0]
    covered = np.zeros(shown.shape, bool) if mask is None else _reduced(mask, np.logical_and)
    pixels = diverging(shown, covered, top)
    scale = f"red above 0, blue below, full color at {top:.3g}, white 0" if top else "white 0"
    scale += ", green never moved" if covered.any() else ""
    scale += ", black NaN or infinite" if strange.any() else ""
    reduced = _cells(laid, shown, "the one with the largest magnitude")
    return _picture(pixels, f"{what}: {scale}; {sides}{reduced}")


def categories(codes: npt.NDArray[np.uint8], colors: Sequence[Color], what: str, which: str) -> str:
    """An array of small whole numbers as a picture. Nothing, if there are no entries, or only one.

    Args:
        codes: Any shape, laid as by `amounts`.
        colors: The color of each number.
        what: What the picture shows, for the caption.
        which: Which entry of several a cell shows, in words; it is the one with the smallest
            number.
    """
    laid, sides = _laid(codes)
    if laid is None:
        return ""
    shown = _reduced(laid, np.minimum)
    pixels = np.array(colors, np.uint8)[shown]
    return _picture(pixels, f"{what}; {sides}{_cells(laid, shown, which)}")


def differences(mask: Mask, strange: Mask) -> str:
    """Which entries differ, as a picture with its legend; the others have the color of entries that
    never moved.

    Args:
        mask: The entries that differ.
        strange: Those that are NaN or infinite in either array, whether they differ or not; same
            shape.
    """
    colors: list[Color] = [STRANGE, (190, 30, 45), HIDDEN]
    which = (
        "one that is NaN or infinite, if any is, and else one that differs" if strange.any() else ""
    )
    picture = categories(
        np.where(strange, 0, np.where(mask, 1, 2)).astype(np.uint8),
        colors,
        "where they differ",
        which or "one that differs, if any does",
    )
    if not picture:
        return ""
    legend = f"{_swatch(colors[1])}differs {_swatch(colors[2])}is the same"
    if strange.any():
        legend += f" {_swatch(colors[0])}NaN or infinite"
    return f"{picture}<div>{legend}</div>"


def _laid(array: npt.NDArray[Any]) -> tuple[npt.NDArray[Any] | None, str]:
    """An array as rows and columns, with what these are in words."""
    if array.size < 2:
        return None, ""
    if array.ndim == 1:
        return array.reshape(1, -1), f"{array.size:,} entries from left to right"
    rows = array.reshape(len(array), -1)
    across = "axis 1" if array.ndim == 2 else f"axes 1 to {array.ndim - 1}"
    if rows.shape[0] > rows.shape[1]:
        return rows.T, f"axis 0 from left to right, {across} from top to bottom"
    return rows, f"axis 0 from top to bottom, {across} from left to right"


def _sizes(laid: npt.NDArray[Any]) -> tuple[int, int]:
    """How many entries high and wide a cell of the picture is."""
    return -(-laid.shape[0] // _HIGH), -(-laid.shape[1] // _WIDE)


def _reduced(laid: npt.NDArray[Any], choose: np.ufunc) -> npt.NDArray[Any]:
    """One entry for each cell."""
    for axis, size in enumerate(_sizes(laid)):
        if size > 1:
            laid = choose.reduceat(laid, np.arange(0, laid.shape[axis], size), axis=axis)
    return laid


def _cells(laid: npt.NDArray[Any], shown: npt.NDArray[Any], which: str) -> str:
    """What a cell is, in words; nothing, if it is an entry."""
    if laid.shape == shown.shape:
        return ""
    (high, wide), (rows, columns) = _sizes(laid), laid.shape
    return f"; of the {rows:,} x {columns:,} entries each cell shows, out of {high:,} x {wide:,}, {which}"


def _picture(pixels: npt.NDArray[np.uint8], caption: str) -> str:
    scale = max(1, min(8, _PIXELS // pixels.shape[1]))
    data = b2a_base64(
        png(pixels.repeat(scale, axis=0).repeat(scale, axis=1)), newline=False
    ).decode()
    told = escape(caption)
    return f'<div><img alt="{told}" src="data:image/png;base64,{data}"></div><div><small>{told}</small></div>'


def _swatch(color: Color) -> str:
    """A small square of a color, with a border that shows on any page."""
    style = f"display:inline-block;width:0.8em;height:0.8em;border:1px solid currentColor;background:rgb{color}"
    return f'<span style="{style}" aria-hidden="true"></span> '


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f'<td style="text-align:right">{value:,}</td>'
    text = _short(str(value), 300)
    wrap = "" if len(text) > 40 else ";white-space:nowrap"
    return f'<td style="text-align:left{wrap}">{escape(text)}</td>'


def _short(text: str, most: int = 1000) -> str:
    return text if len(text) <= most else f"{text[:most]}..."
