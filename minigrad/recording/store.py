"""`MemoryStore`: the bytes of a record, in blocks, within a budget."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, final

import numpy as np

from minigrad.arrays import Array, Integers
from minigrad.errors import BudgetError, KindError, RangeError

OnFull = Literal["thin", "ring", "stop", "raise"]
"""What happens when the budget is reached."""

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_META_BYTES = 4 * 8  # step, rate, loss and clip factor


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
    """

    first: int
    keyframe: Array | None
    steps: list[int] = field(default_factory=list)
    rows: dict[str, Array] = field(default_factory=dict)
    count: int = 0
    replayable: int = 0

    def frozen(self) -> Block:
        """What is here now; later rows are not in it."""
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
        self._steps, self._lr, self._loss, self._clip = array("q"), array("d"), array("d"), array("d")
        self._indices: list[Integers | None] = []

    @property
    def bytes(self) -> int:
        """How many bytes the record takes now, with the row indices."""
        indices = sum(rows.nbytes for rows in self._indices if rows is not None)
        return self._tensor_bytes + indices + len(self._steps) * _META_BYTES

    @property
    def _tensor_bytes(self) -> int:
        return sum(_bytes(block.keyframe) + sum(rows.nbytes for rows in block.rows.values()) for block in self.blocks)

    def note(self, step: int, lr: float, loss: float, clip_factor: float, indices: Integers | None) -> None:
        """Keep what is kept of every step."""
        self._steps.append(step)
        self._lr.append(lr)
        self._loss.append(loss)
        self._clip.append(clip_factor)
        self._indices.append(indices)

    @property
    def meta_count(self) -> int:
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

    def begin(self, step: int, values: Array | None) -> None:
        """Begin a block before this step, with a keyframe of these values, or none.

        Raises:
            BudgetError: The budget is reached, and `on_full` is "raise".
        """
        if self.full:
            return
        block = Block(step, None if values is None else values.copy())
        if self.kinds:
            self._make_room(step, self.row_bytes * (1 + len(self.kinds) * self.capacity))
            if self.full:
                return
            for kind in self.kinds:
                block.rows[kind] = np.empty((self.capacity, self.size), self.dtype)
                block.rows[kind].fill(
                    0
                )  # memory is given out page by page at its first touch: not in the training's time
        self.blocks.append(block)

    def add(self, step: int, rows: dict[str, Array], replayable: bool = True) -> None:
        """Keep the tensors of a step, in the block that was begun last.

        Args:
            step: Its number.
            rows: One flat array of each kind.
            replayable: Whether this update led from the value before to the value after.
        """
        if self.full or not self.kinds:
            return
        block = self.blocks[-1]
        for kind, row in rows.items():
            block.rows[kind][block.count] = row
        block.steps.append(step)
        block.count += 1
        if replayable and block.replayable == block.count - 1 and step == block.first + block.count - 1:
            block.replayable = block.count

    @property
    def needs_block(self) -> bool:
        """Whether the next row begins a new block."""
        return not self.full and bool(self.kinds) and self.blocks[-1].count == self.capacity

    def _make_room(self, step: int, needed: int) -> None:
        """Stay within the budget, in the way that `on_full` says."""
        while self.blocks and self._tensor_bytes + needed > self.budget and not self.full:
            if self.on_full == "raise":
                self.full = True
                raise BudgetError(f"the record has reached its budget of {self.budget:,} bytes at step {step}")
            if self.on_full == "stop":
                self.full = True
            elif self.on_full == "thin":
                self._thin()
            else:
                self._forget_oldest()

    def _thin(self) -> None:
        """Give up the rows of every second block that has some.

        The keyframe after a block that stays is kept: its replay is checked against that.
        """
        with_rows = [block for block in self.blocks if block.rows]
        self._give_up(with_rows[1::2])
        if len(with_rows) < 2:
            self.full = True

    def _forget_oldest(self) -> None:
        """Ring: the first block stays; of the oldest other one only the keyframe, while there is room for keyframes."""
        with_rows = [block for block in self.blocks if block.rows]
        keyframes = [block for block in self.blocks if not block.rows]
        if len(with_rows) > 2:
            self._give_up(with_rows[1:2], keep_keyframes=True)
        elif keyframes:
            self.blocks = [block for block in self.blocks if block.rows or block not in keyframes[::2]]
        else:
            self.full = True

    def _give_up(self, victims: list[Block], keep_keyframes: bool = False) -> None:
        """Drop the rows of some blocks, and those keyframes that nothing leads to."""
        left: list[Block] = []
        for block in self.blocks:
            if not any(block is victim for victim in victims) and block.rows:
                left.append(block)
                continue
            if block.steps:
                self.gaps.append(Gap(block.steps[0], block.steps[-1], "given up to stay within the budget"))
            if block.keyframe is not None and (keep_keyframes or (left and left[-1].rows)):
                left.append(Block(block.first, block.keyframe))
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

    def estimate(self, steps: int, every: int, batch_rows: int) -> Estimate:
        """What a number of steps will take.

        Args:
            steps: How many steps.
            every: Every how manieth step's tensors are kept.
            batch_rows: How many row indices are kept of each step.
        """
        kept = -(-steps // every)
        per_step = self.row_bytes * len(self.kinds)
        blocks = -(-kept // self.capacity) if self.kinds else 1
        block_bytes = self.row_bytes + per_step * self.capacity
        total = blocks * block_bytes + steps * (_META_BYTES + 4 * batch_rows)
        fitting = self.budget // block_bytes
        full_at = fitting * self.capacity * every
        return Estimate(per_step, total, full_at if self.kinds and full_at < steps else None)


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
