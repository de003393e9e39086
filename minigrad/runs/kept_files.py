"""`FileBatches` and `FileBuffers`: what is kept of each step in indices.npy and in buffers/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Integers
from minigrad.display.words import counted
from minigrad.errors import RunError
from minigrad.runs.format import checksum, file_of
from minigrad.runs.kept_steps import PerStep
from minigrad.runs.mapped_files import MappedFiles
from minigrad.runs.step_table import StepTable

_INDICES = "indices.npy"
_INT32 = np.dtype(np.int32)


class _There(NamedTuple):
    """How many rows of a file can be read, and what is wrong with it where these are too few."""

    rows: int
    problem: str


def _there(files: MappedFiles, file: str, dtype: Any, shape: tuple[int, ...], need: int) -> _There:
    """The rows of a file, of which so many are needed."""
    try:
        there = files.available(file, dtype, shape) if need else 0
    except RunError as error:
        return _There(0, str(error))
    problem = f"'{files.directory / file}' is damaged: it holds {there:,} of {counted(need, 'row')}"
    return _There(min(there, need), problem if there < need else "")


class _Checked:
    """What a step's files must have been when they were written."""

    def __init__(self, files: MappedFiles, table: StepTable, salt: int) -> None:
        self._files = files
        self._steps: Integers = table.rows["step"]
        self._checked = table.checked
        self._salt = salt

    def _check(
        self, arrays: Sequence[npt.NDArray[Any]], sum_: int, names: Sequence[str], place: int
    ) -> None:
        if self._checked and checksum(arrays, self._salt) != int(sum_):
            self._refuse(
                f"{', '.join(repr(str(self._files.directory / name)) for name in names)} is "
                f"damaged: what it holds of step {self._steps[place]} is not what was written (its "
                f"checksum differs)"
            )

    def _refuse(self, problem: str) -> NoReturn:
        raise RunError(
            f"{problem}; other steps can still be read, and run.verify() lists those that cannot"
        )


@final
class FileBatches(_Checked, PerStep["Integers | None"]):
    """The rows of the data in each step's batch; None where they were not recorded.

    Each batch is checked when it is read.

    Args:
        files: The directory's arrays.
        table: The rows of steps.npy.
        salt: What the run's checksums begin with.
    """

    def __init__(self, files: MappedFiles, table: StepTable, salt: int) -> None:
        super().__init__(files, table, salt)
        self._ends: Integers = table.rows["indices_end"]
        self._known = table.rows["has_indices"]
        self._sums = table.rows["indices_crc32"]
        need = int(self._ends[-1]) if len(self._ends) else 0
        self._there = _there(files, _INDICES, _INT32, (), need)

    @property
    def problem(self) -> str:
        """Which batches cannot be read, and why, in words; empty if all can."""
        lost = self._steps[self._known & (self._ends > self._there.rows)]
        if not self._there.problem or not len(lost):
            return ""
        return (
            f"the rows of the batches are not known{_of(lost, self._steps)}: {self._there.problem}"
        )

    @override
    def __len__(self) -> int:
        return len(self._ends)

    @override
    def _at(self, place: int) -> Integers | None:
        """A copy of the rows of a batch.

        Raises:
            RunError: They are not what was written.
        """
        if not self._known[place]:
            return None
        start, end = int(self._ends[place - 1]) if place else 0, int(self._ends[place])
        if end > self._there.rows:
            self._refuse(f"the batch of step {self._steps[place]} is lost: {self._there.problem}")
        flat = self._files.rows(_INDICES, _INT32, (self._there.rows,))
        indices: Integers = np.array(flat[start:end])
        self._check([indices], self._sums[place], [_INDICES], place)
        return indices


@final
class FileBuffers(_Checked, PerStep[Mapping[str, npt.NDArray[Any]]]):
    """The layers' buffers after each step, by name. They are checked when they are read.

    Args:
        files: The directory's arrays.
        table: The rows of steps.npy.
        salt: What the run's checksums begin with.
        described: Name, dtype and shape of each buffer, as run.json has them.
    """

    def __init__(
        self,
        files: MappedFiles,
        table: StepTable,
        salt: int,
        described: Sequence[Mapping[str, Any]],
    ) -> None:
        super().__init__(files, table, salt)
        self._sums = table.rows["buffers_crc32"]
        self._buffers = [
            (one["name"], file_of("buffers", number), np.dtype(one["dtype"]), tuple(one["shape"]))
            for number, one in enumerate(described)
        ]
        self._there = [
            _there(files, file, dtype, shape, len(self)) for _, file, dtype, shape in self._buffers
        ]

    @property
    def problems(self) -> list[str]:
        """Which buffers cannot be read, of which steps, and why, in words."""
        return [
            f"{name} is not known{_of(self._steps[count:], self._steps)}: {problem}"
            for (name, *_), (count, problem) in zip(self._buffers, self._there, strict=True)
            if problem
        ]

    @override
    def __len__(self) -> int:
        return len(self._steps)

    @override
    def _at(self, place: int) -> Mapping[str, npt.NDArray[Any]]:
        """Copies of all buffers after a step.

        Raises:
            RunError: They are not what was written.
        """
        found: dict[str, npt.NDArray[Any]] = {}
        for (name, file, dtype, shape), (count, problem) in zip(
            self._buffers, self._there, strict=True
        ):
            if place >= count:
                self._refuse(f"'{name}' after step {self._steps[place]} is lost: {problem}")
            found[name] = np.array(self._files.rows(file, dtype, (count, *shape))[place])
        names = [file for _, file, _, _ in self._buffers]
        self._check(list(found.values()), self._sums[place], names, place)
        return found


def _of(lost: Integers, steps: Integers) -> str:
    """Of which steps something is lost, where it is not of all."""
    if len(lost) == len(steps):
        return ""
    return f" of {counted(len(lost), 'step')}, {lost[0]} to {lost[-1]}"
