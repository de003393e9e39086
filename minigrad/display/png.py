"""Pictures as PNG files, still and animated, with nothing but the standard library and NumPy."""

from __future__ import annotations

import struct
import zlib
from binascii import b2a_base64
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from minigrad._validation import number
from minigrad.display.words import counted
from minigrad.errors import RangeError, ShapeError

Pixels = npt.NDArray[np.uint8]
"""A picture: shape (height, width, 3), red, green and blue from 0 to 255."""

Indexed = npt.NDArray[np.uint8]
"""The number of each pixel's color: shape (height, width)."""


def png(pixels: Pixels) -> bytes:
    """An RGB picture as a PNG file.

    The format is that of the W3C's PNG specification, third edition.

    Args:
        pixels: Shape (height, width, 3), 0 to 255.

    Raises:
        ShapeError: Another shape, or no pixel.
    """
    _check_pixels(pixels)
    height, width, _ = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits a channel, RGB
    return _file([(b"IHDR", header), (b"IDAT", _compressed(pixels.reshape(height, width * 3)))])


def data_uri(pixels: Pixels) -> str:
    """A picture as an address that holds the PNG itself."""
    return f"data:image/png;base64,{b2a_base64(png(pixels), newline=False).decode('ascii')}"


def apng(frames: Iterable[Pixels], seconds: float) -> bytes:
    """RGB pictures as an animated PNG, which repeats forever.

    A frame after the first holds only the rectangle that changed, transparent where nothing did,
    and a pixel is one byte, the number of its color: what changes little takes little space. The
    format is that of the W3C's PNG specification, third edition.

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
    # The number of each color; 0, which no color has, is the transparent pixel.
    numbers = np.zeros(1 << 24, np.uint8)
    palette = np.zeros(1, np.uint32)
    before: Indexed | None = None
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
        now = numbers[colors]
        parts.append(_changed_part(before, now))
        before = now
    if before is None:
        raise ShapeError("an animation is made of one frame or more, got none")
    # The duration of a frame is a fraction of two numbers of 16 bits.
    from fractions import Fraction  # not at the top: it takes longer to load than this module

    delay = max(Fraction(seconds) / len(parts), Fraction(1, 65535))
    if delay > 65535:
        raise RangeError(
            f"seconds is {seconds:g} for {counted(len(parts), 'frame')}: a frame takes at most "
            f"65,535 seconds"
        )
    duration = delay.limit_denominator(min(65535, int(65535 / delay))).as_integer_ratio()

    height, width = before.shape
    # 8 bits a pixel, each the number of a color.
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))]
    chunks.append((b"acTL", struct.pack(">II", len(parts), 0)))
    chunks.append((b"PLTE", palette.astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()))
    chunks.append((b"tRNS", b"\x00"))  # color 0 is transparent
    order = 0
    for place, ((top, left, high, wide), pixels) in enumerate(parts):
        over = min(place, 1)  # the first frame is the picture, the others are drawn over it
        control = struct.pack(">IIIIIHHBB", order, wide, high, left, top, *duration, 0, over)
        data = (b"fdAT", struct.pack(">I", order + 1) + pixels) if place else (b"IDAT", pixels)
        chunks += [(b"fcTL", control), data]
        order += 2 if place else 1
    return _file(chunks)


def _changed_part(before: Indexed | None, now: Indexed) -> tuple[tuple[int, int, int, int], bytes]:
    """(top, left, height, width) of the rectangle that changed, and its pixels, compressed.

    Pixels in it that did not change are 0.
    """
    if before is None:
        return (0, 0, *now.shape), _compressed(now)
    changed = now != before
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if len(rows) == 0:
        one = np.zeros((1, 1), np.uint8)  # a frame has at least one pixel
        return (0, 0, 1, 1), _compressed(one)
    high, wide = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    pixels = np.where(changed[high, wide], now[high, wide], 0).astype(np.uint8)
    return (int(rows[0]), int(columns[0]), *pixels.shape), _compressed(pixels)


def _check_pixels(pixels: Pixels) -> None:
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise ShapeError(f"a PNG is made of pixels of shape (height, width, 3), got {pixels.shape}")


def _compressed(rows: Pixels) -> bytes:
    """Rows of bytes, each with the number of its filter in front: 0, none."""
    return zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes(), 9)


def _file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data) for kind, data in [*chunks, (b"IEND", b"")]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
