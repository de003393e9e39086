"""`Recorder`, the hook that records a training: it only wires the optimizer to the counts and the store."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from itertools import zip_longest
from types import TracebackType
from typing import Any, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt
from typing_extensions import override

from minigrad.arrays import Array, parse_bytes, whole
from minigrad.data import Batches
from minigrad.errors import KindError, ModelError, OrderError, OutOfBandWrite, RangeError, StaleParameters
from minigrad.hooks import Handle, Hook, Step
from minigrad.layer import Layer
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameter import ParameterVector, Slot, Writer
from minigrad.recording.aggregates import Aggregates
from minigrad.recording.blocks import Block, Estimate, Gap
from minigrad.recording.record import Record
from minigrad.recording.run import Run
from minigrad.recording.store import MemoryStore, OnFull

_NAN = float("nan")
_NONE: dict[str, npt.NDArray[Any]] = {}

Selection: TypeAlias = str | Iterable[str] | Callable[[str], bool]
"""Which parameters: a glob, several, or a function of the name."""


@final
class Recorder(Hook):
    """Records every update of an optimizer's parameters, and what became of each entry.

        with minigrad.Recorder(optimizer, loss=loss, data=data) as recorder:
            ...  # train
        print(recorder.run.report())

    The counts of each entry are exact at every step; only the tensors may be sampled (`every`) or bounded (`budget`).

    Args:
        optimizer: Whose steps are recorded; it knows its model.
        loss: The loss, whose value goes into each step's row.
        data: The data, whose row indices go into each step's row.
        path: A directory to record into; not supported yet, records are in memory.
        params: Which parameters: a glob, several globs, or a function of the name.
        keep: Which tensors: any of "update" and "grad"; () keeps the counts alone.
        every: Keep the tensors of every k-th step; those of the first and the last step are always kept.
        keyframe_every: How many steps lie between two full copies of the values, at most.
        budget: Bytes for the tensors, or text such as "512MB".
        aggregates: Whether to count. Without the counts there are no reasons, and writes of others into the values
            in place are noticed by a checksum, which values that only change places escape; `run.verify()` finds all.
        resume: Append to the record at `path`; not supported yet.
        on_full: When the budget is reached: "thin" gives up alternate blocks of steps, "ring" keeps the start and the
            newest, "stop" records no more tensors, "raise" raises.
        coactivation: Collect which inputs and units were active in the same sample. It tells NEVER_TOGETHER from
            CANCELLED, for the price of looking at the entries that have not moved yet.

    Raises:
        KindError: An argument is of the wrong kind.
        ModelError: `params` matches no parameter.
        RangeError: A setting is out of range.
        BudgetError: The budget is too small for a single step.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        loss: Loss | None = None,
        data: Batches | None = None,
        path: None = None,
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
        if not isinstance(optimizer, Optimizer):
            raise KindError(f"Recorder got {optimizer!r}, expected an optimizer")
        if path is not None or resume:
            raise RangeError("Recorder records in memory only: path and resume are not supported yet")
        if on_full not in ("thin", "ring", "stop", "raise"):
            raise RangeError(f"on_full is {on_full!r}, expected 'thin', 'ring', 'stop' or 'raise'")
        kinds = (keep,) if isinstance(keep, str) else tuple(keep)
        if not set(kinds) <= {"update", "grad"}:
            raise RangeError(f"keep is {keep!r}, expected any of 'update' and 'grad'")
        self.optimizer: Optimizer = optimizer
        self._loss = loss
        self._data = data
        self._every = whole(every, "every")
        self._vector = ParameterVector.of(optimizer.model)
        self._slots, self._parts = _selected(self._vector, params)
        size = sum(part.stop - part.start for part in self._parts)
        self._all = size == self._vector.values.size
        self._kinds = tuple(kind for kind in ("update", "grad") if kind in kinds)
        self._store = MemoryStore(
            size,
            self._vector.values.dtype,
            (*self._kinds, "value") if self._kinds and self._every > 1 else self._kinds,
            whole(keyframe_every, "keyframe_every"),
            parse_bytes(budget),
            on_full,
        )
        self._aggregates: Aggregates | None = None
        if aggregates:
            parameters = dict(zip(self._vector.slots, self._vector.parameters, strict=True))
            self._aggregates = Aggregates(
                self._slots,
                {name: parameters[name] for name in self._slots},
                _explaining(optimizer.model, self._slots),
                coactivation,
            )
        self._buffers = [
            (f"{place}.{buffer}" if place else buffer, layer, buffer)
            for place, layer in optimizer.model.layers()
            for buffer in layer.buffers
        ]
        self._handle: Handle | None = None
        self._complete = False
        self._initial: Array | None = None
        self._shadow: Array = np.empty(size, self._vector.values.dtype)  # the values after the last step, if it counts
        self._sum = 0  # a checksum of them, if it does not
        self._assignments = 0  # how often values had been assigned then
        self._foreign = ""  # what somebody else wrote before the step that is being made
        self._steps_by: list[int] = []
        self._last_step = -1
        self._notes: list[str] = []
        self._tail: tuple[int, dict[str, Array]] | None = None
        self._run: Run | None = None

    # -- recording ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to record, or go on after `stop`.

        Raises:
            OrderError: It is recording already.
            StaleParameters: The parameters have moved into another model.
            OrderError: The optimizer has gone back to a step that is recorded already.
        """
        if self._handle is not None:
            raise OrderError("this recorder is recording already")
        if self._vector.is_stale:
            raise StaleParameters("the parameters of this recorder have moved into another model; make a new one")
        values = self._select(self._vector.values)
        step = self.optimizer.step_count
        if self._initial is None:
            self._initial = values.copy()
            self._store.begin(step, values)
        elif step <= self._last_step:
            raise OrderError(
                f"step {self._last_step} is recorded, and the optimizer has gone back to step {step}; use a new recorder"
            )
        elif step > self._last_step + 1 or self._changed(values):
            if step > self._last_step + 1:
                self._store.gaps.append(Gap(self._last_step + 1, step - 1, "not recorded"))
            self._notes.append(f"before step {step} the values changed while they were not recorded")
            self._store.begin(step, values, foreign=True)
        self._remember(values)
        self._last_step = step - 1
        self._complete = False
        self._handle = self.optimizer.attach(self)

    def stop(self) -> None:
        """End the record; calling it again does nothing."""
        if self._handle is None:
            return
        self._shadow = self._final()
        self._handle.remove()
        self._handle = None
        self._complete = True
        self._run = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @override
    def on_step(self, event: Step) -> None:
        """Count, compare, keep."""
        update, values = self._select(event.flat.update), self._select(event.flat.values)
        if self._aggregates is not None:
            grads = self._select(event.flat.grads)
            self._aggregates.add(event.step, self._shadow, values, update, grads, event.skipped)
        self._remember(values)
        self._last_step = event.step
        self._run = None
        self._keep(event, update, values)
        if self._foreign:
            note, self._foreign = self._foreign, ""
            warnings.warn(f"{note}; the record goes on from the new values", OutOfBandWrite, stacklevel=5)

    def _remember(self, values: Array) -> None:
        """Remember the values after a step: a copy where entries are counted, otherwise a checksum."""
        if self._aggregates is not None:
            np.copyto(self._shadow, values)
        else:
            self._sum = _checksum(values)
        self._steps_by = [writer.steps for writer in self._vector.writers]
        self._assignments = self._vector.whole.assignments

    def _changed(self, values: Array) -> bool:
        """Whether the values are others than those remembered."""
        if self._aggregates is not None:
            return not _same_bits(values, self._shadow)
        return self._vector.whole.assignments != self._assignments or _checksum(values) != self._sum

    @override
    def _before_step(self) -> None:
        """Look whether somebody else has written into the values; if so, take a keyframe, so that replay stays true."""
        values, step = self._select(self._vector.values), self.optimizer.step_count
        if not self._changed(values):
            if self._store.needs_block:
                self._store.begin(step, values)
            return
        expected = self._last_values()
        names = [
            name
            for name, (part, _) in self._slots.items()
            if expected is None or not _same_bits(expected[part], np.ascontiguousarray(values[part]))
        ]
        if not names:  # what was assigned were the same values
            return
        which = ", ".join(names) if expected is not None else f"something of {', '.join(names)}"
        self._store.begin(step, values, foreign=True)
        others = self._others()
        told = f"before step {step} {which} changed "
        self._notes.append(told + (f"by {', '.join(others)}" if others else "other than by an optimizer"))
        self._foreign = "" if others else self._notes[-1]

    def _last_values(self) -> Array | None:
        """The values after the last step; None where nothing remembers them."""
        return self._store.last_values() if self._aggregates is None else self._shadow

    def _keep(self, event: Step, update: Array, values: Array) -> None:
        """Put this step's row into the store."""
        store = self._store
        loss = event.loss if self._loss is None else self._loss.value
        indices = event.indices
        if self._data is not None and self._data.has_given:
            indices = self._data.indices
        kept = None if indices is None else indices.astype(np.int32)
        store.note(
            event.step, event.lr, _NAN if loss is None else loss, event.clip_factor, kept, self._copied_buffers()
        )
        rows = {"update": update}
        if self._store.kinds != ("update",):
            every = {"update": update, "grad": self._select(event.flat.grads), "value": values}
            rows = {kind: every[kind] for kind in store.kinds}
        if rows and self._every > 1 and event.step % self._every and len(store) > 1:
            self._tail = event.step, {kind: row.copy() for kind, row in rows.items()}
            return
        self._tail = None
        store.add(event.step, rows)

    def _copied_buffers(self) -> dict[str, npt.NDArray[Any]]:
        """The layers' state that is not learnt, such as running statistics."""
        return (
            {name: getattr(layer, buffer).copy() for name, layer, buffer in self._buffers} if self._buffers else _NONE
        )

    def _others(self) -> list[str]:
        """The other optimizers that have made steps in the same memory since this one's last step."""
        own = set(self._vector.parameters)
        return [
            f"another {writer.name}" if writer.name == self.optimizer.name else writer.name
            for writer, before in zip_longest(self._vector.writers, self._steps_by, fillvalue=0)
            if isinstance(writer, Writer) and writer.steps > before and own & writer.parameters
        ]

    def _select(self, flat: Array) -> Array:
        """The recorded parameters' part of a flat array."""
        return flat if self._all else np.concatenate([flat[part] for part in self._parts])

    # -- reading ------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """What is recorded up to here; later steps do not change it.

        Raises:
            OrderError: Nothing was recorded yet: the recorder was not started.
        """
        if self._initial is None:
            raise OrderError("nothing is recorded yet: use `with recorder:`, or recorder.start()")
        if self._run is None:
            self._run = Run(self._record())
        return self._run

    def _record(self) -> Record:
        assert self._initial is not None
        blocks = [block.frozen() for block in self._store.blocks]
        if self._tail is not None and not self._store.full:
            step, rows = self._tail
            blocks.append(Block(step, None, [step], {kind: row[np.newaxis] for kind, row in rows.items()}, 1))
        return Record(
            slots=self._slots,
            initial=self._initial,
            final=self._final(),
            blocks=tuple(blocks),
            meta=self._store.meta(),
            gaps=tuple(self._store.all_gaps(self._last_step)),
            notes=tuple(self._notes),
            tally=None if self._aggregates is None else self._aggregates.tally(),
            complete=self._complete,
            bytes=self._store.bytes,
            optimizer=repr(self.optimizer),
        )

    def _final(self) -> Array:
        """The values after the last step."""
        if self._handle is None:
            return self._shadow.copy()
        live = self._select(self._vector.values)
        known = self._last_values() if self._changed(live) else live
        return (live if known is None else known).copy()

    def estimate(self, steps: int) -> Estimate:
        """What a number of steps will take: bytes a step, bytes in all, and the step at which the budget is reached.

        Raises:
            KindError: `steps` is not a whole number.
            RangeError: `steps` is less than 1.
        """
        indices = 0 if self._data is None else 4 * self._data.batch_size
        buffers = sum(array.nbytes for array in self._copied_buffers().values())
        return self._store.estimate(whole(steps, "steps"), self._every, indices + buffers)

    def __repr__(self) -> str:
        state = "recording" if self._handle is not None else "stopped" if self._complete else "not started"
        return f"Recorder({', '.join(self._slots)}; {state})"


def _selected(vector: ParameterVector, params: Selection) -> tuple[dict[str, Slot], list[slice]]:
    """The chosen parameters: where they lie in the record, and in the vector."""
    if callable(params):
        names = [name for name in vector.slots if params(name)]
    else:
        globs = [params] if isinstance(params, str) else list(params)
        for glob in globs:
            if not any(fnmatchcase(name, glob) for name in vector.slots):
                raise ModelError(f"params: '{glob}' matches no parameter; there are {', '.join(vector.slots)}")
        names = [name for name in vector.slots if any(fnmatchcase(name, glob) for glob in globs)]
    if not names:
        raise ModelError(f"params matches no parameter; there are {', '.join(vector.slots)}")
    slots: dict[str, Slot] = {}
    start = 0
    for name in names:
        part, shape = vector.slots[name]
        slots[name] = Slot(slice(start, start + part.stop - part.start), shape)
        start = slots[name].slice.stop
    return slots, [vector.slots[name].slice for name in names]


def _explaining(model: Layer, slots: dict[str, Slot]) -> list[tuple[Layer, dict[str, str]]]:
    """The layers that explain gradients, with the full names of their recorded parameters by attribute."""
    found = []
    for place, layer in model.layers():
        names = {own: f"{place}.{own}" if place else own for own, _ in layer.parts()}
        names = {own: name for own, name in names.items() if name in slots}
        if names and type(layer).explain is not Layer.explain:
            found.append((layer, names))
    return found


def _same_bits(a: Array, b: Array) -> bool:
    """Whether two contiguous arrays are the same, bit for bit: -0.0 is not 0.0, but all NaNs are the same."""
    different = a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")
    return not different.any() or bool((np.isnan(a) & np.isnan(b))[different].all())


def _checksum(values: Array) -> int:
    """The sum of all bits, taken as whole numbers of 64 bits: a fast pass that any single change alters."""
    pairs = values.size // 2 * 2 if values.itemsize == 4 else values.size
    total = int(np.add.reduce(values[:pairs].view(np.uint64)))
    return total if pairs == values.size else hash((total, values[-1:].tobytes()))
