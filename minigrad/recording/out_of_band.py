"""`OutOfBandWatch`, which notices values that somebody else than the optimizer has changed."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np

from minigrad.arrays import Array
from minigrad.optimizers import Optimizer
from minigrad.parameters.observers import Writer
from minigrad.parameters.vector import ParameterVector
from minigrad.recording.selected_parameters import SelectedParameters
from minigrad.runs.verification import first_different


class _Values(NamedTuple):
    """Values of all watched parameters, and the bytes that they consist of."""

    array: Array
    data: bytearray

    @classmethod
    def of(cls, size: int, dtype: np.dtype[Any]) -> _Values:
        """Room for values."""
        data = bytearray(size * dtype.itemsize)
        return cls(np.frombuffer(data, dtype), data)


class _Last(NamedTuple):
    """The last step that is recorded whole, and the values after it, where they are known."""

    step: int
    values: _Values | None


class _Origin(NamedTuple):
    """Where the next step begins, if that is not where the last one ended.

    Attributes:
        values: The values before it.
        before: The values that it counts as beginning with: what others have written in between
            did move, unless nobody recorded then.
    """

    values: _Values
    before: Array


@final
class OutOfBandWatch:
    """Remembers the values after a step, and says whether they are the same before the next.

    A step is over in one assignment, `advance`: whatever an interrupt cuts off, the values
    after the last step are those after the last step.

    Args:
        optimizer: The optimizer whose steps are recorded.
        vector: Its parameters.
        selected: Those that are watched.
    """

    def __init__(
        self, optimizer: Optimizer, vector: ParameterVector, selected: SelectedParameters
    ) -> None:
        self._optimizer = optimizer
        self._vector = vector
        self._selected = selected
        self._size, self._dtype = selected.size, vector.values.dtype
        self._last = _Last(-1, None)
        self._origin: _Origin | None = None
        self._room, self._spare = (_Values.of(self._size, self._dtype) for _ in range(2))
        self._writers: dict[str, None] = {}  # who else has written since, in order

    @property
    def last_step(self) -> int:
        """The last step that is recorded whole; the one before the first if there is none."""
        return self._last.step

    @property
    def final(self) -> Array | None:
        """The values after that step, which change with `advance`; None if they are not known."""
        return None if self._last.values is None else self._last.values.array

    def live_values(self) -> Array:
        """The values now; a view of the live ones, if all parameters are watched."""
        return self._selected.of(self._vector.values)

    def go_on_after(self, step: int, values: Array | None) -> None:
        """The last step is this one, with these values after it, where they are known."""
        self._origin, own = None, None
        if values is not None:
            own = self._last.values or self._room
            np.copyto(own.array, values)
        self._last = _Last(step, own)

    def begin_at(self, values: Array, *, recorded: bool) -> None:
        """The next step begins at these values, not where the last one ended.

        Args:
            values: The values.
            recorded: Whether what changed in between counts as moved by that step.
        """
        copied, before = _Values.of(self._size, self._dtype), self.final
        np.copyto(copied.array, values)
        if self._origin is not None:
            before = self._origin.before
        self._origin = _Origin(copied, before if recorded and before is not None else copied.array)

    def end_at_last(self) -> None:
        """The next step begins where the last one ended, as far as is known."""
        self._origin = None

    def written(self, writer: Writer) -> None:
        """Somebody has written values on purpose."""
        own = self._optimizer.writer
        if writer is not own and not writer.parameters.isdisjoint(self._vector.parameters):
            name = f"another {writer.name}" if writer.name == own.name else writer.name
            self._writers[name] = None

    def forget_writers(self) -> None:
        """What was written up to now does not matter any more."""
        self._writers.clear()

    def next_values(self, update: Array) -> tuple[Array, Array]:
        """The values before and after a step with this update; what hooks write is not part of it.

        If somebody else wrote between the steps, those before are those before that write: what it
        changed did move.
        """
        start, spare = self._start, self._spare.array
        assert start is not None
        with np.errstate(all="ignore"):
            np.add(start.array, update, out=spare)
        return (start.array if self._origin is None else self._origin.before), spare

    def advance(self, step: int) -> None:
        """The step that `next_values` has told of is recorded whole, and is the last one now."""
        before = self._last.values or self._room
        self._last, self._spare, self._origin = _Last(step, self._spare), before, None
        self._writers.clear()

    @property
    def _start(self) -> _Values | None:
        """The values at which the next step begins, where they are known."""
        return self._last.values if self._origin is None else self._origin.values

    def changed(self, values: Array) -> bool:
        """Whether any bit of these values differs from those at which the next step begins."""
        # As bytes, which takes a fifth of the time of comparing numbers.
        start = self._start
        return start is None or start.data != values.data

    def written_by_others(self, values: Array) -> str:
        """What somebody else has written since the last step, and who; empty if nobody has.

        In words: "0.weight changed by ...".

        Args:
            values: The values now.
        """
        start = self._start
        if start is None or not self.changed(values):
            return ""
        which = self.differing_names(start.array, values)
        by = f"by {', '.join(self._writers)}" if self._writers else "other than by an optimizer"
        return which and f"{which} changed {by}"

    def differing_names(self, before: Array | None, after: Array) -> str:
        """Which parameters have other values than before, in words; empty if none has.

        Args:
            before: Their values before, flat; None if those are not known.
            after: Their values after.
        """
        slots = self._selected.slots
        if before is None:
            return f"something of {', '.join(slots)}"
        return ", ".join(
            name
            for name, (part, _) in slots.items()
            if first_different(before[part], after[part]) is not None
        )
