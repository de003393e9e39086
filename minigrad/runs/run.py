"""`Run`: a record, read back."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import final

import numpy as np

from minigrad._messages import described
from minigrad._printable import printable
from minigrad.arrays import Array, Integers, Mask
from minigrad.display.html.page import save_page
from minigrad.display.notebook_report import notebook_report_of
from minigrad.display.text_report import report_of
from minigrad.errors import KindError, UnknownNameError
from minigrad.layers.layer import Layer
from minigrad.runs.gap import Gap
from minigrad.runs.nan_loss import is_nan_loss
from minigrad.runs.non_finite import NonFinite, earlier, first_loss, first_values
from minigrad.runs.norms import Norms, norms_of
from minigrad.runs.parameter_history import ParameterHistory
from minigrad.runs.reader import read_record
from minigrad.runs.record import Record
from minigrad.runs.restore import restore_into
from minigrad.runs.sound_record import without_damage
from minigrad.runs.verification import Difference, Verification, first_difference, verify


@final
class Run:
    """The record of a training's steps; it does not change when training goes on.

    `run["0.weight"]` is one parameter's history. A recorder gives it: `recorder.run`.

    Attributes:
        names: The recorded parameters.
        steps: The numbers of the recorded steps, counted from 0.
        complete: Whether the recorder was stopped; False while it goes on.
        gaps: The steps whose tensors or counts the record does not hold, each with the reason.
        notes: What else happened, in sentences: writes into the parameters by others, damage.
        optimizer: The optimizer in words.
        bytes: How many bytes the record takes, in memory or on disk.
        counted_steps: In how many steps entries were counted, while these were made or later from
            their rows; None where nothing was counted.
        no_counts: Why nothing was counted, such as "aggregates=False"; empty where something was.
    """

    def __init__(self, record: Record) -> None:
        self._record = record
        self.names: tuple[str, ...] = tuple(record.slots)
        self.steps: tuple[int, ...] = tuple(record.kept.steps.tolist())
        self.complete: bool = record.complete
        self.gaps: tuple[Gap, ...] = tuple(
            gap._replace(why=printable(gap.why)) for gap in record.gaps
        )
        self.notes: tuple[str, ...] = tuple(
            map(printable, (*record.notes, *filter(None, [record.lag])))
        )
        self.optimizer: str = printable(record.optimizer)
        self.bytes: int = record.bytes
        self.counted_steps: int | None = None if record.counts is None else record.counts.seen
        self.no_counts: str = record.no_counts if record.counts is None else ""

    @classmethod
    def open(cls, path: str | PathLike[str]) -> Run:
        """The run that a recorder wrote to a directory, as far as it is whole.

        Also while it is written, or where it was cut off.

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
    def held(self) -> dict[str, int]:
        """Of how many steps the record holds tensors, by kind: "update", "grad" or "value"."""
        held = dict.fromkeys(("update", "grad", "value"), 0)
        for block in self._record.blocks:
            for kind in block.rows:
                held[kind] += block.count
        return {kind: count for kind, count in held.items() if count}

    @property
    def exact_steps(self) -> Integers:
        """The steps after which all values are known to the bit, in order."""
        return self._record.exact_steps

    @property
    def lr(self) -> Array:
        """The learning rate of each step."""
        return self._record.kept.lr.copy()

    @property
    def loss(self) -> Array:
        """The loss of each step; NaN where it is not known, or was NaN."""
        return self._record.kept.loss.copy()

    @property
    def loss_known(self) -> Mask:
        """Of which steps the loss is known; one that is known may be NaN."""
        losses = self._record.kept.loss
        return ~np.isnan(losses) | is_nan_loss(losses)

    @property
    def clip_factor(self) -> Array:
        """What the gradients of each step were multiplied by."""
        return self._record.kept.clip_factor.copy()

    @property
    def first_non_finite(self) -> NonFinite | None:
        """Where NaN or infinity first appears in the losses or the values.

        None if the record shows none.
        """
        return earlier(self.first_non_finite_loss, self.first_non_finite_values)

    @cached_property
    def first_non_finite_loss(self) -> NonFinite | None:
        """The first loss that was NaN or infinite; None if none is known to be."""
        return first_loss(self._record)

    @cached_property
    def first_non_finite_values(self) -> NonFinite | None:
        """The first values that are NaN or infinite; None if the record shows none."""
        return first_values(self._record)

    def norms(self) -> dict[str, Norms]:
        """How large the updates of each parameter are, alone and relative to its values.

        The values are replayed once for all parameters; `ParameterHistory.ratio` does it for one.
        """
        return norms_of(self._record, self._record.slots)

    def indices(self, step: int) -> Integers | None:
        """The rows of the data in a step's batch; None if they were not recorded.

        Raises:
            KindError: `step` is not a whole number.
            RangeError: The run has no such step.
            RunError: They are damaged: not what was written.
        """
        kept = self._record.kept
        indices = kept.indices[int(np.searchsorted(kept.steps, self._record.check(step)))]
        return None if indices is None else indices.copy()

    def report(self) -> str:
        """Counts and reasons for every parameter, as text of 100 columns."""
        return report_of(self)

    def save_report(self, path: str | PathLike[str]) -> None:
        """Write one HTML file that shows the run: what moved, what did not, and why.

        A slider leafs through the updates. Rows that are damaged are left out, and told of. The
        file needs no network and no library, and has less than 5 MB for any number of steps and up
        to some hundred parameters: pictures and charts that would take more are reduced, and say
        so.

        Args:
            path: The file. One that exists is replaced, and only by a whole one.

        Raises:
            DataFileError: The file cannot be written: its directory is missing or not writable.
            KindError: `path` is no path.
        """
        if not isinstance(path, str | PathLike):
            raise KindError(f"save_report got {described(path)}, expected the path of a file")
        save_page(Run(without_damage(self._record)), path)

    def __str__(self) -> str:
        return self.report()

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts of each parameter."""
        return notebook_report_of(self)

    def __repr__(self) -> str:
        state = "complete" if self.complete else "not complete"
        names = printable(", ".join(self.names))
        return f"Run({len(self.steps):,} steps of {names}; {self.bytes:,} bytes; {state})"

    # -- exactness --------------------------------------------------------------------------------

    def restore(self, model: Layer, step: int | None = None, *, strict: bool = True) -> None:
        """Put the exact values after a step, and the buffers of its layers, into a model.

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
            RunError: What is needed is damaged, the buffers too; the model is unchanged.
        """
        if not isinstance(model, Layer):
            raise KindError(f"restore got {described(model)}, expected a model")
        restore_into(self._record, model, step, strict=strict)

    def verify(self) -> Verification:
        """Replay all updates, and compare bit for bit with every value that was stored by itself.

        Every checksum is checked too, and whether the counts fit the rows and the values. With
        `every` above 1 updates do not follow each other, so nothing can be replayed.
        """
        return verify(self._record)

    def first_difference(self, other: Run) -> Difference | None:
        """The first step, parameter and entry in which two runs part; None if they never do.

        They are compared bit for bit. Where both hold a step's updates these are compared,
        otherwise the values, where both know them exactly.

        Raises:
            KindError: `other` is not a run.
            ModelError: The runs are of different parameters.
            RunError: What is needed for a value is damaged.
        """
        if not isinstance(other, Run):
            raise KindError(f"first_difference got {described(other)}, expected a run")
        return first_difference(self._record, other._record)
