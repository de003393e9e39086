"""IDX, the file format of MNIST: a magic number, the dimensions, then the values."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase, BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import DataFileError
from minigrad.files import open_regular

_BLOCK = 1 << 20  # bytes that are read at a time


def read_idx(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes.

    The file may be compressed with gzip or not; its content decides, not its name. It holds, in
    this order: two zero bytes, the type code (0x08 for unsigned bytes), the number of dimensions,
    each dimension as a big-endian 32-bit integer, and the values, the last dimension running
    fastest.

    Args:
        path: The file.

    Returns:
        A new array of the shape that the file states.

    Raises:
        DataFileError: The file cannot be read, is not an IDX file of unsigned bytes, or is too
            short or too long.
    """
    path = Path(path)
    with open_data(path) as file:
        is_packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            return _read(path, gzip.GzipFile(fileobj=file) if is_packed else file)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise _wrong(
                path, f"gzip data that is truncated or corrupt ({error})", "one complete gzip file"
            ) from error


def _read(path: Path, file: BufferedIOBase) -> NDArray[np.uint8]:
    content = _up_to(file, 4)
    if len(content) < 4 or content[:2] != b"\0\0":
        raise _wrong(
            path,
            f"content that starts with {bytes(content)!r}",
            "two zero bytes (IDX) or 1f 8b (gzip)",
        )
    type_code, rank = content[2], content[3]
    if type_code != 0x08:
        raise _wrong(path, f"an IDX file with type code 0x{type_code:02x}", "0x08, unsigned bytes")
    if not 1 <= rank <= 64:  # 64 is as many as a NumPy array can have
        raise _wrong(path, f"an IDX file with {rank} dimensions", "1 to 64")
    header = _up_to(file, 4 * rank)
    if len(header) < 4 * rank:
        raise _wrong(
            path,
            f"{4 + len(header)} bytes in all",
            f"a header of {4 + 4 * rank} bytes for {rank} dimensions",
        )
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    size = math.prod(shape)  # of Python's integers, which do not overflow
    if size == 0:
        raise _wrong(path, f"the dimensions {shape}", "none of them to be 0")
    values = _up_to(file, size + 1)  # little that is packed may be very much
    if len(values) != size:
        found = f"{len(values)} values" if len(values) < size else f"{size + 1} values or more"
        raise _wrong(path, found, f"{size} for the dimensions {shape}")
    return np.frombuffer(values, np.uint8).reshape(shape)


def _up_to(file: BufferedIOBase, size: int) -> bytearray:
    """So many bytes, or all that are left; no memory is taken for bytes that are only claimed."""
    found = bytearray()
    while len(found) < size and (block := file.read(min(size - len(found), _BLOCK))):
        found += block
    return found


@contextmanager
def open_data(path: Path) -> Iterator[BufferedReader]:
    """Open a data file to read it.

    Raises:
        DataFileError: The file is missing, cannot be read, or is no regular file.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError as error:
        raise DataFileError(
            f"{path}: found no such file, expected a data file; check the path"
        ) from error
    except (OSError, ValueError) as error:  # a path with a zero in it is a ValueError
        raise _unreadable(path, error) from error
    with file:
        try:
            yield file
        except DataFileError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataFileError:
    why = getattr(error, "strerror", None) or error
    return DataFileError(
        f"{path}: found something that cannot be read ({why}), expected a data file; check the "
        f"path and its permissions"
    )


def _wrong(path: Path, found: str, expected: str) -> DataFileError:
    return DataFileError(
        f"{path}: found {found}, expected {expected}; replace the file by a fresh copy"
    )
