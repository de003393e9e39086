"""`Counts`: what is known of each entry after some steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Integers
from minigrad.runs.activity import Activity


@final
@dataclass
class Counts:
    """What is known of each entry after some steps; all arrays are flat, over all parameters.

    Attributes:
        grads: In how many steps the gradient was not 0.
        updates: In how many steps the update was not 0.
        moves: In how many of these the value changed.
        first_move: The first step that changed the value; -1 where none did.
        last_move: The last such step; -1 where none did.
        movement: The sum of the magnitudes of all changes, added up in the parameter's dtype within
            each 255 steps, and in float64 beyond.
        frozen: For each parameter, in how many steps it was frozen.
        unreached: For each parameter, in how many other steps it had no new gradient.
        steps: The number of steps that were counted while they were made.
        recounted: How many more were counted later, from their rows: these tell of updates and
            moves, and nothing of gradients, of inputs and units, or of what was frozen.
        uncounted: How many more there were of which nothing is known: a writer was cut off, and
            their rows are not held.
        frozen_entries: For each parameter of which some entries alone were ever frozen, in how many
            steps each of its entries was.
        activity: For each parameter that its layer explains, how active its inputs and units were.
        unexplained: For each parameter that its layer could not explain at some step, why.
    """

    grads: Integers
    updates: Integers
    moves: Integers
    first_move: Integers
    last_move: Integers
    movement: npt.NDArray[np.float64]
    frozen: dict[str, int]
    unreached: dict[str, int]
    steps: int = 0
    uncounted: int = 0
    recounted: int = 0
    frozen_entries: dict[str, Integers] = field(default_factory=dict)
    activity: dict[str, Activity] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)

    @property
    def seen(self) -> int:
        """In how many steps it is known of each entry whether its value changed."""
        return self.steps + self.recounted

    @property
    def whole(self) -> bool:
        """Whether all is known of every step."""
        return not self.recounted and not self.uncounted

    @property
    def swallowed(self) -> Integers:
        """In how many steps the update was not 0 and the value did not change."""
        return self.updates - self.moves

    @classmethod
    def of_nothing(cls, names: Iterable[str], size: int) -> Counts:
        """Before any step.

        Args:
            names: The parameters.
            size: How many entries they have together.
        """
        return cls(
            grads=np.zeros(size, np.int64),
            updates=np.zeros(size, np.int64),
            moves=np.zeros(size, np.int64),
            first_move=np.full(size, -1, np.int64),
            last_move=np.full(size, -1, np.int64),
            movement=np.zeros(size, np.float64),
            frozen=dict.fromkeys(names, 0),
            unreached=dict.fromkeys(names, 0),
        )
