"""Norms of updates and values over the steps."""

from __future__ import annotations

import numpy as np

from minigrad.arrays import Array
from minigrad.recording.html.charts import Floats
from minigrad.recording.record import Record

_ENTRIES = 2**20  # that are looked at together


def norms_of(record: Record) -> dict[str, tuple[Floats, Floats]]:
    """For each parameter the Euclidean norms of its updates and of its values after them, over the updates held.

    The values are replayed once for all parameters, many steps at a time; NaN where they are not known.
    """
    found: dict[str, tuple[list[Floats], list[Floats]]] = {name: ([], []) for name in record.slots}
    many = max(1, _ENTRIES // max(1, len(record.final)))
    for block, rows in record.rows("update"):
        value = block.keyframe
        for start in range(0, len(rows), many):
            part = rows[start : start + many]
            if "value" in block.rows:
                after = block.rows["value"][start : start + many]
            elif value is not None:
                after = np.add.accumulate(np.concatenate([value[np.newaxis], part]), axis=0)[1:]
                value = after[-1].copy()
                after[max(0, block.replayable - start) :] = np.nan
            else:
                after = np.full(part.shape, np.nan)
            for name, slot in record.slots.items():
                for norms, array in zip(found[name], (part, after), strict=True):
                    norms.append(_norm(array[:, slot.slice]))
    return {name: (_joined(updates), _joined(values)) for name, (updates, values) in found.items()}


def _norm(rows: Array) -> Floats:
    exact = rows.astype(np.float64)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", exact, exact)))


def _joined(parts: list[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.zeros(0)
