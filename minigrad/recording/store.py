"""`MemoryStore`: the bytes of a record, in blocks, within a budget."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, final

import numpy as np

from minigrad.arrays import Array, Integers
from minigrad.errors import BudgetError, KindError, RangeError

if TYPE_CHECKING:
    from concurrent.futures import Future

OnFull = Literal["thin", "ring", "stop", "raise"]
"""What happens when the budget is reached."""

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_META_BYTES = 4 * 8  # step, rate, loss and clip factor
_FIRST_ROWS = 8  # the length of the first block


class Gap(NamedTuple):
    """Steps whose tensors the record does not hold.

    Attributes:
        first: The first of them.
        last: The last of them.
        why: What happened.
    """

    first: int
    last: int
    why: str


class Estimate(NamedTuple):
    """What a record will take.

    Attributes:
        bytes_per_step: Bytes for each step whose tensors are kept.
        bytes: Bytes in all, if nothing is given up.
        full_at: The step at which the budget is reached; None if it is not.
    """

    bytes_per_step: int
    bytes: int
    full_at: int | None


@dataclass(eq=False)
class Block:
    """A keyframe, and rows of tensors of the steps after it.

    Attributes:
        first: The step that comes first after the keyframe.
        keyframe: All values before that step; None where each row comes with its value.
        steps: The steps whose rows are here.
        rows: For each kind of tensor, "update", "grad" or "value", one row a step.
        count: How many rows are filled.
        replayable: How many of them, from the first, lead from one value to the next.
        lent: Whether a run reads these rows, so that their memory must stay as it is.
    """

    first: int
    keyframe: Array | None
    steps: list[int] = field(default_factory=list)
    rows: dict[str, Array] = field(default_factory=dict)
    count: int = 0
    replayable: int = 0
    lent: bool = False

    def frozen(self) -> Block:
        """What is here now; later rows are not in it."""
        self.lent = True
        rows = {kind: rows[: self.count] for kind, rows in self.rows.items()}
        for view in rows.values():
            view.flags.writeable = False
        return Block(self.first, self.keyframe, list(self.steps), rows, self.count, self.replayable)


class Meta(NamedTuple):
    """What is kept of every step, whatever becomes of the tensors.

    Attributes:
        steps: The steps' numbers.
        lr: The learning rates.
        loss: The losses; NaN where unknown.
        clip_factor: What the gradients were multiplied by.
        indices: The rows of each batch, where known.
    """

    steps: Integers
    lr: Array
    loss: Array
    clip_factor: Array
    indices: tuple[Integers | None, ...]


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
        self.kinds = kinds
        self.size = size
        self.dtype = dtype
        self.budget = budget
        self.on_full: OnFull = on_full
        self.row_bytes = size * dtype.itemsize
        smallest = self.row_bytes * (1 + len(kinds))
        if budget < smallest:
            raise BudgetError(
                f"a budget of {budget:,} bytes is too small: one step with its keyframe takes {smallest:,}"
            )
        # Small enough that at least eight blocks fit, so that giving up one is not giving up all.
        per_block = max(1, budget // 8 // max(1, self.row_bytes * len(kinds)) - 1)
        self.capacity = max(1, min(keyframe_every, per_block))
        self.blocks: list[Block] = []
        self.gaps: list[Gap] = []
        self.full = False
        self._kept = 0
        self._spare: list[dict[str, Array]] = []  # memory of blocks that were given up, to be used again
        self._ahead: Future[dict[str, Array]] | None = None
        self._ahead_bytes = 0
        self._steps, self._lr, self._loss, self._clip = array("q"), array("d"), array("d"), array("d")
        self._indices: list[Integers | None] = []

    @property
    def bytes(self) -> int:
        """How many bytes the record takes now, with the row indices."""
        indices = sum(rows.nbytes for rows in self._indices if rows is not None)
        return self._tensor_bytes + indices + len(self._steps) * _META_BYTES

    @property
    def _tensor_bytes(self) -> int:
        held = sum(_bytes(block.keyframe) + sum(rows.nbytes for rows in block.rows.values()) for block in self.blocks)
        return held + self._ahead_bytes + sum(array.nbytes for rows in self._spare for array in rows.values())

    def note(self, step: int, lr: float, loss: float, clip_factor: float, indices: Integers | None) -> None:
        """Keep what is kept of every step."""
        self._steps.append(step)
        self._lr.append(lr)
        self._loss.append(loss)
        self._clip.append(clip_factor)
        self._indices.append(indices)

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
        )

    def begin(self, step: int, values: Array) -> None:
        """Begin a block before this step, with a keyframe of these values; it gets its rows when the first one comes."""
        if self.full:
            return
        with_keyframe = "value" not in self.kinds or not self.blocks
        self.blocks.append(Block(step, values.copy() if with_keyframe else None))
        if self.kinds and self._ahead is None and not self._spare:
            self._order()

    def add(self, step: int, rows: dict[str, Array], values: Array, replayable: bool = True) -> None:
        """Keep the tensors of a step, in the block that was begun last.

        Args:
            step: Its number.
            rows: One flat array of each kind.
            values: All values after the step; the keyframe of the next block, if this one is full now.
            replayable: Whether this update led from the value before to the value after.

        Raises:
            BudgetError: The budget is reached, and `on_full` is "raise".
        """
        if self.full or not self.kinds:
            return
        block = self.blocks[-1]
        if not block.rows:
            self._make_room(step)
            if self.full:
                return
            block.rows = self._take()
        count = block.count
        for kind, row in rows.items():
            block.rows[kind][count] = row
        block.steps.append(step)
        block.count = count + 1
        self._kept += 1
        if replayable and block.replayable == count and step == block.first + count:
            block.replayable = block.count
        if block.count == len(block.rows[self.kinds[0]]):
            self.begin(step + 1, values)

    # -- memory -------------------------------------------------------------------------------------------------

    def _next_capacity(self) -> int:
        """Blocks begin small, so that a short run takes little, and double until they have their full length."""
        return min(self.capacity, max(_FIRST_ROWS, self._kept))

    def _order(self) -> None:
        """Have the next block's memory made ready in another thread, if it fits.

        The system gives memory out page by page at its first touch, which takes longer than the copy that follows.
        """
        from concurrent.futures import ThreadPoolExecutor  # not at the top: it takes a third of our import time

        capacity = self._next_capacity()
        if self._tensor_bytes + capacity * self.row_bytes * len(self.kinds) <= self.budget:
            executor = ThreadPoolExecutor(1, "minigrad-store")
            self._ahead = executor.submit(_touched, self.kinds, (capacity, self.size), self.dtype)
            self._ahead_bytes = capacity * self.row_bytes * len(self.kinds)
            executor.shutdown(wait=False)  # the thread ends with its task

    def _take(self) -> dict[str, Array]:
        """Memory for a block's rows: what was ordered, or new."""
        if self._spare and self._next_capacity() == self.capacity:
            return self._spare.pop()
        ahead, self._ahead, self._ahead_bytes = self._ahead, None, 0
        if ahead is not None:
            return ahead.result()
        return _touched(self.kinds, (self._next_capacity(), self.size), self.dtype)

    def _make_room(self, step: int) -> None:
        """Stay within the budget, in the way that `on_full` says."""
        while not self.full and self._ahead is None and not self._spare and self._needed() > self.budget:
            if self.on_full == "raise":
                self.full = True
                raise BudgetError(f"the record has reached its budget of {self.budget:,} bytes at step {step}")
            if self.on_full == "stop":
                self.full = True
            elif self.on_full == "thin":
                self._thin()
            else:
                self._forget_oldest()

    def _needed(self) -> int:
        return self._tensor_bytes + self._next_capacity() * self.row_bytes * len(self.kinds)

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
        keyframes = [block for block in self.blocks[:-1] if not block.rows]
        if len(with_rows) > 2 or (len(with_rows) == 2 and not keyframes):
            self._give_up(with_rows[1:2], keep_keyframes=True)
        elif keyframes:
            self.blocks = [block for block in self.blocks if not any(block is other for other in keyframes[::2])]
        else:
            self.full = True

    def _give_up(self, victims: list[Block], keep_keyframes: bool) -> None:
        """Drop the rows of some blocks, and the keyframes that nothing leads to; the block begun last stays."""
        left: list[Block] = []
        for block in self.blocks[:-1]:
            if block.rows and not any(block is victim for victim in victims):
                left.append(block)
                continue
            if block.rows and not block.lent and len(block.rows[self.kinds[0]]) == self.capacity:
                self._spare.append(block.rows)
            if block.steps:
                self.gaps.append(Gap(block.steps[0], block.steps[-1], "given up to stay within the budget"))
            if block.keyframe is not None and (keep_keyframes or (left and left[-1].rows)):
                left.append(Block(block.first, block.keyframe))
        self.blocks = [*left, self.blocks[-1]]

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

    def estimate(self, steps: int, every: int, batch_rows: int) -> Estimate:
        """What a number of steps will take.

        Args:
            steps: How many steps.
            every: Every how manieth step's tensors are kept.
            batch_rows: How many row indices are kept of each step.
        """
        kept = -(-steps // every)
        per_step = self.row_bytes * len(self.kinds)
        total, rows, full_at = self.row_bytes, 0, None
        while self.kinds and rows < kept:
            capacity = min(self.capacity, max(_FIRST_ROWS, rows))
            total += capacity * per_step + self.row_bytes
            if full_at is None and total > self.budget:
                full_at = rows * every
            rows += capacity
        return Estimate(per_step, total + steps * (_META_BYTES + 4 * batch_rows), full_at)


def _touched(kinds: tuple[str, ...], shape: tuple[int, int], dtype: np.dtype[Any]) -> dict[str, Array]:
    """Memory that the system has already given out."""
    rows = {kind: np.empty(shape, dtype) for kind in kinds}
    for kind in kinds:
        rows[kind].fill(0)
    return rows


def _bytes(array: Array | None) -> int:
    return 0 if array is None else array.nbytes


def parse_bytes(budget: object) -> int:
    """A number of bytes, or text such as "512MB", as bytes.

    Raises:
        KindError: It is neither.
        RangeError: It is not positive, or has an unknown unit.
    """
    if isinstance(budget, int) and not isinstance(budget, bool):
        found = budget
    elif isinstance(budget, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", budget)
        if match is None or match[2].upper() not in _UNITS:
            raise RangeError(f"budget is {budget!r}, expected a number of bytes, or text such as '512MB' or '2GB'")
        found = int(float(match[1]) * _UNITS[match[2].upper()])
    else:
        raise KindError(f"budget is {budget!r}, expected a number of bytes, or text such as '512MB' or '2GB'")
    if found <= 0:
        raise RangeError(f"budget is {budget!r}, expected more than 0 bytes")
    return found
