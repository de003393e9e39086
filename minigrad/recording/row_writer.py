"""`RowWriter`, which writes the rows of a block in a thread, while the training goes on.

Every row has its number, in memory and in the file: what an interrupt cuts off is done again, and
changes nothing that is there.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from minigrad.arrays import Array
from minigrad.recording.column import FileColumn
from minigrad.runs.format import checksum

# About how much is gathered before it is written: one row of a large network, many of a small one.
_CHUNK_BYTES = 2**20
_AHEAD = 2  # how many chunks may wait for the disk, before the training waits for it


class _Chunk(NamedTuple):
    """Rows of each kind that are gathered in memory: the first `filled` of them, from row `first`.

    Where `filled` stands in a chunk that is handed to the thread, it does not change any more.
    """

    arrays: dict[str, Array]
    first: int
    filled: int


class _Files(NamedTuple):
    """The files of a block, one for each kind, and its number."""

    segment: int
    of_kind: dict[str, FileColumn]

    def close(self) -> None:
        """Close them."""
        for file in self.of_kind.values():
            file.close()


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

    Attributes:
        sums: The CRC-32 of each step's rows that were written, by block and row, since `forget`.
    """

    def __init__(self, kinds: tuple[str, ...], size: int, dtype: np.dtype[Any], salt: int) -> None:
        self._kinds = kinds
        self._salt = salt
        self._shape = max(1, _CHUNK_BYTES // max(1, size * dtype.itemsize * len(kinds))), size
        self._dtype = dtype
        self._files = _Files(-1, {})
        self._chunk = _Chunk(self._new_arrays(), 0, 0)
        self._spare: list[dict[str, Array]] = []
        self._executor: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "minigrad-writer")
        self._waiting: list[tuple[Future[dict[tuple[int, int], int]], _Files, _Chunk]] = []
        self.sums: dict[tuple[int, int], int] = {}

    def _new_arrays(self) -> dict[str, Array]:
        return {kind: np.empty(self._shape, self._dtype) for kind in self._kinds}

    def begin(self, segment: int, paths: Mapping[str, Path]) -> None:
        """Begin a block in these new files, one for each kind.

        Args:
            segment: The number of the block.
            paths: The files.

        Raises:
            OSError: A file cannot be made.
        """
        files = _Files(segment, {})
        try:
            for kind, path in paths.items():
                files.of_kind[kind] = FileColumn(path, self._dtype, (self._shape[1],))
        except BaseException:
            files.close()
            raise
        self._files, self._chunk = files, _Chunk(self._chunk.arrays, 0, 0)

    def add(self, row: int, tensors: Mapping[str, Array]) -> None:
        """Copy a step's tensors of the kinds that are kept, to be written.

        Args:
            row: Their row in the block: the one after that of the last step.
            tensors: A flat array of each kind.

        Raises:
            OSError: The disk did not take those before.
        """
        arrays, first, _ = self._chunk
        if row - first == self._shape[0]:  # it is full: an interrupt has cut off `_send`
            self._send()
            arrays, first, _ = self._chunk
        for kind in self._kinds:
            arrays[kind][row - first] = tensors[kind]
        self._chunk = _Chunk(arrays, first, row - first + 1)
        if self._chunk.filled == self._shape[0]:
            self._send()

    def publish(self) -> None:
        """Wait until everything is written, and have it count for readers.

        Raises:
            OSError: The disk does not take it.
        """
        if self._chunk.filled:
            self._send()
        self._wait(0)
        for file in self._files.of_kind.values():
            file.publish(self._chunk.first)

    def forget(self) -> None:
        """Forget the checksums up to here."""
        self.sums = {}

    def end(self) -> None:
        """End the block: publish its rows, and close its files.

        Raises:
            OSError: The disk does not take them.
        """
        self.publish()
        self.close_files()

    def close_files(self) -> None:
        """Close the files of the block; what their headers cover is whole."""
        files, self._files = self._files, _Files(-1, {})
        files.close()

    def close(self) -> None:
        """End the block and the thread; what still waits is not written."""
        for future, _, _ in self._waiting:
            future.cancel()
        if self._executor is not None:
            self._executor.shutdown()
        self.close_files()

    def go_on_alone(self) -> None:
        """Hand nothing more to the thread; what it has, it still writes.

        A signal may have come while its executor had locks, for which nobody must wait then.
        """
        self._executor = None

    def _send(self) -> None:
        """Hand the chunk to the thread, and begin a new one."""
        files, chunk, executor = self._files, self._chunk, self._executor
        try:
            if executor is None:
                raise RuntimeError
            future = executor.submit(self._write, files, chunk)
        except RuntimeError:  # Python is ending, and starts nothing more in threads
            self._wait(0)
            future = Future()
            future.set_result(self._write(files, chunk))
        self._waiting.append((future, files, chunk))
        self._wait(_AHEAD)
        fresh = self._spare.pop() if self._spare else self._new_arrays()
        self._chunk = _Chunk(fresh, chunk.first + chunk.filled, 0)

    def _wait(self, most: int) -> None:
        """Wait until no more chunks than these are left to write."""
        while len(self._waiting) > most:
            future, files, chunk = self._waiting[0]
            try:
                self.sums.update(future.result())
            except MemoryError:  # in the thread; here there may be enough by now
                self.sums.update(self._write(files, chunk))
            del self._waiting[0]
            # A chunk that an interrupt has cut off may have been handed over twice.
            used = (self._chunk, *(other for _, _, other in self._waiting))
            if all(chunk.arrays is not other.arrays for other in used):
                self._spare.append(chunk.arrays)

    def _write(self, files: _Files, chunk: _Chunk) -> dict[tuple[int, int], int]:
        """Write a chunk; the checksums of its rows."""
        rows = {kind: chunk.arrays[kind][: chunk.filled] for kind in self._kinds}
        for kind, file in files.of_kind.items():
            file.write(chunk.first, rows[kind])
        return {
            (files.segment, chunk.first + place): checksum(tensors, self._salt)
            for place, tensors in enumerate(zip(*rows.values(), strict=True))
        }
