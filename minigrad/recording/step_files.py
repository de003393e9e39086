"""`StepFiles`: what is kept of every step besides its tensors, on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.recording.column import FileColumn
from minigrad.recording.row_writer import RowWriter
from minigrad.recording.step_columns import FACTS, StepColumns
from minigrad.runs.format import STEP, checksum, checksums_of_steps, file_of
from minigrad.runs.kept_steps import KeptStep

_NOWHERE = (-1, -1)  # the place of a step whose tensors are not kept


class _Pending(NamedTuple):
    """The steps that are kept and not yet written.

    Attributes:
        first: How many steps are written before them.
        steps: What is kept of them.
        places: By position in `steps`, the block and the row of the tensors, where there are any.
        last: The row of steps.npy before them, if this session has written it.
    """

    first: int
    steps: StepColumns
    places: dict[int, tuple[int, int]]
    last: npt.NDArray[Any] | None


@final
class StepFiles:
    """Keeps steps in memory, and writes them to steps.npy, indices.npy and buffers/ in `publish`.

    Their tensors go through a writer at once, and count for readers after `publish_rows`. Wherever
    an interrupt cuts `publish` off, the next one writes the same rows at the same places.

    Args:
        directory: The directory of the run.
        writer: What writes the tensors.
        buffers: Name, dtype and shape of each buffer.
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
        buffers: Sequence[tuple[str, np.dtype[Any], tuple[int, ...]]],
        steps: int | None,
        indices_end: int,
        salt: int,
    ) -> None:
        self._writer = writer
        self._salt = salt
        self._layout = buffers
        self._files: list[FileColumn] = []
        try:
            self._steps = self._open(directory / "steps.npy", STEP, (), steps)
            known = None if steps is None else indices_end
            self._indices = self._open(directory / "indices.npy", np.dtype(np.int32), (), known)
            self._buffers = [
                self._open(directory / file_of("buffers", number), dtype, shape, steps)
                for number, (_, dtype, shape) in enumerate(buffers)
            ]
        except BaseException:
            self.close()
            raise
        self._pending = _Pending(steps or 0, StepColumns(indices_end), {}, None)

    def _open(
        self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], rows: int | None
    ) -> FileColumn:
        file = FileColumn(path, dtype, shape, rows)
        self._files.append(file)
        return file

    def __len__(self) -> int:
        return self._pending.first + len(self._pending.steps)

    @property
    def indices_end(self) -> int:
        """How many row indices the batches of all steps have."""
        return self._pending.steps.indices_end

    @property
    def pending(self) -> int:
        """How many steps are kept and not yet written."""
        return len(self._pending.steps)

    def problem_of(self, buffers: Mapping[str, npt.NDArray[Any]]) -> str:
        """Why the buffers cannot be kept, in words: files hold rows of one dtype and shape."""
        for (name, dtype, shape), now in zip(self._layout, buffers.values(), strict=True):
            if now.shape != shape or not np.can_cast(now.dtype, dtype):
                return (
                    f"'{name}' is now {now.dtype} of shape {now.shape}, and was {dtype} of shape "
                    f"{shape} when the recorder was made: let its layer give it dtype and shape in "
                    f"`__init__`"
                )
        return ""

    def keep(self, kept: KeptStep) -> None:
        """Keep one more step."""
        steps = self._pending.steps
        self._pending.places.pop(len(steps), None)  # of one that was dropped
        steps.keep(kept)

    def drop_after(self, step: int) -> None:
        """Forget what is kept of later steps than this one: of the last, if at all."""
        self._pending.steps.drop_after(step)

    def begin_block(self, segment: int, paths: Mapping[str, Path]) -> None:
        """Begin a block, whose rows go into these new files, one for each kind of tensor."""
        self._writer.begin(segment, paths)

    def end_block(self) -> None:
        """End the block, with all its rows published."""
        self._writer.end()

    def add(self, tensors: Mapping[str, Array], segment: int, row: int) -> None:
        """Write the tensors of the last step.

        Args:
            tensors: A flat array of each kind.
            segment: The number of the block that they are written to.
            row: Their row in it.
        """
        self._writer.add(row, tensors)
        first, steps, places, last = self._pending
        if len(steps):
            places[len(steps) - 1] = segment, row
        elif last is not None:  # it is published, and only now turns out to be kept
            self.publish_rows()  # first: a step never refers to rows that readers do not see
            last = last.copy()
            last["segment"], last["row"] = segment, row
            last["crc32"] = self._writer.sums[segment, row]
            last["row_crc32"] = checksums_of_steps(last, self._salt)
            self._steps.write(first - 1, last)

    def publish_rows(self) -> None:
        """Have all tensors that were written count for readers."""
        self._writer.publish()

    def publish(self) -> None:
        """Have all steps count for readers, whose tensors do already.

        steps.npy comes last, after everything that it refers to.
        """
        first, steps, _, _ = self._pending
        count = first + len(steps)
        if count == first:
            return
        for stretch in steps.buffers():
            for file, array in zip(self._buffers, stretch.rows.values(), strict=True):
                file.write(first + stretch.first, array)
        for file in self._buffers:
            file.publish(count)
        indices, rows = steps.indices(), self._rows()
        self._indices.write(steps.indices_end - len(indices), indices)
        self._indices.publish(steps.indices_end)
        self._steps.write(first, rows)
        self._steps.publish(count)
        self._pending = _Pending(count, StepColumns(steps.indices_end), {}, rows[-1:])
        self._writer.forget()

    def _rows(self) -> npt.NDArray[Any]:
        """The pending steps as rows of steps.npy, each with its checksums."""
        _, steps, places, _ = self._pending
        rows, facts, kept = np.zeros(len(steps), STEP), steps.facts(), steps.steps()
        for name in FACTS.names or ():
            rows[name] = facts[name]
        for number, (row, indices, buffers) in enumerate(
            zip(rows, kept.indices, kept.buffers, strict=True)
        ):
            row["segment"], row["row"] = place = places.get(number, _NOWHERE)
            if place != _NOWHERE:
                row["crc32"] = self._writer.sums[place]
            row["indices_crc32"] = checksum(() if indices is None else (indices,), self._salt)
            written = (
                np.asarray(buffer, dtype)
                for buffer, (_, dtype, _) in zip(buffers.values(), self._layout, strict=True)
            )
            row["buffers_crc32"] = checksum(written, self._salt)
        rows["row_crc32"] = checksums_of_steps(rows, self._salt)
        return rows

    def go_on_alone(self) -> None:
        """Write without another thread from now on: the process ends."""
        self._writer.go_on_alone()

    def close(self) -> None:
        """Close the files; what their headers cover is whole, with or without what came last."""
        self._writer.close()
        self.close_files()

    def close_files(self) -> None:
        """Close the files alone: in a forked child the writer's thread does not run."""
        self._writer.close_files()
        for file in self._files:
            file.close()
