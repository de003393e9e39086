"""Pictures of arrays: in words, as characters, and as PNG. Standard library and NumPy only."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask
from minigrad.errors import ShapeError

NOTHING = "·"
"""The character of an entry that never moved."""

SHADES = "░▒▓█"
"""The characters of a small to a large amount, in four equal steps."""

HIDDEN = (200, 214, 190)
"""The color of an entry that never moved; no amount has it."""


def in_words(array: npt.NDArray[Any]) -> str:
    """Shape, dtype, range and counts of an array, never a corner of it: "(784, 10) float32, -0.5 to 0.5, 3 zeros"."""
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


def counted(count: int, noun: str) -> str:
    """A number and its noun: "1 step", "1,200 steps"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def as_text(amounts: Array, hidden: Mask) -> str:
    """Amounts of 0 and more as rows of characters: the darker, the more.

    Args:
        amounts: Shape (height, width). The largest sets the scale.
        hidden: The entries to draw as `NOTHING`, same shape.
    """
    finite = np.nan_to_num(np.abs(amounts), nan=np.inf, posinf=np.inf)
    shown = finite[np.isfinite(finite) & ~hidden]
    top = float(shown.max()) if shown.size else 0.0
    steps = np.minimum(finite / top * len(SHADES), len(SHADES) - 1) if top else np.zeros(finite.shape)
    characters = np.array(list(SHADES))[steps.astype(int)]
    characters[hidden] = NOTHING
    return "\n".join("".join(row) for row in characters)


def diverging(amounts: Array, hidden: Mask, top: float) -> npt.NDArray[np.uint8]:
    """Signed amounts as colors: white is 0, blue negative, red positive.

    Args:
        amounts: Shape (height, width).
        hidden: The entries that get a color which no amount has; same shape.
        top: The magnitude that has the full color.

    Returns:
        Shape (height, width, 3).
    """
    finite = np.nan_to_num(np.asarray(amounts, np.float64))
    strength = np.minimum(np.abs(finite) / (top or 1.0), 1.0)[..., np.newaxis]
    end = np.where(finite[..., np.newaxis] < 0, (33, 82, 180), (190, 30, 45))
    colors: npt.NDArray[np.uint8] = np.rint(255 + strength * (end - 255)).astype(np.uint8)
    colors[hidden] = HIDDEN
    return colors


def tiled(pictures: list[npt.NDArray[np.uint8]], columns: int, scale: int = 1) -> npt.NDArray[np.uint8]:
    """Pictures of one size side by side, with a thin grey line between, each pixel `scale` pixels wide and high.

    Args:
        pictures: Each of shape (height, width, 3).
        columns: How many stand in a row.
        scale: The size of a pixel.
    """
    height, width = pictures[0].shape[0] * scale, pictures[0].shape[1] * scale
    lines = -(-len(pictures) // columns)
    sheet = np.full((lines * (height + 2) + 2, columns * (width + 2) + 2, 3), 128, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = 2 + number // columns * (height + 2), 2 + number % columns * (width + 2)
        sheet[top : top + height, left : left + width] = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    return sheet


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """An RGB picture as a PNG file (W3C, PNG specification, third edition).

    Args:
        pixels: Shape (height, width, 3), 0 to 255.

    Raises:
        ShapeError: Another shape, or no pixel.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ShapeError(f"a PNG is made of pixels of shape (height, width, 3), got {pixels.shape}")
    height, width, _ = pixels.shape
    no_filter = np.zeros((height, 1), np.uint8)  # each row starts with the number of its filter
    rows = np.hstack([no_filter, pixels.reshape(height, width * 3)])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
