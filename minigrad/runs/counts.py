"""`Counts`: what is known of each entry after some steps."""

from __future__ import annotations

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
        steps: The number of steps that were counted.
        uncounted: How many more there were whose counts were lost when a writer was cut off.
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
    frozen_entries: dict[str, Integers] = field(default_factory=dict)
    activity: dict[str, Activity] = field(default_factory=dict)
    unexplained: dict[str, str] = field(default_factory=dict)

    @property
    def swallowed(self) -> Integers:
        """In how many steps the update was not 0 and the value did not change."""
        return self.updates - self.moves
