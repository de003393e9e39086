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
    """The table of the blocks. A new block is added; where blocks are given up, it is replaced.

    Args:
        directory: The directory of the run.
        blocks: The blocks so far.

    Raises:
        OSError: The system refuses.
    """

    def __init__(self, directory: Path, blocks: Sequence[Block]) -> None:
        self._path = directory / "blocks.npy"
        self._file: FileColumn | None = None  # while it says what the blocks are
        self.replace(blocks)

    @property
    def is_current(self) -> bool:
        """Whether it says what the blocks are; if not, an interrupt has cut off `replace`."""
        return self._file is not None

    def add(self, blocks: Sequence[Block], new: Block) -> None:
        """Add a block behind these.

        Raises:
            OSError: The system refuses.
        """
        if self._file is None:
            self.replace([*blocks, new])
        else:
            self._file.write(len(blocks), table_of([new]))
            self._file.publish(len(blocks) + 1)

    def replace(self, blocks: Sequence[Block]) -> None:
        """Write the table anew, as a whole.

        Raises:
            OSError: The system refuses.
        """
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
        self._file = FileColumn(self._path, BLOCK, (), len(blocks))

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
