"""`RowWriter`, which writes the rows of a block in a thread of its own, while the training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np

from minigrad.arrays import Array
from minigrad.recording.format import GrowingArray, checksum

_CHUNK_BYTES = (
    2**20
)  # about how much is gathered before it is written: a few rows of a large network, many of a small one
_AHEAD = 2  # how many chunks may wait for the disk, before the training waits for it


@final
class RowWriter:
    """Writes rows into new files, one for each kind of tensor. They are gathered into chunks, which a thread checksums and writes.

    Checksums and writing leave Python's lock to others, so a second core does them while the first one trains.

    Args:
        paths: The file of each kind.
        size: The number of entries in a row.
        dtype: Their dtype.

    Raises:
        OSError: A file cannot be made.
    """

    def __init__(self, paths: Mapping[str, Path], size: int, dtype: np.dtype[Any]) -> None:
        self._files: dict[str, GrowingArray] = {}
        try:
            for kind, path in paths.items():
                self._files[kind] = GrowingArray(path, dtype, (size,))
        except OSError:
            self._close_files()
            raise
        self._shape = max(1, _CHUNK_BYTES // (size * dtype.itemsize * len(paths))), size
        self._dtype = dtype
        self._chunk = self._new_chunk()
        self._filled = 0
        self._spare: list[dict[str, Array]] = []
        self._executor = ThreadPoolExecutor(1, "minigrad-writer")
        self._waiting: list[tuple[Future[list[int]], dict[str, Array]]] = []
        self._sums: list[int] = []

    def _new_chunk(self) -> dict[str, Array]:
        return {kind: np.empty(self._shape, self._dtype) for kind in self._files}

    def add(self, rows: Mapping[str, Array]) -> None:
        """Copy a step's rows, to be written.

        Raises:
            OSError: The disk did not take those before.
        """
        for kind, row in rows.items():
            self._chunk[kind][self._filled] = row
        self._filled += 1
        if self._filled == self._shape[0]:
            self._send()

    def settle(self) -> list[int]:
        """Wait until everything is written.

        Returns:
            The CRC-32 of each step's rows, for those since the last call.

        Raises:
            OSError: The disk did not take it.
        """
        if self._filled:
            self._send()
        self._wait(0)
        sums, self._sums = self._sums, []
        return sums

    def publish(self) -> None:
        """Have everything that is written count for readers.

        Raises:
            OSError: The disk does not take it.
        """
        for file in self._files.values():
            file.publish()

    def close(self) -> None:
        """Close the files; what their headers tell of is whole, with or without what came last."""
        for future, _ in self._waiting:
            future.cancel()
        self._executor.shutdown()
        self._close_files()

    def _close_files(self) -> None:
        for file in self._files.values():
            with suppress(OSError):
                file.close()

    def _send(self) -> None:
        chunk, filled, self._filled = self._chunk, self._filled, 0
        self._waiting.append((self._executor.submit(self._write, chunk, filled), chunk))
        self._wait(_AHEAD)
        self._chunk = self._spare.pop() if self._spare else self._new_chunk()

    def _wait(self, most: int) -> None:
        """Wait until no more chunks than these are left to write."""
        while len(self._waiting) > most:
            future, chunk = self._waiting[0]
            self._sums += future.result()
            self._spare.append(chunk)
            del self._waiting[0]

    def _write(self, chunk: dict[str, Array], filled: int) -> list[int]:
        for kind, file in self._files.items():
            file.append(chunk[kind][:filled])
        return [checksum(rows) for rows in zip(*(chunk[kind][:filled] for kind in self._files), strict=True)]
