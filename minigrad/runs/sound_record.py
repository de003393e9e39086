"""`without_damage`: a record without the rows that are damaged, for what shows all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from minigrad.errors import RunError
from minigrad.runs.block import Block
from minigrad.runs.gap import Gap, joined
from minigrad.runs.record import Record


def without_damage(record: Record) -> Record:
    """The record, with a gap from each damaged row to the end of its block.

    Every row is read for that; a record without damage is given back as it is.
    """
    blocks: list[Block] = []
    gaps: list[Gap] = []
    for block in record.blocks:
        count, why = _sound(block)
        if count == block.count:
            blocks.append(block)
            continue
        gaps.append(Gap(block.steps[count], block.steps[-1], why))
        rows = {kind: block.rows[kind][:count] for kind in block.rows} if count else {}
        keyframe = (lambda block=block: block.keyframe) if block.has_keyframe else None
        blocks.append(Block(block.first, keyframe, block.steps[:count], rows, block.foreign))
    if not gaps:
        return record
    return replace(
        record,
        blocks=tuple(blocks),
        gaps=tuple(joined([*record.gaps, *gaps])),
        notes=(*record.notes, *(gap.why for gap in gaps)),
    )


def _sound(block: Block) -> tuple[int, str]:
    """How many rows are what was written, up to the first that is not; and what is wrong there."""
    rows = range(block.count)
    try:
        sound = block.sound(rows)
    except RunError as error:  # a file is missing
        return 0, str(error)
    try:
        block.check(rows)
    except RunError as error:
        return int(np.argmin(sound)), str(error)
    return block.count, ""
