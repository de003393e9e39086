"""`FileBlock`: a block whose keyframe and rows lie in files."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, MutableSequence, Sequence
from functools import partial
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array
from minigrad.errors import UnknownNameError
from minigrad.runs.block import Block
from minigrad.runs.format import BLOCK, FOLDERS, file_of
from minigrad.runs.mapped_files import MappedFiles


@final
class FileBlock(Block):
    """A block whose keyframe and rows lie in files.

    Args:
        files: The directory's arrays.
        row: Its row of blocks.npy.
        kinds: The kinds of tensors that the run keeps of a step.
        dtype: Their dtype.
        size: The number of entries in a row.

    Attributes:
        number: The block's number.
        row: Its row of blocks.npy.
    """

    def __init__(
        self, files: MappedFiles, row: Any, kinds: tuple[str, ...], dtype: np.dtype[Any], size: int
    ) -> None:
        self.number: int = int(row["number"])
        self.row: Any = row
        self._files = files
        self._own = _Rows(files, self.number, kinds if row["has_rows"] else (), dtype, size)
        super().__init__(
            int(row["first"]),
            partial(keyframe_of, files, self.number, dtype, size) if row["has_keyframe"] else None,
            self._own.steps,
            rows=self._own,
            foreign=bool(row["foreign"]),
        )
        self.where: str = ", ".join(
            f"'{files.directory / file_of(FOLDERS[kind], self.number)}'" for kind in self._own
        )

    @override
    def without_rows(self) -> FileBlock:
        """The keyframe alone."""
        row = self.row.copy()
        row["has_rows"] = False
        return FileBlock(self._files, row, (), self._own.dtype, self._own.size)


@final
class _Rows(Mapping[str, Array]):
    """The rows of a block, by kind; files are opened when their rows are asked for."""

    def __init__(
        self,
        files: MappedFiles,
        number: int,
        kinds: tuple[str, ...],
        dtype: np.dtype[Any],
        size: int,
    ) -> None:
        self._files = files
        self._number = number
        self._kinds = kinds
        self.dtype = dtype
        self.size = size
        self.steps: MutableSequence[int] = array("q")  # those of the block

    @override
    def __getitem__(self, kind: str) -> Array:
        if kind not in self._kinds:
            raise UnknownNameError(f"this block has no {kind} rows")
        return self._files.rows(
            file_of(FOLDERS[kind], self._number), self.dtype, (len(self.steps), self.size)
        )

    @override
    def __contains__(self, kind: object) -> bool:
        return kind in self._kinds  # without opening a file

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    @override
    def __len__(self) -> int:
        return len(self._kinds)


def keyframe_of(files: MappedFiles, number: int, dtype: np.dtype[Any], size: int) -> Array:
    """The keyframe of a block.

    Raises:
        RunError: Its file is missing or damaged.
    """
    values: Array = files.rows(file_of("keyframes", number), dtype, (1, size))[0]
    return values


def table_of(blocks: Sequence[Block]) -> npt.NDArray[Any]:
    """Blocks as rows of blocks.npy."""
    return np.array([block.row for block in blocks if isinstance(block, FileBlock)], BLOCK)
