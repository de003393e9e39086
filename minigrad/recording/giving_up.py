"""Which blocks a record gives up to stay within its budget, and what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from minigrad._messages import described
from minigrad.errors import RangeError
from minigrad.runs.block import Block
from minigrad.runs.gap import Gap

OnFull = Literal["thin", "ring", "stop", "raise"]
"""What happens when the budget is reached."""


def check_on_full(on_full: object) -> None:
    """Make sure that this is an `OnFull`.

    Raises:
        RangeError: It is something else.
    """
    if not isinstance(on_full, str) or on_full not in get_args(OnFull):
        raise RangeError(
            f"on_full is {described(on_full)}, expected 'thin', 'ring', 'stop' or 'raise'"
        )


class Left(NamedTuple):
    """What is left of a record after some of it was given up.

    Attributes:
        blocks: The blocks that stay, some of them without their rows.
        dropped: Those whose rows are not needed any more.
        gaps: The steps that are lost.
    """

    blocks: list[Block]
    dropped: list[Block]
    gaps: list[Gap]


def thinned(blocks: Sequence[Block]) -> Left | None:
    """Without the rows of every second block; None if nothing is won by that any more.

    The keyframe after a block that stays is kept, so that its replay can be checked.
    """
    with_rows = [block for block in blocks if block.capacity]
    if len(with_rows) < 2:
        return None
    return _without(blocks, with_rows[1::2], keep_keyframes=False)


def without_oldest(blocks: Sequence[Block]) -> Left | None:
    """Without the rows of the oldest block but the first; None if there is none.

    Its keyframe is kept as long as there is room for keyframes.
    """
    with_rows = [block for block in blocks if block.capacity]
    keyframes = [block for block in blocks if not block.capacity]
    if len(keyframes) > len(with_rows) or (keyframes and len(with_rows) < 2):
        gone = set(map(id, keyframes[::2]))
        return Left([block for block in blocks if id(block) not in gone], keyframes[::2], [])
    if len(with_rows) > 1:
        return _without(blocks, with_rows[1:2], keep_keyframes=True)
    return None


def _without(blocks: Sequence[Block], victims: Sequence[Block], *, keep_keyframes: bool) -> Left:
    """Without the rows of some blocks, and the keyframes that nothing leads to."""
    left, without_rows = Left([], [], []), set(map(id, victims))
    for block in blocks:
        if block.capacity and id(block) not in without_rows:
            left.blocks.append(block)
            continue
        if block.steps:
            why = "given up to stay within the budget"
            left.gaps.append(Gap(block.steps[0], block.steps[-1], why))
        if block.has_keyframe and (keep_keyframes or (left.blocks and left.blocks[-1].capacity)):
            left.blocks.append(block.without_rows())
        left.dropped.append(block)
    return left
