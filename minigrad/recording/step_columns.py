"""`StepColumns`: what is kept of every step besides its tensors, in columns that grow in memory."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad.recording.column import Column
from minigrad.runs.kept_steps import Batches, Buffers, KeptStep, KeptSteps, Stretch

FACTS: np.dtype[Any] = np.dtype(
    [
        ("step", "<i8"),
        ("lr", "<f8"),
        ("loss", "<f8"),
        ("clip_factor", "<f8"),
        ("has_indices", "?"),
        ("indices_end", "<i8"),
    ]
)
"""What every step has: those fields of a row of steps.npy that say nothing of its tensors."""

_PACK = struct.Struct("<qddd?q").pack  # a row of FACTS, five times as fast as by NumPy


class _Kept(NamedTuple):
    """How much is kept: what lies beyond was cut off by an interrupt, and is overwritten.

    Attributes:
        steps: Of how many steps.
        indices_end: How many row indices, with those before.
    """

    steps: int
    indices_end: int


class _Stretch(NamedTuple):
    """Columns for the buffers of consecutive steps in which none changes its shape or dtype."""

    first: int
    layout: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...]
    columns: dict[str, Column]


@final
class StepColumns:
    """Keeps steps: one column of facts, one of row indices, and one for each buffer.

    A step is kept as a whole or not at all, wherever an interrupt cuts it off.

    Args:
        indices_end: How many row indices were kept before.
    """

    def __init__(self, indices_end: int = 0) -> None:
        self._start = indices_end
        self._kept = _Kept(0, indices_end)
        self._facts = Column(FACTS)
        self._indices = Column(np.dtype(np.int32))
        self._buffers: list[_Stretch] = []

    def __len__(self) -> int:
        return self._kept.steps

    @property
    def indices_end(self) -> int:
        """How many row indices have been kept."""
        return self._kept.indices_end

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        buffers = (column for stretch in self._buffers for column in stretch.columns.values())
        return sum(column.nbytes for column in (self._facts, self._indices, *buffers))

    def keep(self, kept: KeptStep) -> None:
        """Keep one more step."""
        step, lr, loss, clip_factor, indices, buffers = kept
        count, end = self._kept
        if indices is not None:
            self._indices.write(end - self._start, indices.tobytes())
            end += len(indices)
        layout = tuple((name, buffer.dtype, buffer.shape) for name, buffer in buffers.items())
        if not self._buffers or layout != self._buffers[-1].layout:
            columns = {name: Column(dtype, shape) for name, dtype, shape in layout}
            self._buffers.append(_Stretch(count, layout, columns))
        first, _, columns = self._buffers[-1]
        for column, buffer in zip(columns.values(), buffers.values(), strict=True):
            column.write(count - first, buffer.tobytes())
        self._facts.write(count, _PACK(step, lr, loss, clip_factor, indices is not None, end))
        self._kept = _Kept(count + 1, end)

    def drop_after(self, step: int) -> None:
        """Forget what is kept of later steps than this one: of the last, if at all."""
        facts = self.facts()[-2:]
        if len(facts) and facts["step"][-1] > step:
            end = int(facts["indices_end"][0]) if len(facts) > 1 else self._start
            self._kept = _Kept(self._kept.steps - 1, end)

    def facts(self) -> npt.NDArray[Any]:
        """A row of `FACTS` for each step."""
        return self._facts.rows(self._kept.steps)

    def indices(self) -> npt.NDArray[np.int32]:
        """The row indices of all batches, one after the other."""
        return self._indices.rows(self._kept.indices_end - self._start)

    def buffers(self) -> list[Stretch]:
        """The buffers after each step."""
        count = self._kept.steps
        begun = [stretch for stretch in self._buffers if stretch.first <= count]
        bounds = [*(stretch.first for stretch in begun), count]
        return [
            Stretch(
                stretch.first,
                {
                    name: column.rows(end - stretch.first)
                    for name, column in stretch.columns.items()
                },
            )
            for stretch, end in zip(begun, bounds[1:], strict=True)
        ]

    def steps(self) -> KeptSteps:
        """All that is kept, as copies."""
        facts = self.facts()
        columns = {name: facts[name].copy() for name in FACTS.names or ()}
        return KeptSteps(
            steps=columns["step"],
            lr=columns["lr"],
            loss=columns["loss"],
            clip_factor=columns["clip_factor"],
            indices=Batches(
                self.indices().copy(), columns["indices_end"] - self._start, columns["has_indices"]
            ),
            buffers=Buffers(self.buffers(), len(self)),
        )
