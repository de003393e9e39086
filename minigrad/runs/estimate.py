"""`Estimate`: what a record will take."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """What a record will take.

    Attributes:
        bytes_per_step: Bytes for each step whose tensors are kept.
        bytes: Bytes in all, if nothing is given up.
        full_at: The step at which the budget is reached; None if it is not.
    """

    bytes_per_step: int
    bytes: int
    full_at: int | None
