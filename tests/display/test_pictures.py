"""Pictures of arrays; PNG files are read back by a decoder of this file's own."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import pytest

from minigrad.display import characters, drawing, png, words
from minigrad.errors import ShapeError


def decode(data: bytes) -> npt.NDArray[np.uint8]:
    """The pixels of an RGB PNG, after the specification (https://www.w3.org/TR/png-3/)."""
    assert b"\x89PNG\r\n\x1a\n" == data[:8]
    at, chunks = 8, []
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", data[at + 8 + length : at + 12 + length])
        assert zlib.crc32(kind + body) == checksum
        chunks.append((kind, body))
        at += 12 + length
    assert at == len(data)
    assert (b"IHDR", (b"IEND", b"")) == (chunks[0][0], chunks[-1])
    width, height, depth, color, compression, filters, interlace = struct.unpack(
        ">IIBBBBB", chunks[0][1]
    )
    assert (8, 2, 0, 0, 0) == (depth, color, compression, filters, interlace)
    raw = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    assert height * (1 + 3 * width) == len(raw)
    lines = np.zeros((height, 3 * width), np.uint8)
    for row in range(height):
        line = raw[row * (1 + 3 * width) : (row + 1) * (1 + 3 * width)]
        assert 0 == line[0]  # no filter
        lines[row] = np.frombuffer(line[1:], np.uint8)
    return lines.reshape(height, width, 3)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (28, 28), (1, 300), (300, 1)])
def test_png_files_hold_the_pixels(shape: tuple[int, int]) -> None:
    """What goes in comes out, pixel by pixel."""
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert np.array_equal(pixels, decode(png.png(pixels)))


def test_png_of_other_layouts() -> None:
    """Views and column-major arrays are written in the right order."""
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    for other in (np.asfortranarray(pixels), pixels[::-1, ::2], pixels.transpose(1, 0, 2)):
        assert np.array_equal(other, decode(png.png(other)))


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (0, 3, 3), (2, 0, 3), (2,)])
def test_png_of_other_shapes(shape: tuple[int, ...]) -> None:
    """Anything but RGB pixels is refused, with its shape."""
    with pytest.raises(ShapeError, match=r"\(height, width, 3\)") as told:
        png.png(np.zeros(shape, np.uint8))
    assert str(shape) in str(told.value)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([[0, -1.5], [2, 0]], np.float32), "(2, 2) float32, -1.5 to 2, 2 of 4 are 0"),
        (np.array([3.0, 3.0]), "(2,) float64, all 3"),
        (np.array([1.0, np.nan, np.inf, -2]), "(4,) float64, -2 to 1, 2 of 4 are NaN or infinite"),
        (np.array([np.nan]), "(1,) float64, 1 of 1 are NaN or infinite"),
        (np.array([], np.float32), "(0,) float32, empty"),
        (np.arange(2000), "(2000,) int64, 0 to 1999, 1 of 2,000 are 0"),
        (np.array([True, False]), "(2,) bool, 0 to 1, 1 of 2 are 0"),
        (np.array(2.5), "() float64, all 2.5"),
    ],
)
def test_arrays_in_words(array: npt.NDArray[np.generic], expected: str) -> None:
    """Shape, dtype, range and counts; never a corner."""
    assert expected == words.in_words(array)


def test_amounts_as_characters() -> None:
    """The darker, the more; what never moved is a dot; the sign does not matter."""
    amounts = np.array([[0.0, 1, 2], [3, -4, 4]])
    hidden = np.array([[True, False, False], [False, False, False]])
    assert "·▒▓\n███" == characters.as_text(amounts, hidden)
    assert "░░\n██" == characters.as_text(
        np.array([[0.1, 0.2], [0.9, 1.0]]), np.zeros((2, 2), bool)
    )


@pytest.mark.parametrize(
    ("amounts", "hidden", "expected"),
    [
        ([[0.0, 0.0]], [[False, True]], "░·"),
        ([[np.nan, 1.0, 0.1]], [[False, False, False]], "×█░"),
        ([[-np.inf, 1.0, 0.1]], [[False, False, False]], "×█░"),
        ([[np.nan, 1.0, 0.1]], [[True, False, False]], "×█░"),
        ([[9.0, 1.0, 0.1]], [[True, False, False]], "·█░"),
        ([[9.0]], [[True]], "·"),
    ],
    ids=[
        "all zero",
        "NaN",
        "infinite",
        "NaN that is hidden",
        "the hidden set no scale",
        "all hidden",
    ],
)
def test_strange_amounts_as_characters(
    amounts: list[list[float]], hidden: list[list[bool]], expected: str
) -> None:
    """Zeros, NaN and infinity are drawn without a warning."""
    assert expected == characters.as_text(np.array(amounts), np.array(hidden))


def test_signed_amounts_as_colors() -> None:
    """White is 0, blue negative, red positive, full at the top.

    The hidden have a color of their own.
    """
    amounts = np.array([[0.0, -2, 2, 4, 1, 0]])
    hidden = np.array([[False] * 5 + [True]])
    colors = drawing.diverging(amounts, hidden, top=2.0)
    assert ((1, 6, 3), np.uint8) == (colors.shape, colors.dtype.type)
    white, blue, red, more, pale, none = colors[0].astype(int).tolist()
    assert [255, 255, 255] == white
    assert blue[2] > blue[0]
    assert red[0] > red[2]
    assert red == more
    assert all(min(red[c], 255) <= pale[c] <= 255 for c in range(3))
    assert list(drawing.HIDDEN) == none
    everything = drawing.diverging(
        np.linspace(-1, 1, 2001)[np.newaxis], np.zeros((1, 2001), bool), top=1.0
    )
    assert (
        not (everything == drawing.HIDDEN).all(axis=2).any()
    )  # no amount looks like one that never moved
    assert [[255, 255, 255]] == drawing.diverging(np.zeros((1, 1)), np.array([[False]]), top=0.0)[
        0
    ].tolist()
    strange = drawing.diverging(
        np.array([[np.nan, np.inf, -np.inf, np.nan]]), np.array([[False] * 3 + [True]]), top=1.0
    )
    assert (strange == drawing.STRANGE).all()  # hidden or not
    assert not (everything == drawing.STRANGE).all(axis=2).any()


def test_pictures_side_by_side() -> None:
    """Each picture is there as a whole, enlarged, in reading order; the rest is grey."""
    shades = [np.full((2, 3, 3), shade, np.uint8) for shade in (10, 20, 30)]
    sheet = drawing.tiled(shades, columns=2, scale=2)
    assert (2 * (2 * 2 + 2) + 2, 2 * (3 * 2 + 2) + 2, 3) == sheet.shape
    for number, (top, left) in enumerate([(2, 2), (2, 10), (8, 2)]):
        assert (sheet[top : top + 4, left : left + 6] == 10 * (number + 1)).all()
    values, counts = np.unique(sheet[:, :, 0], return_counts=True)
    assert {10: 24, 20: 24, 30: 24, 128: sheet[:, :, 0].size - 72} == dict(
        zip(values.tolist(), counts.tolist(), strict=True)
    )


def test_shades_that_the_output_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the standard output has an encoding without blocks, as on Windows in a file, they are
    plain characters.
    """
    amounts, hidden = np.array([[0.1, 0.4], [0.6, 1.0]]), np.zeros((2, 2), bool)
    for encoding, shades in (("utf-8", "░▒\n▓█"), ("cp1252", ".:\n+#")):
        monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        assert shades == characters.as_text(amounts, hidden)
        print(characters.as_text(amounts, ~hidden))
