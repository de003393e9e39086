"""`Store`, the abstract base: keeps a record, in blocks, within a budget.

Where the bytes lie is left open.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np

from minigrad.arrays import Array
from minigrad.errors import BudgetError
from minigrad.recording.giving_up import OnFull, check_on_full, thinned, without_oldest
from minigrad.recording.recorder_state import RecorderState
from minigrad.runs.block import Block, replay
from minigrad.runs.counts import Counts
from minigrad.runs.estimate import Estimate
from minigrad.runs.gap import Gap, joined
from minigrad.runs.kept_steps import KeptStep
from minigrad.runs.record import Record


class Store(ABC):
    """Keeps the tensors of steps, block by block.

    A block is a keyframe and the steps after it. Blocks are given up whole, so every step that is
    kept stays exact.

    Args:
        size: The number of entries in a tensor.
        dtype: Their dtype.
        kinds: The kinds of tensors that are kept of a step: "update", "grad", "value".
        keyframe_every: How many rows a block holds at most.
        budget: Bytes for the tensors.
        on_full: What to do when the budget is reached.
        every: Keep the tensors of every n-th step; those of the first and the last are always kept.
        block_bytes: How large the rows of a block may become; None if there is no limit.

    Attributes:
        blocks: The blocks so far.
        gaps: Steps that are not kept, each with the reason.
        full: Whether no more tensors are kept.
        notes: What else happened, in sentences.
        before: The run that this one goes on with, if any.

    Raises:
        BudgetError: The budget is too small for a single step.
        RangeError: There is no such `on_full`.
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
        block_bytes: int | None = None,
    ) -> None:
        check_on_full(on_full)
        self.kinds: tuple[str, ...] = kinds
        self.size: int = size
        self.dtype: np.dtype[Any] = dtype
        self.budget: int = budget
        self.on_full: OnFull = on_full
        self.every: int = every
        self.row_bytes: int = size * dtype.itemsize
        self.step_bytes: int = self.row_bytes * len(kinds)
        smallest = self.row_bytes + self.step_bytes
        if budget < smallest:
            raise BudgetError(
                f"a budget of {budget:,} bytes is too small: one step with its keyframe takes "
                f"{smallest:,}"
            )
        # Small enough that at least twelve blocks fit, so that giving up one is not giving up all.
        per_block = budget // 12 // self.step_bytes - 1 if kinds else 1
        if kinds and block_bytes is not None:
            per_block = min(per_block, block_bytes // self.step_bytes)
        self.capacity: int = max(1, min(keyframe_every, per_block))
        self.blocks: list[Block] = []
        self.gaps: list[Gap] = []
        self.full: bool = False
        self.notes: list[str] = []
        self.before: Record | None = None
        self._to_raise = False  # whether nobody was told yet that the budget is reached
        self._tail: tuple[int, dict[str, Array]] | None = None  # the last step, if not yet kept
        self._summed = self.blocks, 0, 0  # of these blocks so many take so many bytes

    # -- where the bytes lie ----------------------------------------------------------------------

    @property
    @abstractmethod
    def facts_bytes(self) -> int:
        """How many bytes are kept of every step besides tensors, row indices and buffers."""

    @abstractmethod
    def open(self, first_step: int) -> None:
        """Begin a session: the recorder starts, or starts again."""

    @abstractmethod
    def close(self, step: int, values: Array | None) -> None:
        """End a session before this step, with these values; None if they are not known.

        What an interrupt or an error has cut off is done by the next call.
        """

    @abstractmethod
    def keep(self, kept: KeptStep) -> None:
        """Keep what is kept of every step besides its tensors."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of steps so far, kept or not."""

    @abstractmethod
    def _forget_after(self, step: int) -> None:
        """Forget what `keep` was given of later steps than this one: of the last, if at all."""

    @abstractmethod
    def _start(self, step: int, values: Array | None, foreign: bool) -> Block:
        """A new block, with room for at least one row if tensors are kept."""

    @abstractmethod
    def record(self, state: RecorderState) -> Record:
        """All that is recorded, as it is now."""

    @abstractmethod
    def _write(self, block: Block, tensors: Mapping[str, Array]) -> None:
        """Put a step's tensors into the next row of a block."""

    @abstractmethod
    def _end(self) -> None:
        """Give the room that the last block has not used back to the budget."""

    @abstractmethod
    def _drop(self, blocks: list[Block]) -> None:
        """The rows of these blocks are not needed any more."""

    @property
    def is_open(self) -> bool:
        """Whether a session was begun, and not ended whole."""
        return False

    def abandon(self) -> None:  # noqa: B027 - may stay empty
        """Close what is open, without ending the session."""

    def go_on_alone(self) -> None:  # noqa: B027 - may stay empty
        """Write without another thread from now on: the process ends."""

    def forked(self) -> None:  # noqa: B027 - may stay empty
        """This process was forked: its threads are gone, and files belong to its parent."""

    @property
    def starts_anew(self) -> bool:
        """Whether a session needs a block of its own."""
        return False

    @property
    def wants_counts(self) -> bool:
        """Whether it is time to write the counts where they survive."""
        return False

    def flush(self) -> None:  # noqa: B027 - may stay empty
        """Publish what was kept, where the record outlives this process."""

    def save_counts(self, counts: Callable[[], Counts], values: Array, last_step: int) -> None:  # noqa: B027
        """Publish the counts, where the record outlives this process.

        Args:
            counts: What gives the counts.
            values: The values after the last step that they cover.
            last_step: That step.
        """

    def _make_way(self) -> bool:
        """Give up what is only made ready; whether there was anything."""
        return False

    def _has_room(self) -> bool:
        """Whether room for rows is ready, beyond what the budget has left."""
        return False

    @final
    def take_up(self, record: Record) -> None:
        """Go on after what is recorded there."""
        self.before = record
        self.notes = list(record.notes)
        self.gaps = list(record.gaps)
        self.blocks = list(record.blocks)
        while self.blocks and self.blocks[-1].is_void:
            self.blocks.pop()
        for block in self.blocks:
            block.capacity = block.count

    # -- blocks -----------------------------------------------------------------------------------

    @final
    def begin(self, step: int, values: Array, foreign: bool = False) -> None:
        """Begin a block before this step, with a keyframe of these values.

        Args:
            step: The step.
            values: All values before it.
            foreign: Whether they are not what the step before it left.
        """
        if self.full or (self.blocks and not self.kinds):
            return
        unused = [block for block in self.blocks[-1:] if block.capacity and not block.count]
        self._end()
        if unused:
            self.blocks = self.blocks[:-1]
        keyframe = values if "value" not in self.kinds or not self.blocks else None
        self._make_room(0 if keyframe is None else self.row_bytes, bool(self.kinds))
        if not self.full:
            self.blocks.append(self._start(step, keyframe, foreign))
        if unused:
            self._drop(unused)

    @final
    def note(self, what: str) -> None:
        """Note what else happened; nothing where that is the last note already."""
        if self.notes[-1:] != [what]:
            self.notes.append(what)

    @final
    def check_budget(self) -> None:
        """Say once that the budget is reached, where `on_full` is "raise".

        Raises:
            BudgetError: It is reached.
        """
        if self._to_raise:
            self._to_raise = False
            raise BudgetError(
                f"the record has reached its budget of {self.budget:,} bytes, so step "
                f"{self.blocks[-1].first + self.blocks[-1].count} is not kept"
            )

    @final
    @property
    def needs_block(self) -> bool:
        """Whether the next row needs a new block."""
        if self.full or not self.kinds:
            return False
        return not self.blocks or self.blocks[-1].count == self.blocks[-1].capacity

    @final
    def add(self, step: int, tensors: Mapping[str, Array]) -> None:
        """Keep the tensors of a step in the block that was begun last, if `every` says so.

        Args:
            step: Its number.
            tensors: A flat array of each kind that is kept; others are ignored.

        Raises:
            RunError: The disk does not take them.
        """
        if self.every > 1 and step % self.every and len(self) > 1 and self.kinds:
            self._tail = step, {kind: tensors[kind].copy() for kind in self.kinds}
        else:
            self._tail = None
            self._add(step, tensors)

    @final
    def add_last(self, values: Array) -> None:
        """Keep the tensors of the last step, if `every` has left them out.

        Args:
            values: All values after it.

        Raises:
            RunError: The disk does not take them.
        """
        if self._tail is None:
            return
        step, rows = self._tail
        if self.needs_block:
            self.begin(step, values)
        if self.blocks[-1].steps[-1:] != array("q", [step]):
            self._add(step, rows)
        self._tail = None

    @final
    def tail(self) -> list[Block]:
        """The last step as a block, where it lies in none yet."""
        return [] if self._tail is None or self.full else [Block.of_row(*self._tail)]

    def _add(self, step: int, tensors: Mapping[str, Array]) -> None:
        if self.full or not self.kinds:
            return
        self._write(self.blocks[-1], tensors)
        self.blocks[-1].steps.append(step)

    @final
    def drop_after(self, step: int) -> None:
        """Forget what is kept of later steps than this one: an interrupt has cut the last one off.

        Args:
            step: The last step that is kept whole.
        """
        if self.blocks and self.blocks[-1].steps and self.blocks[-1].steps[-1] > step:
            self.blocks[-1].steps.pop()
        if self._tail is not None and self._tail[0] > step:
            self._tail = None
        self._forget_after(step)

    def last_values(self) -> Array | None:
        """The values after the last step, by the record itself; None if it does not hold them."""
        if self.full or not self.blocks or not self.blocks[-1].has_keyframe:
            return None
        block = self.blocks[-1]
        if any(gap.last >= block.first + block.count for gap in self.gaps):
            return None  # a writer that was killed had given up the steps after it
        return replay(block, block.count, slice(None)) if block.count == block.replayable else None

    # -- the budget -------------------------------------------------------------------------------

    @property
    def _taken(self) -> int:
        """How many bytes of the budget the tensors take, with the room of the last block for more.

        Only the last block changes; those before it are added up once, so that the cost of a step
        does not grow with the number of blocks.
        """
        blocks, count, total = self._summed
        if blocks is not self.blocks or count > len(self.blocks) - 1:
            count = total = 0
        for block in self.blocks[count:-1]:
            total += self._size_of(block)
            count += 1
        self._summed = self.blocks, count, total
        return total + sum(map(self._size_of, self.blocks[-1:]))

    def _size_of(self, block: Block) -> int:
        return block.capacity * self.step_bytes + block.has_keyframe * self.row_bytes

    def _make_room(self, keyframe: int, rows: bool) -> None:
        """Stay within the budget, as `on_full` says.

        Args:
            keyframe: The bytes of a keyframe.
            rows: Whether rows are needed too, at least one.
        """
        while not self.full:
            row = self.step_bytes if rows and not self._has_room() else 0
            if self._taken + keyframe + row <= self.budget:
                return
            if self._make_way():
                continue
            if self.on_full in ("raise", "stop"):
                self.full = True
                self._to_raise = self.on_full == "raise"
            else:
                left = (thinned if self.on_full == "thin" else without_oldest)(self.blocks)
                self.full = left is None
                if left is not None:
                    self.blocks, self.gaps = left.blocks, [*self.gaps, *left.gaps]
                    if left.dropped:
                        self._drop(left.dropped)

    def all_gaps(self, last_step: int) -> list[Gap]:
        """The gaps in order, neighbours joined, with the one at the end if the record is full."""
        gaps = sorted(self.gaps)
        if self.full:
            held = self.blocks[-1].steps
            first = (held[-1] if held else self.blocks[-1].first - 1) + 1
            if first <= last_step:
                gaps.append(Gap(first, last_step, "the budget was reached"))
        return joined(gaps)

    def room_after(self, rows: int) -> int:
        """The capacity of a block that begins after this many rows."""
        return self.capacity

    def estimate(self, steps: int, extra: int) -> Estimate:
        """What a number of steps will take.

        Args:
            steps: How many steps.
            extra: The bytes of the row indices and buffers of each step.
        """
        kept, keyframe = -(-steps // self.every), self.row_bytes
        rows, keyframes, full_at = 0, 1, None
        while self.kinds and rows < kept:
            used = rows * self.step_bytes + keyframes * keyframe
            if full_at is None and used + self.step_bytes > self.budget:
                full_at = rows * self.every
            capacity = self.room_after(rows)
            if full_at is None:
                capacity = min(capacity, (self.budget - used) // self.step_bytes)
            rows += capacity
            keyframes += self.every == 1
        filled = kept * self.step_bytes + (keyframes if self.kinds else 1) * keyframe
        return Estimate(self.step_bytes, filled + steps * (self.facts_bytes + extra), full_at)
