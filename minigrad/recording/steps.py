"""`StepFiles`: what is kept of every step, on disk: `steps.npy`, the rows of its batch, and the layers' buffers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Integers
from minigrad.runs.blocks import StepMeta
from minigrad.runs.format import STEP, GrowingArray, file_of, sums_of


class _Row(NamedTuple):
    """A row of steps.npy; the fields of `STEP`, in order."""

    step: int
    lr: float
    loss: float
    clip_factor: float
    segment: int
    row: int
    crc32: int
    has_indices: bool
    indices_end: int
    row_crc32: int = 0


@final
class StepFiles:
    """Keeps steps, and writes them when `publish` is called.

    Args:
        directory: The directory of the run.
        buffers: Dtype and shape of each buffer.
        steps: How many steps of a run that is there already to go on after; None makes new files.
        indices_end: How many rows of data the batches of these have.

    Attributes:
        pending: How many steps are kept and not yet written.
    """

    def __init__(
        self,
        directory: Path,
        buffers: Sequence[tuple[np.dtype[Any], tuple[int, ...]]],
        steps: int | None,
        indices_end: int,
    ) -> None:
        self._files: list[GrowingArray] = []
        try:
            self._steps = self._open(directory / "steps.npy", STEP, (), steps)
            ends = None if steps is None else indices_end
            self._indices = self._open(directory / "indices.npy", np.dtype(np.int32), (), ends)
            self._buffers = [
                self._open(directory / file_of("buffers", number), kind, shape, steps)
                for number, (kind, shape) in enumerate(buffers)
            ]
        except OSError:
            self.close()
            raise
        self._rows: list[_Row] = []
        self._last: _Row | None = None
        self._batches: list[Integers] = []
        self._values: list[list[npt.NDArray[Any]]] = [[] for _ in buffers]
        self._indices_end = indices_end

    def _open(
        self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], rows: int | None
    ) -> GrowingArray:
        file = GrowingArray(path, dtype, shape, rows)
        self._files.append(file)
        return file

    @property
    def pending(self) -> int:
        """How many steps are kept and not yet written."""
        return len(self._rows)

    def keep(self, meta: StepMeta) -> None:
        """Keep what is kept of every step."""
        step, lr, loss, clip_factor, indices, buffers = meta
        if indices is not None:
            self._batches.append(indices)
            self._indices_end += len(indices)
        for kept, value in zip(self._values, buffers.values(), strict=True):
            kept.append(value)
        self._rows.append(
            _Row(step, lr, loss, clip_factor, -1, -1, 0, indices is not None, self._indices_end)
        )

    def place(self, segment: int, row: int) -> None:
        """Note where the tensors of the last step are."""
        self._rows[-1] = self._rows[-1]._replace(segment=segment, row=row)

    def place_last(self, segment: int, row: int, crc32: int) -> None:
        """Note where the tensors of the last step are, after it was written."""
        if self._last is not None:
            self._last = self._last._replace(segment=segment, row=row, crc32=crc32)
            self._steps.replace_last(_packed([self._last]))

    def publish(self, sums: Iterable[int]) -> None:
        """Have all steps count for readers. `steps.npy` comes last, after everything that it refers
        to.

        Args:
            sums: The checksums of those steps' tensors that have a place.
        """
        if self._batches:
            self._indices.append(np.concatenate(self._batches))
        for file, kept in zip(self._buffers, self._values, strict=True):
            if kept:
                file.append(np.stack(kept))
        if self._rows:
            left = iter(sums)
            self._rows = [
                row if row.segment < 0 else row._replace(crc32=next(left)) for row in self._rows
            ]
            self._steps.append(_packed(self._rows))
            self._last = self._rows[-1]
        for file in reversed(self._files):
            file.publish()
        self._rows, self._batches = [], []
        self._values = [[] for _ in self._buffers]

    def close(self) -> None:
        """Close the files; what their headers tell of is whole, with or without what came last."""
        for file in self._files:
            with suppress(OSError):
                file.close()
        self._files = []


def _packed(rows: list[_Row]) -> npt.NDArray[Any]:
    """Rows of steps.npy, each with its checksum."""
    packed = np.array(rows, STEP)
    packed["row_crc32"] = sums_of(packed)
    return packed
