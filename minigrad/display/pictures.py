"""Pictures of arrays: in words, as characters, and as PNG. Standard library and NumPy only."""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad._validation import number
from minigrad.arrays import Array, Mask
from minigrad.errors import RangeError, ShapeError

NOTHING = "·"
"""The character of an entry that never moved."""

SHADES = "░▒▓█"
"""The characters of a small to a large amount, in four equal steps."""

ASCII_SHADES = ".:+#"
"""The same where the standard output cannot show those, on Windows in a file, say."""

CROSS = "×"
"""The character of an entry that is NaN or infinite."""

HIDDEN = (200, 214, 190)
"""The color of an entry that never moved; no amount has it."""

STRANGE = (0, 0, 0)
"""The color of NaN and infinity in every picture; no amount has it."""


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


def not_finite(array: npt.NDArray[Any]) -> tuple[int, int]:
    """How many entries are NaN, and how many infinite."""
    if array.dtype.kind != "f":
        return 0, 0
    return int(np.count_nonzero(np.isnan(array))), int(np.count_nonzero(np.isinf(array)))


def strange_in_words(nan: int, infinite: int) -> str:
    """How many entries are NaN and infinite: "3 are NaN and 1 is infinite"; nothing, if none is."""
    told = [
        f"{count:,} {'is' if count == 1 else 'are'} {kind}"
        for count, kind in ((nan, "NaN"), (infinite, "infinite"))
        if count
    ]
    return " and ".join(told)


