"""`RecorderState`: what a recorder knows of its run, beside what its store keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minigrad.arrays import Array
from minigrad.parameters.vector import Slot
from minigrad.runs.counts import Counts


class RecorderState(NamedTuple):
    """What a recorder knows of its run, beside what its store keeps.

    Attributes:
        slots: Where each parameter lies in the flat arrays.
        initial: All values before the first step.
        final: All values after the last step; None where a run that was cut off is gone on with,
            and they are not known.
        final_step: The last step.
        counts: What gives the counts; None if nothing is counted.
        complete: Whether the recorder was stopped.
        optimizer: The optimizer in words.
    """

    slots: dict[str, Slot]
    initial: Array
    final: Array | None
    final_step: int
    counts: Callable[[], Counts] | None
    complete: bool
    optimizer: str
