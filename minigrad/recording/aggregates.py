"""`Aggregates`: what became of each entry, counted at every step and never sampled."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask
from minigrad.layer import Factors, Layer
from minigrad.parameter import Parameter, Slot

Counts = npt.NDArray[np.int64]
_WINDOW = 255  # steps that fit into the bytes in which is counted, before they are added to the true counts


@dataclass
class Activity:
    """How often the inputs and units of one parameter were not 0, over the samples of all batches.

    Attributes:
        inputs: For each input, in how many samples it was not 0; None for a bias, whose input is always 1.
        units: For each unit, in how many samples its gradient was not 0.
        together: For each (input, unit), whether both were ever not 0 in the same sample; None where not collected.
        samples: The number of samples.
    """

    inputs: Counts | None
    units: Counts
    together: Mask | None
    samples: int = 0


@final
@dataclass
class Tally:
    """What is known of each entry after some steps; all arrays are flat, of all parameters.

    Attributes:
        grads: In how many steps the gradient was not 0.
        updates: In how many steps the update was not 0.
        moves: In how many steps the value changed.
        swallowed: In how many steps the update was not 0 and the value did not change.
        first_move: The first step that changed the value; -1 where none did.
        last_move: The last such step; -1 where none did.
        movement: The sum of the magnitudes of all changes; of each 255 steps in the parameter's dtype, these in float64.
        trainable: For each parameter, in how many steps it was not frozen.
        reached: For each parameter, in how many steps it was not frozen and had a new gradient.
        steps: The number of steps.
        activity: For each parameter that its layer explains, how active its inputs and units were.
        unexplained: For each parameter that its layer could not explain at some step, why.
    """

    grads: Counts
    updates: Counts
    moves: Counts
    swallowed: Counts
    first_move: Counts
    last_move: Counts
    movement: npt.NDArray[np.float64]
    trainable: dict[str, int]
    reached: dict[str, int]
    steps: int = 0
    activity: dict[str, Activity] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)


@final
class Aggregates:
    """Counts what became of each entry at every step.

    Args:
        slots: Where each recorded parameter lies in the flat arrays.
        parameters: The recorded parameters by name.
        layers: The layers that explain gradients, each with the full names of its recorded parameters by attribute.
        coactivation: Whether to collect which inputs and units were active in the same sample.
    """

    def __init__(
        self,
        slots: Mapping[str, Slot],
        parameters: Mapping[str, Parameter],
        layers: list[tuple[Layer, dict[str, str]]],
        coactivation: bool,
    ) -> None:
        size = sum(slot.slice.stop - slot.slice.start for slot in slots.values())
        dtype = next(iter(parameters.values())).dtype
        self._slots = slots
        self._parameters = parameters
        self._layers = layers
        self._coactivation = coactivation
        self._tally = Tally(
            grads=np.zeros(size, np.int64),
            updates=np.zeros(size, np.int64),
            moves=np.zeros(size, np.int64),
            swallowed=np.zeros(size, np.int64),
            first_move=np.full(size, -1, np.int64),
            last_move=np.full(size, -1, np.int64),
            movement=np.zeros(size, np.float64),
            trainable=dict.fromkeys(slots, 0),
            reached=dict.fromkeys(slots, 0),
        )
        # Since the last flush: counts in single bytes, which are added up 16 times faster than 64-bit counts.
        self._grads, self._updates, self._moves, self._swallowed = (np.zeros(size, np.uint8) for _ in range(4))
        self._last_move = np.zeros(size, np.uint8)  # 1 for the first step since the flush; 0 for none
        self._movement = np.zeros(size, dtype)
        self._window: list[int] = []  # the steps since the last flush
        self._ever_moved = np.zeros(size, bool)
        self._change = np.empty(size, dtype)
        self._masks = [np.empty(size, bool) for _ in range(3)]

    def add(
        self,
        step: int,
        before: Array,
        after: Array,
        update: Array,
        grads: Array,
        skipped: Mapping[str, str],
    ) -> None:
        """Count one step.

        Args:
            step: Its number.
            before: All values before the step, flat.
            after: All values after it.
            update: What was added.
            grads: The gradients as backward left them.
            skipped: The parameters that got no update, with "frozen" or "no gradient".
        """
        grad_mask, update_mask, moved = self._masks
        self._window.append(step)
        np.not_equal(grads, 0, out=grad_mask)
        np.not_equal(update, 0, out=update_mask)
        np.not_equal(before, after, out=moved)
        with np.errstate(all="ignore"):
            np.subtract(after, before, out=self._change)
            np.abs(self._change, out=self._change)
            if not np.isfinite(self._change.dot(self._change)):
                self._tame(before, after, moved)
            self._movement += self._change
        for name in skipped:
            if name in self._slots:
                grad_mask[self._slots[name].slice] = False
        if np.greater(moved, self._ever_moved).any():
            self._tally.first_move[moved & ~self._ever_moved] = step
            self._ever_moved |= moved
        for name in self._slots:
            self._tally.trainable[name] += skipped.get(name) != "frozen"
            self._tally.reached[name] += name not in skipped
        self._grads += grad_mask.view(np.uint8)
        self._updates += update_mask.view(np.uint8)
        self._moves += moved.view(np.uint8)
        np.maximum(self._last_move, moved.view(np.uint8) * np.uint8(len(self._window)), out=self._last_move)
        self._swallowed += np.greater(update_mask, moved, out=moved).view(np.uint8)
        for layer, names in self._layers:
            self._explain(layer, names, skipped, grad_mask)
        self._tally.steps += 1
        if len(self._window) == _WINDOW:
            self._flush()

    def _tame(self, before: Array, after: Array, moved: Mask) -> None:
        """NaN equals NaN: it did not move. The way to or from NaN or infinity has no length that could be added."""
        moved &= ~(np.isnan(before) & np.isnan(after))
        self._change[~np.isfinite(self._change)] = 0

    def _flush(self) -> None:
        """Add the window's bytes to the true counts."""
        tally = self._tally
        for total, window in (
            (tally.grads, self._grads),
            (tally.updates, self._updates),
            (tally.moves, self._moves),
            (tally.swallowed, self._swallowed),
            (tally.movement, self._movement),
        ):
            total += window
            window.fill(0)
        steps = np.array([-1, *self._window], np.int64)
        np.maximum(tally.last_move, steps[self._last_move], out=tally.last_move)
        self._last_move.fill(0)
        self._window.clear()

    def tally(self) -> Tally:
        """All counts up to here, as copies."""
        self._flush()
        return deepcopy(self._tally)

    def go_on_with(self, tally: Tally) -> None:
        """Begin with what was counted in an earlier session."""
        self._tally = deepcopy(tally)
        self._ever_moved = self._tally.moves > 0

    # -- inputs and units ---------------------------------------------------------------------------------------

    def _explain(
        self,
        layer: Layer,
        names: dict[str, str],
        skipped: Mapping[str, str],
        grad_mask: Mask,
    ) -> None:
        """Count the active inputs and units of one layer's parameters."""
        if all(name in skipped for name in names.values()):
            return
        factors = layer.explain()
        looked_at: dict[int, tuple[Mask, npt.NDArray[Any]]] = {}  # weight and bias share their units: look once
        for attribute, name in names.items():
            if name in skipped or name in self._tally.unexplained:
                continue
            slot = self._slots[name]
            problem = _problem(factors.get(attribute), slot, self._parameters[name])
            if problem:
                self._tally.unexplained[name] = problem
                self._tally.activity.pop(name, None)
                continue
            inputs, units = factors[attribute]
            for array in (inputs, units):
                if array is not None and id(array) not in looked_at:
                    looked_at[id(array)] = _active(array)
            activity = self._tally.activity.get(name)
            if activity is None:
                activity = self._tally.activity[name] = self._new_activity(inputs, units)
            activity.samples += len(units)
            activity.units += looked_at[id(units)][1]
            if inputs is not None and activity.inputs is not None:
                activity.inputs += looked_at[id(inputs)][1]
                if activity.together is not None:
                    activity.together |= grad_mask[slot.slice].reshape(activity.together.shape)
                    _meet(activity.together, looked_at[id(inputs)], looked_at[id(units)])

    def _new_activity(self, inputs: Array | None, units: Array) -> Activity:
        unit_counts = np.zeros(units.shape[1], np.int64)
        if inputs is None:
            return Activity(None, unit_counts, None)
        together = np.zeros((inputs.shape[1], units.shape[1]), bool) if self._coactivation else None
        return Activity(np.zeros(inputs.shape[1], np.int64), unit_counts, together)


