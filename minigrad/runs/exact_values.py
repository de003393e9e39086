"""`exact_values`: the values after many steps, in one pass over a record."""

from __future__ import annotations

from collections.abc import Iterator

from minigrad.arrays import Array
from minigrad.runs.block import Block, replay
from minigrad.runs.record import Record


def exact_values(record: Record, steps: frozenset[int], part: slice) -> Iterator[tuple[int, Array]]:
    """(step, a copy of the values after it) of some of the steps that are known exactly, in order.

    Each block is replayed once, and no further than needed.

    Args:
        record: The record.
        steps: Which steps.
        part: Which part of the flat arrays.

    Raises:
        RunError: What is needed for one of them is damaged.
    """
    last = None  # a keyframe may hold the values that the block before it leads to
    for step, values in _values(record, steps, part):
        if step != last:
            last = step
            yield step, values.copy()


def _values(record: Record, wanted: frozenset[int], part: slice) -> Iterator[tuple[int, Array]]:
    """(step, the values after it); the array is used again, and a step may come twice in a row."""
    for block in record.blocks:
        if block.value_after in wanted:
            yield block.value_after, replay(block, 0, part)
        if "value" in block.rows:
            rows = block.rows["value"]
            for row, step in enumerate(block.steps):
                if step in wanted:
                    block.check(range(row, row + 1))
                    yield step, rows[row, part]
        elif block.has_keyframe:
            yield from _replayed(block, wanted, part)
    if record.final_step in wanted:
        yield record.final_step, record.final[part]


def _replayed(block: Block, wanted: frozenset[int], part: slice) -> Iterator[tuple[int, Array]]:
    """The values after the steps of a block that follow each other, up to the last one wanted."""
    places = [row for row, step in enumerate(block.steps[: block.replayable]) if step in wanted]
    if not places:
        return
    block.check(range(places[-1] + 1))
    values, rows = replay(block, 0, part), block.rows["update"]
    for row in range(places[-1] + 1):
        values += rows[row, part]
        if block.steps[row] in wanted:
            yield block.steps[row], values
