"""`StepFiles`: what is kept of every step besides its tensors, on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.recording.column import FileColumn
from minigrad.recording.row_writer import RowWriter
from minigrad.recording.step_columns import FACTS, StepColumns
from minigrad.runs.format import STEP, checksum, checksums_of_steps, file_of
from minigrad.runs.kept_steps import KeptStep

_NOWHERE = (-1, -1)  # the place of a step whose tensors are not kept


@final
class StepFiles:
    """Keeps steps in memory, and writes them to steps.npy, indices.npy and buffers/ in `publish`.

    Their tensors go through a writer at once, and count for readers after `publish_rows`.

    Args:
        directory: The directory of the run.
        writer: What writes the tensors.
        buffers: Dtype and shape of each buffer.
        steps: How many steps of a run that is there already to go on after; None makes new files.
        indices_end: How many row indices the batches of these steps have.
        salt: What the checksums begin with.

    Raises:
        OSError: The system refuses.
    """

    def __init__(
        self,
        directory: Path,
        writer: RowWriter,
        buffers: Sequence[tuple[np.dtype[Any], tuple[int, ...]]],
        steps: int | None,
        indices_end: int,
        salt: int,
    ) -> None:
        self._writer = writer
        self._salt = salt
        self._sums: list[int] = []  # the checksums of rows whose steps are not published yet
        self._files: list[FileColumn] = []
        try:
            self._steps = self._open(directory / "steps.npy", STEP, (), steps)
            known = None if steps is None else indices_end
            self._indices = self._open(directory / "indices.npy", np.dtype(np.int32), (), known)
            self._buffers = [
                self._open(directory / file_of("buffers", number), dtype, shape, steps)
                for number, (dtype, shape) in enumerate(buffers)
            ]
        except OSError:
            self.close()
            raise
        self._pending = StepColumns(indices_end)
        self._places: list[tuple[int, int]] = []  # of the tensors of each pending step
        self._last: npt.NDArray[Any] | None = None  # the last row of steps.npy

    def _open(
        self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], rows: int | None
    ) -> FileColumn:
        file = FileColumn(path, dtype, shape, rows)
        self._files.append(file)
        return file

    @property
    def indices_end(self) -> int:
        """How many row indices the batches of all steps have."""
        return self._pending.indices_end

    @property
    def pending(self) -> int:
        """How many steps are kept and not yet written."""
        return len(self._places)

    def keep(self, kept: KeptStep) -> None:
        """Keep one more step."""
        self._pending.keep(kept)
        self._places.append(_NOWHERE)

    def begin_block(self, paths: Mapping[str, Path]) -> None:
        """Begin a block, whose rows go into these new files, one for each kind of tensor."""
        self._writer.begin(paths)

    def end_block(self) -> None:
        """End the block, with all its rows published."""
        self.publish_rows()
        self._writer.end()

    def add(self, tensors: Mapping[str, Array], segment: int, row: int) -> None:
        """Write the tensors of the last step.

        Args:
            tensors: A flat array of each kind.
            segment: The number of the block that they are written to.
            row: Their row in it.
        """
        self._writer.add(tensors)
        if self._places:
            self._places[-1] = segment, row
        elif self._last is not None:  # it is published, and only now turns out to be kept
            self.publish_rows()  # first: a step never refers to rows that readers do not see
            last, crc32 = self._last, self._sums.pop()
            last["segment"], last["row"], last["crc32"] = segment, row, crc32
            last["row_crc32"] = checksums_of_steps(last, self._salt)
            self._steps.replace_last(last)

    def publish_rows(self) -> None:
        """Have all tensors that were written count for readers."""
        self._sums += self._writer.settle()
        self._writer.publish()

    def publish(self) -> None:
        """Have all steps count for readers, whose tensors do already.

        steps.npy comes last, after everything that it refers to.
        """
        if self._places:
            for stretch in self._pending.buffers():
                for file, array in zip(self._buffers, stretch.rows.values(), strict=True):
                    file.append(array)
            self._indices.append(self._pending.indices())
            rows = self._rows()
            self._steps.append(rows)
            self._last = rows[-1:].copy()
            self._pending, self._places = StepColumns(self._pending.indices_end), []
            self._sums = []
        for file in reversed(self._files):
            file.publish()

    def _rows(self) -> npt.NDArray[Any]:
        """The pending steps as rows of steps.npy, each with its checksum."""
        rows, facts = np.zeros(self.pending, STEP), self._pending.facts()
        for name in FACTS.names or ():
            rows[name] = facts[name]
        rows["segment"], rows["row"] = np.array(self._places, np.int64).T
        rows["crc32"][rows["segment"] >= 0] = self._sums
        kept = self._pending.steps()
        for row, indices, buffers in zip(rows, kept.indices, kept.buffers, strict=True):
            row["indices_crc32"] = checksum(() if indices is None else (indices,), self._salt)
            row["buffers_crc32"] = checksum(buffers.values(), self._salt)
        rows["row_crc32"] = checksums_of_steps(rows, self._salt)
        return rows

    def close(self) -> None:
        """Close the files; what their headers cover is whole, with or without what came last."""
        self._writer.close()
        for file in self._files:
            with suppress(OSError):
                file.close()
        self._files = []
