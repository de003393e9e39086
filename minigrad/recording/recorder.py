"""`Recorder`, the hook that records a training: it wires the optimizer to counts and a store."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Self, final

import numpy as np

from minigrad._types import override
from minigrad._validation import parse_bytes, whole
from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.errors import CallOrderError, OutOfBandWrite, StaleParametersError
from minigrad.hooks import FitBegin, FitEnd, Handle, Hook, Step
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameters.vector import ParameterVector
from minigrad.recording import at_exit
from minigrad.recording.arguments import check_arguments, kinds_of
from minigrad.recording.coactivity import coactivities_of
from minigrad.recording.disk_store import DiskStore
from minigrad.recording.entry_counter import EntryCounter
from minigrad.recording.memory_store import MemoryStore
from minigrad.recording.out_of_band import OutOfBandWatch
from minigrad.recording.recorder_state import RecorderState
from minigrad.recording.selected_parameters import SelectedParameters, Selection
from minigrad.recording.step_facts import StepFacts
from minigrad.recording.store import OnFull, Store
from minigrad.recording.witness import Witness
from minigrad.runs.estimate import Estimate
from minigrad.runs.gap import Gap
from minigrad.runs.record import Record
from minigrad.runs.run import Run


class _Start(NamedTuple):
    """How things were when the recorder was started."""

    values: Array
    steps: int  # that the optimizer had made


@final
class Recorder(Hook):
    """Records every update of an optimizer's parameters, and what became of each entry.

        with minigrad.Recorder(optimizer, loss=loss, data=data) as recorder:
            ...  # train
        print(recorder.run.report())

    The counts of each entry are exact at every step; only the tensors may be sampled (`every`) or
    bounded (`budget`).

    Args:
        optimizer: Whose steps are recorded; it knows its model.
        loss: The loss, whose value goes into each step's row.
        data: The data, whose row indices go into each step's row.
        path: A directory to record into, which must not exist yet; what it holds survives the
            process, and `Run.open(path)` reads it, also meanwhile. None: into memory.
        params: Which parameters: a glob, several globs, or a function of the name.
        keep: Which tensors: any of "update" and "grad"; () keeps the counts alone.
        every: Keep the tensors of every n-th step; those of the first and the last step are always
            kept.
        keyframe_every: How many steps lie between two full copies of the values, at most.
        budget: Bytes for the tensors, or text such as "512MB".
        aggregates: Whether to count. Without the counts there are no reasons.
        resume: Go on with the run at `path`, of the same parameters; its step numbers go on too.
        on_full: When the budget is reached: "thin" gives up alternate blocks of steps, "ring" keeps
            the start and the newest, "stop" records no more tensors, "raise" raises: once, out of a
            step that is complete, as a `HookError` whose cause is a `BudgetError`.
        coactivation: Collect which inputs and units were active in the same sample. It tells
            NEVER_TOGETHER from CANCELLED, at the price of looking at the entries that have not
            moved yet.

    Raises:
        KindError: An argument is of the wrong kind.
        ModelError: `params` matches no parameter.
        RangeError: A setting is out of range.
        BudgetError: The budget is too small for a single step.
        RunError: There is something at `path` already; or with `resume`, no run that could go on.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        loss: Loss | None = None,
        data: Batches | None = None,
        path: str | PathLike[str] | None = None,
        params: Selection = "*",
        keep: Iterable[str] = ("update",),
        every: int = 1,
        keyframe_every: int = 256,
        budget: int | str = "1GB",
        aggregates: bool = True,
        resume: bool = False,
        on_full: OnFull = "thin",
        coactivation: bool = False,
    ) -> None:
        check_arguments(optimizer, loss, data, path, resume)
        self.optimizer: Optimizer = optimizer
        every = whole(every, "every")
        self._vector = ParameterVector.of(optimizer.model)
        self._selected = SelectedParameters(self._vector, params)
        slots, size, dtype = self._selected.slots, self._selected.size, self._vector.values.dtype
        self._facts = StepFacts(optimizer.model, loss, data)
        kinds, most = kinds_of(keep, every), whole(keyframe_every, "keyframe_every")
        common = size, dtype, kinds, most, parse_bytes(budget), on_full, every
        if path is None:
            self._store: Store = MemoryStore(*common)
        else:
            settings = {
                "optimizer": repr(optimizer),
                "every": every,
                "aggregates": bool(aggregates),
            }
            where, buffers = Path(path).absolute(), self._facts.buffers()
            self._store = DiskStore(*common, where, slots, buffers, settings, resume=bool(resume))
        self._counter: EntryCounter | None = None
        if aggregates:
            recorded = self._selected.parameters
            layers = coactivities_of(optimizer.model, slots, recorded, coactivation)
            self._counter = EntryCounter(slots, dtype, layers)
        self._watch = OutOfBandWatch(optimizer, self._vector, self._selected)
        self._witness: Witness | None = None  # while it is recording
        self._handle: Handle | None = None  # while it is recording
        self._by_fit = False  # whether `fit` has started it
        self._complete = False  # whether it was stopped
        self._start: _Start | None = None  # until the first step
        self._initial: Array | None = None  # the values before the first step
        self._offset = 0  # what is added to the optimizer's count of its steps
        self._run: Run | None = None  # the one handed out last, while it is current
        self._is_cut_off = False  # whether an interrupt has cut off the recording of a step
        # Of the step that is being made:
        self._in_step = False  # whether it is being recorded
        self._failure: Exception | None = None  # what went wrong before it was written
        self._grads: Array = np.empty(0)  # its gradients, where they are kept
        self._foreign = ""  # what somebody else wrote before it

    def _note(self, message: str) -> None:
        self._store.note(f"before step {self._watch.last_step + 1} {message}")

    # -- sessions ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to record, or go on after `stop`.

        Raises:
            CallOrderError: It is recording already, or the optimizer has gone back to a step that
                is recorded.
            StaleParametersError: The parameters have moved into another model.
            RunError: The directory cannot be written, or another recorder writes to it.
        """
        if self._handle is not None:
            raise CallOrderError("this recorder is recording already")
        if self._vector.is_stale:
            raise StaleParametersError(
                "the parameters of this recorder have moved into another model; make a new one"
            )
        self.stop()  # which an interrupt may have cut off
        count, last = self.optimizer.step_count, self._watch.last_step
        if self._initial is None and self._store.before is not None:
            self._go_on_with(self._store.before)
        elif count + self._offset <= last:
            raise CallOrderError(
                f"step {last} is recorded, and the optimizer has gone back to step "
                f"{count + self._offset}; use a new recorder"
            )
        values = self._watch.live_values().copy()
        try:
            self._store.open(max(count, self._watch.last_step + 1))
            if self._initial is None:  # so that there is a run even before the first step
                self._store.begin(count, values)
            self._store.flush()
            self._complete, self._start = False, _Start(values, count)
            self._watch.forget_writers()
            self._watch.end_at_last()
            watch, counter = self._watch, self._counter
            self._witness = Witness(self._selected.slots, counter, self._facts, watch, self._note)
            self._handle = self.optimizer.attach(self)
            self._vector.observers.add(self._witness)
        except BaseException:
            self._detach()
            self._store.abandon()
            raise
        if self._store.is_open:
            at_exit.add(self)

    def _detach(self) -> None:
        """Look at nothing any more."""
        handle, witness, self._handle, self._witness = self._handle, self._witness, None, None
        if handle is not None:
            handle.remove()
        if witness is not None:
            self._vector.observers.remove(witness)

    def _go_on_with(self, before: Record) -> None:
        """Take up a run where it ended."""
        steps = before.kept.steps
        last = int(steps[-1]) if len(steps) else before.final_step
        self._watch.go_on_after(last, before.final if before.final_step == last else None)
        if self._counter is not None and before.counts is not None:
            lost = max(0, last - before.counted_step)
            self._counter.go_on_with(before.counts, lost)
            if lost:
                self._store.note(
                    f"{lost} steps up to {last} were not counted: a writer was cut off"
                )
        elif self._counter is not None and len(steps):
            self._counter = None  # reasons hold for all steps, or for none
            self._store.note(
                "entries are not counted, because those of the session before were not"
            )
        self._initial = before.initial.copy()

    def _begin(self, values: Array) -> None:
        """Begin to record before the optimizer's present step, at these values.

        That is the first one after `start`, or after a checkpoint was loaded, or a step was cut
        off. Step numbers go on, also if the optimizer is new or was taken back.
        """
        store, count, last = self._store, self.optimizer.step_count, self._watch.last_step
        offset = max(0, last + 1 - count)
        step = count + offset
        if count and offset != self._offset:
            store.note(f"step {last + 1} is the optimizer's step {count}: it was taken back before")
        if self._initial is None:
            if self._start is not None and self._start.values is not values:
                store.begin(step, values)
            self._watch.go_on_after(step - 1, values)
            self._initial = values.copy()
        else:
            gap, known = step > last + 1, store.last_values()
            foreign = gap or (
                self._watch.changed(values) and self._watch.differing_names(known, values) != ""
            )
            if gap:
                why = "the recorder was interrupted" if self._is_cut_off else "not recorded"
                store.gaps.append(Gap(last + 1, step - 1, why))
            if foreign:
                store.note(f"before step {step} the values changed while they were not recorded")
            if foreign or store.starts_anew:
                store.begin(step, values, foreign)
            if foreign:
                self._watch.begin_at(values, recorded=False)
            else:
                self._watch.go_on_after(last, values)
            if gap and self._is_cut_off and self._counter is not None:
                self._counter.lose(step - 1 - last)
        self._offset, self._start, self._is_cut_off = offset, None, False

    def _settle(self) -> None:
        """Forget a step whose recording was cut off by an interrupt or an error."""
        if self._in_step:
            last = self._watch.last_step
            self._store.drop_after(last)
            if self._counter is not None:
                self._counter.drop_after(last)
            self._store.note(f"step {last + 1} is not recorded: the recorder was interrupted in it")
            self._in_step, self._is_cut_off, self._run = False, True, None

    def stop(self) -> None:
        """End the record; calling it again does nothing, or what an interrupt has cut off."""
        if self._handle is None and not self._store.is_open:
            return
        self._settle()
        if self._initial is None and self._start is not None:
            self._begin(self._start.values)
        watch = self._watch
        if self._start is None and (written := watch.written_by_others(watch.live_values())):
            self._store.note(f"after step {watch.last_step} {written}")
        self._detach()
        self._run = None
        try:
            if watch.final is not None:
                self._store.add_last(watch.final)
                self._save_counts()
        finally:
            self._store.close(watch.last_step + 1, watch.final)
        self._complete = True
        at_exit.remove(self)
        self._store.check_budget()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            self.stop()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"and the recorder could not be stopped: {failure}")

    @override
    def on_fit_begin(self, event: FitBegin) -> None:
        """Start, if it is not recording already.

        Raises:
            ModelError: It is of another optimizer.
        """
        event.check_optimizer(self.optimizer, type(self).__name__)
        self._by_fit = self._handle is None
        if self._by_fit:
            self.start()

    @override
    def on_fit_end(self, event: FitEnd) -> None:
        """Stop, if `fit` has started it."""
        if self._by_fit:
            self.stop()

    # -- steps ------------------------------------------------------------------------------------

    @override
    def before_step(self, event: Step) -> None:
        """Look for writes by others, and at the gradients.

        An error waits until the step is written whole.
        """
        try:
            self._settle()
            self._look_at_values()
            self._look_at_gradients(event)
        except Exception as error:  # noqa: BLE001 - raised in on_step, once the step is whole
            self._failure = error

    def _look_at_values(self) -> None:
        """Where somebody else has written into the values, take a keyframe: replay stays true."""
        values, count = self._watch.live_values(), self.optimizer.step_count
        if self._start is not None and self._start.steps == count:
            self._begin(self._start.values)
        elif self._start is not None or count + self._offset != self._watch.last_step + 1:
            self._watch.forget_writers()  # a checkpoint was loaded
            self._begin(values)
        step = count + self._offset
        if written := self._watch.written_by_others(values):
            self._store.begin(step, values, foreign=True)
            note = f"before step {step} {written}"
            self._store.note(note)
            if written.endswith("other than by an optimizer"):
                self._foreign = note
            self._watch.begin_at(values, recorded=True)
        elif self._store.needs_block:
            self._store.begin(step, values)

    def _look_at_gradients(self, event: Step) -> None:
        flat, select = event.flat, self._selected.of
        if self._counter is not None:
            used = (flat.grads, flat.transformed) if event.transforms else (flat.grads,)
            self._counter.look(tuple(map(select, used)), event.transforms)
        if "grad" in self._store.kinds:
            self._grads = select(flat.grads).copy()

    @override
    def on_step(self, event: Step) -> None:
        """Count, and keep.

        The step is recorded with `advance`; what an interrupt cuts off before is forgotten.
        """
        self._in_step = True
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        update, step = self._selected.of(event.flat.update), event.step + self._offset
        before, values = self._watch.next_values(update)
        if self._counter is not None:
            skipped, held = self._selected.named(event.skipped), self._selected.named(event.held)
            self._counter.add(step, before, values, update, skipped, held)
        self._store.keep(self._facts.of(event, step))
        self._store.add(step, {"update": update, "grad": self._grads, "value": values})
        self._watch.advance(step)
        self._in_step, self._run = False, None
        if self._store.wants_counts:
            self._save_counts()
        self._store.check_budget()
        if self._foreign:
            note, self._foreign = self._foreign, ""
            warnings.warn(
                f"{note}; the record goes on from the new values", OutOfBandWrite, stacklevel=5
            )

    @override
    def flush(self) -> None:
        """Publish what is only in memory, where there is a directory to write it to."""
        if self._handle is not None or self._store.is_open:
            self._settle()
            self._store.flush()
            self._save_counts()

    def leave_to_parent(self) -> None:
        """This process was forked: what is recorded on disk stays with the one it comes from."""
        self._store.leave_to_parent()

    def _save_counts(self) -> None:
        """Have the store publish the counts, where it outlives this process."""
        watch = self._watch
        if self._counter is not None and watch.final is not None:
            self._store.save_counts(self._counter.counts, watch.final, watch.last_step)

    # -- reading ----------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """What is recorded up to here; later steps do not change it.

        Raises:
            CallOrderError: Nothing was recorded yet: the recorder was not started.
        """
        self._settle()
        if self._initial is None and self._start is not None:
            self._begin(self._start.values)
        if self._initial is None:
            raise CallOrderError(
                "nothing is recorded yet: use `with recorder:`, or recorder.start()"
            )
        if self._run is None:
            self.flush()
            self._run = Run(self._store.record(self._state(self._initial)))
        return self._run

    def _state(self, initial: Array) -> RecorderState:
        watch, counter = self._watch, self._counter
        final = None if watch.final is None else watch.final.copy()
        counts = None if counter is None else counter.counts
        so_far = self._selected.slots, initial, final, watch.last_step
        return RecorderState(*so_far, counts, self._complete, repr(self.optimizer))

    def estimate(self, steps: int) -> Estimate:
        """How many bytes a number of steps will take, and when the budget is reached.

        Raises:
            KindError: `steps` is not a whole number.
            RangeError: `steps` is less than 1.
        """
        return self._store.estimate(whole(steps, "steps"), self._facts.nbytes)

    def __repr__(self) -> str:
        state = "stopped" if self._complete else "not started"
        if self._handle is not None:
            state = "recording"
        return f"Recorder({', '.join(self._selected.slots)}; {state})"
