"""`EntryCounter`: counts what became of each entry, at every step, without sampling.

It keeps a journal, so that an interrupt at any line costs at most the step that is being made:

- What a step brings is written into scratch space, behind the end of what counts.
- One append to the journal, or one assignment of what it is folded into, has all of that count;
  what was cut off before is overwritten by the next step.
- Folding writes new sums beside the old ones, which stay until the next step begins: so the newest
  step can be taken back.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Integers, Mask
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.vector import Slot
from minigrad.recording.coactivity import Coactivity, Use
from minigrad.recording.journal import Entry, Explained
from minigrad.recording.step_rows import StepRows, Sums
from minigrad.runs.activity import Activity
from minigrad.runs.counts import Counts

_ENTRIES = 2**18  # of all steps that are gathered
_WINDOW = 255  # steps that are counted in single bytes, before these are added to the true counts


class _Window(NamedTuple):
    """Steps that are counted in bytes, which are added up 16 times faster than 64-bit counts.

    Attributes:
        steps: The numbers of the steps.
        lost: How many of them cannot be counted.
        skipped: In how many each parameter got no update, by its name and why.
        sums: What became of each entry, with places from 1 on; not to be read if there is no step.
        held: For each parameter of which entries were frozen, in how many steps each was.
        first_moves: Entries that had not moved before, and the numbers of the steps that moved
            them. Where an entry is named twice, the first one is true.
    """

    steps: Integers
    lost: int
    skipped: Mapping[tuple[str, str], int]
    sums: Sums
    held: Mapping[str, npt.NDArray[np.uint8]]
    first_moves: tuple[tuple[npt.NDArray[np.intp], Integers], ...]

    @classmethod
    def empty(cls, sums: Sums) -> _Window:
        """Of no step, with these arrays for the sums."""
        return cls(np.empty(0, np.int64), 0, {}, sums, {}, ())


class _State(NamedTuple):
    """All that counts.

    Attributes:
        counts: The true counts. Their arrays are never written again.
        window: The steps after these.
        spare: The arrays into which the next window will be written.
        journal: The steps after the window, each with a row.
        room: How many steps the journal takes until it is folded.
        folded: The last step before the journal.
        movers: Entries that moved for the first time in what was folded last, if any did.
        before: What counted before that step was made and folded, if it can be taken back.
    """

    counts: Counts
    window: _Window
    spare: Sums
    journal: list[Entry]
    room: int
    folded: Entry
    movers: npt.NDArray[np.intp] | None = None
    before: _State | None = None

    @property
    def newest(self) -> Entry:
        """The last step."""
        return self.journal[-1] if self.journal else self.folded


@final
class EntryCounter:
    """Counts what became of each entry at every step.

    Each step, `arrived` looks at what its gradients are made of, `look` at the gradients, and `add`
    has all of that count, with what the step has done.

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
        self._rows = StepRows(size, _ENTRIES, dtype)
        counts = Counts.of_nothing(slots, size)
        window, spare = (Sums.zeros(size, dtype) for _ in range(2))
        none = Entry(-1, {}, {}, Explained({}, {}, {}), False)
        self._state = _State(counts, _Window.empty(window), spare, [], len(self._rows), none)
        # Where entries have moved, 255. It saves work: it may lag behind what counts, but never be
        # ahead of it.
        self._ever_moved = np.zeros(size, np.uint8)
        # What `look` has found, until `add` takes it.
        self._looked: list[list[Use]] | None = None

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward is done: look at what the gradients are made of."""
        now = self._state.newest.explained
        for layer in self._layers:
            layer.arrived(latest, adds, now)

    def look(self, grads: tuple[Array, ...], transforms: str) -> None:
        """Look at the gradients of a step before it is written: afterwards hooks may assign others.

        Args:
            grads: The gradients as backward left them; and those after the transforms, if these may
                have changed which are 0.
            transforms: The names of such transforms.
        """
        self._looked = None
        state = self._state
        if state.before is not None:
            self._state = state = state._replace(before=None)
        self._rows.look(len(state.journal), grads)
        now = state.newest.explained
        self._looked = [layer.look(transforms, now) for layer in self._layers]

    def add(
        self,
        step: int,
        before: Array,
        after: Array,
        update: Array,
        skipped: Mapping[str, str],
        held: Mapping[str, Mask],
    ) -> None:
        """Have a step count, after `look` at its gradients.

        If that was cut off, the step is counted as one whose counts are lost.

        Args:
            step: Its number.
            before: All values before the step, flat.
            after: All values after it.
            update: What was added.
            skipped: The parameters that got no update, with "frozen" or "no gradient".
            held: For each parameter of which only some entries may move, those that may not, flat.
        """
        looked, self._looked = self._looked, None
        state = self._state
        row, now = len(state.journal), state.newest.explained
        if looked is None:
            self._rows.clear(row)
            entry = Entry(step, {}, {}, now, True)
        else:
            grad_mask = self._rows.add(row, before, after, update)
            for name in skipped:
                if name in self._slots:
                    grad_mask[self._slots[name].slice] = False
            for name, entries in held.items():
                grad_mask[self._slots[name].slice][entries] = False
            new = Explained(now.samples.copy(), now.together.copy(), now.unexplained.copy())
            for layer, uses in zip(self._layers, looked, strict=True):
                layer.add(uses, skipped, grad_mask, new)
            entry = Entry(step, skipped, held, new, False)
        if row + 1 < state.room:
            state.journal.append(entry)  # from here on, the step counts
            return
        folded = self._with_window(state._replace(journal=[*state.journal, entry]))
        if len(folded.window.steps) == _WINDOW:
            folded = self._with_counts(folded)
        self._state = folded._replace(before=state._replace(before=None))  # or from here on

    def drop_after(self, step: int) -> None:
        """Forget the step after this one: an interrupt has cut it off before the store had it.

        Only the newest step can be forgotten, and only until the next `look`, `counts` or `lose`.
        """
        self._looked = None
        state = self._state
        if state.journal:
            if state.journal[-1].step > step:
                state.journal.pop()
        elif state.before is not None and state.folded.step > step:
            self._state = state.before

    def lose(self, count: int) -> None:
        """Count that many more steps as some whose counts are lost."""
        counts = self._state.counts
        counts = replace(counts, uncounted=counts.uncounted + count)
        self._state = self._state._replace(counts=counts, before=None)

    def _with_window(self, state: _State) -> _State:
        """The same, with the journal folded into the window."""
        counts, window, spare, journal, _, _, movers, _ = state
        if movers is not None:
            self._ever_moved[movers] = 255  # which cannot be taken back any more
        rows = self._rows.sums(len(journal), len(window.steps) + 1)
        first_moves, movers = window.first_moves, None
        if (new := np.greater(rows.moves, self._ever_moved)).any():
            movers = np.flatnonzero(new)
            steps = np.array([entry.step for entry in journal], np.int64)
            first_moves += ((movers, steps[self._rows.first_moves(len(journal), movers)]),)
        rows.added_to(window.sums if len(window.steps) else None, out=spare)
        held, skipped = dict(window.held), dict(window.skipped)
        for entry in journal:
            for name, mask in entry.held.items():
                held[name] = np.add(held.get(name, np.uint8(0)), mask, dtype=np.uint8)
            for skip in entry.skipped.items():
                skipped[skip] = skipped.get(skip, 0) + 1
        numbers = np.array([entry.step for entry in journal], np.int64)
        lost = window.lost + sum(entry.lost for entry in journal)
        gathered = np.concatenate([window.steps, numbers]), lost, skipped
        new_window = _Window(*gathered, spare, held, first_moves)
        room = min(len(self._rows), _WINDOW - len(new_window.steps))
        return _State(counts, new_window, window.sums, [], room, journal[-1], movers)

    def _with_counts(self, state: _State) -> _State:
        """The same, with the window folded into the true counts."""
        counts, window, spare, _, _, folded, movers, _ = state
        gathered, lost, skipped, sums, held, first_moves = window
        first_move = counts.first_move
        if first_moves:
            first_move = first_move.copy()
        for which, steps in first_moves:
            unset = first_move[which] == -1
            first_move[which[unset]] = steps[unset]
        numbers = np.concatenate([[-1], gathered])
        frozen, unreached = counts.frozen.copy(), counts.unreached.copy()
        for (name, why), count in skipped.items():
            if name in self._slots:
                (frozen if why == "frozen" else unreached)[name] += count
        frozen_entries = dict(counts.frozen_entries)
        for name, steps in held.items():
            frozen_entries[name] = frozen_entries.get(name, 0) + steps.astype(np.int64)
        counts = Counts(
            grads=counts.grads + sums.grads,
            updates=counts.updates + sums.updates,
            moves=counts.moves + sums.moves,
            first_move=first_move,
            last_move=np.maximum(counts.last_move, numbers[sums.last_move]),
            movement=counts.movement + sums.movement,
            frozen=frozen,
            unreached=unreached,
            steps=counts.steps + len(gathered) - lost,
            recounted=counts.recounted,
            uncounted=counts.uncounted + lost,
            frozen_entries=frozen_entries,
        )
        # The window's arrays are free at once; the spare ones, once no step can be taken back.
        window = _Window.empty(spare)
        return _State(counts, window, sums, [], len(self._rows), folded, movers)

    def counts(self) -> Counts:
        """All counts up to here, as copies."""
        state = self._state
        if state.journal:
            state = self._with_window(state)
        if len(state.window.steps):
            state = self._with_counts(state)
        self._state = state._replace(before=None)
        counts, explained = deepcopy(state.counts), state.folded.explained
        activity: dict[str, Activity] = {}
        unexplained: dict[str, str] = dict(explained.unexplained)
        for layer in self._layers:
            activity |= layer.activity(explained)
            unexplained |= layer.unexplained
        for name in [name for name, active in activity.items() if not self._agrees(name, active)]:
            del activity[name]
            unexplained[name] = "its layer's explanation does not fit its gradients"
        return replace(counts, activity=activity, unexplained=unexplained)

    def _agrees(self, name: str, active: Activity) -> bool:
        """Whether no entry had a gradient though its input, or its unit, was 0 in every sample."""
        part, shape = self._slots[name]
        had = self._state.counts.grads[part].reshape(shape) > 0
        silent = active.units == 0
        if active.inputs is None:
            return not had.ravel()[silent].any()
        impossible = (active.inputs == 0)[:, np.newaxis] | silent
        return not (had & active.laid_out(impossible, shape)).any()

    def go_on_with(self, counts: Counts, lost: int = 0) -> None:
        """Begin with what was counted in an earlier session.

        Args:
            counts: The counts.
            lost: How many more steps that session made.
        """
        for layer in self._layers:
            layer.go_on_with(counts.activity, counts.unexplained)
        own = deepcopy(replace(counts, activity={}, unexplained={}))
        own.uncounted += lost
        self._state = self._state._replace(counts=own)
        self._ever_moved = np.where(own.moves > 0, 255, 0).astype(np.uint8)
