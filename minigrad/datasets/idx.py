"""IDX, the file format of MNIST: a magic number, the dimensions, then the values."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minigrad.errors import DataFileError
from minigrad.files import open_regular


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
    content = _unpack(path, read_bytes(path))
    if len(content) < 4 or content[:2] != b"\0\0":
        raise _wrong(
            path,
            f"content that starts with {content[:4]!r}",
            "two zero bytes (IDX) or 1f 8b (gzip)",
        )
    type_code, rank = content[2], content[3]
    if type_code != 0x08:
        raise _wrong(path, f"an IDX file with type code 0x{type_code:02x}", "0x08, unsigned bytes")
    if not 1 <= rank <= 64:  # 64 is as many as a NumPy array can have
        raise _wrong(path, f"an IDX file with {rank} dimensions", "1 to 64")
    start = 4 + 4 * rank
    if len(content) < start:
        raise _wrong(
            path, f"{len(content)} bytes in all", f"a header of {start} bytes for {rank} dimensions"
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", count=rank, offset=4))
    size = math.prod(shape)  # of Python's integers, which do not overflow
    if size == 0:
        raise _wrong(path, f"the dimensions {shape}", "none of them to be 0")
    if len(content) - start != size:
        raise _wrong(path, f"{len(content) - start} values", f"{size} for the dimensions {shape}")
    return (
        np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()
    )  # a copy, because bytes are read-only


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises:
        DataFileError: The file is missing, cannot be read, or is no regular file.
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except FileNotFoundError as error:
        raise DataFileError(
            f"{path}: found no such file, expected a data file; check the path"
        ) from error
    except (OSError, ValueError) as error:  # a path with a zero in it is a ValueError
        why = getattr(error, "strerror", None) or error
        raise DataFileError(
            f"{path}: found something that cannot be read ({why}), expected a data file; check the "
            f"path and its permissions"
        ) from error


def _unpack(path: Path, content: bytes) -> bytes:
    """Undo gzip where the content starts with gzip's magic number."""
    if not content.startswith(b"\x1f\x8b"):
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _wrong(
            path, f"gzip data that is truncated or corrupt ({error})", "one complete gzip file"
        ) from error


def _wrong(path: Path, found: str, expected: str) -> DataFileError:
    return DataFileError(
        f"{path}: found {found}, expected {expected}; replace the file by a fresh copy"
    )
