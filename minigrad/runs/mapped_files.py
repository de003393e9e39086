"""`MappedFiles`: the arrays in a run's directory, mapped into memory when they are needed."""

from __future__ import annotations

import os
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.display.words import counted
from minigrad.errors import RunError

_MISSING = "is missing; if the run is still being written, open it again"
_OPEN = 32  # how many files are open at a time; a process may have about a thousand


@final
class MappedFiles:
    """The arrays of a directory, mapped into memory when they are needed.

    Args:
        directory: Where the run is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: OrderedDict[tuple[str, int], npt.NDArray[Any]] = OrderedDict()

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
        return self._open[key]

    def _map(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        if 0 in shape:
            return np.empty(shape, dtype)
        problem, start = self._look(file, dtype, shape)
        try:
            if not problem:
                # Not np.load: the header of a file that grows may tell of more rows than those that
                # are asked for.
                array: npt.NDArray[Any] = np.asarray(
                    np.memmap(self.directory / file, dtype, "r", start, shape)
                )
                return array
        except FileNotFoundError:  # the writer has given it up since that look
            problem = _MISSING
        except (OSError, ValueError) as error:
            problem = f"is damaged or missing: {error}"
        raise RunError(f"'{self.directory / file}' {problem}")

    def table(self, file: str, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
        """All rows of a file, as a copy, read at one moment: another may take its place.

        Raises:
            RunError: The file is missing, damaged, or holds something else.
        """
        try:
            with (self.directory / file).open("rb") as opened:
                has, fortran, kind = _header(opened)
                data = opened.read(has[0] * dtype.itemsize)
            if fortran or kind != dtype or len(has) != 1 or len(data) != has[0] * dtype.itemsize:
                raise RunError(f"it holds less than the {has} rows of its header, or others")
        except (OSError, ValueError) as error:
            raise RunError(f"'{self.directory / file}' is damaged or missing: {error}") from error
        return np.frombuffer(data, dtype)

    def problem(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
        """What is wrong with a file, in words; empty if its header and its size are right."""
        return self._look(file, dtype, shape)[0]

    def _look(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> tuple[str, int]:
        try:
            with (self.directory / file).open("rb") as opened:
                has, fortran, kind = _header(opened)
                start, size = opened.tell(), os.fstat(opened.fileno()).st_size
        except FileNotFoundError:
            return _MISSING, 0
        except (OSError, ValueError) as error:
            return f"is damaged: {error}", 0
        if start % 64:
            return "is damaged: its header has another length", 0
        if fortran or kind != dtype.newbyteorder("<") or not has or has[1:] != shape[1:]:
            return (
                f"is damaged: it holds {kind} of shape {has}, expected {dtype} of shape {shape}",
                0,
            )
        if has[0] < shape[0] or size < start + shape[0] * int(np.prod(shape[1:])) * dtype.itemsize:
            return (
                f"is damaged: it holds less than the {counted(shape[0], 'row')} that the run says",
                0,
            )
        return "", start


def _header(opened: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """The header of a file: shape, whether in Fortran's order, and dtype.

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
