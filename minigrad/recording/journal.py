"""`Entry`, what the journal of an `EntryCounter` holds of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from minigrad.arrays import Mask


class Explained(NamedTuple):
    """What layers explain of the gradients of parameters, up to some step.

    Attributes:
        samples: How many samples of each parameter count; those that were looked at lie behind.
        together: For each (input, unit) of a weight, whether both were ever not 0 in the same
            sample, where that is collected.
        unexplained: For each parameter that could not be explained at some step, why.
    """

    samples: dict[str, int]
    together: dict[str, Mask]
    unexplained: dict[str, str]


class Entry(NamedTuple):
    """What the journal holds of a step, beside its row.

    Attributes:
        step: Its number.
        skipped: The parameters that got no update, with "frozen" or "no gradient".
        held: For each parameter of which only some entries may move, those that may not, flat.
        explained: What layers explain, up to and with this step.
        lost: Whether nobody has seen its gradients, so that it cannot be counted.
    """

    step: int
    skipped: Mapping[str, str]
    held: Mapping[str, Mask]
    explained: Explained
    lost: bool
