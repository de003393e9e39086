"""`Recorder`, the hook that records a training: it wires the optimizer to counts and a store."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Self, final

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
from minigrad.recording import at_exit
from minigrad.recording.arguments import check_arguments, kinds_of
from minigrad.recording.coactivity import coactivities_of
from minigrad.recording.continuity import Continuity
from minigrad.recording.disk_store import DiskStore
from minigrad.recording.entry_counter import EntryCounter
from minigrad.recording.giving_up import OnFull
from minigrad.recording.memory_store import MemoryStore
from minigrad.recording.out_of_band import OutOfBandWatch
from minigrad.recording.recorder_state import RecorderState
from minigrad.recording.selected_parameters import SelectedParameters, Selection
from minigrad.recording.step_facts import StepFacts
from minigrad.recording.store import Store
from minigrad.recording.witness import Witness
from minigrad.runs.estimate import Estimate
from minigrad.runs.run import Run


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
        counter = None
        if aggregates:
            recorded = self._selected.parameters
            layers = coactivities_of(optimizer.model, slots, recorded, coactivation)
            counter = EntryCounter(slots, dtype, layers)
        self._watch = OutOfBandWatch(optimizer, self._vector, self._selected)
        self._continuity = Continuity(optimizer, self._store, self._watch, counter)
        self._witness: Witness | None = None  # while it is recording
        self._handle: Handle | None = None  # while it is recording
        self._in_session = False  # whether a session was begun, and not ended whole
        self._by_fit = False  # whether `fit` has started it
        self._complete = False  # whether it was stopped
        self._run: Run | None = None  # the one handed out last, while it is current
        # Of the step that is being made:
        self._failure: Exception | None = None  # what went wrong before it was written
        self._grads: Array = np.empty(0)  # its gradients, where they are kept
        self._foreign = ""  # what somebody else wrote before it

    @property
    def _counter(self) -> EntryCounter | None:
        return self._continuity.counter

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
        self._continuity.take_up()
        if self._complete and self._continuity.next_step <= self._watch.last_step:
            raise CallOrderError(
                f"step {self._watch.last_step} is recorded, and the optimizer has gone back to "
                f"step {self._continuity.next_step}; use a new recorder"
            )
        values, step = self._watch.live_values().copy(), self._continuity.next_step
        try:
            self._store.open(max(step, self._watch.last_step + 1))
            if self._continuity.initial is None:  # so that there is a run before the first step
                self._store.begin(step, values)
            self._store.flush()
            self._continuity.start(values)
            self._complete, self._in_session = False, True
            self._witness = Witness(
                self._selected.slots, self._counter, self._facts, self._watch, self._note
            )
            at_exit.add(self, on_disk=self._store.is_open)
            self._handle = self.optimizer.attach(self)
            self._vector.observers.add(self._witness)
        except BaseException:
            self._in_session = False
            self._detach()
            self._store.abandon()
            raise

    def _detach(self) -> None:
        """Look at nothing any more."""
        handle, witness, self._handle, self._witness = self._handle, self._witness, None, None
        if handle is not None:
            handle.remove()
        if witness is not None:
            self._vector.observers.remove(witness)

    def stop(self) -> None:
        """End the record; calling it again does nothing, or what an interrupt has cut off."""
        if not self._in_session:
            return
        self._settle()
        self._continuity.ensure_initial()
        watch = self._watch
        if self._continuity.knows_values and (
            written := watch.written_by_others(watch.live_values())
        ):
            self._store.note(f"after step {watch.last_step} {written}")
        self._detach()
        self._run = None
        try:
            if watch.final is not None:
                self._store.add_last(watch.final)
                self._save_counts()
        finally:
            self._store.close(watch.last_step + 1, watch.final)
            self._complete, self._in_session = True, False
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
            self._foreign = self._continuity.before_step()
            self._look_at_gradients(event)
        except Exception as error:  # noqa: BLE001 - raised in on_step, once the step is whole
            self._failure = error

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

        What an interrupt cuts off before the step is `recorded` is forgotten.
        """
        if self._failure is not None:
            self._continuity.missed(event.step)
            failure, self._failure = self._failure, None
            raise failure
        if not self._continuity.is_making:  # it was attached in the middle of the step
            return
        update, step = self._selected.of(event.flat.update), self._continuity.number(event.step)
        before, values = self._watch.next_values(update)
        if self._counter is not None:
            skipped, held = self._selected.named(event.skipped), self._selected.named(event.held)
            self._counter.add(step, before, values, update, skipped, held)
        self._store.keep(self._facts.of(event, step))
        self._store.add(step, {"update": update, "grad": self._grads, "value": values})
        self._continuity.recorded(step)
        self._run = None
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
        if self._in_session:
            self._settle()
            self._store.flush()
            self._save_counts()

    def _settle(self) -> None:
        """Forget what an interrupt has left of a step."""
        self._continuity.settle()

    def leave(self) -> None:
        """Publish all and let go of the run, unstopped: the process ends."""
        self._store.go_on_alone()
        self.flush()
        self._store.abandon()

    def forked(self) -> None:
        """This process was forked: what is on disk stays with the one that it comes from."""
        self._store.forked()

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
        self._continuity.ensure_initial()
        if self._continuity.initial is None:
            raise CallOrderError(
                "nothing is recorded yet: use `with recorder:`, or recorder.start()"
            )
        if self._run is None:
            self.flush()
            self._run = Run(self._store.record(self._state(self._continuity.initial)))
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
        return printable(f"Recorder({', '.join(self._selected.slots)}; {state})")
