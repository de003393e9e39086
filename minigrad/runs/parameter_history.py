"""`ParameterHistory`: what one parameter went through in a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from os import PathLike
from typing import Any, final, overload

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._types import override
from minigrad._validation import whole
from minigrad.arrays import Array, Integers, Mask
from minigrad.display import notebook
from minigrad.display.animation import What, animated
from minigrad.display.pictures import (
    CROSS,
    as_text,
    counted,
    diverging,
    in_words,
    not_finite,
    png,
    strange_in_words,
    tiled,
)
from minigrad.errors import CallOrderError, KindError, RangeError, ShapeError
from minigrad.files import save
from minigrad.parameters.vector import Slot
from minigrad.recording.coactivity import Counts
from minigrad.runs import sentences
from minigrad.runs.causes import Causes
from minigrad.runs.norms import norms_of
from minigrad.runs.notes import written_by_others
from minigrad.runs.reasons import Reason, Why, code, codes_of
from minigrad.runs.record import Record


@final
class Tensors(Sequence[Array]):
    """One parameter's tensors over the steps that the record holds; `numpy.asarray` gives (steps,
    *shape).

    Attributes:
        steps: The number of each step, in order.
        shape: (number of steps, *shape of the parameter).
    """

    def __init__(
        self, record: Record, kind: str, slot: Slot, places: list[tuple[int, int]] | None = None
    ) -> None:
        self._record = record
        self._kind = kind
        self._slot = slot
        if places is None:
            blocks = enumerate(record.blocks)
            places = [
                (n, row) for n, block in blocks if kind in block.rows for row in range(block.count)
            ]
        self._places = places
        self.steps: Integers = np.array(
            [record.blocks[n].steps[row] for n, row in places], np.int64
        )
        self.shape: tuple[int, ...] = (len(places), *slot.shape)

    @override
    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Tensors: ...
    @override
    def __getitem__(self, index: int | slice) -> Array | Tensors:
        """A copy of one tensor by its position, or a shorter sequence."""
        if isinstance(index, slice):
            return Tensors(self._record, self._kind, self._slot, self._places[index])
        block, row = self._places[index]
        return (
            self._record.blocks[block]
            .rows[self._kind][row, self._slot.slice]
            .reshape(self._slot.shape)
            .copy()
        )

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        """All tensors in one array: a read-only view where one block holds consecutive rows, otherwise a copy."""
        blocks = {block for block, _ in self._places}
        rows = [row for _, row in self._places]
        one_view = len(blocks) == 1 and rows == list(range(rows[0], rows[0] + len(rows)))
        if copy is False and (
            not one_view or (dtype is not None and np.dtype(dtype) != self._record.final.dtype)
        ):
            raise ValueError(
                "these tensors cannot be given without a copy: they lie in several blocks, or have "
                "another dtype"
            )
        if one_view:
            held = self._record.blocks[blocks.pop()].rows[self._kind]
            array = held[rows[0] : rows[0] + len(rows), self._slot.slice].reshape(self.shape)
        else:
            array = np.array(list(self), self._record.final.dtype).reshape(self.shape)
        if (dtype is not None and np.dtype(dtype) != array.dtype) or (copy and one_view):
            return array.astype(array.dtype if dtype is None else dtype)
        return array

    @override
    def __repr__(self) -> str:
        return f"<{self._kind}s of {len(self)} steps, each {self._slot.shape}>"


@final
class ParameterHistory:
    """What one parameter went through in a run. Entries are counted at every step, whatever tensors
    were kept.

    Attributes:
        name: The parameter's name.
        shape: Its shape.
        size: How many entries it has.
    """

    def __init__(self, record: Record, name: str) -> None:
        self._record = record
        self._slot = record.slots[name]
        self.name: str = name
        self.shape: tuple[int, ...] = self._slot.shape
        self.size: int = self._slot.slice.stop - self._slot.slice.start

    # -- values -----------------------------------------------------------------------------------

    @property
    def initial(self) -> Array:
        """The value before the first step."""
        return self._shaped(self._record.initial[self._slot.slice])

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
            NotExactError: The record does not hold what is needed; the message names the nearest exact
                steps.
        """
        return self._shaped(self._record.values(self._record.check(step), self._slot.slice))

    def effective(self, step: int) -> Array:
        """The change that a step really made: the value after it less the value before it.

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
    def moves(self) -> Counts:
        """In how many steps each entry's value changed."""
        return self._counted("moves")

    @property
    def moved(self) -> Mask:
        """Which entries' values changed at least once."""
        return self._counted("moves") > 0

    @property
    def swallowed(self) -> Counts:
        """In how many steps each entry's update was not 0, but rounding took all of it."""
        return self._counted("swallowed")

    @property
    def movement(self) -> npt.NDArray[np.float64]:
        """The sum of the magnitudes of all changes of each entry."""
        return self._counted("movement")

    @property
    def first_move(self) -> Counts:
        """The first step that changed each entry; -1 where none did."""
        return self._counted("first_move")

    @property
    def last_move(self) -> Counts:
        """The last step that changed each entry; -1 where none did."""
        return self._counted("last_move")

    @cached_property
    def why(self) -> Why:
        """Why each entry moved or did not.

        UNKNOWN where nothing was counted (`aggregates=False`).
        """
        record, name = self._record, self.name
        if record.tally is None:
            unknown = np.full(self.shape, code(Reason.UNKNOWN), np.uint8)
            return Why(name, unknown, lambda index, reason: sentences.unknown(name, index))
        initial, final_ = self.initial, self._shaped(record.counted[self._slot.slice])
        codes = codes_of(name, self._slot, record.tally, initial, final_)
        causes = Causes.of(record.optimizer, written_by_others(record.notes, name))
        told = sentences.Entries(name, self._slot, record.tally, initial, final_, causes)
        alone = self.moved & (self._counted("grads") == 0)
        remarks = []
        if count := int(np.count_nonzero(alone)):
            remarks.append(
                f"Of those that moved, {count:,} did by {causes.movers} alone: their gradient was "
                f"0 in every step."
            )
        if strange := strange_in_words(*not_finite(final_)):
            remarks.append(f"At the end {strange}.")
        return Why(name, codes, told.sentence, alone, tuple(remarks))

    def _counted(self, what: str) -> npt.NDArray[Any]:
        if self._record.tally is None:
            raise CallOrderError("this record has no counts: it was made with aggregates=False")
        flat: npt.NDArray[Any] = getattr(self._record.tally, what)
        return flat[self._slot.slice].reshape(self.shape).copy()

    def _shaped(self, flat: Array) -> Array:
        return flat.reshape(self.shape).copy()

    # -- pictures ---------------------------------------------------------------------------------

    def picture(self, unit: int | None = None, shape: tuple[int, int] | None = None) -> str:
        """Where it moved, as text: the darker, the more; `·` where nothing ever moved, `×` where it
        is NaN or infinite at the end.

        Args:
            unit: Which unit's weights, a column of (n_in, n_out). None: the whole parameter.
            shape: How they lie, (28, 28) for an image.

        Raises:
            KindError: An argument is of the wrong kind.
            RangeError: There is no such unit.
            ShapeError: The entries do not fill that shape.
        """
        [one] = [None] if unit is None else self._units([unit], shape)
        moved, movement, final_ = (
            self._of_unit(array, one, shape) for array in (self.moved, self.movement, self.final)
        )
        told = f"{self.name}{'' if unit is None else f', unit {unit}'}: {np.count_nonzero(moved):,} of {moved.size:,} entries moved"
        drawn = np.where(np.isfinite(final_), np.nan_to_num(movement), np.nan)
        told = (
            f"{as_text(drawn, ~moved)}\n{told}; the darkest by {movement.max(initial=0):.3g} in all"
        )
        strange = strange_in_words(*not_finite(final_))
        return f"{told}; at the end {strange}, drawn as {CROSS}" if strange else told

    def png(
        self, unit: int | None = None, shape: tuple[int, int] | None = None, scale: int = 4
    ) -> bytes:
        """The change from the first to the last value, as a PNG: blue down, red up, white none,
        green never moved.

        Where either value is NaN or infinite it is black.

        Args:
            unit: Which unit's weights; None with a `shape`: all units, side by side.
            shape: How they lie, (28, 28) for an image.
            scale: How many pixels wide an entry is.

        Raises:
            KindError: An argument is of the wrong kind.
            RangeError: There is no such unit, or `scale` is less than 1.
            ShapeError: The entries do not fill that shape.
        """
        units = self._units(unit, shape)
        change = self._change()
        top = float(np.abs(change[np.isfinite(change)]).max(initial=0.0))
        tiles = [
            diverging(
                self._of_unit(change, one, shape), ~self._of_unit(self.moved, one, shape), top
            )
            for one in units
        ]
        return png(tiled(tiles, columns=min(5, len(tiles)), scale=whole(scale, "scale")))

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
        """Units that learn, as an animated PNG: blue below 0, red above, white 0. All frames have
        one scale.

        The frames lie evenly among the steps that are known exactly, the first and the last of them
        included. In the picture of the change, entries that never moved are green; a record without
        counts does not know them. NaN and infinity are black.

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
            NotExactError: The record knows fewer than two of the steps exactly, or holds fewer than two
                updates.
            RangeError: There is no such unit or step, or a number is out of range.
            ShapeError: The entries do not fill that shape.
        """
        chosen = self._units(units, shape)
        never = what == "change" and self._record.tally is not None
        content = animated(
            self._record,
            self._slot,
            lambda array: [self._of_unit(array, unit, shape) for unit in chosen],
            ~self.moved if never else np.zeros(self.shape, bool),
            steps=steps,
            frames=frames,
            seconds=seconds,
            scale=scale,
            what=what,
        )
        if path is not None:
            save(path, content, "the animation")
        return content

    def _units(
        self, units: int | Iterable[int] | None, shape: tuple[int, int] | None
    ) -> list[int] | list[None]:
        """The units to draw; None stands for the whole parameter."""
        if units is None:
            return (
                list(range(self.shape[1])) if shape is not None and len(self.shape) == 2 else [None]
            )
        chosen = [units] if isinstance(units, int | np.integer) else units
        if isinstance(chosen, str) or not isinstance(chosen, Iterable):
            raise KindError(
                f"units is {described(units)}, expected the number of a unit, or several"
            )
        found = list(chosen)
        if not found:
            raise RangeError("units is empty: give at least one")
        if strange := [
            unit
            for unit in found
            if isinstance(unit, bool) or not isinstance(unit, int | np.integer)
        ]:
            raise KindError(f"{described(strange[0])} is no number of a unit")
        return found

    def _of_unit(
        self, array: npt.NDArray[Any], unit: int | None, shape: tuple[int, int] | None
    ) -> npt.NDArray[Any]:
        if unit is not None:
            if array.ndim != 2 or not -array.shape[1] <= unit < array.shape[1]:
                raise RangeError(f"'{self.name}' of shape {self.shape} has no unit {unit}")
            array = array[:, unit]
        if shape is None:
            shape = array.shape if array.ndim == 2 else (1, array.size)
        if not isinstance(shape, tuple | list):
            raise KindError(
                f"shape is {described(shape)}, expected the height and width of a picture, such as "
                f"(28, 28)"
            )
        if len(shape) != 2 or min(shape) < 0 or array.size != shape[0] * shape[1]:
            raise ShapeError(
                f"{array.size} entries of '{self.name}' do not fill a picture of shape {shape}"
            )
        return array.reshape(shape)

    def __repr__(self) -> str:
        moved = "" if self._record.tally is None else f", {self._moved()}"
        return f"ParameterHistory('{self.name}', {in_words(self.final)} at the end{moved})"

    def _moved(self) -> str:
        """How many entries moved, and how many of them had never a gradient."""
        told = f"{np.count_nonzero(self.moved):,} of {self.size:,} entries moved"
        alone = self.why.moved_without_gradient
        return f"{told}, {alone:,} of them without a gradient" if alone else told

    def _repr_html_(self) -> str:
        """What a notebook shows: how many entries moved, and by how much, as a picture."""
        steps = len(self._record.meta.steps)
        counts, never = "nothing was counted (aggregates=False)", None
        if self._record.tally is not None:
            counts, never = self._moved(), ~self.moved if steps else None
        return notebook.block(
            notebook.title(
                f"{self.name} {self.shape} {self._record.final.dtype}, {counted(steps, 'step')}"
            ),
            notebook.line(f"{counts}; at the end {in_words(self.final)}"),
            notebook.amounts(
                self._change(), never, "the change from before the first step to after the last"
            ),
        )

    def _change(self) -> npt.NDArray[np.float64]:
        """The values at the end less those before the first step."""
        with np.errstate(invalid="ignore"):  # infinity less infinity
            return self.final.astype(np.float64) - self.initial
