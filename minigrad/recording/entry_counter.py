"""`EntryCounter`: counts what became of each entry, at every step, without sampling."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.vector import Slot
from minigrad.recording.coactivity import Coactivity
from minigrad.runs.activity import Activity
from minigrad.runs.counts import Counts

_ROWS = 64  # steps that are gathered before they are counted, at most
_ENTRIES = 2**18  # of these steps together; a single step may have more
_WINDOW = 255  # steps that are counted in single bytes, before these are added to the true counts


@final
class EntryCounter:
    """Counts what became of each entry at every step.

    What happened in some steps is gathered, and then counted for all of them at once: in a small
    network, calling NumPy takes longer than what it computes.

    Args:
        slots: Where each recorded parameter lies in the flat arrays.
        dtype: The dtype of the parameters.
        layers: The layers that explain gradients.
    """

    def __init__(
        self, slots: Mapping[str, Slot], dtype: np.dtype[Any], layers: list[Coactivity]
    ) -> None:
        size = sum(slot.slice.stop - slot.slice.start for slot in slots.values())
        self._slots = slots
        self._layers = layers
        self._counts = Counts(
            grads=np.zeros(size, np.int64),
            updates=np.zeros(size, np.int64),
            moves=np.zeros(size, np.int64),
            first_move=np.full(size, -1, np.int64),
            last_move=np.full(size, -1, np.int64),
            movement=np.zeros(size, np.float64),
            frozen=dict.fromkeys(slots, 0),
            unreached=dict.fromkeys(slots, 0),
        )
        self._ever_moved = np.zeros(size, bool)
        # What is gathered, a row for each step.
        rows = max(1, min(_ROWS, _ENTRIES // size))
        self._gathered = 0
        self._grad_masks, self._update_masks, self._moved = (
            np.empty((rows, size), bool) for _ in range(3)
        )
        self._changes = np.empty((rows, size), dtype)
        # What is counted in bytes, which are added up 16 times faster than 64-bit counts.
        self._window: list[int] = []  # the steps
        self._grads, self._updates, self._moves = (np.zeros(size, np.uint8) for _ in range(3))
        self._last_move = np.zeros(size, np.uint8)  # 1 for the first step of the window; 0 for none
        self._movement = np.zeros(size, dtype)

    def look(self, grads: tuple[Array, ...], transforms: str) -> None:
        """Look at the gradients of a step before it is written: afterwards hooks may assign others.

        Args:
            grads: The gradients as backward left them; and those after the transforms, if these may
                have changed which are 0.
            transforms: The names of such transforms.
        """
        grad_mask = self._grad_masks[self._gathered]
        np.not_equal(grads[0], 0, out=grad_mask)
        for others in grads[1:]:
            grad_mask |= others != 0
        for layer in self._layers:
            layer.look(transforms)

    def add(
        self,
        step: int,
        before: Array,
        after: Array,
        update: Array,
        skipped: Mapping[str, str],
        held: Mapping[str, Mask],
    ) -> None:
        """Gather what happened in one step, after `look` at its gradients.

        Args:
            step: Its number.
            before: All values before the step, flat.
            after: All values after it.
            update: What was added.
            skipped: The parameters that got no update, with "frozen" or "no gradient".
            held: For each parameter of which only some entries may move, those that may not, flat.
        """
        row = self._gathered
        grad_mask, moved, change = self._grad_masks[row], self._moved[row], self._changes[row]
        np.not_equal(update, 0, out=self._update_masks[row])
        with np.errstate(all="ignore"):
            np.subtract(after, before, out=change)
            np.not_equal(change, 0, out=moved)
            if not np.isfinite(change.dot(change)):
                _count_non_finite(change, moved, before, after)
        for name, why in skipped.items():
            if name in self._slots:
                grad_mask[self._slots[name].slice] = False
                per_name = self._counts.frozen if why == "frozen" else self._counts.unreached
                per_name[name] += 1
        for name, entries in held.items():
            grad_mask[self._slots[name].slice][entries] = False
            counts = self._counts.frozen_entries.setdefault(name, np.zeros(entries.size, np.int64))
            counts += entries
        for layer in self._layers:
            layer.add(skipped, grad_mask)
        self._counts.steps += 1
        self._window.append(step)
        self._gathered += 1
        if self._gathered == len(self._changes):
            self._count()
        if len(self._window) == _WINDOW:
            self._flush()

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward is done: look at what the gradients are made of."""
        for layer in self._layers:
            layer.arrived(latest, adds)

    def _count(self) -> None:
        """Count what is gathered."""
        rows, self._gathered = self._gathered, 0
        if rows == 0:
            return
        moved, changes = self._moved[:rows], self._changes[:rows]
        self._grads += _sum(self._grad_masks[:rows].view(np.uint8))
        self._updates += _sum(self._update_masks[:rows].view(np.uint8))
        moves = _sum(moved.view(np.uint8))
        self._moves += moves
        with np.errstate(over="ignore"):
            self._movement += _sum(np.abs(changes, out=changes))
        new = np.greater(moves != 0, self._ever_moved)
        if new.any():
            first = moved[:, new].argmax(axis=0)
            self._counts.first_move[new] = np.array(self._window[-rows:])[first]
            self._ever_moved |= new
        places = np.arange(len(self._window) - rows + 1, len(self._window) + 1, dtype=np.uint8)
        last = np.multiply(moved.view(np.uint8), places[:, np.newaxis], out=moved.view(np.uint8))
        np.maximum(self._last_move, last[0] if rows == 1 else last.max(axis=0), out=self._last_move)

    def _flush(self) -> None:
        """Add the window's bytes to the true counts."""
        self._count()
        counts = self._counts
        for total, window in (
            (counts.grads, self._grads),
            (counts.updates, self._updates),
            (counts.moves, self._moves),
            (counts.movement, self._movement),
        ):
            total += window
            window.fill(0)
        steps = np.array([-1, *self._window], np.int64)
        np.maximum(counts.last_move, steps[self._last_move], out=counts.last_move)
        self._last_move.fill(0)
        self._window.clear()

    def counts(self) -> Counts:
        """All counts up to here, as copies."""
        self._flush()
        activity: dict[str, Activity] = {}
        unexplained: dict[str, str] = {}
        for layer in self._layers:
            activity |= layer.activity()
            unexplained |= layer.unexplained
        for name in [name for name, active in activity.items() if not self._agrees(name, active)]:
            del activity[name]
            unexplained[name] = "its layer's explanation does not fit its gradients"
        return replace(deepcopy(self._counts), activity=activity, unexplained=unexplained)

    def _agrees(self, name: str, active: Activity) -> bool:
        """Whether no entry had a gradient though its input, or its unit, was 0 in every sample."""
        part, shape = self._slots[name]
        had = self._counts.grads[part].reshape(shape) > 0
        silent = active.units == 0
        if active.inputs is None:
            return not had.ravel()[silent].any()
        impossible = (active.inputs == 0)[:, np.newaxis] | silent
        return not (had & active.laid_out(impossible, shape)).any()

    def drop_after(self, step: int) -> None:
        """TEMPORARY."""

    def lose(self, count: int) -> None:
        """TEMPORARY."""
        self._counts.uncounted += count

    def go_on_with(self, counts: Counts, lost: int = 0) -> None:
        """Begin with what was counted in an earlier session.

        Args:
            counts: The counts.
            lost: How many more steps that session made.
        """
        for layer in self._layers:
            layer.go_on_with(counts.activity, counts.unexplained)
        self._counts = deepcopy(counts)
        self._counts.uncounted += lost
        self._ever_moved = self._counts.moves > 0


def _sum(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The rows added up, in their own dtype."""
    total: npt.NDArray[Any] = (
        rows[0] if len(rows) == 1 else np.add.reduce(rows, axis=0, dtype=rows.dtype)
    )
    return total


def _count_non_finite(change: Array, moved: Mask, before: Array, after: Array) -> None:
    """Mend what was gathered where values are NaN or infinite.

    NaN equals NaN: it did not move. A change to or from NaN or infinity has no length to add.
    """
    np.not_equal(before, after, out=moved)
    moved &= ~(np.isnan(before) & np.isnan(after))
    change[~np.isfinite(change)] = 0
