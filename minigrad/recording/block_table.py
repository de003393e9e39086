"""`BlockTable`: blocks.npy, as it is written."""

from __future__ import annotations

from pathlib import Path
from typing import final

from minigrad.recording.column import FileColumn
from minigrad.runs.block import Block
from minigrad.runs.file_block import table_of
from minigrad.runs.format import BLOCK


@final
class BlockTable:
    """The table of the blocks. New blocks are added; where some are given up, it is replaced.

    Args:
        directory: The directory of the run.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "blocks.npy"
        self._file: FileColumn | None = None
        self._blocks: list[Block] = []  # the list that it was made for
        self._count = 0  # how many of it are there

    def sync(self, blocks: list[Block]) -> None:
        """Have the file say what the blocks are. Nothing is written where it does already.

        Args:
            blocks: The blocks. To one list blocks are only ever added.

        Raises:
            OSError: The system refuses.
        """
        if self._file is None or blocks is not self._blocks:
            self._replace(blocks)
        elif len(blocks) > self._count:
            self._file.write(self._count, table_of(blocks[self._count :]))
            self._file.publish(len(blocks))
            self._count = len(blocks)

    def _replace(self, blocks: list[Block]) -> None:
        """Write the table anew, as a whole."""
        self.close()
        fresh = self._path.with_name("blocks.npy.tmp")
        fresh.unlink(missing_ok=True)
        table = FileColumn(fresh, BLOCK)
        try:
            table.write(0, table_of(blocks))
            table.publish(len(blocks))
        finally:
            table.close()
        fresh.replace(self._path)
        self._blocks, self._count = blocks, len(blocks)
        self._file = FileColumn(self._path, BLOCK, (), len(blocks))

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
