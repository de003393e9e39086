"""`Column` and `FileColumn`: rows of one dtype and shape that grow, in memory and in a file."""

from __future__ import annotations

import io
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
        self._data = bytearray()

    @property
    def nbytes(self) -> int:
        """How many bytes the rows take."""
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Add rows behind the last one, given as their bytes."""
        self._data += data

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

    Attributes:
        count: The number of rows, published or not.

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
        self._row_bytes = self._dtype.itemsize * int(np.prod(shape))
        self._file = path.open("xb" if rows is None else "r+b", buffering=0)
        self.count: int = 0 if rows is None else rows
        self._header_size = len(self._header())
        try:
            if rows is not None:
                self._file.truncate(self._header_size + rows * self._row_bytes)
            self.publish()
        except OSError:
            self._file.close()
            raise

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Write rows behind the last one; `publish` makes them count."""
        data = memoryview(np.ascontiguousarray(rows, self._dtype).reshape(-1).view(np.uint8).data)
        self._write(self._header_size + self.count * self._row_bytes, data)
        self.count += len(rows)

    def replace_last(self, row: npt.NDArray[Any]) -> None:
        """Write the last row anew, shape (1, ...)."""
        self.count -= 1
        self.append(row)

    def publish(self) -> None:
        """Have the header cover all rows that were appended."""
        self._write(0, memoryview(self._header()))

    def close(self) -> None:
        """Publish, and close the file; again without effect."""
        if self._file.closed:
            return
        self.publish()
        self._file.close()

    def _header(self) -> bytes:
        """The header. Its size never changes: NumPy leaves room for the number of rows to grow."""
        header = io.BytesIO()
        description = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.count, *self._shape),
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