def counted(count: int, noun: str) -> str:
    """A number and its noun: "1 step", "1,200 steps"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def as_text(amounts: Array, hidden: Mask) -> str:
    """Amounts of 0 and more as rows of characters: the darker, the more.

    Args:
        amounts: Shape (height, width). The largest sets the scale. What is NaN or infinite is drawn
            as `CROSS`, hidden or not.
        hidden: The entries to draw as `NOTHING`, same shape.
    """
    finite = np.isfinite(amounts)
    sizes = np.where(finite, np.abs(amounts), 0)
    top = float(sizes[~hidden].max(initial=0.0))
    steps = np.minimum(sizes / top * len(SHADES), len(SHADES) - 1) if top else np.zeros(sizes.shape)
    characters = np.array(list(SHADES if _shown(SHADES) else ASCII_SHADES))[steps.astype(int)]
    characters[hidden] = NOTHING
    characters[~finite] = CROSS
    return "\n".join("".join(row) for row in characters)


def _shown(text: str) -> bool:
    """Whether the standard output can show a text.

    One that does not say in which encoding it writes can.
    """
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def diverging(amounts: Array, hidden: Mask, top: float) -> npt.NDArray[np.uint8]:
    """Signed amounts as colors: white is 0, blue negative, red positive.

    Args:
        amounts: Shape (height, width). What is NaN or infinite gets the color `STRANGE`, hidden or
            not.
        hidden: The entries that get a color which no amount has; same shape.
        top: The magnitude that has the full color.

    Returns:
        Shape (height, width, 3).
    """
    exact = np.asarray(amounts, np.float64)
    finite = np.isfinite(exact)
    drawn = np.where(finite, exact, 0)
    strength = np.minimum(np.abs(drawn) / (top or 1.0), 1.0)[..., np.newaxis]
    end = np.where(drawn[..., np.newaxis] < 0, (33, 82, 180), (190, 30, 45))
    colors: npt.NDArray[np.uint8] = np.rint(255 + strength * (end - 255)).astype(np.uint8)
    colors[hidden] = HIDDEN
    colors[~finite] = STRANGE
    return colors


def tiled(
    pictures: list[npt.NDArray[np.uint8]], columns: int, scale: int = 1
) -> npt.NDArray[np.uint8]:
    """Pictures of one size side by side, with a thin grey line between, each pixel `scale` pixels
    wide and high.

    Args:
        pictures: Each of shape (height, width, 3).
        columns: How many stand in a row.
        scale: The size of a pixel.
    """
    height, width = pictures[0].shape[0] * scale, pictures[0].shape[1] * scale
    lines = -(-len(pictures) // columns)
    sheet = np.full((lines * (height + 2) + 2, columns * (width + 2) + 2, 3), 128, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = 2 + place // columns * (height + 2), 2 + place % columns * (width + 2)
        sheet[top : top + height, left : left + width] = picture.repeat(scale, axis=0).repeat(
            scale, axis=1
        )
    return sheet


def png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """An RGB picture as a PNG file (W3C, PNG specification, third edition).

    Args:
        pixels: Shape (height, width, 3), 0 to 255.

    Raises:
        ShapeError: Another shape, or no pixel.
    """
    _check_pixels(pixels)
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    return _file([(b"IHDR", header), (b"IDAT", _compressed(pixels.reshape(height, width * 3)))])


def apng(frames: Iterable[npt.NDArray[np.uint8]], seconds: float) -> bytes:
    """RGB pictures as an animated PNG, which repeats for ever (W3C, PNG specification, third
    edition).

    A frame after the first holds no more than the rectangle that changed, transparent wherever
    nothing did, and each pixel is a byte, the number of its color: what changes little takes
    little.

    Args:
        frames: Each of shape (height, width, 3), 0 to 255; all together have at most 255 colors.
            They are taken one by one, so a generator need not hold them all.
        seconds: How long one round takes.

    Raises:
        KindError: `seconds` is not a number.
        RangeError: `seconds` is not above 0, or too long for the format, or there are too many
            colors.
        ShapeError: No frame, no pixel, or another shape.
    """
    seconds = number(seconds, "seconds", above=0)
    numbers = np.zeros(
        1 << 24, np.uint8
    )  # of each color; 0, which no color has, is the transparent pixel
    palette = np.zeros(1, np.uint32)
    before: npt.NDArray[np.uint8] | None = None
    parts: list[tuple[tuple[int, int, int, int], bytes]] = []
    for frame in frames:
        _check_pixels(frame)
        if before is not None and frame.shape[:2] != before.shape:
            raise ShapeError(
                f"frame {len(parts)} has shape {frame.shape}, those before it {(*before.shape, 3)}"
            )
        red, green, blue = (frame[..., channel].astype(np.uint32) for channel in range(3))
        colors = red << 16 | green << 8 | blue
        new = np.unique(colors[numbers[colors] == 0])
        if len(palette) + len(new) > 256:
            raise RangeError(
                f"an animation has at most 255 colors, these frames have "
                f"{len(palette) + len(new) - 1}"
            )
        numbers[new] = np.arange(len(palette), len(palette) + len(new))
        palette = np.append(palette, new)
        found = numbers[colors]
        parts.append(_changed_part(before, found))
        before = found
    if before is None:
        raise ShapeError("an animation is made of one frame or more, got none")
    # The duration of a frame is a fraction of two numbers of 16 bits.
    from fractions import Fraction  # not at the top: it takes longer to load than all that is here

    delay = max(Fraction(seconds) / len(parts), Fraction(1, 65535))
    if delay > 65535:
        raise RangeError(
            f"seconds is {seconds:g} for {counted(len(parts), 'frame')}: a frame takes at most "
            f"65,535 seconds"
        )
    duration = delay.limit_denominator(min(65535, int(65535 / delay))).as_integer_ratio()

    height, width = before.shape
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
    ]  # 8 bits a pixel, numbers of colors
    chunks.append((b"acTL", struct.pack(">II", len(parts), 0)))
    chunks.append((b"PLTE", palette.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()))
    chunks.append((b"tRNS", b"\x00"))  # color 0 is transparent
    order = 0
    for place, ((top, left, high, wide), pixels) in enumerate(parts):
        over = min(
            place, 1
        )  # the first frame is the picture, the others are drawn over what is there
        control = struct.pack(">IIIIIHHBB", order, wide, high, left, top, *duration, 0, over)
        data = (b"fdAT", struct.pack(">I", order + 1) + pixels) if place else (b"IDAT", pixels)
        chunks += [(b"fcTL", control), data]
        order += 2 if place else 1
    return _file(chunks)


def _changed_part(
    before: npt.NDArray[np.uint8] | None, now: npt.NDArray[np.uint8]
) -> tuple[tuple[int, int, int, int], bytes]:
    """(top, left, height, width) of the rectangle that changed, and its pixels, compressed.

    0 where nothing did.
    """
    if before is None:
        return (0, 0, *now.shape), _compressed(now)
    changed = now != before
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if len(rows) == 0:
        return (0, 0, 1, 1), _compressed(
            np.zeros((1, 1), np.uint8)
        )  # a frame has at least one pixel
    high, wide = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    pixels = np.where(changed[high, wide], now[high, wide], 0).astype(np.uint8)
    return (int(rows[0]), int(columns[0]), *pixels.shape), _compressed(pixels)


def _check_pixels(pixels: npt.NDArray[np.uint8]) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ShapeError(f"a PNG is made of pixels of shape (height, width, 3), got {pixels.shape}")


def _compressed(rows: npt.NDArray[np.uint8]) -> bytes:
    """Rows of bytes, each with the number of its filter in front: 0, none."""
    return zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), 9)


def _file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data) for kind, data in [*chunks, (b"IEND", b"")]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
