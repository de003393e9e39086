"""`norms_of`: how large updates are, by themselves and relative to the values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array
from minigrad.parameters.vector import Slot
from minigrad.runs.record import Record

Floats = npt.NDArray[np.float64]

_ENTRIES = 2**20  # that are looked at together


class Norms(NamedTuple):
    """Of one parameter, over the updates that the record holds.

    Attributes:
        updates: The Euclidean norm of each update; NaN where its row is damaged.
        ratios: The same over the norm of the value after it; NaN where that is 0 or not known.
    """

    updates: Floats
    ratios: Floats


def norms_of(record: Record, slots: Mapping[str, Slot]) -> dict[str, Norms]:
    """The norms of the updates of some parameters.

    Their values are replayed once for all of them, many steps at a time.

    Args:
        record: The record.
        slots: Where the parameters lie in its rows.
    """
    parts: dict[str, list[tuple[Floats, Floats]]] = {name: [] for name in slots}
    first = min((slot.slice.start for slot in slots.values()), default=0)
    columns = slice(first, max((slot.slice.stop for slot in slots.values()), default=0))
    many = max(1, _ENTRIES // max(1, columns.stop - first))
    with np.errstate(all="ignore"):  # of NaN and infinity the norms are NaN and infinity
        for block, rows in record.rows("update"):
            value = None if block.keyframe is None else block.keyframe[columns]
            for start in range(0, len(rows), many):
                updates = rows[start : start + many, columns]
                sound = block.sound(range(start, start + len(updates)))
                if not sound.all():
                    updates = np.where(sound[:, np.newaxis], updates, np.nan)
                if "value" in block.rows:
                    after = block.rows["value"][start : start + many, columns]
                    after = np.where(sound[:, np.newaxis], after, np.nan)
                elif value is not None:
                    after = np.add.accumulate(np.concatenate([value[np.newaxis], updates]), axis=0)[
                        1:
                    ]
                    value = after[-1].copy()
                    after[max(0, block.replayable - start) :] = np.nan
                else:
                    after = np.full(updates.shape, np.nan)
                for name, slot in slots.items():
                    own = slice(slot.slice.start - first, slot.slice.stop - first)
                    parts[name].append((_norm(updates[:, own]), _norm(after[:, own])))
    return {name: _joined(own) for name, own in parts.items()}


def _norm(rows: Array) -> Floats:
    exact = rows.astype(np.float64)
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", exact, exact)))


def _joined(parts: list[tuple[Floats, Floats]]) -> Norms:
    updates, values = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0))
    return Norms(
        updates, np.divide(updates, values, out=np.full(len(updates), np.nan), where=values > 0)
    )
