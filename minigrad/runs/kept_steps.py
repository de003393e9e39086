"""`KeptStep` and `KeptSteps`: what is kept of one step and of all of them, besides the tensors."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, final, overload

import numpy.typing as npt

from minigrad._types import override
from minigrad.arrays import Array, Integers, Mask

T_co = TypeVar("T_co", covariant=True)


class KeptStep(NamedTuple):
    """What is kept of one step, whatever becomes of its tensors.

    Attributes:
        step: Its number.
        lr: The learning rate.
        loss: The loss; NaN where unknown, or where it was NaN (`is_nan_loss` tells which).
        clip_factor: What the gradients were multiplied by.
        indices: The rows of the data in its batch, int32, where known.
        buffers: The layers' buffers (such as running statistics) after the step, by name.
    """

    step: int
    lr: float
    loss: float
    clip_factor: float
    indices: Integers | None
    buffers: Mapping[str, npt.NDArray[Any]]


class KeptSteps(NamedTuple):
    """What is kept of all steps: each field of `KeptStep`, over the steps.

    Attributes:
        steps: The steps' numbers.
        lr: The learning rates.
        loss: The losses; NaN where unknown, or where it was NaN (`is_nan_loss` tells which).
        clip_factor: What the gradients were multiplied by.
        indices: The rows of the data in each batch, where known.
        buffers: The layers' buffers after each step, by name.
    """

    steps: Integers
    lr: Array
    loss: Array
    clip_factor: Array
    indices: Sequence[Integers | None]
    buffers: Sequence[Mapping[str, npt.NDArray[Any]]]


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
class Batches(PerStep["Integers | None"]):
    """The rows of the data in each step's batch, kept in one flat array; None where unknown.

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


class Stretch(NamedTuple):
    """The buffers of consecutive steps in which none changes its shape or dtype.

    Attributes:
        first: The position of the first of these steps.
        rows: Each buffer by name, a row for each step.
    """

    first: int
    rows: Mapping[str, npt.NDArray[Any]]


@final
class Buffers(PerStep[Mapping[str, npt.NDArray[Any]]]):
    """The layers' buffers after each step, by name, read-only.

    Args:
        stretches: The stretches in order; the first begins at 0.
        count: The number of steps.
    """

    def __init__(self, stretches: Sequence[Stretch], count: int) -> None:
        self._stretches = stretches
        self._count = count

    @override
    def __len__(self) -> int:
        return self._count

    @override
    def _at(self, place: int) -> Mapping[str, npt.NDArray[Any]]:
        number = bisect_right(self._stretches, place, key=lambda stretch: stretch.first) - 1
        first, rows = self._stretches[number]
        return {name: array[place - first] for name, array in rows.items()}
