"""`RowWriter`, which writes the rows of a block in a thread, while the training goes on."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np

from minigrad.arrays import Array
from minigrad.recording.column import FileColumn
from minigrad.runs.format import checksum

# About how much is gathered before it is written: one row of a large network, many of a small one.
_CHUNK_BYTES = 2**20
_AHEAD = 2  # how many chunks may wait for the disk, before the training waits for it


@final
class RowWriter:
    """Writes the rows of one block after the other.

    They are gathered into chunks, which a thread checksums and writes. Both release Python's lock,
    so a second core does them while the first one trains.

    Args:
        kinds: The kinds of tensors that are kept of a step.
        size: The number of entries in a row.
        dtype: Their dtype.
        salt: What the checksums begin with.
    """

    def __init__(self, kinds: tuple[str, ...], size: int, dtype: np.dtype[Any], salt: int) -> None:
        self._kinds = kinds
        self._salt = salt
        self._shape = max(1, _CHUNK_BYTES // max(1, size * dtype.itemsize * len(kinds))), size
        self._dtype = dtype
        self._files: dict[str, FileColumn] = {}
        self._chunk = self._new_chunk()
        self._filled = 0
        self._spare: list[dict[str, Array]] = []
        self._executor = ThreadPoolExecutor(1, "minigrad-writer")
        self._waiting: list[tuple[Future[list[int]], dict[str, Array]]] = []
        self._sums: list[int] = []

    def _new_chunk(self) -> dict[str, Array]:
        return {kind: np.empty(self._shape, self._dtype) for kind in self._kinds}

    def begin(self, paths: Mapping[str, Path]) -> None:
        """Begin a block in these new files, one for each kind.

        Raises:
            OSError: A file cannot be made.
        """
        for kind, path in paths.items():
            self._files[kind] = FileColumn(path, self._dtype, (self._shape[1],))

    def add(self, tensors: Mapping[str, Array]) -> None:
        """Copy a step's tensors of the kinds that are kept, to be written.

        Raises:
            OSError: The disk did not take those before.
        """
        for kind in self._kinds:
            self._chunk[kind][self._filled] = tensors[kind]
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
        """Have everything that was written count for readers.

        Raises:
            OSError: The disk does not take it.
        """
        for file in self._files.values():
            file.publish()

    def end(self) -> None:
        """End the block: close its files.

        What their headers cover is whole, with or without what came last.
        """
        files, self._files = self._files, {}
        for file in files.values():
            with suppress(OSError):
                file.close()

    def close(self) -> None:
        """End the block and the thread; what still waits is not written."""
        for future, _ in self._waiting:
            future.cancel()
        self._executor.shutdown()
        self.end()

    def _send(self) -> None:
        chunk, filled, self._filled = self._chunk, self._filled, 0
        try:
            future = self._executor.submit(self._write, chunk, filled)
        except RuntimeError:  # Python is ending, and starts nothing more in threads
            self._wait(0)
            future = Future()
            future.set_result(self._write(chunk, filled))
        self._waiting.append((future, chunk))
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
        return [
            checksum(rows, self._salt)
            for rows in zip(*(chunk[kind][:filled] for kind in self._kinds), strict=True)
        ]
