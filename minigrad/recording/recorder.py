"""`Recorder`, the hook that records a training: it only wires the optimizer to the counts and the store."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Self, final

import numpy as np
import numpy.typing as npt

from minigrad._types import override
from minigrad._validation import parse_bytes, whole
from minigrad.arrays import Array
from minigrad.data import Batches
from minigrad.errors import CallOrderError, OutOfBandWrite, StaleParametersError
from minigrad.hooks.events import Step
from minigrad.hooks.fit_events import FitBegin, FitEnd
from minigrad.hooks.hook import Handle, Hook
from minigrad.layers.state import buffer_places
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameters.vector import ParameterVector
from minigrad.recording.coactivity import explained_layers
from minigrad.recording.counting import Aggregates
from minigrad.recording.disk_store import DiskStore
from minigrad.recording.memory_store import MemoryStore
from minigrad.recording.out_of_band import Watch, changed_names
from minigrad.recording.selection import Selected, Selection, check_arguments, kinds_of
from minigrad.recording.store import OnFull
from minigrad.recording.witness import Witness
from minigrad.runs.blocks import Block, Estimate, Gap, StepMeta, kept_loss
from minigrad.runs.reader import read_record
from minigrad.runs.record import Record
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
        every: Keep the tensors of every k-th step; those of the first and the last step are always
            kept.
        keyframe_every: How many steps lie between two full copies of the values, at most.
        budget: Bytes for the tensors, or text such as "512MB".
        aggregates: Whether to count. Without the counts there are no reasons.
        resume: Go on with the run at `path`, of the same parameters; its count of the steps goes on
            too.
        on_full: When the budget is reached: "thin" gives up alternate blocks of steps, "ring" keeps
            the start and the newest, "stop" records no more tensors, "raise" raises: once, out of a
            step that is complete, as a `HookError` whose cause is a `BudgetError`.
        coactivation: Collect which inputs and units were active in the same sample. It tells
            NEVER_TOGETHER from CANCELLED, for the price of looking at the entries that have not
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
        self._loss, self._data = loss, data
        self._every = whole(every, "every")
        self._vector = ParameterVector.of(optimizer.model)
        self._selected = Selected(self._vector, params)
        self._slots, self._select, size = (
            self._selected.slots,
            self._selected.of,
            self._selected.size,
        )
        kinds = kinds_of(keep)
        self._buffers = [
            (layer.place_of(buffer), layer, buffer)
            for _, layer, buffer in buffer_places(optimizer.model)
        ]
        kept = (*kinds, "value") if kinds and self._every > 1 else kinds
        rows, most = whole(keyframe_every, "keyframe_every"), parse_bytes(budget)
        common = size, self._vector.values.dtype, kept, rows, most, on_full
        self._store: MemoryStore | DiskStore
        if path is None:
            self._store = MemoryStore(*common)
        else:
            told = {
                "optimizer": repr(optimizer),
                "every": self._every,
                "aggregates": bool(aggregates),
            }
            where, buffers = Path(path).absolute(), list(self._copied_buffers().items())
            self._store = DiskStore(*common, where, self._slots, buffers, told, resume=bool(resume))
        self._aggregates: Aggregates | None = None
        if aggregates:
            own = {
                parameter.name: parameter
                for parameter in self._vector.parameters
                if parameter.name in self._slots
            }
            layers = explained_layers(optimizer.model, self._slots, own, coactivation)
            self._aggregates = Aggregates(self._slots, self._vector.values.dtype, layers)
        self._handle: Handle | None = None
        self._complete = self._by_fit = (
            False  # whether it is stopped, and whether `fit` has started it
        )
        self._initial: Array | None = None
        self._at_start: tuple[Array, int, int] | None = (
            None  # values, counts of steps and writes, until the first step
        )
        self._ended: Array | None = None  # the values at the end, once it is stopped
        self._watch = Watch(self._vector, size)
        self._failure: Exception | None = None  # what went wrong before the step that is being made
        self._grads: Array = np.empty(
            0
        )  # those of the step that is being made, where they are kept
        self._foreign = ""  # what somebody else wrote before the step that is being made
        self._last_step = -1
        self._offset = 0  # what a run that goes on adds to the optimizer's count of the steps
        self._tail: tuple[int, dict[str, Array]] | None = None
        self._run: Run | None = None
        self._witness = Witness(self._slots, self._aggregates, self._note, loss)

    def _note(self, told: str) -> None:
        self._store.notes.append(f"before step {self._last_step + 1} {told}")

    # -- recording --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to record, or go on after `stop`.

        Raises:
            CallOrderError: It is recording already; or the optimizer has gone back to a step that is
                recorded.
            StaleParametersError: The parameters have moved into another model.
            RunError: The directory cannot be written.
        """
        if self._handle is not None:
            raise CallOrderError("this recorder is recording already")
        if self._vector.is_stale:
            raise StaleParametersError(
                "the parameters of this recorder have moved into another model; make a new one"
            )
        if self._initial is None and self._store.before is not None:
            self._go_on_with(self._store.before)
        elif self.optimizer.step_count + self._offset <= self._last_step:
            back = f"the optimizer has gone back to step {self.optimizer.step_count + self._offset}"
            raise CallOrderError(
                f"step {self._last_step} is recorded, and {back}; use a new recorder"
            )
        self._store.open(max(self.optimizer.step_count, self._last_step + 1))
        values = self._select(self._vector.values).copy()
        if self._initial is None:  # so that there is a run to be read even before the first step
            self._store.begin(self.optimizer.step_count, values)
        self._complete, self._ended = False, None
        self._at_start = values, self.optimizer.step_count, self._vector.writes.count
        self._handle = self.optimizer.attach(self)
        self._vector.gradients.call(self._witness)

    def _go_on_with(self, before: Record) -> None:
        """Take up a run where it ended."""
        self._initial = before.initial.copy()
        self._last_step = (
            int(before.meta.steps[-1]) if len(before.meta.steps) else before.final_step
        )
        if before.final_step == self._last_step:
            self._watch.remember(before.final)
        if self._aggregates is not None and before.tally is not None:
            lost = max(0, self._last_step - before.counted_step)
            if lost:
                self._store.notes.append(
                    f"{lost} steps up to {self._last_step} were not counted: a writer was cut off"
                )
            self._aggregates.go_on_with(
                replace(before.tally, uncounted=before.tally.uncounted + lost)
            )
        elif self._aggregates is not None and len(before.meta.steps):
            self._aggregates = None  # reasons hold for all steps, or for none
            self._store.notes.append(
                "entries are not counted, because those of the session before were not"
            )

    def _begin(self, values: Array, writes: int | None = None) -> None:
        """Begin to record before the optimizer's present step: the first after `start`, or after a
        checkpoint was loaded.

        The count of the steps goes on, also if the optimizer is new, or was taken back.
        """
        count, notes = self.optimizer.step_count, self._store.notes
        offset = max(0, self._last_step + 1 - count)
        if count and offset != self._offset:
            notes.append(
                f"step {self._last_step + 1} is the optimizer's step {count}: it was taken back "
                f"before"
            )
        self._offset, step = offset, count + offset
        if self._initial is None:
            if self._at_start is not None and self._at_start[0] is not values:
                self._store.begin(step, values)
            self._initial = values.copy()
        else:
            gap, known = step > self._last_step + 1, self._store.last_values()
            foreign = gap or (
                self._watch.changed(values) and changed_names(known, values, self._slots) != ""
            )
            if gap:
                self._store.gaps.append(Gap(self._last_step + 1, step - 1, "not recorded"))
            if foreign:
                notes.append(f"before step {step} the values changed while they were not recorded")
            if foreign or self._store.starts_anew:
                self._store.begin(step, values, foreign)
        self._watch.remember(values, writes)
        self._last_step, self._at_start = step - 1, None

    def stop(self) -> None:
        """End the record; calling it again does nothing."""
        if self._handle is None:
            return
        if self._at_start is not None:
            self._begin(self._at_start[0], self._at_start[2])
        self._ended = self._final()
        if written := self._watch.look(
            self._select(self._vector.values), self._slots, self.optimizer.writer
        ):
            self._store.notes.append(f"after step {self._last_step} {written}")
        self._handle.remove()
        self._handle = None
        self._vector.gradients.dismiss(self._witness)
        self._run = None
        try:
            if self._tail is not None:
                (step, rows), self._tail = self._tail, None
                if self._store.needs_block:
                    self._store.begin(step, self._ended)
                self._store.add(step, rows)
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

    @override
    def on_step(self, event: Step) -> None:
        """Count, compare, keep."""
        update, step = self._select(event.flat.update), event.step + self._offset
        before, values = self._watch.add(update)
        if self._aggregates is not None:
            skipped, held = self._selected.named(event.skipped), self._selected.named(event.held)
            self._aggregates.add(step, before, values, update, skipped, held)
        self._last_step = step
        self._run = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        self._keep(event, step, update, values)
        if self._store.wants_counts:
            self._save_counts()
        if self._foreign:
            note, self._foreign = self._foreign, ""
            warnings.warn(
                f"{note}; the record goes on from the new values", OutOfBandWrite, stacklevel=5
            )

    @override
    def before_step(self, event: Step) -> None:
        """Look for writes by others, and at the gradients.

        An error waits until the step is written whole.
        """
        try:
            self._look_for_writes()
            if self._aggregates is not None:
                used = (
                    (event.flat.grads, event.flat.transformed)
                    if event.transforms
                    else (event.flat.grads,)
                )
                self._aggregates.look(tuple(map(self._select, used)), event.transforms)
            if "grad" in self._store.kinds:
                self._grads = self._select(event.flat.grads).copy()
        except Exception as error:
            self._failure = error

    def _look_for_writes(self) -> None:
        """Look whether somebody else has written into the values.

        If so, take a keyframe, so that replay stays true.
        """
        values, count = self._select(self._vector.values), self.optimizer.step_count
        if self._at_start is not None:
            started, steps, writes = self._at_start
            self._begin(*((started, writes) if steps == count else (values, None)))
        elif count + self._offset != self._last_step + 1:
            self._begin(values)
        step = count + self._offset
        written = self._watch.look(values, self._slots, self.optimizer.writer)
        if written:
            self._store.begin(step, values, foreign=True)
            self._note(written)
            self._foreign = (
                self._store.notes[-1] if written.endswith("other than by an optimizer") else ""
            )
        elif self._store.needs_block:
            self._store.begin(step, values)

    def _keep(self, event: Step, step: int, update: Array, values: Array) -> None:
        """Put this step's row into the store."""
        store = self._store
        loss, indices = event.loss, event.indices  # what is given to `step` comes first
        if loss is None:
            loss = self._witness.used_loss()
        loss = kept_loss(loss)
        if indices is None and self._data is not None and self._data.has_given:
            indices = self._data.indices
        kept = None if indices is None else indices.astype(np.int32)
        store.keep(StepMeta(step, event.lr, loss, event.clip_factor, kept, self._copied_buffers()))
        rows = {"update": update}
        if self._store.kinds != ("update",):
            tensors = {"update": update, "grad": self._grads, "value": values}
            rows = {kind: tensors[kind] for kind in store.kinds}
        if rows and self._every > 1 and step % self._every and len(store) > 1:
            self._tail = step, {kind: row.copy() for kind, row in rows.items()}
            return
        self._tail = None
        store.add(step, rows)

    def _save_counts(self) -> None:
        """Have the store keep the counts, where it outlives this process."""
        if self._aggregates is not None:
            values = self._watch.values if self._ended is None else self._ended
            self._store.save_counts(self._aggregates.tally, values, self._last_step)

    def _copied_buffers(self) -> dict[str, npt.NDArray[Any]]:
        """The layers' state that is not learnt, such as running statistics."""
        return {name: np.array(getattr(layer, buffer)) for name, layer, buffer in self._buffers}

    # -- reading ----------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """What is recorded up to here; later steps do not change it.

        Raises:
            CallOrderError: Nothing was recorded yet: the recorder was not started.
        """
        if self._at_start is not None:
            self._begin(self._at_start[0], self._at_start[2])
        if self._initial is None:
            raise CallOrderError(
                "nothing is recorded yet: use `with recorder:`, or recorder.start()"
            )
        if self._run is None:
            self._run = Run(self._record())
        return self._run

    def _record(self) -> Record:
        assert self._initial is not None
        if isinstance(self._store, DiskStore):
            return self._record_on_disk(self._store)
        tally = None if self._aggregates is None else self._aggregates.tally()
        values, last, about = (self._initial, self._final()), self._last_step, repr(self.optimizer)
        return self._store.record(
            self._slots, *values, last, self._tail_block(), tally, self._complete, about
        )

    def _record_on_disk(self, store: DiskStore) -> Record:
        """What the directory holds, and while it is being written, what only this process knows."""
        self.flush()
        record = read_record(store.directory)
        if self._handle is None or store.broken:
            return record
        blocks = (*record.blocks, *self._tail_block())
        return replace(
            record, final=self._final(), final_step=self._last_step, replayed=False, blocks=blocks
        )

    @override
    def flush(self) -> None:
        """Write what is only in memory, where there is a directory to write it to."""
        if self._handle is not None and isinstance(self._store, DiskStore):
            self._store.flush()
            self._save_counts()

    def _tail_block(self) -> list[Block]:
        """The last step, which is always kept, where `every` would leave it out."""
        return [] if self._tail is None or self._store.full else [Block.of_row(*self._tail)]

    def _final(self) -> Array:
        """The values after the last step."""
        if self._ended is not None:
            return self._ended
        live = self._select(self._vector.values)
        return (self._watch.values if self._watch.changed(live) else live).copy()

    def estimate(self, steps: int) -> Estimate:
        """What a number of steps will take: bytes a step, bytes in all, and the step at which the
        budget is reached.

        Raises:
            KindError: `steps` is not a whole number.
            RangeError: `steps` is less than 1.
        """
        indices = 0 if self._data is None else 4 * self._data.batch_size
        buffers = sum(array.nbytes for array in self._copied_buffers().values())
        return self._store.estimate(whole(steps, "steps"), self._every, indices + buffers)

    def __repr__(self) -> str:
        state = (
            "recording"
            if self._handle is not None
            else "stopped"
            if self._complete
            else "not started"
        )
        return f"Recorder({', '.join(self._slots)}; {state})"
