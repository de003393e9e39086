"""`MemoryStore`: a record in memory."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, final

import numpy as np

from minigrad._types import override
from minigrad.arrays import Array
from minigrad.recording.giving_up import OnFull
from minigrad.recording.recorder_state import RecorderState
from minigrad.recording.step_columns import FACTS, StepColumns
from minigrad.recording.store import Store
from minigrad.runs.block import Block
from minigrad.runs.kept_steps import KeptStep, KeptSteps
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
        every: int = 1,
    ) -> None:
        super().__init__(size, dtype, kinds, keyframe_every, budget, on_full, every)
        self._steps = StepColumns()
        self._kept = 0  # rows
        self._rest: dict[str, Array] = {}  # the rows that the last block has not used
        # Memory of blocks that were given up, to be used again.
        self._spare: list[dict[str, Array]] = []
        self._ahead: Future[dict[str, Array]] | None = None
        self._ahead_bytes = 0

    @property
    @override
    def facts_bytes(self) -> int:
        """The bytes of a row of `FACTS`."""
        return FACTS.itemsize

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
    def close(self, step: int, values: Array | None) -> None:
        """End a session: nothing is to be done."""

    @override
    def forked(self) -> None:
        """Nobody makes memory ready any more."""
        self._ahead, self._ahead_bytes = None, 0

    @override
    def keep(self, kept: KeptStep) -> None:
        """Keep what is kept of every step besides its tensors."""
        self._steps.keep(kept)

    @override
    def __len__(self) -> int:
        return len(self._steps)

    @override
    def _forget_after(self, step: int) -> None:
        self._steps.drop_after(step)

    def kept(self) -> KeptSteps:
        """What is kept of every step besides its tensors, as copies."""
        return self._steps.steps()

    @override
    def record(self, state: RecorderState) -> Record:
        """All that is recorded, as it is now."""
        assert state.final is not None  # only a run on disk can be gone on with
        rows = sum(block.count for block in self.blocks) * self.step_bytes
        keyframes = sum(block.has_keyframe for block in self.blocks) * self.row_bytes
        return Record(
            slots=state.slots,
            initial=state.initial,
            final=state.final,
            final_step=state.final_step,
            blocks=(*(block.frozen() for block in self.blocks), *self.tail()),
            kept=self.kept(),
            gaps=tuple(self.all_gaps(state.final_step)),
            notes=tuple(self.notes),
            counts=None if state.counts is None else state.counts(),
            counted=state.final,
            counted_step=state.final_step,
            replayed=False,
            complete=state.complete,
            bytes=rows + keyframes + self._steps.nbytes,
            optimizer=state.optimizer,
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
    def _write(self, block: Block, tensors: Mapping[str, Array]) -> None:
        count = block.count
        for kind in self.kinds:
            block.rows[kind][count] = tensors[kind]
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
        """Memory for a block's rows; that of the next block is made ready meanwhile, if it fits.

        The system hands memory out page by page when it is first touched, which takes longer than
        the copy that follows; so another thread touches it, one block ahead.
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
        """The capacity of a block that begins after this many rows.

        The first is small, so that a short run takes little; then they double.
        """
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
