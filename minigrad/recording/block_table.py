"""`BlockTable`: blocks.npy, as it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import final

from minigrad.recording.column import FileColumn
from minigrad.runs.block import Block
from minigrad.runs.file_block import table_of
from minigrad.runs.format import BLOCK


@final
class BlockTable:
    """The table of the blocks. A new block is appended; where blocks are given up, it is replaced.

    Args:
        directory: The directory of the run.
        blocks: The blocks so far.

    Raises:
        OSError: The system refuses.
    """

    def __init__(self, directory: Path, blocks: Sequence[Block]) -> None:
        self._path = directory / "blocks.npy"
        self._file = self._replaced(blocks)

    def _replaced(self, blocks: Sequence[Block]) -> FileColumn:
        fresh = self._path.with_name("blocks.npy.tmp")
        fresh.unlink(missing_ok=True)
        table = FileColumn(fresh, BLOCK)
        if blocks:
            table.append(table_of(blocks))
        table.close()
        fresh.replace(self._path)
        return FileColumn(self._path, BLOCK, (), len(blocks))

    def append(self, block: Block) -> None:
        """Add a block.

        Raises:
            OSError: The system refuses.
        """
        self._file.append(table_of([block]))
        self._file.publish()

    def replace(self, blocks: Sequence[Block]) -> None:
        """Write the table anew, as a whole.

        Raises:
            OSError: The system refuses.
        """
        before, self._file = self._file, self._replaced(blocks)
        before.close()

    def close(self) -> None:
        """Close the file.

        Raises:
            OSError: The system refuses.
        """
        self._file.close()
