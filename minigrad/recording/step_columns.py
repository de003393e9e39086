"""`StepColumns`: what is kept of every step besides its tensors, in columns that grow in memory."""

from __future__ import annotations

import struct
from typing import Any, final

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


@final
class StepColumns:
    """Keeps steps: one column of facts, one of row indices, and one for each buffer.

    Args:
        indices_end: How many row indices were kept before.

    Attributes:
        indices_end: How many row indices have been kept.
    """

    def __init__(self, indices_end: int = 0) -> None:
        self._count = 0
        self._start = indices_end
        self.indices_end: int = indices_end
        self._facts = Column(FACTS)
        self._indices = Column(np.dtype(np.int32))
        # Where a buffer changes its shape or dtype, new columns begin.
        self._buffers: list[tuple[int, dict[str, Column]]] = []
        self._layout: tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...] | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        buffers = (column for _, columns in self._buffers for column in columns.values())
        return sum(column.nbytes for column in (self._facts, self._indices, *buffers))

    def keep(self, kept: KeptStep) -> None:
        """Keep one more step."""
        step, lr, loss, clip_factor, indices, buffers = kept
        if indices is not None:
            self._indices.append(indices.tobytes())
            self.indices_end += len(indices)
        layout = tuple((name, buffer.dtype, buffer.shape) for name, buffer in buffers.items())
        if layout != self._layout:
            self._layout = layout
            columns = {name: Column(dtype, shape) for name, dtype, shape in layout}
            self._buffers.append((self._count, columns))
        for column, buffer in zip(self._buffers[-1][1].values(), buffers.values(), strict=True):
            column.append(buffer.tobytes())
        self._facts.append(
            _PACK(step, lr, loss, clip_factor, indices is not None, self.indices_end)
        )
        self._count += 1

    def facts(self) -> npt.NDArray[Any]:
        """A row of `FACTS` for each step."""
        return self._facts.rows(self._count)

    def indices(self) -> npt.NDArray[np.int32]:
        """The row indices of all batches, one after the other."""
        return self._indices.rows(self.indices_end - self._start)

    def buffers(self) -> list[Stretch]:
        """The buffers after each step."""
        bounds = [*(first for first, _ in self._buffers), self._count]
        return [
            Stretch(first, {name: column.rows(end - first) for name, column in columns.items()})
            for (first, columns), end in zip(self._buffers, bounds[1:], strict=True)
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
            buffers=Buffers(self.buffers(), self._count),
        )
