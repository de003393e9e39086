"""`Run`: a record, read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import final

import numpy as np

from minigrad._messages import described
from minigrad.arrays import Array, Integers
from minigrad.display.html.page import save_page
from minigrad.display.pictures import counted
from minigrad.display.text_report import html_of, report_of
from minigrad.errors import KindError, ModelError, UnknownNameError
from minigrad.layers.layer import Layer
from minigrad.recording.out_of_band import first_different
from minigrad.runs.blocks import Block, Gap, replay
from minigrad.runs.format import checksum
from minigrad.runs.non_finite import NonFinite, first_non_finite
from minigrad.runs.parameter_history import ParameterHistory
from minigrad.runs.reader import read_record
from minigrad.runs.record import Record
from minigrad.runs.restore import restore_into


@final
@dataclass(frozen=True)
class Difference:
    """Where two runs part.

    Attributes:
        step: The step; -1 means before the first one.
        name: The parameter.
        index: The entry.
        what: "update" or "value".
        here: What this run has there.
        there: What the other run has there.
    """

    step: int
    name: str
    index: tuple[int, ...]
    what: str
    here: float
    there: float


@final
@dataclass(frozen=True)
class Verification:
    """What replaying a run against its keyframes found. True if something was checked, and all of
    it held.

    Attributes:
        checked: How many steps were replayed and led to exactly the values that they should.
        unchecked: How many steps could not be: their updates are not held, or nothing that was
            stored by itself follows.
        keyframes: How many stored values were compared: keyframes, final values, and those that the
            counts belong to.
        mismatch: The first step, parameter and entry that does not hold; None if all do.
        damaged: The steps whose rows are not what was written: their checksum differs.
    """

    checked: int
    unchecked: int
    keyframes: int
    mismatch: tuple[int, str, tuple[int, ...]] | None
    damaged: tuple[int, ...] = ()

    def __bool__(self) -> bool:
        return self.checked > 0 and self.mismatch is None and not self.damaged

    def __str__(self) -> str:
        told = (
            f"{counted(self.checked, 'step')} replayed exactly, to "
            f"{counted(self.keyframes, 'keyframe')}; {self.unchecked:,} not checked"
        )
        if self.damaged:
            which = ", ".join(str(step) for step in self.damaged[:5]) + (
                ", ..." if len(self.damaged) > 5 else ""
            )
            told += (
                f"; the stored rows of {counted(len(self.damaged), 'step')} are damaged: {which}"
            )
        if self.mismatch is None:
            return told
        step, name, index = self.mismatch
        return (
            f"{told}; the replay up to step {step} does not give the recorded {name}{list(index)}"
        )


@final
class Run:
    """The record of a training's steps; it does not change when training goes on.

    `run["0.weight"]` is one parameter's history. A recorder gives it: `recorder.run`.

    Attributes:
        names: The recorded parameters.
        steps: The numbers of the recorded steps, counted from 0.
        complete: Whether the recorder was stopped; False while it goes on.
        gaps: The steps whose tensors the record does not hold, each with the reason.
        notes: What else happened, in sentences: writes into the parameters by others.
        optimizer: The optimizer in words.
        bytes: How many bytes the record takes, in memory or on disk.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.names: tuple[str, ...] = tuple(record.slots)
        self.steps: tuple[int, ...] = tuple(record.meta.steps.tolist())
        self.complete: bool = record.complete
        self.gaps: tuple[Gap, ...] = record.gaps
        self.notes: tuple[str, ...] = record.notes
        self.optimizer: str = record.optimizer
        self.bytes: int = record.bytes

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Run:
        """The run that a recorder wrote to a directory, as far as it is whole: also while it is
        written, or cut off.

        Raises:
            KindError: `path` is no path.
            RunError: There is no run, it is damaged beyond reading, or of a later version.
        """
        if not isinstance(path, str | PathLike):
            raise KindError(f"Run.open got {described(path)}, expected the path of a directory")
        return cls(read_record(Path(path)))

    def __getitem__(self, name: str) -> ParameterHistory:
        """One parameter's history.

        Raises:
            KindError: It is no name.
            UnknownNameError: It is not recorded.
        """
        if not isinstance(name, str):
            raise KindError(
                f"run[...] got {described(name)}, expected the name of a parameter, such as "
                f"'{self.names[0]}'"
            )
        if name not in self._record.slots:
            raise UnknownNameError(
                f"no parameter '{name}' in this run; there are {', '.join(self.names)}"
            )
        return ParameterHistory(self._record, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def exact_steps(self) -> Integers:
        """The steps after which all values are known to the bit, in order."""
        return self._record.exact_steps

    @property
    def lr(self) -> Array:
        """The learning rate of each step."""
        return self._record.meta.lr.copy()

    @property
    def loss(self) -> Array:
        """The loss of each step; NaN where it is not known, or was NaN."""
        return self._record.meta.loss.copy()

    @property
    def clip_factor(self) -> Array:
        """What the gradients of each step were multiplied by."""
        return self._record.meta.clip_factor.copy()

    @property
    def first_non_finite(self) -> NonFinite | None:
        """Where NaN or infinity first appears in the losses or the values.

        None if the record shows none.
        """
        return first_non_finite(self._record)

    def indices(self, step: int) -> Integers | None:
        """The rows of the data in a step's batch; None if they were not recorded.

        Raises:
            KindError: `step` is not a whole number.
            RangeError: The run has no such step.
        """
        meta = self._record.meta
        found = meta.indices[int(np.searchsorted(meta.steps, self._record.check(step)))]
        return None if found is None else found.copy()

    def report(self) -> str:
        """Counts and reasons for every parameter, as text of 100 columns."""
        return report_of(self._record)

    def save_report(self, path: str | PathLike[str]) -> None:
        """Write one HTML file that shows the run: what moved, what did not, and why, with a slider
        over the updates.

        It needs no network and no library, and has less than 5 MB for any number of steps, and up
        to some hundred
        parameters: pictures and charts that would take more are reduced, and say so.

        Args:
            path: The file. One that exists is replaced, and only by a whole one.

        Raises:
            DataFileError: The file cannot be written: its directory is missing or not writable.
            KindError: `path` is no path.
        """
        if not isinstance(path, str | PathLike):
            raise KindError(f"save_report got {described(path)}, expected the path of a file")
        save_page(self._record, path)

    def __str__(self) -> str:
        return self.report()

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts of each parameter."""
        return html_of(self._record)

    def __repr__(self) -> str:
        state = "complete" if self.complete else "not complete"
        return f"Run({len(self.steps):,} steps of {', '.join(self.names)}; {self.bytes:,} bytes; {state})"

    # -- exactness --------------------------------------------------------------------------------

    def restore(self, model: Layer, step: int | None = None, *, strict: bool = True) -> None:
        """Put the exact values after a step into a model, and the state of its layers that is not
        learnt.

        Args:
            model: A model with the same parameters. Of a run that recorded a part of a model,
                `model[2:]`, it is that part; or the whole, with `strict=False`.
            step: The step, counted from 0; None for the last one, or the last that is known exactly
                if the run was cut off.
            strict: Whether parameters that the run does not have are an error; otherwise they are
                left as they are.

        Raises:
            KindError: `model` is not a layer, or `step` not a whole number.
            ModelError: The model's parameters are not those of the run; it is unchanged.
            RangeError: The run has no such step.
            NotExactError: The record does not hold what is needed for that step.
        """
        if not isinstance(model, Layer):
            raise KindError(f"restore got {described(model)}, expected a model")
        restore_into(self._record, model, step, strict=strict)

    def verify(self) -> Verification:
        """Replay all updates, compare with every value that was stored by itself, bit for bit, and
        check every checksum.

        With `every` above 1 updates do not follow each other, so nothing can be replayed.
        """
        record, everything = self._record, slice(None)
        # What reads them, not the values: of a long run all keyframes together are more than there
        # is memory.
        stored: dict[int, Callable[[], Array]] = {
            b.value_after: partial(replay, b, 0, everything)
            for b in record.blocks
            if b.value_after is not None
        }
        if record.tally is not None:
            stored.setdefault(record.counted_step, lambda: record.counted)
        if not record.replayed:
            stored.setdefault(record.final_step, lambda: record.final)
        checked = compared = 0
        mismatch: tuple[int, str, tuple[int, ...]] | None = None
        for block in record.blocks:
            ends = (
                [step for step in block.steps[: block.replayable] if step in stored]
                if block.has_keyframe
                else []
            )
            if not ends:
                continue
            compared += 1
            count = block.steps.index(ends[-1]) + 1
            entry = first_different(replay(block, count, everything), stored[ends[-1]]())
            if entry is None:
                checked += count
            elif mismatch is None:
                mismatch = (ends[-1], *self._entry(entry))
        damaged = tuple(step for block in record.blocks for step in _damaged(block))
        return Verification(checked, len(self.steps) - checked, compared, mismatch, damaged)

    def first_difference(self, other: Run) -> Difference | None:
        """The first step, parameter and entry in which two runs part, bit for bit; None if they
        never do.

        Where both hold a step's updates these are compared, otherwise the values, where both know
        them exactly.

        Raises:
            KindError: `other` is not a run.
            ModelError: The runs are of different parameters.
        """
        if not isinstance(other, Run):
            raise KindError(f"first_difference got {described(other)}, expected a run")
        ours, theirs = self._record, other._record
        if {n: s.shape for n, s in ours.slots.items()} != {
            n: s.shape for n, s in theirs.slots.items()
        }:
            raise ModelError(
                f"the runs are of different parameters: {', '.join(self.names)} and "
                f"{', '.join(other.names)}"
            )
        if ours.final.dtype != theirs.final.dtype:
            raise ModelError(
                f"the runs have different dtypes: {ours.final.dtype} and {theirs.final.dtype}"
            )
        found = self._difference(-1, "value", ours.initial, theirs.initial)
        if found is not None:
            return found
        our_rows, their_rows = _rows_by_step(ours), _rows_by_step(theirs)
        exact = set(ours.exact_steps.tolist()) & set(theirs.exact_steps.tolist())
        everything = slice(None)
        foreign = {
            block.first for record in (ours, theirs) for block in record.blocks if block.foreign
        }
        for step in sorted((our_rows.keys() & their_rows.keys()) | exact):
            if step in foreign and {step - 1} <= exact:
                before = [record.values_before(step, everything) for record in (ours, theirs)]
                found = self._difference(step, "value", *before)
                if found is not None:
                    return found
            if step in our_rows and step in their_rows:
                found = self._difference(step, "update", our_rows[step], their_rows[step])
            else:
                found = self._difference(
                    step, "value", ours.values(step, everything), theirs.values(step, everything)
                )
            if found is not None:
                return found
        if self.steps and other.steps and self.steps[-1] == other.steps[-1]:
            return self._difference(self.steps[-1], "value", ours.final, theirs.final)
        return None

    def _difference(self, step: int, what: str, here: Array, there: Array) -> Difference | None:
        entry = first_different(here, there)
        if entry is None:
            return None
        return Difference(step, *self._entry(entry), what, float(here[entry]), float(there[entry]))

    def _entry(self, flat: int) -> tuple[str, tuple[int, ...]]:
        """The parameter and index of an entry of the flat arrays."""
        for name, (part, shape) in self._record.slots.items():
            if part.start <= flat < part.stop:
                return name, tuple(int(i) for i in np.unravel_index(flat - part.start, shape))
        raise AssertionError("every entry belongs to a parameter")


def _damaged(block: Block) -> Iterator[int]:
    """The steps of a block whose rows do not have the checksum that they were written with."""
    if block.sums is not None:
        tensors = list(block.rows.values())
        for row, (step, told) in enumerate(zip(block.steps, block.sums.tolist(), strict=True)):
            if checksum(rows[row] for rows in tensors) != told:
                yield step


def _rows_by_step(record: Record) -> dict[int, Array]:
    return {
        step: row
        for block, rows in record.rows("update")
        for step, row in zip(block.steps, rows, strict=True)
    }
