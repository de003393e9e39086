"""`Block` and the other things that a record is made of."""

from __future__ import annotations

import math
import struct
from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from typing import Any, NamedTuple, TypeVar, final, overload

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array, Integers, Mask

T_co = TypeVar("T_co", covariant=True)

_NAN_LOSS = 0x7FF8_0000_4C4F_5353  # the bits of a NaN that no calculation gives


def kept_loss(loss: float | None) -> float:
    """A loss as it is kept: NaN where it is not known, and where it was NaN itself, another NaN."""
    if loss is None:
        return math.nan
    kept: float = struct.unpack("<d", struct.pack("<Q", _NAN_LOSS))[0]
    return kept if math.isnan(loss) else loss


def is_nan_loss(losses: Array) -> Mask:
    """Which of the losses that are kept were NaN; those that are not known are not among them."""
    return np.asarray(np.ascontiguousarray(losses, np.float64).view(np.uint64) == _NAN_LOSS)


class Gap(NamedTuple):
    """Steps whose tensors the record does not hold.

    Attributes:
        first: The first of them.
        last: The last of them.
        why: What happened.
    """

    first: int
    last: int
    why: str


def joined(gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps in order, neighbours with the same reason made one."""
    found: list[Gap] = []
    for gap in sorted(gaps):
        if found and found[-1].why == gap.why and gap.first <= found[-1].last + 1:
            found[-1] = Gap(found[-1].first, max(gap.last, found[-1].last), gap.why)
        else:
            found.append(gap)
    return found


class Estimate(NamedTuple):
    """What a record will take.

    Attributes:
        bytes_per_step: Bytes for each step whose tensors are kept.
        bytes: Bytes in all, if nothing is given up.
        full_at: The step at which the budget is reached; None if it is not.
    """

    bytes_per_step: int
    bytes: int
    full_at: int | None


class Block:
    """A keyframe, and rows of tensors of the steps after it.

    Args:
        first: The step that comes first after the keyframe.
        keyframe: All values before that step, or what reads them from a file; None where each row
            comes with its value.
        steps: The steps whose rows are here.
        rows: For each kind of tensor, "update", "grad" or "value", one row a step.
        count: How many rows are filled.
        replayable: How many of them, from the first, lead from one value to the next.
        foreign: Whether somebody else wrote into the values before it, so that its keyframe is not
            what the step before it left.
        capacity: How many rows there is room for.
        sums: The CRC-32 of each row as it was written, where known.

    Attributes:
        lent: Whether a run reads these rows, so that their memory must stay as it is.
    """

    def __init__(
        self,
        first: int,
        keyframe: Array | Callable[[], Array] | None,
        steps: MutableSequence[int] | None = None,
        rows: Mapping[str, Array] | None = None,
        count: int = 0,
        replayable: int = 0,
        foreign: bool = False,
        capacity: int = 0,
        sums: Integers | None = None,
    ) -> None:
        self.first: int = first
        self._keyframe = keyframe
        self.steps: MutableSequence[int] = array("q") if steps is None else steps
        self.rows: Mapping[str, Array] = {} if rows is None else rows
        self.count: int = count
        self.replayable: int = replayable
        self.foreign: bool = foreign
        self.capacity: int = capacity
        self.sums: Integers | None = sums
        self.lent: bool = False

    @property
    def has_keyframe(self) -> bool:
        """Whether there is a keyframe."""
        return self._keyframe is not None

    @property
    def keyframe(self) -> Array | None:
        """All values before the first step; None where each row comes with its value."""
        return self._keyframe() if callable(self._keyframe) else self._keyframe

    @property
    def value_after(self) -> int | None:
        """The step whose values the keyframe holds, if any."""
        return None if self._keyframe is None or self.foreign else self.first - 1

    def counted(self, step: int) -> None:
        """Note that the row of this step is filled."""
        if (
            self.replayable == self.count
            and step == self.first + self.count
            and "update" in self.rows
        ):
            self.replayable += 1
        self.steps.append(step)
        self.count += 1

    @classmethod
    def of_row(cls, step: int, rows: Mapping[str, Array]) -> Block:
        """A block of one step, without a keyframe."""
        return cls(step, None, [step], {kind: row[np.newaxis] for kind, row in rows.items()}, 1)

    def without_rows(self) -> Block:
        """The keyframe alone."""
        return Block(self.first, self._keyframe, foreign=self.foreign)

    def frozen(self) -> Block:
        """What is here now; later rows are not in it."""
        self.lent = True
        rows = {kind: rows[: self.count] for kind, rows in self.rows.items()}
        for view in rows.values():
            view.flags.writeable = False
        return Block(
            self.first,
            self._keyframe,
            self.steps[:],
            rows,
            self.count,
            self.replayable,
            self.foreign,
        )


class PerStep(Sequence[T_co]):
    """Something of each step, by the step's position; a slice gives a list."""

    @abstractmethod
    def _at(self, place: int) -> T_co:
        """What belongs to the step at this position, counted from 0."""

    @overload
    def __getitem__(self, index: int) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T_co]: ...
    @final
    @override
    def __getitem__(self, index: int | slice) -> T_co | Sequence[T_co]:
        places = range(len(self))[index]
        return (
            self._at(places) if isinstance(places, int) else [self._at(place) for place in places]
        )


