"""`MappedFiles`: the arrays in a run's directory, mapped into memory when they are needed."""

from __future__ import annotations

import math
import mmap
import os
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad.display.words import counted
from minigrad.errors import RunError
from minigrad.files import open_regular

_MISSING = "is missing; if the run is still being written, open it again"
_OPEN = 32  # how many files are open at a time; a process may have about a thousand


class _Mapped(NamedTuple):
    """An array in a file, and what says how long that file is now."""

    array: npt.NDArray[Any]
    map: mmap.mmap | None  # None of an array without entries
    end: int  # up to which byte of the file it reaches


class _Held(NamedTuple):
    """How many rows a file holds, and where they begin."""

    rows: int
    start: int


@final
class MappedFiles:
    """The arrays of a directory, mapped into memory when they are needed.

    A file that another program cuts off while it is mapped is refused when its rows are asked for
    again. While they are being read, and in a view that was handed out, the system ends the process
    (SIGBUS): no library can mend that.

    Args:
        directory: Where the run is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: OrderedDict[tuple[str, int], _Mapped] = OrderedDict()

    def rows(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The first rows of a file, read-only.

        Args:
            file: Its name in the directory.
            dtype: The dtype that it must have.
            shape: (rows, ...): how many rows, and their shape.

        Raises:
            RunError: The file is missing, damaged, or holds something else.
        """
        key = file, shape[0]
        if key not in self._open:
            self._open[key] = self._map(file, dtype, shape)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        array, mapped, end = self._open[key]
        if mapped is not None and mapped.size() < end:
            del self._open[key]
            raise RunError(f"'{self.directory / file}' is damaged: it was cut off meanwhile")
        return array

    def _map(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> _Mapped:
        if 0 in shape:
            return _Mapped(np.empty(shape, dtype), None, 0)
        dtype = dtype.newbyteorder("<")
        try:
            with open_regular(self.directory / file) as opened:
                start = _held(opened, dtype, shape).start
                end = start + math.prod(shape) * dtype.itemsize
                # Not np.load: the header of a file that grows may tell of more rows than those that
                # are asked for.
                mapped = mmap.mmap(opened.fileno(), end, access=mmap.ACCESS_READ)
                return _Mapped(np.ndarray(shape, dtype, mapped, start), mapped, end)
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            raise RunError(f"'{self.directory / file}' {_in_words(error)}") from error

    def prefix(self, file: str, dtype: np.dtype[Any]) -> tuple[npt.NDArray[Any], str]:
        """All rows of a file, as a copy, read at one moment: another may take its place.

        Returns:
            The rows that are there, and what is wrong with the file, in words, where its header
            tells of more; otherwise an empty text.

        Raises:
            RunError: The file is missing, damaged, or holds something else.
        """
        try:
            with open_regular(self.directory / file) as opened:
                has, start = _held(opened, dtype, (0,))
                size = os.fstat(opened.fileno()).st_size
                there = min(has, (size - start) // dtype.itemsize)
                opened.seek(start)
                data = opened.read(there * dtype.itemsize)
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            raise RunError(f"'{self.directory / file}' {_in_words(error)}") from error
        rows = np.frombuffer(data, dtype, len(data) // dtype.itemsize)
        if len(rows) == has:
            return rows, ""
        return (
            rows,
            f"is damaged: it holds {len(rows):,} of the {counted(has, 'row')} of its header",
        )

    def table(self, file: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """All rows of a file, as a copy, read at one moment: another may take its place.

        Raises:
            RunError: The file is missing, damaged, or holds something else.
        """
        rows, problem = self.prefix(file, dtype)
        if problem:
            raise RunError(f"'{self.directory / file}' {problem}")
        return rows

    def available(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
        """How many rows of this shape a file holds, by its header and by its size.

        Raises:
            RunError: The file is missing, damaged, or holds something else.
        """
        try:
            with open_regular(self.directory / file) as opened:
                has, start = _held(opened, dtype, (0, *shape))
                size = os.fstat(opened.fileno()).st_size
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            raise RunError(f"'{self.directory / file}' {_in_words(error)}") from error
        row = math.prod(shape) * dtype.itemsize
        return has if row == 0 else max(0, min(has, (size - start) // row))

    def problem(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
        """What is wrong with a file, in words; empty if its header and its size are right."""
        try:
            with open_regular(self.directory / file) as opened:
                _held(opened, dtype, shape)
        except (OSError, ValueError, OverflowError, MemoryError) as error:
            return _in_words(error)
        return ""


def _in_words(error: Exception) -> str:
    """What is wrong with a file, from the error that reading it gave."""
    if isinstance(error, FileNotFoundError):
        return _MISSING
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return f"is damaged or cannot be read: {reason}"


def _held(opened: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> _Held:
    """How many rows a file holds by its header, which must be at least those of a shape.

    Raises:
        OSError: It cannot be read; a RunError where it is not what we write, or holds less.
        ValueError: It is no header.
    """
    has, fortran, kind = header_of(opened)
    start, size = opened.tell(), os.fstat(opened.fileno()).st_size
    if start % 64:
        raise RunError("its header has another length")
    if fortran or kind != dtype.newbyteorder("<") or not has or has[1:] != shape[1:]:
        raise RunError(f"it holds {kind} of shape {has}, expected {dtype} of shape {shape}")
    if has[0] < shape[0] or size < start + math.prod(shape) * dtype.itemsize:
        raise RunError(f"it holds less than the {counted(shape[0], 'row')} that the run says")
    return _Held(has[0], start)


def header_of(opened: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The header of an `.npy` file: shape, whether in Fortran's order, and dtype.

    Raises:
        OSError: It cannot be read; a RunError where it is not what we write.
        ValueError: It is no header.
    """
    version = np.lib.format.read_magic(opened)
    if version != (1, 0):
        raise RunError(f"its header has version {version}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return np.lib.format.read_array_header_1_0(opened)
        except (OSError, ValueError):
            raise
        except Exception as error:
            raise RunError(f"its header cannot be read: {type(error).__name__}: {error}") from error
