"""`Continuity`: each recorded step begins where the last one ended, or the record says so."""

from __future__ import annotations

from typing import NamedTuple, final

from minigrad.arrays import Array
from minigrad.optimizers import Optimizer
from minigrad.recording.entry_counter import EntryCounter
from minigrad.recording.out_of_band import OutOfBandWatch
from minigrad.recording.store import Store
from minigrad.runs.gap import Gap
from minigrad.runs.record import Record
from minigrad.runs.recount import not_counted, recounted


class _Start(NamedTuple):
    """How things were when the recorder was started."""

    values: Array
    steps: int  # that the optimizer had made


@final
class Continuity:
    """Sees to it that each recorded step begins where the last one ended.

    Where it does not, because a checkpoint was loaded, somebody else wrote into the values, or
    steps were made that nobody recorded, the record gets a keyframe, and a note or a gap.

    Args:
        optimizer: Whose steps are recorded.
        store: What keeps them.
        watch: What knows the values after the last one.
        counter: What counts entries, if anything does.

    Attributes:
        counter: What counts entries; None from where a run goes on that was not counted.
        initial: The values before the first step, once they are known.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        store: Store,
        watch: OutOfBandWatch,
        counter: EntryCounter | None,
    ) -> None:
        self._optimizer = optimizer
        self._store = store
        self._watch = watch
        self.counter: EntryCounter | None = counter
        self.initial: Array | None = None
        self._offset = 0  # what is added to the optimizer's count of its steps
        self._start: _Start | None = None  # until the first step
        self._making: int | None = None  # the optimizer's count of the step that is being recorded
        self._is_cut_off = False  # whether the recording of a step was cut off since the last one

    @property
    def next_step(self) -> int:
        """The number that the optimizer's next step has in the record."""
        return self._optimizer.step_count + self._offset

    def number(self, step: int) -> int:
        """The number in the record of the optimizer's step with this number."""
        return step + self._offset

    def take_up(self) -> None:
        """Go on with the run that the store has taken up, where it ended; once."""
        before = self._store.before
        if self.initial is not None or before is None:
            return
        steps = before.kept.steps
        last = int(steps[-1]) if len(steps) else before.final_step
        self._watch.go_on_after(last, before.final if before.final_step == last else None)
        self._count_on(before, last)
        self.initial = before.initial.copy()

    def _count_on(self, before: Record, last: int) -> None:
        """Go on with the counts of a run, completed from its rows where its writer was cut off."""
        counts = recounted(before)
        if self.counter is None:
            return
        if counts is None:
            self.counter = None  # reasons hold for all steps, or for none
            self._store.note(
                "entries are not counted, because those of the session before were not"
            )
            return
        self.counter.go_on_with(counts)
        if before.counted_step < last:
            self._store.note(
                f"the writer was cut off: of steps {before.counted_step + 1} to {last} only the "
                f"rows tell what moved"
            )
        self._store.gaps = [*self._store.gaps, *not_counted(before)]

    def start(self, values: Array) -> None:
        """A session begins with these values."""
        self._start = _Start(values, self._optimizer.step_count)
        self._making = None
        self._watch.forget_writers()
        self._watch.end_at_last()

    @property
    def is_making(self) -> bool:
        """Whether `before_step` was told of a step that is not recorded yet."""
        return self._making is not None

    @property
    def knows_values(self) -> bool:
        """Whether the values are those of the last step that is recorded, unless somebody wrote."""
        return self._start is None and not self._is_cut_off

    def ensure_initial(self) -> None:
        """Take the values at the start for the initial ones, if no step is recorded yet."""
        if self.initial is not None or self._start is None:
            return
        if self._start.steps == self._optimizer.step_count:
            self._begin(self._start.values)
        else:  # a step was made, and its recording cut off
            self._watch.go_on_after(self._start.steps - 1, self._start.values)
            self.initial = self._start.values

    def before_step(self) -> str:
        """Look where the next step begins.

        Where somebody else has written into the values, take a keyframe: replay stays true.

        Returns:
            The note, if something else than an optimizer wrote; otherwise an empty string.
        """
        self._making = count = self._optimizer.step_count
        values = self._watch.live_values()
        if self._start is not None and self._start.steps == count:
            self._begin(self._start.values)
        elif self._start is not None or self.next_step != self._watch.last_step + 1:
            self._watch.forget_writers()  # a checkpoint was loaded
            self._begin(values)
        step, note = self.next_step, ""
        if written := self._watch.written_by_others(values):
            self._store.begin(step, values, foreign=True)
            note = f"before step {step} {written}"
            self._store.note(note)
            self._watch.begin_at(values, recorded=True)
        elif self._store.needs_block:
            self._store.begin(step, values)
        return note if written.endswith("other than by an optimizer") else ""

    def recorded(self, step: int) -> None:
        """This step is recorded whole."""
        self._watch.advance(step)
        self._making = None

    def missed(self, step: int) -> None:
        """The optimizer's step with this number was made, and will not be recorded."""
        self._making = step

    def settle(self) -> None:
        """Forget what there is of a step whose recording was cut off by an interrupt or an error.

        It may have been made or not. What is recorded ends with the step before.
        """
        if self._making is None:
            return
        last = self._watch.last_step
        self._store.drop_after(last)
        if self.counter is not None:
            self.counter.drop_after(last)
        if self._optimizer.step_count > self._making:
            self._store.note(f"step {last + 1} is not recorded: an interrupt or an error came")
            self._is_cut_off = True
            self.ensure_initial()
        self._making = None

    def _begin(self, values: Array) -> None:
        """Begin to record before the optimizer's present step, at these values.

        That is the first one after `start`, or after a checkpoint was loaded, or a step was cut
        off. Step numbers go on, also if the optimizer is new or was taken back.
        """
        store, count, last = self._store, self._optimizer.step_count, self._watch.last_step
        offset = max(0, last + 1 - count)
        step = count + offset
        if count and offset != self._offset:
            store.note(f"step {last + 1} is the optimizer's step {count}: it was taken back before")
        if self.initial is None:
            if self._start is None or self._start.values is not values:
                store.begin(step, values)
                values = values.copy()
            self._watch.go_on_after(step - 1, values)
            self.initial = values
        else:
            self._go_on(step, values)
        self._offset, self._start, self._is_cut_off = offset, None, False

    def _go_on(self, step: int, values: Array) -> None:
        """Go on before this step at these values, which may not be those after the last one."""
        store, watch = self._store, self._watch
        missing = step - watch.last_step - 1
        foreign = missing > 0 or (
            watch.changed(values) and watch.differing_names(store.last_values(), values) != ""
        )
        if missing:
            why = "the recorder was interrupted" if self._is_cut_off else "not recorded"
            store.gaps = [*store.gaps, Gap(watch.last_step + 1, step - 1, why)]
        if foreign:
            store.note(f"before step {step} the values changed while they were not recorded")
        if foreign or store.starts_anew:
            store.begin(step, values, foreign)
        if foreign:
            watch.begin_at(values, recorded=False)
        else:
            watch.go_on_after(watch.last_step, values)
        if missing and self._is_cut_off and self.counter is not None:
            self.counter.lose(missing)