def _meet(together: Mask, inputs: tuple[Mask, npt.NDArray[Any]], units: tuple[Mask, npt.NDArray[Any]]) -> None:
    """Note which inputs and units were active in the same sample.

    A gradient that is not 0 has proved it for most. The product that looks at every sample is left to the few that
    have not met so far, and whose input and unit were both active in this batch.
    """
    columns = np.flatnonzero(units[1])
    rows = np.flatnonzero(~together[:, columns].all(axis=1) & (inputs[1] > 0))
    if len(rows) and len(columns):
        common = inputs[0][:, rows].T.astype(np.float32) @ units[0][:, columns].astype(np.float32)
        together[np.ix_(rows, columns)] |= common > 0


def _problem(factors: Factors | None, slot: Slot, parameter: Parameter) -> str:
    """Why this step's gradient is not known to come from these factors; empty where it is."""
    if parameter.new_grads != 1:
        return "several gradients went into one step"
    if parameter.assigned_by_hand:
        return "its gradient was assigned by hand"
    if factors is None:
        return "its layer does not explain it"
    inputs, units = factors
    size = units.shape[1] * (1 if inputs is None else inputs.shape[1])
    if size != slot.slice.stop - slot.slice.start or (inputs is not None and len(inputs) != len(units)):
        return "its layer's explanation has another shape"
    return ""


def _active(array: Array) -> tuple[Mask, npt.NDArray[Any]]:
    """Where an array (rows, columns) is not 0, and in how many rows for each column."""
    mask = array != 0
    # Bytes are added up fastest, and hold the counts of up to 255 rows.
    parts = [mask[start : start + _WINDOW].view(np.uint8) for start in range(0, len(mask), _WINDOW)]
    counts: npt.NDArray[Any] = np.add.reduce(parts[0], axis=0, dtype=np.uint8)
    for part in parts[1:]:
        counts = counts.astype(np.int64) + np.add.reduce(part, axis=0, dtype=np.uint8)
    return mask, counts


def explaining(model: Layer, slots: dict[str, Slot]) -> list[tuple[Layer, dict[str, str]]]:
    """The layers that explain gradients, with the full names of their recorded parameters by attribute."""
    found = []
    for place, layer in model.layers():
        names = {own: f"{place}.{own}" if place else own for own, _ in layer.parts()}
        names = {own: name for own, name in names.items() if name in slots}
        if names and type(layer).explain is not Layer.explain:
            found.append((layer, names))
    return found
