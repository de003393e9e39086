from __future__ import annotations

import gzip
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from irregular_support import IRREGULAR, irregular

from minigrad.datasets.idx import read_idx
from minigrad.errors import DataFileError

# 2 x 3 values, written out by hand: magic number, two dimensions, the values.
PLAIN = (
    bytes([0, 0, 8, 2]) + bytes([0, 0, 0, 2]) + bytes([0, 0, 0, 3]) + bytes([1, 2, 3, 4, 5, 255])
)
VALUES = [[1, 2, 3], [4, 5, 255]]
FLIPPED = bytearray(gzip.compress(PLAIN))
FLIPPED[-8] ^= 1  # in the checksum


@pytest.mark.parametrize("content", [PLAIN, gzip.compress(PLAIN)], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", ["data.gz", "data"])
def test_reads_plain_and_gzipped_files_by_content(
    tmp_path: Path, content: bytes, name: str
) -> None:
    """A file is read whether it has been unpacked or not, and whatever its name."""
    (tmp_path / name).write_bytes(content)
    array = read_idx(tmp_path / name)
    assert array.dtype == np.uint8
    assert array.tolist() == VALUES
    array[0, 0] = 9  # one may write to it


def test_path_may_be_a_string(tmp_path: Path) -> None:
    """A path may also be given as a string."""
    (tmp_path / "data").write_bytes(PLAIN)
    assert read_idx(str(tmp_path / "data")).tolist() == VALUES


@pytest.mark.parametrize("shape", [(5,), (2, 1, 3), (300, 2)])
def test_dimensions_are_big_endian_and_in_order(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """One to several dimensions are read, also those above 255, the last running fastest."""
    values = np.arange(np.prod(shape), dtype=np.uint8)
    header = bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    (tmp_path / "data").write_bytes(header + values.tobytes())
    assert np.array_equal(read_idx(tmp_path / "data"), values.reshape(shape))


@pytest.mark.parametrize(
    ("content", "found", "expected"),
    [
        (b"", "content that starts with b''", "two zero bytes"),
        (b"<html>Not found</html>", "content that starts with b'<htm'", "two zero bytes"),
        (PLAIN[:3], "content that starts with b'\\x00\\x00\\x08'", "two zero bytes"),
        (gzip.compress(b"hello, world"), "content that starts with b'hell'", "two zero bytes"),
        (gzip.compress(PLAIN)[:-9], "truncated or corrupt", "one complete gzip file"),
        (gzip.compress(PLAIN)[:5], "truncated or corrupt", "one complete gzip file"),
        (gzip.compress(PLAIN) + b"more", "truncated or corrupt", "one complete gzip file"),
        (bytes(FLIPPED), "truncated or corrupt", "one complete gzip file"),
        (
            gzip.compress(PLAIN)[:10] + b"\xff" * 20,
            "truncated or corrupt",
            "one complete gzip file",
        ),
        (PLAIN[:2] + b"\x0d" + PLAIN[3:], "type code 0x0d", "0x08"),
        (PLAIN[:3] + b"\x00" + PLAIN[4:], "0 dimensions", "1 to 64"),
        (bytes([0, 0, 8, 65]) + bytes([0, 0, 0, 1]) * 65 + b"\x01", "65 dimensions", "1 to 64"),
        (PLAIN[:11], "11 bytes in all", "a header of 12 bytes for 2 dimensions"),
        (PLAIN[:4] + bytes(8), "the dimensions (0, 0)", "none of them to be 0"),
        (PLAIN[:-1], "5 values", "6 for the dimensions (2, 3)"),
        (PLAIN + b"\x00", "7 values", "6 for the dimensions (2, 3)"),
        (gzip.compress(PLAIN + b"\x00"), "7 values", "6 for the dimensions (2, 3)"),
        (bytes([0, 0, 8, 2]) + bytes([128, 0, 0, 0]) * 2, "0 values", "4611686018427387904 for"),
        (
            bytes([0, 0, 8, 3]) + bytes([64, 0, 0, 0]) * 2 + bytes([0, 0, 0, 16]),
            "0 values",
            "18446744073709551616 for",
        ),
    ],
    ids=[
        "empty",
        "not gzip",
        "three bytes",
        "not IDX in gzip",
        "gzip cut at the end",
        "gzip cut in its header",
        "bytes after gzip",
        "gzip with a wrong checksum",
        "gzip with corrupt data",
        "type code",
        "no dimensions",
        "too many dimensions",
        "cut in the header",
        "dimensions of 0",
        "cut in the values",
        "trailing byte",
        "trailing byte in gzip",
        "huge dimensions",
        "more than 64 bits can count",
    ],
)
def test_bad_files_are_refused(tmp_path: Path, content: bytes, found: str, expected: str) -> None:
    """A broken file is never returned as data: the error names the file, what was found, expected,
    and what to do.
    """
    path = tmp_path / "broken.gz"
    path.write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        read_idx(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: found ")
    assert found in message
    assert expected in message.split("expected ")[1]
    assert message.endswith("; replace the file by a fresh copy")


def test_missing_file_is_named(tmp_path: Path) -> None:
    """A path where there is no file gives an error that names it; it is also an OSError."""
    with pytest.raises(
        OSError, match=r"nowhere: found no such file, expected a data file; check the path"
    ) as caught:
        read_idx(tmp_path / "nowhere")
    assert isinstance(caught.value, DataFileError)


def test_directory_is_refused(tmp_path: Path) -> None:
    """A directory in place of a file gives an error that names it."""
    with pytest.raises(DataFileError, match="found something that cannot be read") as caught:
        read_idx(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("what", IRREGULAR)
def test_what_is_no_regular_file(what: str, tmp_path: Path) -> None:
    """A FIFO is not waited for, a device is not read to its end."""
    path = irregular(what, tmp_path)
    with pytest.raises(DataFileError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(
        f"{path}: found something that cannot be read ({IRREGULAR[what]}), expected a data file"
    )


def test_a_path_that_is_none(tmp_path: Path) -> None:
    """No file has a zero in its name."""
    with pytest.raises(DataFileError, match="cannot be read \\(embedded null"):
        read_idx(tmp_path / "x\0y")


def peak(path: Path) -> tuple[int, str]:
    """How many bytes of memory reading takes at most, and the error."""
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError) as caught:
            read_idx(path)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


def test_little_that_is_packed_does_not_become_much(tmp_path: Path) -> None:
    """No more is unpacked than the header claims, and one byte."""
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(PLAIN + bytes(200_000_000), 1))
    assert path.stat().st_size < 1_000_000
    memory, told = peak(path)
    assert memory < 2_000_000
    assert "found 7 values or more, expected 6 for the dimensions (2, 3)" in told


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_is_only_claimed_takes_no_memory(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """A header of more bytes than any memory has."""
    path = tmp_path / "claim"
    path.write_bytes(pack(bytes([0, 0, 8, 4]) + b"\x00\x00\xff\xff" * 4 + bytes(100)))
    memory, told = peak(path)
    assert memory < 2_000_000
    assert "found 100 values, expected 18445618199572250625 for" in told


def test_damaged_anywhere(tmp_path: Path) -> None:
    """Truncated at any place, or any bit of any byte flipped, packed or not: the error is clear, or
    the values are those of the file.
    """
    told: set[str] = set()
    for name, content in (("plain", PLAIN), ("packed", gzip.compress(PLAIN, mtime=0))):
        path = tmp_path / name
        for damaged in damages(content):
            path.write_bytes(damaged)
            try:
                found = read_idx(path)
            except DataFileError as error:
                told.add(str(error))
            else:
                assert name == "packed" or damaged[-found.size :] == found.tobytes()
                assert name == "plain" or VALUES == found.tolist()  # of the file's date, say
    assert len(told) > 10
    assert all(one.startswith(str(tmp_path)) and one.isprintable() for one in told)


def damages(content: bytes) -> Iterator[bytes]:
    for place in range(len(content)):
        yield content[:place]
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            yield bytes(damaged)
