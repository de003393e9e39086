"""`RunFiles`: the files of a run on disk that are open while it is recorded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from minigrad.files import open_regular
from minigrad.recording.block_table import BlockTable
from minigrad.recording.row_writer import RowWriter
from minigrad.recording.run_lock import RunLock
from minigrad.recording.step_files import StepFiles
from minigrad.runs.format import FOLDERS

_FILES = ("lock", "steps.npy", "indices.npy", "blocks.npy", "blocks.npy.tmp")
_HEADER = 1024  # at least how many bytes of steps.npy say how many rows it has


@final
class RunFiles:
    """The files of a run that are open while it is recorded, and its lock.

    Args:
        directory: The directory of the run, which is locked already.
        lock: Its lock.
        writer: What writes the tensors.
        buffers: Name, dtype and shape of each of the layers' buffers.
        steps: How many steps of a run that is there already to go on after; None makes new files.
        indices_end: How many row indices the batches of these steps have.
        salt: What the checksums begin with.

    Attributes:
        steps: What is kept of every step.
        table: The table of the blocks.

    Raises:
        OSError: The system refuses.
    """

    def __init__(
        self,
        directory: Path,
        lock: RunLock,
        writer: RowWriter,
        buffers: Sequence[tuple[str, np.dtype[Any], tuple[int, ...]]],
        steps: int | None,
        indices_end: int,
        salt: int,
    ) -> None:
        self._lock = lock
        self.table: BlockTable = BlockTable(directory)
        self.steps: StepFiles = StepFiles(directory, writer, buffers, steps, indices_end, salt)

    def close(self) -> None:
        """Close the files, and let the next recorder have the run; again without effect."""
        self.steps.close()
        self.table.close()
        self._lock.release()

    def let_go(self) -> None:
        """Close the files in a forked child, whose parent goes on with them."""
        self.steps.close_files()
        self.table.close()


def state_of(directory: Path) -> tuple[bytes, bytes]:
    """What tells whether somebody has gone on with a run; nothing where there is none."""
    description, steps = directory / "run.json", directory / "steps.npy"
    if not description.is_file():
        return b"", b""
    with open_regular(steps) as opened:
        return description.read_bytes(), opened.read(_HEADER)


def is_free(directory: Path) -> bool:
    """Whether a new run can begin there: there is nothing, or nothing that was recorded.

    Raises:
        OSError: The system refuses.
    """
    if not os.path.lexists(directory):
        return True
    return directory.is_dir() and (not any(directory.iterdir()) or is_cut_off_start(directory))


def is_cut_off_start(directory: Path) -> bool:
    """Whether there is nothing but what is left where `start` was cut off, before run.json.

    Raises:
        OSError: The system refuses.
    """
    folders = ("keyframes", "buffers", *FOLDERS.values())
    if not (directory / "lock").is_file():
        return False
    for path in directory.rglob("*"):
        place = path.relative_to(directory).as_posix()
        of_block = path.parent.parent == directory and path.parent.name in folders
        if not (
            place in (*folders, *_FILES)
            or path.name.endswith(".part")
            or (of_block and path.suffix == ".npy")
        ):
            return False
    return not _has_rows(directory / "steps.npy")


def _has_rows(path: Path) -> bool:
    """Whether an `.npy` file tells of rows; one that was cut off in its header has none."""
    if not path.is_file():
        return False
    with open_regular(path) as opened:
        start = opened.read(10)  # the last two bytes say how many follow
        if path.stat().st_size < 10 + int.from_bytes(start[8:], "little"):
            return False
        opened.seek(0)
        try:
            np.lib.format.read_magic(opened)
            shape, _, _ = np.lib.format.read_array_header_1_0(opened)
        except ValueError:  # it is damaged, and may have had some
            return True
    return shape != (0,)


def clear(directory: Path) -> None:
    """Remove what is left where `start` was cut off."""
    for path in directory.rglob("*.npy*"):
        if path.is_file():
            path.unlink()
