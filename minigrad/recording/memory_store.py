"""`MemoryStore`: a record in memory."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, final

import numpy as np

from minigrad._types import override
from minigrad.arrays import Array
from minigrad.parameters.vector import Slot
from minigrad.recording.store import OnFull, Store
from minigrad.runs.blocks import BatchRows, Block, Buffers, Layout, Meta, StepMeta
from minigrad.runs.counts import Tally
from minigrad.runs.record import Record

_FIRST_BYTES = 4 * 10**6  # about how long the first block is


@final
class MemoryStore(Store):
    """Keeps a record in memory. The arguments are those of `Store`.

    Raises:
        BudgetError: The budget is too small for a single step.
    """

    def __init__(
        self,
        size: int,
        dtype: np.dtype[Any],
        kinds: tuple[str, ...],
        keyframe_every: int,
        budget: int,
        on_full: OnFull,
    ) -> None:
        super().__init__(size, dtype, kinds, keyframe_every, budget, on_full)
        self._kept = 0
        self._rest: dict[str, Array] = {}  # the rows that the last block has not used
        self._spare: list[
            dict[str, Array]
        ] = []  # memory of blocks that were given up, to be used again
        self._ahead: Future[dict[str, Array]] | None = None
        self._ahead_bytes = 0
        self._steps, self._lr, self._loss, self._clip = (
            array("q"),
            array("d"),
            array("d"),
            array("d"),
        )
        self._indices, self._indices_end, self._known = array("i"), array("q"), bytearray()
        self._buffers, self._layouts = bytearray(), list[Layout]()

    @property
    @override
    def bytes(self) -> int:
        """How many bytes the record has filled."""
        rows = sum(block.count for block in self.blocks) * self.step_bytes
        keyframes = sum(block.has_keyframe for block in self.blocks) * self.row_bytes
        indices = len(self._indices) * self._indices.itemsize
        return rows + keyframes + indices + len(self._buffers) + len(self) * self.meta_bytes

    @property
    @override
    def meta_bytes(self) -> int:
        """Of every step: its number, rate, loss, clip factor, where its batch ends, and whether it is known."""
        return 5 * 8 + 1

    @property
    @override
    def _taken(self) -> int:
        idle = sum(
            array.nbytes for arrays in (*self._spare, self._rest) for array in arrays.values()
        )
        return super()._taken + idle + self._ahead_bytes

    @override
    def open(self, first_step: int) -> None:
        """Begin a session: memory is simply there."""

    @override
    def close(self, step: int, values: Array) -> None:
        """End a session: nothing is to be done."""

    @override
    def keep(self, meta: StepMeta) -> None:
        """Keep what is kept of every step."""
        kinds = tuple((name, buffer.dtype, buffer.shape) for name, buffer in meta.buffers.items())
        if not self._layouts or self._layouts[-1].kinds != kinds:
            self._layouts.append(Layout(len(self), len(self._buffers), kinds))
        for buffer in meta.buffers.values():
            self._buffers += buffer.tobytes()
        self._steps.append(meta.step)
        self._lr.append(meta.lr)
        self._loss.append(meta.loss)
        self._clip.append(meta.clip_factor)
        if meta.indices is not None:
            self._indices.frombytes(meta.indices.tobytes())
        self._indices_end.append(len(self._indices))
        self._known.append(meta.indices is not None)

    @override
    def __len__(self) -> int:
        return len(self._steps)

    def meta(self) -> Meta:
        """What is kept of every step, as copies."""
        return Meta(
            steps=np.array(self._steps, np.int64),
            lr=np.array(self._lr, np.float64),
            loss=np.array(self._loss, np.float64),
            clip_factor=np.array(self._clip, np.float64),
            indices=BatchRows(
                np.array(self._indices, np.int32),
                np.array(self._indices_end, np.int64),
                np.array(self._known, np.bool_),
            ),
            buffers=Buffers(bytes(self._buffers), tuple(self._layouts), len(self)),
        )

    def record(
        self,
        slots: dict[str, Slot],
        initial: Array,
        final: Array,
        final_step: int,
        tail: list[Block],
        tally: Tally | None,
        complete: bool,
        optimizer: str,
    ) -> Record:
        """All that is kept, as it is now, with the last step where it lies in no block.

        Otherwise as `Record` says.
        """
        return Record(
            slots=slots,
            initial=initial,
            final=final,
            final_step=final_step,
            blocks=(*(block.frozen() for block in self.blocks), *tail),
            meta=self.meta(),
            gaps=tuple(self.all_gaps(final_step)),
            notes=tuple(self.notes),
            tally=tally,
            counted=final,
            counted_step=final_step,
            replayed=False,
            complete=complete,
            bytes=self.bytes,
            optimizer=optimizer,
        )

    @override
    def _start(self, step: int, values: Array | None, foreign: bool) -> Block:
        block = Block(step, None if values is None else values.copy(), foreign=foreign)
        if self.kinds:
            block.rows = self._rest or self._new_rows(0 if values is None else self.row_bytes)
            block.capacity = len(block.rows[self.kinds[0]])
            self._rest = {}
        return block

    @override
    def _write(self, block: Block, step: int, rows: Mapping[str, Array]) -> None:
        count = block.count
        for kind, row in rows.items():
            block.rows[kind][count] = row
        self._kept += 1

    @override
    def _end(self) -> None:
        if not self.blocks or self.blocks[-1].count == self.blocks[-1].capacity:
            return
        last = self.blocks[-1]
        self._rest = {kind: rows[last.count :] for kind, rows in last.rows.items()}
        last.rows = {kind: rows[: last.count] for kind, rows in last.rows.items()}
        last.capacity = last.count

    @override
    def _drop(self, blocks: list[Block]) -> None:
        for block in blocks:
            if (
                block.rows
                and not block.lent
                and all(_whole(rows, self.capacity) for rows in block.rows.values())
            ):
                self._spare.append(dict(block.rows))

    @override
    def _has_room(self) -> bool:
        return bool(self._rest) or bool(self._spare) or self._ahead is not None

    @override
    def _make_way(self) -> bool:
        if self._ahead is None:
            return False
        self._ahead, self._ahead_bytes = None, 0
        return True

    # -- memory -----------------------------------------------------------------------------------

    def _new_rows(self, keyframe: int) -> dict[str, Array]:
        """Memory for a block's rows, and an order for those of the block after it, if it fits.

        The system gives memory out page by page at its first touch, which takes longer than the
        copy that follows; so it is touched in another thread, one block ahead.
        """
        if self._spare:
            return self._spare.pop()
        taken = self._taken - self._ahead_bytes + keyframe  # with the block's own keyframe
        if self._ahead is not None:
            rows = self._ahead.result()
        else:
            free = (self.budget - taken) // self.step_bytes
            rows = _touched(
                self.kinds, (min(self.room_after(self._kept), free), self.size), self.dtype
            )
        self._ahead, self._ahead_bytes = None, 0
        capacity = self.room_after(self._kept + len(rows[self.kinds[0]]))
        ordered = capacity * self.step_bytes
        if (
            taken + sum(array.nbytes for array in rows.values()) + self.row_bytes + ordered
            <= self.budget
        ):
            executor = ThreadPoolExecutor(1, "minigrad-store")
            self._ahead = executor.submit(_touched, self.kinds, (capacity, self.size), self.dtype)
            self._ahead_bytes = ordered
            executor.shutdown(wait=False)  # the thread ends with its task
        return rows

    @override
    def room_after(self, rows: int) -> int:
        """How many rows a block has that begins after so many: it begins small, so that a short run takes little, and doubles."""
        return min(self.capacity, max(8, _FIRST_BYTES // self.step_bytes, rows))


def _whole(rows: Array, capacity: int) -> bool:
    """Whether these are all the rows of a block of full length, not a part of them."""
    return rows.base is None and len(rows) == capacity


def _touched(
    kinds: tuple[str, ...], shape: tuple[int, int], dtype: np.dtype[Any]
) -> dict[str, Array]:
    """Memory that the system has already given out."""
    rows = {kind: np.empty(shape, dtype) for kind in kinds}
    for kind in kinds:
        rows[kind].fill(0)
    return rows
