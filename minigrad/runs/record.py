"""`Record`: what a recorder hands over, and the exact values that can be read from it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from minigrad._messages import described
from minigrad.arrays import Array, Integers
from minigrad.errors import KindError, NotExactError, RangeError
from minigrad.parameters.vector import Slot
from minigrad.runs.block import Block, replay
from minigrad.runs.counts import Counts
from minigrad.runs.gap import Gap
from minigrad.runs.kept_steps import KeptSteps


@dataclass(frozen=True)
class Record:
    """What a recorder hands over; nothing in it changes any more.

    Attributes:
        slots: Where each parameter lies in the flat arrays.
        initial: All values before the first step.
        final: All values after the last step; of a run that was cut off, after the last step that
            is known exactly.
        final_step: That step; the one before the first where there is none.
        blocks: Keyframes, and the rows of tensors that follow them.
        kept: What is kept of every step besides its tensors.
        gaps: Steps whose tensors are not held.
        notes: What else happened, in sentences.
        counts: What was counted; None if nothing was.
        counted: The values after the last step that was counted; `final`, unless the run was cut
            off.
        counted_step: That step.
        replayed: Whether `final` is what the record's own updates lead to, so that it proves
            nothing about them.
        complete: Whether the recorder was stopped.
        bytes: How much memory the tensors take.
        optimizer: The optimizer in words.
        damage: What is wrong with the steps that follow the last one here; empty if nothing is.
            Whoever went on with such a record would cut off what may still be saved by hand.
        initial_known: Whether `initial` is known. Where its keyframe is damaged it is not.
        no_counts: Why nothing was counted, where nothing was.
    """

    slots: dict[str, Slot]
    initial: Array
    final: Array
    final_step: int
    blocks: tuple[Block, ...]
    kept: KeptSteps
    gaps: tuple[Gap, ...]
    notes: tuple[str, ...]
    counts: Counts | None
    counted: Array
    counted_step: int
    replayed: bool
    complete: bool
    bytes: int
    optimizer: str
    damage: str = ""
    initial_known: bool = True
    no_counts: str = "aggregates=False"

    @property
    def last_step(self) -> int:
        """The last step; where there is none, the one before the first."""
        return int(self.kept.steps[-1]) if len(self.kept.steps) else self.final_step

    @property
    def lag(self) -> str:
        """How far the counts lag behind the steps, as a note; empty if they do not."""
        if self.counts is None or self.counted_step >= self.last_step:
            return ""
        return (
            f"entries are counted up to step {self.counted_step} of {self.last_step}: the writer "
            f"was cut off, or is still writing"
        )

    def with_damage(self, damage: str) -> Record:
        """The same, and the steps that follow its last one are lost."""
        return replace(self, damage=damage, notes=(*self.notes, damage), complete=False)

    @property
    def exact_steps(self) -> Integers:
        """The steps after which the values are known to the bit, in order."""
        known = {self.final_step}
        recorded = set(self.kept.steps.tolist())
        for block in self.blocks:
            if block.value_after is not None:
                known.add(block.value_after)
            known.update(block.steps if "value" in block.rows else block.steps[: block.replayable])
        return np.array(sorted(known & recorded), np.int64)

    def check(self, step: int) -> int:
        """`step`, if it is one of the run's.

        Raises:
            KindError: It is no whole number.
            RangeError: It is another one.
        """
        if isinstance(step, bool) or not isinstance(step, int | np.integer):
            raise KindError(
                f"{described(step)} is no number of a step; expected a whole number, counted from 0"
            )
        steps = self.kept.steps
        if step not in steps:
            has = (
                f"the run has steps {steps[0]} to {steps[-1]}"
                if len(steps)
                else "the run has no step"
            )
            raise RangeError(f"there is no step {step}: {has}; steps count from 0")
        return int(step)

    def values(self, step: int, part: slice) -> Array:
        """The exact values after a step: a keyframe, and the updates after it, added in order.

        Args:
            step: The step; the one before the first means the initial values.
            part: Which part of the flat arrays.

        Raises:
            NotExactError: They are not known to the bit.
            RunError: What is needed for them is damaged.
        """
        steps = self.kept.steps
        if len(steps) == 0 or step == self.final_step:
            return self.final[part].copy()
        if step < steps[0]:
            return self.known_initial[part].copy()
        for block in self.blocks:
            if block.value_after == step:
                return replay(block, 0, part)
        for block in self.blocks:
            if "value" in block.rows and step in block.steps:
                row = block.steps.index(step)
                block.check(range(row, row + 1))
                return block.rows["value"][row, part].copy()
            if block.has_keyframe and block.first <= step < block.first + block.replayable:
                count = step - block.first + 1
                block.check(range(count))
                return replay(block, count, part)
        raise NotExactError(
            f"the values after step {step} are not known to the bit; nearest steps that are: "
            f"{self._near(step)}"
        )

    @property
    def known_initial(self) -> Array:
        """All values before the first step.

        Raises:
            NotExactError: They are not known.
        """
        if not self.initial_known:
            raise NotExactError(
                f"the values before the first step are not known, because their keyframe is "
                f"damaged; the first step that is known exactly is {self._near(-1)}"
            )
        return self.initial

    def values_before(self, step: int, part: slice) -> Array:
        """The exact values before a step, with what others wrote after the step before it.

        Raises:
            NotExactError: They are not known to the bit.
        """
        # A session that ended there has left a keyframe too, from before others wrote.
        for block in reversed(self.blocks):
            if block.has_keyframe and block.first == step:
                return replay(block, 0, part)
        return self.values(step - 1, part)

    def _near(self, step: int) -> str:
        exact = self.exact_steps.tolist()
        place = bisect_left(exact, step)
        return " and ".join(str(near) for near in exact[max(0, place - 1) : place + 1]) or "none"

    def rows(self, kind: str) -> Iterator[tuple[Block, Array]]:
        """The blocks that hold this kind of tensor, with its rows."""
        for block in self.blocks:
            if kind in block.rows and block.count:
                yield block, block.rows[kind]
