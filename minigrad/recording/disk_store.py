"""`DiskStore`: a record in a directory, which survives the process that writes it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array
from minigrad.errors import RunError
from minigrad.files import replace
from minigrad.parameters.vector import Slot
from minigrad.recording.steps import StepFiles
from minigrad.recording.store import OnFull, Store
from minigrad.recording.writer import RowWriter
from minigrad.runs.blocks import Block, StepMeta, joined
from minigrad.runs.counts import Tally
from minigrad.runs.format import (
    BLOCK,
    FOLDERS,
    STEP,
    GrowingArray,
    about,
    checksum_of_block,
    checksum_of_json,
    file_of,
    packed,
    read_json,
)
from minigrad.runs.mapped_files import MappedFiles
from minigrad.runs.reader import FileBlock, described, read_record, size_of

_SEGMENT_BYTES = 64 * 10**6  # about how large a file of rows becomes
_FLUSH_STEPS = 256  # after so many steps, or so many seconds, everything written counts for readers
_FLUSH_SECONDS = 1.0
_COUNTS_SHARE = (
    20  # the counts are written anew when this many times as long has gone by as writing them takes
)


@final
class DiskStore(Store):
    """Keeps a record in a directory. The first arguments are those of `Store`.

    Args:
        size: The number of entries in a tensor.
        dtype: Their dtype.
        kinds: What is kept of a step.
        keyframe_every: How many rows a block holds at most.
        budget: Bytes for the tensors.
        on_full: What to do when the budget is reached.
        directory: Where to write.
        slots: Where each parameter lies in a row.
        buffers: The layers' state that is not learnt, by name.
        told: What else run.json tells.
        resume: Go on with the run that is there.

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
        directory: Path,
        slots: Mapping[str, Slot],
        buffers: Sequence[tuple[str, npt.NDArray[Any]]],
        told: Mapping[str, Any],
        *,
        resume: bool,
    ) -> None:
        super().__init__(size, dtype, kinds, keyframe_every, budget, on_full, _SEGMENT_BYTES)
        self.directory: Path = directory
        self._buffer_kinds = [(name, live.dtype, live.shape) for name, live in buffers]
        self._told: dict[str, Any] = about(dtype, kinds, slots, self._buffer_kinds) | {
            **told,
            "sessions": [],
        }
        self._count = 0
        self._number = 0  # of the next block
        self._table: GrowingArray | None = None
        self._writer: RowWriter | None = None
        self._sums: list[int] = []  # the checksums of rows whose steps are not written yet
        self._steps: StepFiles | None = None
        self._indices_end = 0
        self._damaged: set[int] = set()
        self._written: tuple[int, int, bool] | None = (
            None  # the gaps and notes that run.json tells of, and the end
        )
        self._flushed = self._counts_due = 0.0
        self.broken: str = ""  # what the system refused; nothing more is written then
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
        told = read_json(self.directory)
        for what in ("dtype", "kinds", "parameters", "buffers", "aggregates"):
            if told[what] != self._told[what]:
                raise RunError(
                    f"the run in '{self.directory}' cannot go on: its {what} are {told[what]}, and "
                    f"now they are {self._told[what]}; record into a new directory"
                )
        self._told["sessions"] = told["sessions"]
        self.take_up(record)
        files, self._count = MappedFiles(self.directory), len(record.meta.steps)
        self._indices_end = int(
            files.rows("steps.npy", STEP, (self._count,))["indices_end"][-1:].sum()
        )
        # A writer that was killed may have left a file of which the table does not tell yet.
        self._number = 1 + max(
            int(path.stem)
            for path in self.directory.glob("*/*.npy")
            if path.parent.name != "buffers"
        )
        # The files of a block that cannot be read stay there for the user to look at, until the run
        # is resumed once more: the table that this session writes does not tell of them.
        table = files.table("blocks.npy", BLOCK)
        self._damaged = set(table["number"][table["first"] < record.final_step].tolist())

    # -- opening and closing ----------------------------------------------------------------------

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
            if self._told["sessions"]:
                self._sweep()
            if not self._told["sessions"]:
                for folder in ("keyframes", "buffers", *(FOLDERS[kind] for kind in self.kinds)):
                    (self.directory / folder).mkdir(parents=True, exist_ok=True)
            old = self._count if self._told["sessions"] else None
            self._told["sessions"].append({"first_step": first_step})
            self._told["complete"] = False
            kinds = [(kind, shape) for _, kind, shape in self._buffer_kinds]
            self._steps = StepFiles(self.directory, kinds, old, self._indices_end)
            self._writer = RowWriter(self.kinds, self.size, self.dtype)
            self._write_table()
            self._write_json()
        self._flushed = time.monotonic()

    def _sweep(self) -> None:
        """Remove what a writer that was killed had begun, and the table does not tell of."""
        known = {
            block.number for block in self.blocks if isinstance(block, FileBlock)
        } | self._damaged
        for folder in ("keyframes", *FOLDERS.values()):
            for path in (self.directory / folder).glob("*.npy"):
                if int(path.stem) not in known:
                    path.unlink()

    @override
    def close(self, step: int, values: Array) -> None:
        """End the session before this step: the values become a last keyframe, and the run is
        complete.

        Raises:
            RunError: The disk does not take them.
        """
        if self.broken:
            self._close_files()
            return
        with self._writing():
            self._end_rows()
            self._end()
            self.blocks.append(self._new_block(step, values, rows=False, foreign=False))
            self._write_table()
            self.flush()
            self._told["complete"] = True
            self._told["sessions"][-1]["last_step"] = step - 1
            self._write_json()
            self._close_files()

    def _close_files(self) -> None:
        files = (self._steps, self._writer, self._table)
        self._steps, self._writer, self._table = None, None, None
        for file in files:
            if file is not None:
                with suppress(
                    OSError
                ):  # what the headers tell of is whole, with or without what came last
                    file.close()

    # -- steps ------------------------------------------------------------------------------------

    @override
    def keep(self, meta: StepMeta) -> None:
        """Keep what is kept of every step."""
        self._count += 1
        if self._steps is None:
            return
        due = (
            self._steps.pending >= _FLUSH_STEPS or time.monotonic() - self._flushed > _FLUSH_SECONDS
        )
        if due and self._steps.pending:
            self.flush()
        self._check_buffers(meta.buffers)
        self._indices_end += 0 if meta.indices is None else len(meta.indices)
        self._steps.keep(meta)

    def _check_buffers(self, buffers: Mapping[str, npt.NDArray[Any]]) -> None:
        """Give up where one is no longer what its file holds.

        Raises:
            RunError: One is.
        """
        for (name, dtype, shape), now in zip(self._buffer_kinds, buffers.values(), strict=True):
            if now.shape != shape or not np.can_cast(
                now.dtype, dtype
            ):  # a file has rows of one kind
                self.flush()
                raise self._given_up(
                    f"'{name}' is now {now.dtype} of shape {now.shape}, and was {dtype} of shape "
                    f"{shape} when the recorder was made: let its layer give it dtype and shape in "
                    f"`__init__`"
                )

    @override
    def __len__(self) -> int:
        return self._count

    @override
    def _write(self, block: Block, step: int, rows: Mapping[str, Array]) -> None:
        assert isinstance(block, FileBlock)
        with self._writing():
            assert self._steps is not None
            assert self._writer is not None
            self._writer.add(rows)
            if self._steps.pending:
                self._steps.place(block.number, block.count)
            else:  # the last step's, which only now turns out to be kept
                # first, so that the step never tells of a row that readers do not see
                self._publish_rows()
                self._steps.place_last(block.number, block.count, self._sums.pop())

    def _publish_rows(self) -> None:
        """Have all rows count for readers."""
        if self._writer is not None:
            self._sums += self._writer.settle()
            self._writer.publish()

    def flush(self) -> None:
        """Have everything that was written count for readers, up to the last step.

        Raises:
            RunError: The disk does not take it.
        """
        if self._steps is None:
            return
        with self._writing():
            self._publish_rows()
            if self._written != (len(self.gaps), len(self.notes), self.full):
                # before the steps, so that none of them is neither here nor in a gap
                self._write_json()
            sums, self._sums = self._sums, []
            self._steps.publish(sums)
        self._flushed = time.monotonic()

    @override
    def last_values(self) -> Array | None:
        """The values after the last step, by the record itself; None if it does not hold them."""
        with self._writing():
            self._publish_rows()
        return super().last_values()

    @property
    @override
    def starts_anew(self) -> bool:
        """A session ends with a keyframe, so the next one needs a block of its own."""
        return True

    @property
    @override
    def wants_counts(self) -> bool:
        """Whether it is time to write the counts anew."""
        return not self.broken and time.monotonic() >= self._counts_due

    @override
    def save_counts(self, tally: Callable[[], Tally], values: Array, last_step: int) -> None:
        """Write the counts, in place of those before.

        Raises:
            RunError: The disk does not take them.
        """
        if self.broken:
            return
        start = time.monotonic()
        self.flush()  # so that no step is counted that readers do not know of
        with self._writing():
            replace(self.directory / "aggregates.npz", packed(tally(), values, last_step))
        end = time.monotonic()
        self._counts_due = end + max(_FLUSH_SECONDS, _COUNTS_SHARE * (end - start))

    # -- blocks -----------------------------------------------------------------------------------

    @property
    @override
    def bytes(self) -> int:
        """How many bytes the record has filled."""
        return size_of(self.directory)

    @property
    @override
    def meta_bytes(self) -> int:
        """A row of steps.npy."""
        return STEP.itemsize

    @override
    def _start(self, step: int, values: Array | None, foreign: bool) -> Block:
        with self._writing():
            self._end_rows()
            block = self._new_block(step, values, bool(self.kinds), foreign)
            if self.kinds:
                free = self.budget - self._taken - (0 if values is None else self.row_bytes)
                block.capacity = max(1, min(self.capacity, free // self.step_bytes))
                paths = {
                    kind: self.directory / file_of(FOLDERS[kind], block.number)
                    for kind in self.kinds
                }
                assert self._writer is not None
                self._writer.begin(paths)
            assert self._table is not None
            self._table.append(described([block]))
            self._table.publish()
        return block

    def _new_block(self, step: int, values: Array | None, rows: bool, foreign: bool) -> FileBlock:
        number, self._number = self._number, self._number + 1
        if values is not None:
            keyframe = GrowingArray(
                self.directory / file_of("keyframes", number), self.dtype, (self.size,)
            )
            keyframe.append(values)
            keyframe.close()
        row = np.array((number, step, values is not None, rows, foreign, 0), BLOCK)
        row["crc32"] = checksum_of_block(row, values)
        files = MappedFiles(
            self.directory
        )  # each block's own: a file that is given up must not stay open for others
        return FileBlock(files, number, row, self.kinds, self.dtype, self.size)

    @override
    def _end(self) -> None:
        if self.blocks:
            self.blocks[-1].capacity = self.blocks[-1].count

    @override
    def _drop(self, blocks: list[Block]) -> None:
        with self._writing():
            # first: whoever does not find a block in the table finds it in a gap
            self._write_json()
            self._write_table()
            left = {block.number for block in self.blocks if isinstance(block, FileBlock)}
            for block in blocks:
                assert isinstance(block, FileBlock)
                for kind in block.rows:
                    (self.directory / file_of(FOLDERS[kind], block.number)).unlink(missing_ok=True)
                if block.number not in left:
                    (self.directory / file_of("keyframes", block.number)).unlink(missing_ok=True)

    def _end_rows(self) -> None:
        self._publish_rows()
        if self._writer is not None:
            self._writer.end()

    def _write_table(self) -> None:
        """Write blocks.npy anew, as a whole."""
        path = self.directory / "blocks.npy"
        fresh = path.with_name("blocks.npy.tmp")
        fresh.unlink(missing_ok=True)
        table = GrowingArray(fresh, BLOCK, ())
        if self.blocks:
            table.append(described(self.blocks))
        table.close()
        fresh.replace(path)
        if self._table is not None:
            self._table.close()
        self._table = GrowingArray(path, BLOCK, (), len(self.blocks))

    def _write_json(self) -> None:
        told = {**self._told, "gaps": joined(self.gaps), "full": self.full, "notes": self.notes}
        told["crc32"] = checksum_of_json(told)
        replace(self.directory / "run.json", json.dumps(told, indent=1, allow_nan=False).encode())
        self._written = len(self.gaps), len(self.notes), self.full

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What the system refuses becomes an error of ours.

        Nothing more is written then, and training can go on.
        """
        try:
            yield
        except RunError:
            raise
        except OSError as error:
            raise self._given_up(str(error)) from error

    def _given_up(self, why: str) -> RunError:
        self.broken = why
        self.full = True
        self._close_files()
        return RunError(
            f"the run in '{self.directory}' cannot be written ({why}); what is there can be read, "
            f"and nothing more is recorded"
        )
