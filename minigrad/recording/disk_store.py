"""`DiskStore`: a record in a directory, which survives the process that writes it.

At any moment a reader, or a resumed recorder, finds a true prefix: each file is written before
whatever refers to it. Rows, then gaps and notes, then steps are published in `flush`; counts in
`save_counts`.
"""

from __future__ import annotations

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
from minigrad.recording.block_files import BlockFiles
from minigrad.recording.giving_up import OnFull
from minigrad.recording.recorder_state import RecorderState
from minigrad.recording.row_writer import RowWriter
from minigrad.recording.run_description import RunDescription
from minigrad.recording.run_files import RunFiles, clear, is_cut_off_start, is_free, state_of
from minigrad.recording.run_lock import RunLock
from minigrad.recording.store import Store
from minigrad.runs.block import Block
from minigrad.runs.counts import Counts
from minigrad.runs.counts_file import packed
from minigrad.runs.file_block import FileBlock
from minigrad.runs.format import BLOCK, STEP, salt_of
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
        self._files: RunFiles | None = None  # during a session
        self._count = 0  # of steps before it
        self._indices_end = 0  # of their row indices
        self._damaged: set[int] = set()  # numbers of blocks that cannot be read
        self._flushed = self._counts_due = 0.0
        self.broken: str = ""
        self._to_tell = False  # whether nobody was told of that yet
        with self._writing():
            self._state = state_of(directory)
            if resume and not is_cut_off_start(directory):
                self._load()
            elif not resume and not is_free(directory):
                raise RunError(
                    f"'{directory}' exists already; record into a new directory, or go on with the "
                    f"run there by resume=True"
                )
            self._salt = salt_of(self._description.run_id)  # what every checksum begins with
            self._block_files = BlockFiles(directory, kinds, size, dtype, self._salt)

    def _load(self) -> None:
        """Look at the run that is there, and make sure that it can go on."""
        record = read_record(self.directory)
        self._description.resume()
        if record.damage:  # going on would cut off what may still be saved by hand
            raise RunError(
                f"the run in '{self.directory}' cannot go on: {record.damage}; what is there can "
                f"be read, and stays as it is; record into a new directory"
            )
        self.take_up(record)
        arrays, self._count = MappedFiles(self.directory), len(record.kept.steps)
        steps = arrays.rows("steps.npy", STEP, (self._count,))
        self._indices_end = int(steps["indices_end"][-1]) if len(steps) else 0
        # The files of a block that cannot be read stay there until the run is resumed once more.
        table = arrays.table("blocks.npy", BLOCK)
        self._damaged = set(table["number"][table["first"] < record.final_step].tolist())

    # -- sessions ---------------------------------------------------------------------------------

    @override
    def open(self, first_step: int) -> None:
        """Begin a session. The run is one as soon as `flush` has written run.json, last of all.

        Raises:
            RunError: The directory cannot be written, or another recorder has it, or had it since.
        """
        if self.broken:
            raise RunError(
                f"the run in '{self.directory}' could not be written ({self.broken}); go on with "
                f"it in a new recorder, by resume=True"
            )
        with self._writing():
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = RunLock(self.directory)
            try:
                self._files = self._opened(lock)
            except BaseException:
                lock.release()
                raise
        self._description.begin_session(first_step)
        self._flushed = time.monotonic()

    def _opened(self, lock: RunLock) -> RunFiles:
        """The files of the run, whose lock is ours."""
        if state_of(self.directory) != self._state:
            raise RunError(
                f"another recorder has written to '{self.directory}' meanwhile; go on with that "
                f"run in a new recorder, by resume=True"
            )
        goes_on = any(self._state)
        if goes_on:
            self._block_files.sweep(self._numbers() | self._damaged)
        else:
            clear(self.directory)
            self.blocks: list[Block] = []
            self._block_files.make_folders()
            (self.directory / "buffers").mkdir(exist_ok=True)
        steps = self._count if goes_on else None
        writer = RowWriter(self.kinds, self.size, self.dtype, self._salt)
        rest = writer, self._buffers, steps, self._indices_end, self._salt
        return RunFiles(self.directory, lock, *rest)

    @override
    def close(self, step: int, values: Array | None) -> None:
        """End the session before this step, with these values as the last keyframe.

        Raises:
            RunError: The disk does not take them.
        """
        if self._files is None:
            return
        with self._writing():
            self._files.steps.end_block()
            self._end()
            if self.blocks and self.blocks[-1].is_void:
                self.blocks = self.blocks[:-1]
            last = self.blocks[-1] if self.blocks else None
            if values is not None and (last is None or last.count or last.value_after != step - 1):
                self.blocks.append(self._block_files.new(step, values))
            self.flush()
            self._description.end_session(step - 1)
            self._write_description()
        self.abandon()

    @override
    def abandon(self) -> None:
        """Close the files, without ending the session."""
        if self._files is not None:
            self._count, self._indices_end = len(self), self._files.steps.indices_end
            self._files.close()
            self._files = None
            with suppress(OSError):
                self._state = state_of(self.directory)

    @override
    def go_on_alone(self) -> None:
        """Write without another thread from now on: the process ends."""
        if self._files is not None:
            self._files.steps.go_on_alone()

    @override
    def forked(self) -> None:
        """Close the files: the process that this one was forked from goes on with the run."""
        if self._files is not None:
            files, self._files = self._files, None
            files.let_go()
            self.broken = "this process was forked from the one that records it"
            self.full = self._to_tell = True

    @property
    @override
    def is_open(self) -> bool:
        """Whether a session was begun, and not ended whole."""
        return self._files is not None

    @override
    def record(self, state: RecorderState) -> Record:
        """What the directory holds, and while it is being written, what only this process knows."""
        record = read_record(self.directory)
        if state.complete or self.broken or state.final is None:
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
        if self._files is None:
            return
        with self._writing():
            self._files.steps.publish_rows()
            if not self._description.is_written:
                self._files.table.sync(self.blocks)
            # Then gaps before blocks, so that each step is either in a block or in a gap.
            if not self._description.is_current(self.gaps, self.notes, self.full):
                self._write_description()
            self._files.table.sync(self.blocks)
            self._files.steps.publish()
        self._flushed = time.monotonic()

    @property
    @override
    def wants_counts(self) -> bool:
        """Whether it is time to write the counts anew."""
        return self._files is not None and time.monotonic() >= self._counts_due

    @override
    def save_counts(self, counts: Callable[[], Counts], values: Array, last_step: int) -> None:
        """Publish the counts, in place of those before.

        Raises:
            RunError: The disk does not take them.
        """
        if self._files is None:
            return
        start = time.monotonic()
        self.flush()  # so that no step is counted that readers do not know of
        with self._writing():
            content = packed(counts(), values, last_step, self._description.run_id)
            files.replace(self.directory / "aggregates.npz", content)
        end = time.monotonic()
        self._counts_due = end + max(_FLUSH_SECONDS, _COUNTS_SHARE * (end - start))

    def _write_description(self) -> None:
        self._description.write(self.gaps, self.notes, self.full)

    # -- steps ------------------------------------------------------------------------------------

    @override
    def keep(self, kept: KeptStep) -> None:
        """Keep what is kept of every step besides its tensors."""
        if self._to_tell:
            self._to_tell = False
            raise self._error()
        if self._files is None:
            return
        pending = self._files.steps.pending
        if pending and (
            pending >= _FLUSH_STEPS or time.monotonic() - self._flushed > _FLUSH_SECONDS
        ):
            self.flush()
        if problem := self._files.steps.problem_of(kept.buffers):
            self.flush()
            raise self._stop_writing(problem)
        self._files.steps.keep(kept)

    @override
    def __len__(self) -> int:
        return self._count if self._files is None else len(self._files.steps)

    @override
    def _forget_after(self, step: int) -> None:
        if self._files is not None:
            self._files.steps.drop_after(step)

    @property
    @override
    def facts_bytes(self) -> int:
        """The bytes of a row of steps.npy."""
        return STEP.itemsize

    @override
    def last_values(self) -> Array | None:
        """The values after the last step, by the record itself; None if it does not hold them."""
        if self._files is not None:
            with self._writing():
                self._files.steps.publish_rows()
        return super().last_values()

    # -- blocks -----------------------------------------------------------------------------------

    @property
    @override
    def starts_anew(self) -> bool:
        """A session ends with a keyframe, so the next one needs a block of its own."""
        return True

    @override
    def _start(self, step: int, values: Array | None, foreign: bool) -> Block:
        assert self._files is not None
        with self._writing():
            self._files.steps.end_block()
            block = self._block_files.new(step, values, rows=bool(self.kinds), foreign=foreign)
            if self.kinds:
                free = self.budget - self._taken - (0 if values is None else self.row_bytes)
                block.capacity = max(1, min(self.capacity, free // self.step_bytes))
                self._files.steps.begin_block(block.number, self._block_files.paths(block))
        return block

    @override
    def _write(self, block: Block, tensors: Mapping[str, Array]) -> None:
        assert isinstance(block, FileBlock)
        assert self._files is not None
        with self._writing():
            self._files.steps.add(tensors, block.number, block.count)

    @override
    def _end(self) -> None:
        if self.blocks:
            self.blocks[-1].capacity = self.blocks[-1].count

    @override
    def _drop(self, blocks: Sequence[Block]) -> None:
        assert self._files is not None
        with self._writing():
            # First the gaps: whoever does not find a block in the table finds it there.
            self._write_description()
            self._files.table.sync(self.blocks)
            self._block_files.remove(blocks, self._numbers())

    def _numbers(self) -> set[int]:
        return {block.number for block in self.blocks if isinstance(block, FileBlock)}

    # -- what the system refuses ------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what the system refuses into a `RunError`; nothing more is written then."""
        try:
            yield
        except RunError:
            raise
        except OSError as error:
            raise self._stop_writing(str(error)) from error

    def _stop_writing(self, why: str) -> RunError:
        self.broken = why
        self.full: bool = True
        self.abandon()
        return self._error()

    def _error(self) -> RunError:
        return RunError(
            f"the run in '{self.directory}' cannot be written ({self.broken}); what is there can "
            f"be read, and nothing more is recorded"
        )
