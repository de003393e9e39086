"""`Block`: a keyframe, and the tensors of the steps after it."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, MutableSequence

import numpy as np

from minigrad.arrays import Array, Integers, Mask
from minigrad.errors import RunError
from minigrad.runs.format import checksum


class Block:
    """A keyframe, and rows of tensors of the steps after it.

    Args:
        first: The first step after the keyframe.
        keyframe: All values before that step, or a function that reads them from a file; None where
            each row comes with its value.
        steps: The steps whose rows are here.
        rows: For each kind of tensor, "update", "grad" or "value", one row per step, and room for
            more behind them.
        foreign: Whether somebody else wrote into the values before it, so that its keyframe is not
            what the step before it left.
        capacity: How many rows there is room for.
        sums: The CRC-32 of each row as it was written, where known.

    Attributes:
        salt: What these checksums begin with.
        where: The files of the rows, for errors.
        lent: Whether a run reads these rows, so that their memory must stay as it is.
    """

    def __init__(
        self,
        first: int,
        keyframe: Array | Callable[[], Array] | None,
        steps: MutableSequence[int] | None = None,
        rows: Mapping[str, Array] | None = None,
        foreign: bool = False,
        capacity: int = 0,
        sums: Integers | None = None,
    ) -> None:
        self.first: int = first
        self._keyframe = keyframe
        self.steps: MutableSequence[int] = array("q") if steps is None else steps
        self.rows: Mapping[str, Array] = {} if rows is None else rows
        self.foreign: bool = foreign
        self.capacity: int = capacity
        self.sums: Integers | None = sums
        self.salt: int = 0
        self.where: str = ""
        self.lent: bool = False
        self._sound: dict[int, bool] = {}  # of the rows that were looked at

    @property
    def has_keyframe(self) -> bool:
        """Whether there is a keyframe."""
        return self._keyframe is not None

    @property
    def keyframe(self) -> Array | None:
        """All values before the first step; None where each row comes with its value."""
        return self._keyframe() if callable(self._keyframe) else self._keyframe

    @property
    def value_after(self) -> int | None:
        """The step whose values the keyframe holds, if any."""
        return None if self._keyframe is None or self.foreign else self.first - 1

    @property
    def count(self) -> int:
        """How many rows are filled."""
        return len(self.steps)

    @property
    def is_void(self) -> bool:
        """Whether it only says what somebody else wrote, before a step that was never made."""
        return self.foreign and not self.steps

    @property
    def replayable(self) -> int:
        """How many of the rows, from the first, lead from one value to the next."""
        steps, first = self.steps, self.first
        if "update" not in self.rows:
            return 0
        if not steps or steps[-1] == first + len(steps) - 1:
            return len(steps)
        return bisect_left(range(len(steps)), True, key=lambda row: steps[row] != first + row)

    def sound(self, rows: range) -> Mask:
        """Which of these rows are what was written, as far as their checksums tell.

        A row is checksummed once, when it is first asked for.

        Raises:
            RunError: A file is missing or damaged.
        """
        if self.sums is None:
            return np.ones(len(rows), bool)
        if new := [row for row in rows if row not in self._sound]:
            tensors = list(self.rows.values())
            for row in new:
                crc = checksum((kind[row] for kind in tensors), self.salt)
                self._sound[row] = crc == int(self.sums[row])
        return np.array([self._sound[row] for row in rows], bool)

    def check(self, rows: range) -> None:
        """Make sure that these rows are what was written.

        Raises:
            RunError: One is not; or a file is missing or damaged.
        """
        sound = self.sound(rows)
        if not sound.all():
            step = self.steps[rows[int(np.argmin(sound))]]
            raise RunError(
                f"{self.where} is damaged: the row of step {step} is not what was written (its "
                f"checksum differs); other steps can still be read, and run.verify() lists those "
                f"that cannot"
            )

    @property
    def leading(self) -> int:
        """How many of the rows that lead from one value to the next can be replayed.

        Up to the first that is not what was written.

        Raises:
            RunError: A file is missing or damaged.
        """
        sound = self.sound(range(self.replayable))
        return self.replayable if sound.all() else int(np.argmin(sound))

    @classmethod
    def of_row(cls, step: int, rows: Mapping[str, Array]) -> Block:
        """A block of one step, without a keyframe."""
        return Block(step, None, [step], {kind: row[np.newaxis] for kind, row in rows.items()})

    def without_rows(self) -> Block:
        """The keyframe alone."""
        return Block(self.first, self._keyframe, foreign=self.foreign)

    def frozen(self) -> Block:
        """What is here now; later rows are not in it."""
        self.lent = True
        rows = {kind: rows[: self.count] for kind, rows in self.rows.items()}
        for view in rows.values():
            view.flags.writeable = False
        return Block(
            self.first,
            self._keyframe,
            self.steps[:],
            rows,
            self.foreign,
        )


def replay(block: Block, count: int, part: slice) -> Array:
    """A block's keyframe, and its first `count` updates added one by one.

    These are the sums that training made, so the bits are the same.
    """
    keyframe = block.keyframe
    assert keyframe is not None
    values: Array = keyframe[part].copy()
    for row in block.rows["update"][:count] if count else ():
        values += row[part]
    return values
