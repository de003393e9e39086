"""`MemoryStore`: the bytes of a record, in blocks, within a budget."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, Literal, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Integers
from minigrad.errors import BudgetError
from minigrad.recording.blocks import Block, Estimate, Gap, Meta, replay

if TYPE_CHECKING:
    from concurrent.futures import Future

OnFull = Literal["thin", "ring", "stop", "raise"]
"""What happens when the budget is reached."""

_META_BYTES = 4 * 8  # step, rate, loss and clip factor
_FIRST_BYTES = 4 * 10**6  # about how long the first block is


@final
class MemoryStore:
    """Keeps tensors in memory, block by block.

    A block is a keyframe and the steps after it. Blocks are given up whole, so every step that is kept stays exact.

    Args:
        size: The number of entries in a tensor.
        dtype: Their dtype.
        kinds: What is kept of a step: "update", "grad", "value".
        keyframe_every: How many rows a block holds at most.
        budget: Bytes for the tensors.
        on_full: What to do when the budget is reached.

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
        self.kinds: tuple[str, ...] = kinds
        self.size: int = size
        self.dtype: np.dtype[Any] = dtype
        self.budget: int = budget
        self.on_full: OnFull = on_full
        self.row_bytes: int = size * dtype.itemsize
        self.step_bytes: int = self.row_bytes * len(kinds)
        smallest = self.row_bytes + self.step_bytes
        if budget < smallest:
            raise BudgetError(
                f"a budget of {budget:,} bytes is too small: one step with its keyframe takes {smallest:,}"
            )
        # Small enough that at least twelve blocks fit, so that giving up one is not giving up all.
        per_block = budget // 12 // self.step_bytes - 1 if kinds else 1
        self.capacity: int = max(1, min(keyframe_every, per_block))
        self.blocks: list[Block] = []
        self.gaps: list[Gap] = []
        self.full: bool = False
        self._to_raise = False
        self._kept = 0
        self._spare: list[dict[str, Array]] = []  # memory of blocks that were given up, to be used again
        self._ahead: Future[dict[str, Array]] | None = None
        self._ahead_bytes = 0
        self._steps, self._lr, self._loss, self._clip = array("q"), array("d"), array("d"), array("d")
        self._indices: list[Integers | None] = []
        self._buffers: list[dict[str, npt.NDArray[Any]]] = []

    @property
    def bytes(self) -> int:
        """How many bytes the record has filled: tensors, row indices, and what is kept of every step."""
        rows = sum(block.count for block in self.blocks) * self.step_bytes
        keyframes = sum(_bytes(block.keyframe) for block in self.blocks)
        indices = sum(rows.nbytes for rows in self._indices if rows is not None)
        buffers = sum(array.nbytes for arrays in self._buffers for array in arrays.values())
        return rows + keyframes + indices + buffers + len(self) * _META_BYTES

    @property
    def _taken(self) -> int:
        """How many bytes the tensors take, filled or not, with what is made ready for the next block."""
        rows = [block.rows for block in self.blocks] + self._spare
        held = sum(array.nbytes for arrays in rows for array in arrays.values())
        return held + sum(_bytes(block.keyframe) for block in self.blocks) + self._ahead_bytes

    def note(
        self,
        step: int,
        lr: float,
        loss: float,
        clip_factor: float,
        indices: Integers | None,
        buffers: dict[str, npt.NDArray[Any]],
    ) -> None:
        """Keep what is kept of every step."""
        self._steps.append(step)
        self._lr.append(lr)
        self._loss.append(loss)
        self._clip.append(clip_factor)
        self._indices.append(indices)
        self._buffers.append(buffers)

    def __len__(self) -> int:
        """The number of steps so far, kept or not."""
        return len(self._steps)

    def meta(self) -> Meta:
        """What is kept of every step, as copies."""
        return Meta(
            steps=np.array(self._steps, np.int64),
            lr=np.array(self._lr, np.float64),
            loss=np.array(self._loss, np.float64),
            clip_factor=np.array(self._clip, np.float64),
            indices=tuple(self._indices),
            buffers=tuple(self._buffers),
        )

    def begin(self, step: int, values: Array, foreign: bool = False) -> None:
        """Begin a block before this step, with a keyframe of these values.

        Args:
            step: The step.
            values: All values before it.
            foreign: Whether they are not what the step before it left.
        """
        if self.full or (self.blocks and not self.kinds):
            return
        rest = self._cut()
        keyframe = values.copy() if "value" not in self.kinds or not self.blocks else None
        self._make_room(_bytes(keyframe), bool(self.kinds) and not rest)
        if not self.full:
            self.blocks.append(Block(step, keyframe, foreign=foreign))
            if self.kinds:
                self.blocks[-1].rows = rest or self._new_rows()

    def last_values(self) -> Array | None:
        """The values after the last step, by the record itself; None if it does not hold them."""
        if self.full or not self.blocks or self.blocks[-1].keyframe is None:
            return None
        block = self.blocks[-1]
        return replay(block, block.count, slice(None)) if block.count == block.replayable else None

    @property
    def needs_block(self) -> bool:
        """Whether the next row needs a new block."""
        if self.full or not self.kinds:
            return False
        return self.blocks[-1].count == len(self.blocks[-1].rows[self.kinds[0]])

    def add(self, step: int, rows: dict[str, Array]) -> None:
        """Keep the tensors of a step, in the block that was begun last.

        Args:
            step: Its number.
            rows: One flat array of each kind.

        Raises:
            BudgetError: The budget is reached, and `on_full` is "raise".
        """
        if self._to_raise:
            self._to_raise = False
            raise BudgetError(f"the record has reached its budget of {self.budget:,} bytes, so step {step} is not kept")
        if self.full or not self.kinds:
            return
        block = self.blocks[-1]
        count = block.count
        for kind, row in rows.items():
            block.rows[kind][count] = row
        block.steps.append(step)
        block.count = count + 1
        self._kept += 1
        if block.replayable == count and step == block.first + count and "update" in self.kinds:
            block.replayable = block.count

    # -- memory -------------------------------------------------------------------------------------------------

    def _cut(self) -> dict[str, Array]:
        """The rows that the last block has not used, if any; they are not its own any more."""
        if not self.blocks or not self.kinds or self.blocks[-1].count == len(self.blocks[-1].rows[self.kinds[0]]):
            return {}
        last = self.blocks[-1]
        rest = {kind: rows[last.count :] for kind, rows in last.rows.items()}
        last.rows = {kind: rows[: last.count] for kind, rows in last.rows.items()}
        if last.count == 0:
            self.blocks.pop()
        return rest

    def _new_rows(self) -> dict[str, Array]:
        """Memory for a block's rows, and an order for those of the block after it, if it fits.

        The system gives memory out page by page at its first touch, which takes longer than the copy that follows; so
        it is touched in another thread, one block ahead.
        """
        from concurrent.futures import ThreadPoolExecutor  # not at the top: it takes a third of our import time

        if self._spare:
            return self._spare.pop()
        if self._ahead is not None:
            rows = self._ahead.result()
        else:
            free = (self.budget - self._taken) // self.step_bytes
            rows = _touched(
                self.kinds, (min(_capacity(self._kept, self.capacity, self.step_bytes), free), self.size), self.dtype
            )
        self._ahead, self._ahead_bytes = None, 0
        capacity = _capacity(self._kept + len(rows[self.kinds[0]]), self.capacity, self.step_bytes)
        ordered = capacity * self.step_bytes
        if self._taken + sum(array.nbytes for array in rows.values()) + self.row_bytes + ordered <= self.budget:
            executor = ThreadPoolExecutor(1, "minigrad-store")
            self._ahead = executor.submit(_touched, self.kinds, (capacity, self.size), self.dtype)
            self._ahead_bytes = ordered
            executor.shutdown(wait=False)  # the thread ends with its task
        return rows

    def _make_room(self, keyframe: int, rows: bool) -> None:
        """Stay within the budget, in the way that `on_full` says.

        Args:
            keyframe: The bytes of a keyframe.
            rows: Whether rows are needed too, at least one.
        """
        while not self.full:
            ready = bool(self._spare) or self._ahead is not None
            if self._taken + keyframe + (self.step_bytes if rows and not ready else 0) <= self.budget:
                return
            if self._ahead is not None:
                self._ahead, self._ahead_bytes = None, 0
            elif self.on_full in ("raise", "stop"):
                self.full = True
                self._to_raise = self.on_full == "raise"
            elif self.on_full == "thin":
                self._thin()
            else:
                self._forget_oldest()

    def _thin(self) -> None:
        """Give up the rows of every second block.

        The keyframe after a block that stays is kept, so that its replay can be checked.
        """
        with_rows = [block for block in self.blocks if block.rows]
        if len(with_rows) < 2:
            self.full = True
        self._give_up(with_rows[1::2], keep_keyframes=False)

    def _forget_oldest(self) -> None:
        """Ring: the first block stays; of the oldest other one the keyframe, as long as there is room for keyframes."""
        with_rows = [block for block in self.blocks if block.rows]
        keyframes = [block for block in self.blocks if not block.rows]
        if len(keyframes) > len(with_rows) or (keyframes and len(with_rows) < 2):
            self.blocks = [block for block in self.blocks if not any(block is other for other in keyframes[::2])]
        elif len(with_rows) > 1:
            self._give_up(with_rows[1:2], keep_keyframes=True)
        else:
            self.full = True

    def _give_up(self, victims: list[Block], keep_keyframes: bool) -> None:
        """Drop the rows of some blocks, and the keyframes that nothing leads to."""
        left: list[Block] = []
        for block in self.blocks:
            if block.rows and not any(block is victim for victim in victims):
                left.append(block)
                continue
            if block.steps:
                self.gaps.append(Gap(block.steps[0], block.steps[-1], "given up to stay within the budget"))
            if block.rows and not block.lent and all(_whole(rows, self.capacity) for rows in block.rows.values()):
                self._spare.append(block.rows)
            if block.keyframe is not None and (keep_keyframes or (left and left[-1].rows)):
                left.append(Block(block.first, block.keyframe, foreign=block.foreign))
        self.blocks = left

    def all_gaps(self, last_step: int) -> list[Gap]:
        """The gaps in order, neighbours joined, with the one at the end if the record is full."""
        gaps = sorted(self.gaps)
        if self.full:
            held = self.blocks[-1].steps
            first = (held[-1] if held else self.blocks[-1].first - 1) + 1
            if first <= last_step:
                gaps.append(Gap(first, last_step, "the budget was reached"))
        joined: list[Gap] = []
        for gap in gaps:
            if joined and joined[-1].why == gap.why and gap.first <= joined[-1].last + 1:
                joined[-1] = Gap(joined[-1].first, max(gap.last, joined[-1].last), gap.why)
            else:
                joined.append(gap)
        return joined

    def estimate(self, steps: int, every: int, extra: int) -> Estimate:
        """What a number of steps will take.

        Args:
            steps: How many steps.
            every: Every how manieth step's tensors are kept.
            extra: The bytes of the row indices and buffers that are kept of each step.
        """
        kept, keyframe = -(-steps // every), self.row_bytes
        rows, keyframes, full_at = 0, 1, None
        while self.kinds and rows < kept:
            used = rows * self.step_bytes + keyframes * keyframe
            if full_at is None and used + self.step_bytes > self.budget:
                full_at = rows * every
            capacity = _capacity(rows, self.capacity, self.step_bytes)
            if full_at is None:
                capacity = min(capacity, (self.budget - used) // self.step_bytes)
            rows += capacity
            keyframes += every == 1
        filled = kept * self.step_bytes + (keyframes if self.kinds else 1) * keyframe
        return Estimate(self.step_bytes, filled + steps * (_META_BYTES + extra), full_at)


def _capacity(rows: int, most: int, row_bytes: int) -> int:
    """How long a block is after so many rows: it begins small, so that a short run takes little, and doubles."""
    return min(most, max(8, _FIRST_BYTES // row_bytes, rows))


def _whole(rows: Array, capacity: int) -> bool:
    """Whether these are all the rows of a block of full length, not a part of them."""
    return rows.base is None and len(rows) == capacity


def _touched(kinds: tuple[str, ...], shape: tuple[int, int], dtype: np.dtype[Any]) -> dict[str, Array]:
    """Memory that the system has already given out."""
    rows = {kind: np.empty(shape, dtype) for kind in kinds}
    for kind in kinds:
        rows[kind].fill(0)
    return rows


def _bytes(array: Array | None) -> int:
    return 0 if array is None else array.nbytes
