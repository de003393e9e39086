"""`Block` and the other things that a record is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy.typing as npt

from minigrad.arrays import Array, Integers


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
        foreign: Whether somebody else wrote into the values before it, so that its keyframe is not what the step before
            it left.
        lent: Whether a run reads these rows, so that their memory must stay as it is.
    """

    first: int
    keyframe: Array | None
    steps: list[int] = field(default_factory=list)
    rows: dict[str, Array] = field(default_factory=dict)
    count: int = 0
    replayable: int = 0
    foreign: bool = False
    lent: bool = False

    @property
    def value_after(self) -> int | None:
        """The step whose values the keyframe holds, if any."""
        return None if self.keyframe is None or self.foreign else self.first - 1

    def frozen(self) -> Block:
        """What is here now; later rows are not in it."""
        self.lent = True
        rows = {kind: rows[: self.count] for kind, rows in self.rows.items()}
        for view in rows.values():
            view.flags.writeable = False
        return Block(self.first, self.keyframe, list(self.steps), rows, self.count, self.replayable, self.foreign)


class Meta(NamedTuple):
    """What is kept of every step, whatever becomes of the tensors.

    Attributes:
        steps: The steps' numbers.
        lr: The learning rates.
        loss: The losses; NaN where unknown.
        clip_factor: What the gradients were multiplied by.
        indices: The rows of each batch, where known.
        buffers: The layers' state that is not learnt, by name.
    """

    steps: Integers
    lr: Array
    loss: Array
    clip_factor: Array
    indices: tuple[Integers | None, ...]
    buffers: tuple[dict[str, npt.NDArray[Any]], ...]


def replay(block: Block, count: int, part: slice) -> Array:
    """A block's keyframe, and its first `count` updates added one by one: the same sums as in training, so the same bits."""
    assert block.keyframe is not None
    values = block.keyframe[part].copy()
    for row in block.rows["update"][:count] if count else ():
        values += row[part]
    return values
