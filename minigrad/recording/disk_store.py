"""`DiskStore`: a record in a directory, which survives the process that writes it.

At any moment a reader, or a resumed recorder, finds a true prefix: each file is written before
whatever refers to it. Rows, then gaps and notes, then steps are published in `flush`; counts in
`save_counts`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad import files
from minigrad._types import override
from minigrad.arrays import Array
from minigrad.errors import RunError
from minigrad.parameters.vector import Slot
from minigrad.recording.block_table import BlockTable
from minigrad.recording.column import FileColumn
from minigrad.recording.recorder_state import RecorderState
from minigrad.recording.row_writer import RowWriter
from minigrad.recording.run_description import RunDescription
from minigrad.recording.step_files import StepFiles
from minigrad.recording.store import OnFull, Store
from minigrad.runs.block import Block
from minigrad.runs.counts import Counts
from minigrad.runs.counts_file import packed
from minigrad.runs.file_block import FileBlock
from minigrad.runs.format import BLOCK, FOLDERS, STEP, checksum_of_block, file_of, salt_of
from minigrad.runs.kept_steps import KeptStep
from minigrad.runs.mapped_files import MappedFiles
from minigrad.runs.reader import read_record
from minigrad.runs.record import Record
from minigrad.runs.run_json import described

_SEGMENT_BYTES = 64 * 10**6  # about how large a file of rows becomes
_FLUSH_STEPS = 256  # after so many steps, or so many seconds, everything written is published
_FLUSH_SECONDS = 1.0
# The counts are written anew when this many times as long has gone by as writing them takes.
_COUNTS_SHARE = 20


@final
class DiskStore(Store):
    """Keeps a record in a directory.

    Args:
        size, dtype, kinds, keyframe_every, budget, on_full, every: As for `Store`.
        directory: Where to write.
        slots: Where each parameter lies in a row.
        buffers: The layers' buffers by name.
        settings: What else run.json says.
        resume: Go on with the run that is there.

    Attributes:
        directory: The directory.
        broken: What the system refused; nothing more is written then.

    Raises:
        BudgetError: The budget is too small for a single step.
        RunError: There is something at that path already; or with `resume`, no run, or one of other
            parameters.
    """

    def __init__(
        self,
        size: int,
        dtype: np.dtype[Any],
        kinds: tuple[str, ...],
        keyframe_every: int,
        budget: int,
        on_full: OnFull,
        every: int,
        directory: Path,
        slots: Mapping[str, Slot],
        buffers: Mapping[str, npt.NDArray[Any]],
        settings: Mapping[str, Any],
        *,
        resume: bool,
    ) -> None:
        super().__init__(size, dtype, kinds, keyframe_every, budget, on_full, every, _SEGMENT_BYTES)
        self.directory: Path = directory
        self._buffers = [(name, live.dtype, live.shape) for name, live in buffers.items()]
        content = {**described(dtype, kinds, slots, self._buffers), **settings}
        self._description = RunDescription(directory, content)
        # Open during a session:
        self._table: BlockTable | None = None
        self._steps: StepFiles | None = None
        self._count = 0  # of steps
        self._next_number = 0  # of a block
        self._indices_end = 0  # of the row indices in an earlier session
        self._damaged: set[int] = set()  # numbers of blocks that cannot be read
        self._flushed = self._counts_due = 0.0
        self.broken: str = ""
        if resume:
            self._load()
        elif os.path.lexists(directory) and not (
            directory.is_dir() and not any(directory.iterdir())
        ):
            raise RunError(
                f"'{directory}' exists already; record into a new directory, or go on with the run "
                f"there by resume=True"
            )

    def _load(self) -> None:
        """Look at the run that is there, and make sure that it can go on."""
        record = read_record(self.directory)
        self._description.resume()
        self.take_up(record)
        arrays, self._count = MappedFiles(self.directory), len(record.kept.steps)
        steps = arrays.rows("steps.npy", STEP, (self._count,))
        self._indices_end = int(steps["indices_end"][-1]) if len(steps) else 0
        # A writer that was killed may have left a file that is not in the table yet.
        paths = self.directory.glob("*/*.npy")
        self._next_number = 1 + max(
            int(path.stem) for path in paths if path.parent.name != "buffers"
        )
        # The files of a block that cannot be read stay there for the user to look at, until the run
        # is resumed once more: they are not in the table that this session writes.
        table = arrays.table("blocks.npy", BLOCK)
        self._damaged = set(table["number"][table["first"] < record.final_step].tolist())

    # -- sessions ---------------------------------------------------------------------------------

    @override
    def open(self, first_step: int) -> None:
        """Begin a session.

        Raises:
            RunError: The directory cannot be written.
        """
        if self.broken:
            raise RunError(
                f"the run in '{self.directory}' could not be written ({self.broken}); go on with "
                f"it in a new recorder, by resume=True"
            )
        with self._writing():
            goes_on = self._description.has_sessions
            if goes_on:
                self._sweep()
            else:
                for folder in ("keyframes", "buffers", *(FOLDERS[kind] for kind in self.kinds)):
                    (self.directory / folder).mkdir(parents=True, exist_ok=True)
            self._description.begin_session(first_step)
            buffers = [(dtype, shape) for _, dtype, shape in self._buffers]
            steps = self._count if goes_on else None
            salt = salt_of(self._description.run_id)
            writer = RowWriter(self.kinds, self.size, self.dtype, salt)
            self._steps = StepFiles(self.directory, writer, buffers, steps, self._indices_end, salt)
            self._table = BlockTable(self.directory, self.blocks)
            self._write_description()
        self._flushed = time.monotonic()

    def _sweep(self) -> None:
        """Remove files that a writer that was killed had begun, and that are not in the table."""
        known = self._numbers() | self._damaged
        for folder in ("keyframes", *FOLDERS.values()):
            for path in (self.directory / folder).glob("*.npy"):
                if int(path.stem) not in known:
                    path.unlink()

    @override
    def close(self, step: int, values: Array) -> None:
        """End the session before this step, with these values as the last keyframe.

        Raises:
            RunError: The disk does not take them.
        """
        if self.broken:
            self._close_files()
            return
        assert self._steps is not None
        assert self._table is not None
        with self._writing():
            self._steps.end_block()
            self._end()
            self.blocks.append(self._new_block(step, values, rows=False, foreign=False))
            self._table.replace(self.blocks)
            self.flush()
            self._description.end_session(step - 1)
            self._write_description()
            self._close_files()

    def _close_files(self) -> None:
        steps, table, self._steps, self._table = self._steps, self._table, None, None
        # What the headers cover is whole, with or without what came last.
        if steps is not None:
            self._indices_end = steps.indices_end
            steps.close()
        if table is not None:
            with suppress(OSError):
                table.close()

    @override
    def record(self, state: RecorderState) -> Record:
        """What the directory holds, and while it is being written, what only this process knows."""
        record = read_record(self.directory)
        if state.complete or self.broken:
            return record
        return replace(
            record,
            final=state.final,
            final_step=state.final_step,
            replayed=False,
            blocks=(*record.blocks, *self.tail()),
        )

    # -- publishing -------------------------------------------------------------------------------

    @override
    def flush(self) -> None:
        """Publish all that was kept, up to the last step.

        Raises:
            RunError: The disk does not take it.
        """
        if self._steps is None:
            return
        with self._writing():
            self._steps.publish_rows()
            # Before the steps, so that each of them is either here or in a gap.
            if not self._description.is_current(self.gaps, self.notes, self.full):
                self._write_description()
            self._steps.publish()
        self._flushed = time.monotonic()

    @property
    @override
    def wants_counts(self) -> bool:
        """Whether it is time to write the counts anew."""
        return not self.broken and time.monotonic() >= self._counts_due

    @override
    def save_counts(self, counts: Callable[[], Counts], values: Array, last_step: int) -> None:
        """Publish the counts, in place of those before.

        Raises:
            RunError: The disk does not take them.
        """
        if self.broken:
            return
        start = time.monotonic()
        self.flush()  # so that no step is counted that readers do not know of
        with self._writing():
            files.replace(
                self.directory / "aggregates.npz",
                packed(counts(), values, last_step, self._description.run_id),
            )
        end = time.monotonic()
        self._counts_due = end + max(_FLUSH_SECONDS, _COUNTS_SHARE * (end - start))

    def _write_description(self) -> None:
        self._description.write(self.gaps, self.notes, self.full)

    # -- steps ------------------------------------------------------------------------------------

    @override
    def keep(self, kept: KeptStep) -> None:
        """Keep what is kept of every step besides its tensors."""
        self._count += 1
        if self._steps is None:
            return
        pending = self._steps.pending
        if pending and (
            pending >= _FLUSH_STEPS or time.monotonic() - self._flushed > _FLUSH_SECONDS
        ):
            self.flush()
        self._check_buffers(kept.buffers)
        self._steps.keep(kept)

    def _check_buffers(self, buffers: Mapping[str, npt.NDArray[Any]]) -> None:
        """Make sure that the buffers still are what their files hold: rows of one kind.

        Raises:
            RunError: One is not; nothing more is written.
        """
        for (name, dtype, shape), now in zip(self._buffers, buffers.values(), strict=True):
            if now.shape != shape or not np.can_cast(now.dtype, dtype):
                self.flush()
                raise self._stop_writing(
                    f"'{name}' is now {now.dtype} of shape {now.shape}, and was {dtype} of shape "
                    f"{shape} when the recorder was made: let its layer give it dtype and shape in "
                    f"`__init__`"
                )

    @override
    def __len__(self) -> int:
        return self._count

    @property
    @override
    def facts_bytes(self) -> int:
        """The bytes of a row of steps.npy."""
        return STEP.itemsize

    @override
    def last_values(self) -> Array | None:
        """The values after the last step, by the record itself; None if it does not hold them."""
        if self._steps is not None:
            with self._writing():
                self._steps.publish_rows()
        return super().last_values()

    # -- blocks -----------------------------------------------------------------------------------

    @property
    @override
    def starts_anew(self) -> bool:
        """A session ends with a keyframe, so the next one needs a block of its own."""
        return True

    @override
    def _start(self, step: int, values: Array | None, foreign: bool) -> Block:
        assert self._steps is not None
        assert self._table is not None
        with self._writing():
            self._steps.end_block()
            block = self._new_block(step, values, bool(self.kinds), foreign)
            if self.kinds:
                free = self.budget - self._taken - (0 if values is None else self.row_bytes)
                block.capacity = max(1, min(self.capacity, free // self.step_bytes))
                self._steps.begin_block({kind: self._rows_of(kind, block) for kind in self.kinds})
            self._table.append(block)
        return block

    def _new_block(self, step: int, values: Array | None, rows: bool, foreign: bool) -> FileBlock:
        number, self._next_number = self._next_number, self._next_number + 1
        if values is not None:
            keyframe = FileColumn(self._keyframe_of(number), self.dtype, (self.size,))
            keyframe.append(values[np.newaxis])
            keyframe.close()
        row = np.array((number, step, values is not None, rows, foreign, 0), BLOCK)
        row["crc32"] = checksum_of_block(row, values, salt_of(self._description.run_id))
        # Arrays of its own: a file that is given up must not stay open for other blocks.
        return FileBlock(MappedFiles(self.directory), row, self.kinds, self.dtype, self.size)

    @override
    def _write(self, block: Block, tensors: Mapping[str, Array]) -> None:
        assert isinstance(block, FileBlock)
        assert self._steps is not None
        with self._writing():
            self._steps.add(tensors, block.number, block.count)

    @override
    def _end(self) -> None:
        if self.blocks:
            self.blocks[-1].capacity = self.blocks[-1].count

    @override
    def _drop(self, blocks: Sequence[Block]) -> None:
        assert self._table is not None
        with self._writing():
            # First the gaps: whoever does not find a block in the table finds it there.
            self._write_description()
            self._table.replace(self.blocks)
            left = self._numbers()
            for block in blocks:
                assert isinstance(block, FileBlock)
                for kind in block.rows:
                    self._rows_of(kind, block).unlink(missing_ok=True)
                if block.number not in left:
                    self._keyframe_of(block.number).unlink(missing_ok=True)

    def _numbers(self) -> set[int]:
        return {block.number for block in self.blocks if isinstance(block, FileBlock)}

    def _rows_of(self, kind: str, block: FileBlock) -> Path:
        return self.directory / file_of(FOLDERS[kind], block.number)

    def _keyframe_of(self, number: int) -> Path:
        return self.directory / file_of("keyframes", number)

    # -- what the system refuses ------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what the system refuses into a `RunError`, once.

        Nothing more is written then, and training can go on.
        """
        try:
            yield
        except RunError:
            raise
        except OSError as error:
            raise self._stop_writing(str(error)) from error

    def _stop_writing(self, why: str) -> RunError:
        self.broken = why
        self.full = True
        self._close_files()
        return RunError(
            f"the run in '{self.directory}' cannot be written ({why}); what is there can be read, "
            f"and nothing more is recorded"
        )
