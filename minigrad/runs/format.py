"""What the files of a run on disk look like: `.npy` arrays, one `.npz`, one JSON file.

    run.json              what the run is: version, id, parameters, settings, sessions, gaps, notes
    steps.npy             one row of `STEP` for each step
    blocks.npy            one row of `BLOCK` for each block
    updates/000000.npy    the updates of block 0, a row for each step: all parameters, flat
    grads/, values/       the same for gradients and values, where they are kept
    keyframes/000000.npy  all values before the first step of block 0; row 0 is the initial values
    indices.npy           the rows of the data in each batch, one after the other
    buffers/000000.npy    the first of the layers' buffers after each step, one row per step
    aggregates.npz        the counts of each entry, with the values that they belong to
    lock                  who writes; empty when nobody does

NumPy alone reads them. `run.json` and `aggregates.npz` are replaced as a whole; all numbers are
little-endian. Rows are appended to a growing file first, and then its header is rewritten to cover
them: so at any time, also after the writer was killed, the header describes rows that are whole.

Every run has a random id. Each checksum is the CRC-32 of the id and then of what it covers, so the
files of another run never pass for those of this one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

NAME = "minigrad run"
VERSION = 2
READABLE = (1, 2)
"""The versions that are read. Version 1 had no id and no checksums of indices and buffers."""

FOLDERS: dict[str, str] = {"update": "updates", "grad": "grads", "value": "values"}
"""The folder in which the rows of each kind of tensor lie."""

STEP: np.dtype[Any] = np.dtype(
    [
        ("step", "<i8"),
        ("lr", "<f8"),
        ("loss", "<f8"),  # NaN where it is not known
        ("clip_factor", "<f8"),
        ("segment", "<i8"),  # the number of the block that holds the step's rows; -1 if none does
        ("row", "<i8"),  # which row of it
        ("crc32", "<u4"),  # of the step's rows, one kind after the other
        ("has_indices", "?"),
        ("indices_end", "<i8"),  # where the batch's rows end in indices.npy
        ("indices_crc32", "<u4"),  # of the batch's rows
        ("buffers_crc32", "<u4"),  # of the layers' buffers after the step, one after the other
        ("row_crc32", "<u4"),  # of the bytes of this row before this field
    ]
)
"""A row of steps.npy."""

STEP_1: np.dtype[Any] = np.dtype(
    [
        (name, STEP[name].newbyteorder("<"))
        for name in STEP.names or ()
        if name not in ("indices_crc32", "buffers_crc32")
    ]
)
"""A row of steps.npy in version 1."""

BLOCK: np.dtype[Any] = np.dtype(
    [
        ("number", "<i8"),
        ("first", "<i8"),  # the first step after its keyframe
        ("has_keyframe", "?"),
        ("has_rows", "?"),
        ("foreign", "?"),  # whether somebody else wrote into the values before it
        # of the keyframe, if there is one, then of first, has_keyframe and foreign as int64
        ("crc32", "<u4"),
    ]
)
"""A row of blocks.npy."""


def file_of(folder: str, number: int) -> str:
    """The file of a block: "updates/000012.npy"."""
    return f"{folder}/{number:06d}.npy"


def salt_of(run_id: str) -> int:
    """What every checksum of a run begins with: the CRC-32 of its id; 0 in version 1."""
    return zlib.crc32(run_id.encode())


def checksum(arrays: Iterable[npt.NDArray[Any]], salt: int) -> int:
    """The CRC-32 of arrays, one after the other: of a step's rows, its batch or its buffers."""
    crc = salt
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array).data, crc)
    return crc


def checksums_of_steps(steps: npt.NDArray[Any], salt: int) -> npt.NDArray[np.uint32]:
    """The CRC-32 of each row of steps.npy, without its last field."""
    return np.array([zlib.crc32(row.tobytes()[:-4], salt) for row in steps], np.uint32)


def checksum_of_block(row: Any, keyframe: npt.NDArray[Any] | None, salt: int) -> int:
    """The CRC-32 of a block's keyframe and of what its row of blocks.npy says."""
    arrays = () if keyframe is None else (keyframe,)
    facts = np.array([row["first"], row["has_keyframe"], row["foreign"]], "<i8")
    return checksum((*arrays, facts), salt)