@final
class BatchRows(PerStep["Integers | None"]):
    """The rows of the data in each step's batch, kept as one flat array; None where they are not
    known.

    Args:
        flat: The rows of all batches, one after the other.
        ends: For each step, where its rows end; they begin where those of the step before end.
        known: For each step, whether its rows are known.
    """

    def __init__(self, flat: Integers, ends: Integers, known: Mask) -> None:
        self._flat = flat
        self._ends = ends
        self._known = known

    @override
    def __len__(self) -> int:
        return len(self._ends)

    @override
    def _at(self, place: int) -> Integers | None:
        if not self._known[place]:
            return None
        return self._flat[int(self._ends[place - 1]) if place else 0 : int(self._ends[place])]


class Layout(NamedTuple):
    """How the layers' state that is not learnt lies in bytes, from a step on.

    Attributes:
        first: The position of that step.
        start: Where its bytes begin.
        kinds: (name, dtype, shape) of each array.
    """

    first: int
    start: int
    kinds: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]


@final
class Buffers(PerStep[Mapping[str, npt.NDArray[Any]]]):
    """The layers' state that is not learnt after each step, by name, read-only.

    It is kept as bytes: an array for each would take more.

    Args:
        data: The bytes of all steps, one after the other.
        layouts: How they lie there.
        count: The number of steps.
    """

    def __init__(self, data: bytes, layouts: tuple[Layout, ...], count: int) -> None:
        self._data = data
        self._layouts = layouts
        self._count = count

    @override
    def __len__(self) -> int:
        return self._count

    @override
    def _at(self, place: int) -> Mapping[str, npt.NDArray[Any]]:
        layout = self._layouts[
            bisect_right(self._layouts, place, key=lambda layout: layout.first) - 1
        ]
        sizes = [math.prod(shape) * dtype.itemsize for _, dtype, shape in layout.kinds]
        start, found = layout.start + (place - layout.first) * sum(sizes), {}
        for (name, dtype, shape), size in zip(layout.kinds, sizes, strict=True):
            found[name] = np.ndarray(shape, dtype, self._data, start)
            start += size
        return found


class StepMeta(NamedTuple):
    """What is kept of one step, whatever becomes of its tensors.

    Attributes:
        step: Its number.
        lr: The learning rate.
        loss: The loss; NaN where unknown, or where it was NaN (`is_nan_loss` tells which).
        clip_factor: What the gradients were multiplied by.
        indices: The rows of its batch, int32, where known.
        buffers: The layers' state that is not learnt, by name.
    """

    step: int
    lr: float
    loss: float
    clip_factor: float
    indices: Integers | None
    buffers: Mapping[str, npt.NDArray[Any]]


class Meta(NamedTuple):
    """What is kept of all steps: each field of `StepMeta`, over the steps.

    Attributes:
        steps: The steps' numbers.
        lr: The learning rates.
        loss: The losses; NaN where unknown, or where it was NaN (`is_nan_loss` tells which).
        clip_factor: What the gradients were multiplied by.
        indices: The rows of each batch, where known.
        buffers: The layers' state that is not learnt, by name.
    """

    steps: Integers
    lr: Array
    loss: Array
    clip_factor: Array
    indices: Sequence[Integers | None]
    buffers: Sequence[Mapping[str, npt.NDArray[Any]]]


def replay(block: Block, count: int, part: slice) -> Array:
    """A block's keyframe, and its first `count` updates added one by one: the same sums as in training, so the same bits."""
    keyframe = block.keyframe
    assert keyframe is not None
    values: Array = keyframe[part].copy()
    for row in block.rows["update"][:count] if count else ():
        values += row[part]
    return values
