"""`ParameterHistory`: what one parameter went through in a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from os import PathLike
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._printable import printable
from minigrad.arrays import Array, Integers, Mask
from minigrad.display import notebook
from minigrad.display.animation import What, animated
from minigrad.display.pictures import change_of, png_picture, text_picture
from minigrad.display.words import counted, in_words, not_finite, not_finite_in_words
from minigrad.errors import CallOrderError, KindError
from minigrad.files import save
from minigrad.reason import Reason
from minigrad.runs.causes import Causes
from minigrad.runs.exact_values import exact_values
from minigrad.runs.norms import norms_of
from minigrad.runs.notes import written_by_others
from minigrad.runs.reason_sentences import EntrySentences, not_counted
from minigrad.runs.reasons import codes_of, explained_by, zero_inputs_of
from minigrad.runs.record import Record
from minigrad.runs.sound_record import without_damage
from minigrad.runs.tensors import Tensors
from minigrad.runs.why import Why


@final
class ParameterHistory:
    """What one parameter went through in a run.

    Entries are counted at every step, whatever tensors were kept.

    Attributes:
        name: The parameter's name.
        shape: Its shape.
        size: How many entries it has.
        dtype: The kind of its numbers.
        counted_steps: In how many steps its entries were counted, while these were made or later
            from their rows; None where nothing was counted.
        no_counts: Why nothing was counted, such as "aggregates=False"; empty where something was.
    """

    def __init__(self, record: Record, name: str) -> None:
        self._record = record
        self._slot = record.slots[name]
        self.name: str = name
        self.shape: tuple[int, ...] = self._slot.shape
        self.size: int = self._slot.slice.stop - self._slot.slice.start
        self.dtype: np.dtype[Any] = record.final.dtype
        self.counted_steps: int | None = None if record.counts is None else record.counts.seen
        self.no_counts: str = record.no_counts if record.counts is None else ""

    # -- values -----------------------------------------------------------------------------------

    @property
    def initial(self) -> Array:
        """The value before the first step.

        Raises:
            NotExactError: It is not known, because the file that held it is damaged.
        """
        return self._shaped(self._record.known_initial[self._slot.slice])

    @property
    def final(self) -> Array:
        """The value after the last step.

        Of a run that was cut off, after the last step that is known exactly.
        """
        return self._shaped(self._record.final[self._slot.slice])

    def value(self, step: int) -> Array:
        """The exact value after a step, counted from 0.

        Raises:
            KindError: `step` is not a whole number.
            RangeError: The run has no such step.
            NotExactError: The record does not hold what is needed; the message names the nearest
                exact steps.
            RunError: What is needed is damaged.
        """
        return self._shaped(self._record.values(self._record.check(step), self._slot.slice))

    def values(self, steps: Iterable[int]) -> Iterator[tuple[int, Array]]:
        """The exact values after several steps, in one pass: (step, value), in the run's order.

        Raises:
            KindError: A step is not a whole number.
            RangeError: The run has no such step.
            NotExactError: The record does not hold what is needed for one of them.
            RunError: What is needed for one of them is damaged.
        """
        wanted = self._checked_steps(steps)
        if unknown := wanted.difference(self.exact_steps.tolist()):
            self.value(min(unknown))  # which says what is missing
        for step, values in exact_values(self._record, wanted, self._slot.slice):
            yield step, values.reshape(self.shape)

    @property
    def exact_steps(self) -> Integers:
        """The steps after which the value is known to the bit, in order."""
        return self._record.exact_steps

    def effective(self, step: int) -> Array:
        """The change that a step really made: the value after it minus the value before it.

        Raises:
            KindError: `step` is not a whole number.
            RangeError: The run has no such step.
            NotExactError: The record does not hold what is needed.
        """
        after = self._record.values(self._record.check(step), self._slot.slice)
        return self._shaped(after - self._record.values_before(step, self._slot.slice))

    @property
    def updates(self) -> Tensors:
        """The updates that the record holds, over the steps. Empty if it keeps none."""
        return Tensors(self._record, "update", self._slot)

    @property
    def grads(self) -> Tensors:
        """The gradients that the record holds, over the steps.

        Empty if it keeps none (`keep=("update", "grad")`).
        """
        return Tensors(self._record, "grad", self._slot)

    @property
    def ratio(self) -> npt.NDArray[np.float64]:
        """|update| / |value after it|, Euclidean norms, for each step in `updates.steps`.

        NaN where the value is unknown.
        """
        return norms_of(self._record, {self.name: self._slot})[self.name].ratios

    # -- entries ----------------------------------------------------------------------------------

    @property
    def moves(self) -> Integers:
        """In how many steps each entry's value changed."""
        return self._counted("moves")

    @property
    def moved(self) -> Mask:
        """Which entries' values changed at least once."""
        return self._counted("moves") > 0

    @property
    def swallowed(self) -> Integers:
        """In how many steps each entry's update was not 0, but rounding took all of it."""
        return self._counted("swallowed")

    @property
    def movement(self) -> npt.NDArray[np.float64]:
        """The sum of the magnitudes of all changes of each entry."""
        return self._counted("movement")

    @property
    def first_move(self) -> Integers:
        """The first step that changed each entry; -1 where none did."""
        return self._counted("first_move")

    @property
    def last_move(self) -> Integers:
        """The last step that changed each entry; -1 where none did."""
        return self._counted("last_move")

    @cached_property
    def why(self) -> Why:
        """Why each entry moved or did not.

        UNKNOWN where nothing was counted (`aggregates=False`), and for what did not move where
        steps were not counted, or only later from their rows.
        """
        record, name, counts = self._record, self.name, self._record.counts
        if counts is None:
            codes = np.full(self.shape, Reason.UNKNOWN.code, np.uint8)
            why = record.no_counts
            return Why(name, codes, lambda index, reason: not_counted(name, index, why))
        final_ = self._shaped(record.counted[self._slot.slice])
        initial = self.initial if record.initial_known else None
        causes = Causes.of(record.optimizer, written_by_others(record.notes, name))
        behind = record.counted_step, record.last_step
        sentences = EntrySentences(name, self._slot, counts, initial, final_, causes, behind)
        alone = self.moved & (self._counted("grads") == 0) & counts.whole
        remarks = []
        if count := int(np.count_nonzero(alone)):
            remarks.append(
                f"Of those that moved, {count:,} did by {causes.movers} alone: their gradient was "
                f"0 in every step."
            )
        if strange := not_finite_in_words(*not_finite(final_)):
            remarks.append(f"At the end {strange}.")
        activity = counts.activity.get(name)
        return Why(
            name,
            codes_of(name, self._slot, counts, initial, final_),
            sentences.sentence,
            without_gradient=alone,
            explained=explained_by(activity),
            zero_inputs=zero_inputs_of(activity) if counts.whole else None,
            unexplained=counts.unexplained.get(name, ""),
            movers=causes.movers,
            remarks=remarks,
        )

    def _counted(self, what: str) -> npt.NDArray[Any]:
        if self._record.counts is None:
            raise CallOrderError(f"this record has no counts ({self._record.no_counts})")
        flat: npt.NDArray[Any] = getattr(self._record.counts, what)
        return flat[self._slot.slice].reshape(self.shape).copy()

    def _shaped(self, flat: Array) -> Array:
        return flat.reshape(self.shape).copy()

    # -- pictures ---------------------------------------------------------------------------------

    def picture(self, unit: int | None = None, shape: tuple[int, int] | None = None) -> str:
        """Where it moved, as text: the darker, the more.

        `·` stands where nothing ever moved, `×` where it is NaN or infinite at the end.

        Args:
            unit: Which unit's weights, a column of (n_in, n_out). None: the whole parameter.
            shape: How they lie, (28, 28) for an image.

        Raises:
            KindError: An argument is of the wrong kind.
            RangeError: There is no such unit.
            ShapeError: The entries do not fill that shape.
        """
        return text_picture(self, unit, shape)

    def png(
        self, unit: int | None = None, shape: tuple[int, int] | None = None, scale: int = 4
    ) -> bytes:
        """The change from the first to the last value, as a PNG.

        Blue is down, red up, white none, and green never moved. Where either value is NaN or
        infinite it is black.

        Args:
            unit: Which unit's weights; None with a `shape`: all units, side by side.
            shape: How they lie, (28, 28) for an image.
            scale: How many pixels wide an entry is.

        Raises:
            KindError: An argument is of the wrong kind.
            RangeError: There is no such unit, or `scale` is less than 1.
            ShapeError: The entries do not fill that shape.
        """
        return png_picture(self, unit, shape, scale)

    def animation(
        self,
        path: str | PathLike[str] | None = None,
        *,
        units: int | Iterable[int] | None = None,
        shape: tuple[int, int] | None = None,
        steps: Iterable[int] | None = None,
        frames: int = 60,
        seconds: float = 6.0,
        scale: int = 4,
        what: What = "change",
    ) -> bytes:
        """Units that learn, as an animated PNG: blue below 0, red above, white 0.

        All frames have one scale. They lie evenly among the steps that are known exactly, including
        the first and the last of these. In the picture of the change, entries that never moved are
        green; a record without counts does not know them. NaN and infinity are black.

        Args:
            path: Where to write the file as well; what is there is replaced.
            units: Which units' weights; None with a `shape`: all units, side by side.
            shape: How they lie, (28, 28) for an image.
            steps: Among which steps to choose, `range(100)`; those that are not known exactly are
                passed over.
            frames: How many frames, 2 or more. There are fewer if fewer steps are known.
            seconds: How long one round takes.
            scale: How many pixels wide an entry is.
            what: "change" is the value less the one before the first step, "value" the value,
                "update" the update.

        Raises:
            DataFileError: The file cannot be written.
            KindError: An argument is of the wrong kind.
            NotExactError: The record knows fewer than two of the steps exactly, or holds fewer than
                two updates.
            RangeError: There is no such unit or step, or a number is out of range.
            ShapeError: The entries do not fill that shape.
        """
        among = None if steps is None else self._checked_steps(steps)
        content = animated(
            ParameterHistory(without_damage(self._record), self.name),
            units,
            shape,
            steps=among,
            frames=frames,
            seconds=seconds,
            scale=scale,
            what=what,
        )
        if path is not None:
            save(path, content, "the animation")
        return content

    def _checked_steps(self, steps: Iterable[int]) -> frozenset[int]:
        if isinstance(steps, str) or not isinstance(steps, Iterable):
            raise KindError(
                f"steps is {described(steps)}, expected the numbers of steps, such as range(100)"
            )
        numbers = list(steps)
        recorded = set(self._record.kept.steps.tolist())
        for step in numbers:
            known = not isinstance(step, bool) and isinstance(step, int | np.integer)
            if not (known and step in recorded):
                self._record.check(step)  # which says what is wrong with it
        return frozenset(int(step) for step in numbers)

    def __repr__(self) -> str:
        moved = "" if self.counted_steps is None else f", {self._moved()}"
        name = printable(self.name)
        return f"ParameterHistory('{name}', {in_words(self.final)} at the end{moved})"

    def _moved(self) -> str:
        """How many entries moved, and how many of them never had a gradient."""
        moved = f"{np.count_nonzero(self.moved):,} of {self.size:,} entries moved"
        alone = self.why.moved_without_gradient
        return f"{moved}, {alone:,} of them without a gradient" if alone else moved

    def _repr_html_(self) -> str:
        """What a notebook shows: how many entries moved, and by how much, as a picture."""
        steps = len(self._record.kept.steps)
        counts, never = f"nothing was counted ({self.no_counts})", None
        if self.counted_steps is not None:
            counts, never = self._moved(), ~self.moved if steps else None
        return notebook.block(
            notebook.title(f"{self.name} {self.shape} {self.dtype}, {counted(steps, 'step')}"),
            notebook.line(f"{counts}; at the end {in_words(self.final)}"),
            notebook.amounts(
                change_of(self), never, "the change from before the first step to after the last"
            )
            if self._record.initial_known
            else "",
        )
