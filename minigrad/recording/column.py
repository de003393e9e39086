"""`Column` and `FileColumn`: rows of one dtype and shape that grow, in memory and in a file.

Neither counts its rows: whoever writes says where. So what an interrupt has cut off is written once
more, at the same place, and nothing is ever there twice.
"""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt


@final
class Column:
    """Rows that grow in memory, kept as bytes: an array for each would take more.

    Args:
        dtype: The dtype of a row's entries.
        shape: The shape of a row.
    """

    def __init__(self, dtype: np.dtype[Any], shape: tuple[int, ...] = ()) -> None:
        self._dtype = dtype
        self._shape = shape
        self._row_bytes = dtype.itemsize * math.prod(shape)
        self._data = bytearray()

    @property
    def nbytes(self) -> int:
        """How many bytes the rows take."""
        return len(self._data)

    def write(self, start: int, data: bytes) -> None:
        """Write rows from this one on, given as their bytes; what was there and later is gone."""
        self._data[start * self._row_bytes :] = data

    def rows(self, count: int) -> npt.NDArray[Any]:
        """A copy of the first rows, read-only, shape (count, ...)."""
        return np.ndarray((count, *self._shape), self._dtype, bytes(self._data))


@final
class FileColumn:
    """Rows that grow in an `.npy` file. Readers see those that were published.

    Args:
        path: The file; a new one, or one to go on with.
        dtype: The dtype of a row's entries.
        shape: The shape of a row.
        rows: How many rows of an existing file to go on after; None makes a new file.

    Raises:
        OSError: The system refuses.
    """

    def __init__(
        self,
        path: Path,
        dtype: np.dtype[Any],
        shape: tuple[int, ...] = (),
        rows: int | None = None,
    ) -> None:
        self._dtype = dtype.newbyteorder("<")
        self._shape = shape
        self._row_bytes = self._dtype.itemsize * math.prod(shape)
        self._header_size = len(self._header(0))
        self._file = path.open("xb" if rows is None else "r+b", buffering=0)
        try:
            self.publish(rows or 0)
            if rows is not None:  # after the header: it never tells of rows that are not there
                self._file.truncate(self._header_size + rows * self._row_bytes)
        except BaseException:
            self._file.close()
            raise

    def write(self, start: int, rows: npt.NDArray[Any]) -> None:
        """Write rows from this one on; `publish` makes them count."""
        data = memoryview(np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data)
        self._write(self._header_size + start * self._row_bytes, data)

    def publish(self, count: int) -> None:
        """Have the header cover the first `count` rows."""
        self._write(0, memoryview(self._header(count)))

    def close(self) -> None:
        """Close the file; again without effect."""
        self._file.close()

    def _header(self, count: int) -> bytes:
        """The header. Its size never changes: NumPy leaves room for the number of rows to grow."""
        header = io.BytesIO()
        description = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (count, *self._shape),
        }
        np.lib.format.write_array_header_1_0(header, description)
        return header.getvalue()

    def _write(self, offset: int, data: memoryview) -> None:
        try:
            self._file.seek(offset)
            while data:
                data = data[self._file.write(data) :]
        except OSError:
            self._file.close()  # nothing more is written to it
            raise
