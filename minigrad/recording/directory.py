"""Reading a run from its directory: NumPy only, also while the writer runs, and after it died."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from minigrad.arrays import Array, Integers
from minigrad.errors import RunError, UnknownName
from minigrad.pictures import counted
from minigrad.recording.aggregates import Tally
from minigrad.recording.blocks import BatchRows, Block, Gap, Meta, joined, replay
from minigrad.recording.format import BLOCK, FOLDERS, STEP, file_of, read_json, slots_of, unpacked
from minigrad.recording.record import Record

_OPEN = 32  # how many files are open at a time; a process may have about a thousand


@final
class Files:
    """The arrays of a directory, mapped into memory when they are needed.

    Args:
        directory: Where the run is.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: OrderedDict[tuple[str, int], npt.NDArray[Any]] = OrderedDict()

    def rows(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """The first rows of a file, read-only.

        Args:
            file: Its name in the directory.
            dtype: The dtype that it must have.
            shape: (rows, ...): how many rows, and their shape.

        Raises:
            RunError: The file is missing, damaged, or holds something else.
        """
        key = file, shape[0]
        if key not in self._open:
            self._open[key] = self._map(file, dtype, shape)
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(key)
        return self._open[key]

    def _map(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        if 0 in shape:
            return np.empty(shape, dtype)
        path = self.directory / file
        problem = self.problem(file, dtype, shape)
        if problem:
            raise RunError(f"'{path}' {problem}")
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)[: shape[0]]
        array: npt.NDArray[Any] = np.asarray(mapped)
        return array

    def problem(self, file: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> str:
        """What is wrong with a file, in words; empty if its header and its size are right."""
        path = self.directory / file
        try:
            with path.open("rb") as opened:
                version = np.lib.format.read_magic(opened)
                if version != (1, 0):
                    return f"is damaged: its header has version {version}"
                has, fortran, kind = np.lib.format.read_array_header_1_0(opened)
                start = opened.tell()
        except FileNotFoundError:
            return "is missing; if the run is still being written, open it again"
        except (OSError, ValueError) as error:
            return f"is damaged: {error}"
        if fortran or kind != dtype.newbyteorder("<") or has[1:] != shape[1:]:
            return f"is damaged: it holds {kind} of shape {has}, expected {dtype} of shape {shape}"
        size = path.stat().st_size
        if has[0] < shape[0] or size < start + shape[0] * int(np.prod(shape[1:])) * dtype.itemsize:
            return f"is damaged: it holds less than the {counted(shape[0], 'row')} that the run says"
        return ""

    def length(self, file: str) -> int:
        """How many rows a file's header tells of."""
        try:
            with (self.directory / file).open("rb") as opened:
                np.lib.format.read_magic(opened)
                return int(np.lib.format.read_array_header_1_0(opened)[0][0])
        except (OSError, ValueError, IndexError) as error:
            raise RunError(f"'{self.directory / file}' is damaged or missing: {error}") from error


@final
class _Rows(Mapping[str, Array]):
    """The rows of a block, by kind."""

    def __init__(self, files: Files, number: int, kinds: tuple[str, ...], dtype: np.dtype[Any], size: int) -> None:
        self._files = files
        self._number = number
        self._kinds = kinds
        self._dtype = dtype
        self._size = size
        self.count = 0

    @override
    def __getitem__(self, kind: str) -> Array:
        if kind not in self._kinds:
            raise UnknownName(f"this block has no {kind} rows")
        return self._files.rows(file_of(FOLDERS[kind], self._number), self._dtype, (self.count, self._size))

    @override
    def __contains__(self, kind: object) -> bool:
        return kind in self._kinds  # without opening a file

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    @override
    def __len__(self) -> int:
        return len(self._kinds)


@final
class FileBlock(Block):
    """A block whose keyframe and rows lie in files.

    Args:
        files: The directory's arrays.
        number: The block's number.
        row: Its row of blocks.npy.
        kinds: The kinds of tensors whose rows it has.
        dtype: Their dtype.
        size: The number of entries in a row.
    """

    def __init__(
        self, files: Files, number: int, row: Any, kinds: tuple[str, ...], dtype: np.dtype[Any], size: int
    ) -> None:
        self.number: int = number
        self._own = _Rows(files, number, kinds if row["has_rows"] else (), dtype, size)
        super().__init__(
            int(row["first"]),
            partial(_keyframe, files, number, dtype, size) if row["has_keyframe"] else None,
            rows=self._own,
            foreign=bool(row["foreign"]),
        )

    @override
    def counted(self, step: int) -> None:
        """Note that the row of this step is filled."""
        super().counted(step)
        self._own.count = self.count

    @override
    def without_rows(self) -> FileBlock:
        """The keyframe alone."""
        block = FileBlock.__new__(FileBlock)
        Block.__init__(block, self.first, self._keyframe, foreign=self.foreign)
        block.number = self.number
        return block


def described(blocks: Sequence[Block]) -> npt.NDArray[Any]:
    """Blocks as rows of blocks.npy."""
    rows = [
        (block.number, block.first, block.has_keyframe, bool(block.rows), block.foreign)
        for block in blocks
        if isinstance(block, FileBlock)
    ]
    return np.array(rows, BLOCK)


def _keyframe(files: Files, number: int, dtype: np.dtype[Any], size: int) -> Array:
    values: Array = files.rows(file_of("keyframes", number), dtype, (1, size))[0]
    return values


@final
class _Buffers(Sequence[Mapping[str, npt.NDArray[Any]]]):
    """The layers' state that is not learnt after each step, by name."""

    def __init__(self, arrays: dict[str, npt.NDArray[Any]], count: int) -> None:
        self._arrays = arrays
        self._count = count

    @override
    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Mapping[str, npt.NDArray[Any]]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Mapping[str, npt.NDArray[Any]]]: ...
    @override
    def __getitem__(
        self, index: int | slice
    ) -> Mapping[str, npt.NDArray[Any]] | Sequence[Mapping[str, npt.NDArray[Any]]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return {name: rows[index] for name, rows in self._arrays.items()}


def read_record(directory: Path) -> Record:
    """The record in a directory, as far as it is whole.

    Raises:
        RunError: There is no run, it is damaged beyond reading, or of a later version.
    """
    told = read_json(directory)
    try:
        return _read(directory, told)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"'{directory / 'run.json'}' is damaged: {type(error).__name__}: {error}") from error


def _read(directory: Path, told: dict[str, Any]) -> Record:
    files, slots, dtype = Files(directory), slots_of(told), np.dtype(told["dtype"])
    size = max((slot.slice.stop for slot in slots.values()), default=0)
    # The writer tells of steps last, so whatever they refer to is there when it is read after them.
    steps = files.rows("steps.npy", STEP, (files.length("steps.npy"),))
    table = files.rows("blocks.npy", BLOCK, (files.length("blocks.npy"),))
    notes, gaps = list(told["notes"]), [Gap(*gap) for gap in told["gaps"]]
    initial_step = int(table["first"][0]) if len(table) else 0
    last = int(steps["step"][-1]) if len(steps) else initial_step - 1
    blocks: list[FileBlock] = []
    for row in table[table["first"] <= last + 1]:  # a block may be there before the steps that lead to it are told of
        block = FileBlock(files, int(row["number"]), row, tuple(told["kinds"]), dtype, size)
        blocks.append(block)
        rows = steps[steps["segment"] == block.number] if row["has_rows"] else steps[:0]
        for step in rows["step"].tolist():
            block.counted(step)
        block.sums = rows["crc32"].copy()
    blocks = _whole(files, blocks, gaps, notes, dtype, size)
    if not blocks:
        raise RunError(f"'{directory}' holds no keyframe that can be read")
    initial = files.rows(file_of("keyframes", int(table["number"][0])), dtype, (1, size))[0]
    meta = Meta(
        steps=steps["step"].copy(),
        lr=steps["lr"].copy(),
        loss=steps["loss"].copy(),
        clip_factor=steps["clip_factor"].copy(),
        indices=BatchRows(_flat_indices(files, steps), steps["indices_end"], steps["has_indices"]),
        buffers=_buffers(files, told["buffers"], len(steps)),
    )
    held = max((step for block in blocks for step in block.steps), default=initial_step - 1)
    if told["full"] and held < last:
        gaps.append(Gap(held + 1, last, "the budget was reached"))
    final_step, final_ = _final(blocks, last, initial_step - 1, initial)
    tally, values, counted_to = _counts(directory, notes)
    if tally is not None and values is not None and counted_to == last and final_step != last:
        final_step, final_ = last, values
    if tally is not None and counted_to < last:
        notes.append(f"the writer was cut off: entries are counted up to step {counted_to}, and steps go to {last}")
    return Record(
        slots=slots,
        initial=initial,
        final=final_,
        final_step=final_step,
        blocks=tuple(blocks),
        meta=meta,
        gaps=tuple(joined(gaps)),
        notes=tuple(notes),
        tally=tally,
        counted=final_ if values is None else values,
        complete=bool(told["complete"]),
        bytes=sum(path.stat().st_size for path in directory.rglob("*.np[yz]")),
        optimizer=str(told["optimizer"]),
    )


def _whole(
    files: Files, blocks: list[FileBlock], gaps: list[Gap], notes: list[str], dtype: np.dtype[Any], size: int
) -> list[FileBlock]:
    """The blocks whose files are there and whole; what is not becomes a gap."""
    found: list[FileBlock] = []
    for block in blocks:
        wanted = [(file_of(FOLDERS[kind], block.number), (block.count, size)) for kind in block.rows if block.count]
        if block.has_keyframe:
            wanted.append((file_of("keyframes", block.number), (1, size)))
        problems = [f"{file} {problem}" for file, shape in wanted if (problem := files.problem(file, dtype, shape))]
        if not problems:
            found.append(block)
            continue
        notes.extend(problems)
        if block.count:
            gaps.append(Gap(block.steps[0], block.steps[-1], problems[0]))
    return found


def _flat_indices(files: Files, steps: npt.NDArray[Any]) -> Integers:
    count = int(steps["indices_end"][-1]) if len(steps) else 0
    return files.rows("indices.npy", np.dtype(np.int32), (count,))


def _buffers(files: Files, described: list[dict[str, Any]], count: int) -> _Buffers:
    arrays = {
        buffer["name"]: files.rows(file_of("buffers", number), np.dtype(buffer["dtype"]), (count, *buffer["shape"]))
        for number, buffer in enumerate(described)
    }
    return _Buffers(arrays, count)


def _final(blocks: list[FileBlock], last: int, before: int, initial: Array) -> tuple[int, Array]:
    """The last step whose values are known exactly, and these values."""
    best, values = before, initial
    for block in reversed(blocks):
        if "value" in block.rows and block.count and block.steps[-1] > best:
            best, values = block.steps[-1], block.rows["value"][block.count - 1].copy()
        if block.replayable and block.has_keyframe and block.first + block.replayable - 1 > best:
            best, values = block.first + block.replayable - 1, replay(block, block.replayable, slice(None))
        if block.value_after is not None and block.value_after > best:
            best, values = block.value_after, replay(block, 0, slice(None))
        if best == last:
            break
    return best, values


def _counts(directory: Path, notes: list[str]) -> tuple[Tally | None, Array | None, int]:
    path = directory / "aggregates.npz"
    if not path.is_file():
        return None, None, -1
    try:
        return unpacked(path)
    except Exception as error:  # noqa: BLE001 - a damaged zip file fails in many ways, and each of them says the same
        notes.append(
            f"aggregates.npz is damaged ({type(error).__name__}: {error}), so nothing is known of the entries' counts"
        )
        return None, None, -1
