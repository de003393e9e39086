"""`StepTable`: the rows of steps.npy, up to the first that cannot be believed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad.runs.format import STEP, STEP_1, checksums_of_steps
from minigrad.runs.mapped_files import MappedFiles

_MOST = 2**62  # no step, and no place in a file, is beyond


class StepTable(NamedTuple):
    """The rows of steps.npy, up to the first that cannot be believed.

    Attributes:
        rows: The rows, as `STEP`.
        checked: Whether they have checksums of batches and buffers: version 1 had none.
        damage: What is wrong with those that follow; empty where nothing is.
    """

    rows: npt.NDArray[Any]
    checked: bool
    damage: str


def read_steps(files: MappedFiles, version: int, salt: int) -> StepTable:
    """The ordered prefix of steps.npy.

    Args:
        files: The directory's arrays.
        version: The version of the format.
        salt: What the run's checksums begin with.

    Raises:
        RunError: The file is missing, or its header damaged.
    """
    has, problem = files.prefix("steps.npy", STEP if version > 1 else STEP_1)
    good = _leading(has, salt)
    rows = np.zeros(good, STEP)
    for name in has.dtype.names or ():
        rows[name] = has[name][:good]
    damage = f"steps.npy {problem}" if problem else ""
    if good < len(has):
        damage = f"steps.npy is damaged, or of another run, from its row {good} on"
    return StepTable(rows, version > 1, damage)


def _leading(rows: npt.NDArray[Any], salt: int) -> int:
    """How many rows there are before the first that a writer cannot have put there."""
    steps, ends, segments = rows["step"], rows["indices_end"], rows["segment"]
    good = rows["row_crc32"] == checksums_of_steps(rows, salt)
    good &= (steps >= 0) & (steps < _MOST) & (ends >= 0) & (ends < _MOST)
    good[1:] &= (steps[1:] > steps[:-1]) & (ends[1:] >= ends[:-1])
    # The rows of a block follow each other in its files, and blocks follow each other.
    place: dict[int, int] = {}
    last = -1
    for number, (segment, row) in enumerate(
        zip(segments.tolist(), rows["row"].tolist(), strict=True)
    ):
        if segment < 0:
            good[number] &= segment == row == -1
        else:
            good[number] &= segment >= last and row == place.get(segment, 0)
            last, place = segment, {segment: row + 1}
    return len(rows) if good.all() else int(np.argmin(good))
