"""`Gap`: steps whose tensors a record does not hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Gap(NamedTuple):
    """Steps whose tensors the record does not hold.

    Attributes:
        first: The first of them.
        last: The last of them.
        why: What happened.
    """

    first: int
    last: int
    why: str


def joined(gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps in order; neighbors with the same reason are merged into one."""
    merged: list[Gap] = []
    for gap in sorted(gaps):
        if merged and merged[-1].why == gap.why and gap.first <= merged[-1].last + 1:
            merged[-1] = Gap(merged[-1].first, max(gap.last, merged[-1].last), gap.why)
        else:
            merged.append(gap)
    return merged
