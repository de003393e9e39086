"""`BlockFiles`: the keyframes and rows of blocks, in files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from minigrad.arrays import Array
from minigrad.recording.column import FileColumn
from minigrad.runs.block import Block
from minigrad.runs.file_block import FileBlock
from minigrad.runs.format import BLOCK, FOLDERS, checksum_of_block, file_of
from minigrad.runs.mapped_files import MappedFiles

_KEYFRAMES = "keyframes"


@final
class BlockFiles:
    """Makes and removes the files of blocks: keyframes/000000.npy, updates/000000.npy and so on.

    Args:
        directory: The directory of the run.
        kinds: The kinds of tensors that are kept of a step.
        size: The number of entries in a row.
        dtype: Their dtype.
        salt: What every checksum of the run begins with.
    """

    def __init__(
        self, directory: Path, kinds: tuple[str, ...], size: int, dtype: np.dtype[Any], salt: int
    ) -> None:
        self._directory = directory
        self._kinds = kinds
        self._size = size
        self._dtype = dtype
        self._salt = salt
        # A writer that was killed may have left files of blocks that nobody knows.
        self._next_number = 1 + max((number for _, number in self._numbered()), default=-1)

    def make_folders(self) -> None:
        """Make the folders, where they are not there yet.

        Raises:
            OSError: The system refuses.
        """
        for folder in (_KEYFRAMES, *(FOLDERS[kind] for kind in self._kinds)):
            (self._directory / folder).mkdir(exist_ok=True)

    def new(
        self, step: int, values: Array | None, *, rows: bool = False, foreign: bool = False
    ) -> FileBlock:
        """A new block, whose keyframe is written.

        Args:
            step: The first step after its keyframe.
            values: Its keyframe; None if it has none.
            rows: Whether it is to have rows.
            foreign: Whether somebody else wrote into the values before it.

        Raises:
            OSError: The disk does not take it.
        """
        number, self._next_number = self._next_number, self._next_number + 1
        if values is not None:
            keyframe = FileColumn(self._keyframe_of(number), self._dtype, (self._size,))
            try:
                keyframe.write(0, values[np.newaxis])
                keyframe.publish(1)
            finally:
                keyframe.close()
        row = np.array((number, step, values is not None, rows, foreign, 0), BLOCK)
        row["crc32"] = checksum_of_block(row, values, self._salt)
        # Arrays of its own: a file that is given up must not stay open for other blocks.
        files = MappedFiles(self._directory)
        return FileBlock(files, row, self._kinds, self._dtype, self._size)

    def paths(self, block: FileBlock) -> dict[str, Path]:
        """The files of its rows, one for each kind."""
        return {kind: self._directory / file_of(FOLDERS[kind], block.number) for kind in block.rows}

    def remove(self, blocks: Sequence[Block], left: Collection[int]) -> None:
        """Remove the files of blocks that were given up.

        Args:
            blocks: These blocks.
            left: The numbers of the blocks that stay: a keyframe may stay without its rows.

        Raises:
            OSError: The system refuses.
        """
        for block in blocks:
            assert isinstance(block, FileBlock)
            for path in self.paths(block).values():
                path.unlink(missing_ok=True)
            if block.number not in left:
                self._keyframe_of(block.number).unlink(missing_ok=True)

    def sweep(self, known: Collection[int]) -> None:
        """Remove the files of blocks that are not known, which a writer that was killed has left.

        Raises:
            OSError: The system refuses.
        """
        for path, number in self._numbered():
            if number not in known:
                path.unlink()

    def _numbered(self) -> Iterator[tuple[Path, int]]:
        """All files of blocks, with the numbers of these."""
        for folder in (_KEYFRAMES, *FOLDERS.values()):
            for path in (self._directory / folder).glob("*.npy"):
                if path.stem.isdecimal():
                    yield path, int(path.stem)

    def _keyframe_of(self, number: int) -> Path:
        return self._directory / file_of(_KEYFRAMES, number)
