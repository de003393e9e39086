"""`Recorder`, the hook that records a training: it wires the optimizer to counts and a store."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import NamedTuple, Self, final

import numpy as np

from minigrad._printable import printable
from minigrad._types import override
from minigrad._validation import parse_bytes, whole
from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.errors import CallOrderError, OutOfBandWrite, StaleParametersError
from minigrad.hooks import FitBegin, FitEnd, Handle, Hook, Step
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameters.vector import ParameterVector
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
        self._witness = Witness(slots, self._counter, self._facts, self._watch, self._note)
        self._handle: Handle | None = None  # while it is recording
        self._by_fit = False  # whether `fit` has started it
        self._complete = False  # whether it was stopped
        self._start: _Start | None = None  # until the first step
        self._initial: Array | None = None  # the values before the first step
        self._ended: Array | None = None  # the values at the end, once it is stopped
        self._last_step = -1
        self._offset = 0  # what is added to the optimizer's count of its steps
        self._run: Run | None = None  # the one handed out last, while it is current
        # Of the step that is being made:
        self._failure: Exception | None = None  # what went wrong before it was written
        self._grads: Array = np.empty(0)  # its gradients, where they are kept
        self._foreign = ""  # what somebody else wrote before it

    def _note(self, message: str) -> None:
        self._store.notes.append(f"before step {self._last_step + 1} {message}")

    # -- sessions ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to record, or go on after `stop`.

        Raises:
            CallOrderError: It is recording already, or the optimizer has gone back to a step that
                is recorded.
            StaleParametersError: The parameters have moved into another model.
            RunError: The directory cannot be written.
        """
        if self._handle is not None:
            raise CallOrderError("this recorder is recording already")
        if self._vector.is_stale:
            raise StaleParametersError(
                "the parameters of this recorder have moved into another model; make a new one"
            )
        count = self.optimizer.step_count
        if self._initial is None and self._store.before is not None:
            self._go_on_with(self._store.before)
        elif count + self._offset <= self._last_step:
            raise CallOrderError(
                f"step {self._last_step} is recorded, and the optimizer has gone back to step "
                f"{count + self._offset}; use a new recorder"
            )
        self._store.open(max(count, self._last_step + 1))
        values = self._watch.live_values().copy()
        if self._initial is None:  # so that there is a run to be read even before the first step
            self._store.begin(count, values)
        self._complete, self._ended = False, None
        self._start = _Start(values, count)
        self._watch.forget_writers()
        self._handle = self.optimizer.attach(self)
        self._vector.observers.add(self._witness)

    def _go_on_with(self, before: Record) -> None:
        """Take up a run where it ended."""
        steps = before.kept.steps
        self._initial = before.initial.copy()
        self._last_step = int(steps[-1]) if len(steps) else before.final_step
        if before.final_step == self._last_step:
            self._watch.remember(before.final)
        if self._counter is not None and before.counts is not None:
            lost = max(0, self._last_step - before.counted_step)
            self._counter.go_on_with(before.counts, lost)
            if lost:
                self._store.notes.append(
                    f"{lost} steps up to {self._last_step} were not counted: a writer was cut off"
                )
        elif self._counter is not None and len(steps):
            self._counter = None  # reasons hold for all steps, or for none
            self._store.notes.append(
                "entries are not counted, because those of the session before were not"
            )

    def _begin(self, values: Array) -> None:
        """Begin to record before the optimizer's present step, at these values.

        That is the first one after `start`, or after a checkpoint was loaded. Step numbers go on,
        also if the optimizer is new or was taken back.
        """
        store, count = self._store, self.optimizer.step_count
        offset = max(0, self._last_step + 1 - count)
        if count and offset != self._offset:
            store.notes.append(
                f"step {self._last_step + 1} is the optimizer's step {count}: it was taken back "
                f"before"
            )
        self._offset, step = offset, count + offset
        if self._initial is None:
            if self._start is not None and self._start.values is not values:
                store.begin(step, values)
            self._initial = values.copy()
        else:
            gap, known = step > self._last_step + 1, store.last_values()
            foreign = gap or (
                self._watch.changed(values) and self._watch.differing_names(known, values) != ""
            )
            if gap:
                store.gaps.append(Gap(self._last_step + 1, step - 1, "not recorded"))
            self._last_step = step - 1
            if foreign:
                self._note("the values changed while they were not recorded")
            if foreign or store.starts_anew:
                store.begin(step, values, foreign)
        self._watch.remember(values)
        self._last_step, self._start = step - 1, None

    def _begin_if_started(self) -> None:
        """Begin with the values at `start`, if no step was made since."""
        if self._start is not None:
            self._begin(self._start.values)

    def stop(self) -> None:
        """End the record; calling it again does nothing."""
        if self._handle is None:
            return
        self._begin_if_started()
        self._ended = self._watch.values.copy()
        if written := self._watch.written_by_others(self._watch.live_values()):
            self._store.notes.append(f"after step {self._last_step} {written}")
        self._handle.remove()
        self._handle = None
        self._vector.observers.remove(self._witness)
        self._run = None
        try:
            self._store.add_last(self._ended)
            self._save_counts()
        finally:
            self._store.close(self._last_step + 1, self._ended)
        self._complete = True

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

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
            self._look_at_values()
            self._look_at_gradients(event)
        except Exception as error:  # noqa: BLE001 - raised in on_step, once the step is whole
            self._failure = error

    def _look_at_values(self) -> None:
        """Where somebody else has written into the values, take a keyframe: replay stays true."""
        values, count = self._watch.live_values(), self.optimizer.step_count
        if self._start is not None and self._start.steps == count:
            self._begin_if_started()
        elif self._start is not None or count + self._offset != self._last_step + 1:
            self._watch.forget_writers()  # a checkpoint was loaded
            self._begin(values)
        step = count + self._offset
        if written := self._watch.written_by_others(values):
            self._store.begin(step, values, foreign=True)
            self._note(written)
            if written.endswith("other than by an optimizer"):
                self._foreign = self._store.notes[-1]
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
        """Count, and keep."""
        update, step = self._selected.of(event.flat.update), event.step + self._offset
        before, values = self._watch.add(update)
        if self._counter is not None:
            skipped, held = self._selected.named(event.skipped), self._selected.named(event.held)
            self._counter.add(step, before, values, update, skipped, held)
        self._last_step, self._run = step, None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self._store.keep(self._facts.of(event, step))
        self._store.add(step, {"update": update, "grad": self._grads, "value": values})
        if self._store.wants_counts:
            self._save_counts()
        if self._foreign:
            note, self._foreign = self._foreign, ""
            warnings.warn(
                f"{note}; the record goes on from the new values", OutOfBandWrite, stacklevel=5
            )

    @override
    def flush(self) -> None:
        """Publish what is only in memory, where there is a directory to write it to."""
        if self._handle is not None:
            self._store.flush()
            self._save_counts()

    def _save_counts(self) -> None:
        """Have the store publish the counts, where it outlives this process."""
        if self._counter is not None:
            values = self._watch.values if self._ended is None else self._ended
            self._store.save_counts(self._counter.counts, values, self._last_step)

    # -- reading ----------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """What is recorded up to here; later steps do not change it.

        Raises:
            CallOrderError: Nothing was recorded yet: the recorder was not started.
        """
        self._begin_if_started()
        if self._initial is None:
            raise CallOrderError(
                "nothing is recorded yet: use `with recorder:`, or recorder.start()"
            )
        if self._run is None:
            self.flush()
            self._run = Run(self._store.record(self._state(self._initial)))
        return self._run

    def _state(self, initial: Array) -> RecorderState:
        final = self._watch.values.copy() if self._ended is None else self._ended
        counts = None if self._counter is None else self._counter.counts
        so_far = self._selected.slots, initial, final, self._last_step
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
        return printable(f"Recorder({', '.join(self._selected.slots)}; {state})")
