"""`Gap`: steps whose tensors or counts a record does not hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

NOT_COUNTED = "not counted"
"""How the reason of a gap in the counts begins."""


class Gap(NamedTuple):
    """Steps whose tensors or counts the record does not hold.

    Attributes:
        first: The first of them.
        last: The last of them.
        why: What happened; "not counted: ..." where what is missing is what became of each entry.
    """

    first: int
    last: int
    why: str

    @property
    def of_counts(self) -> bool:
        """Whether it is the counts that are missing, and not the tensors."""
        return self.why.startswith(NOT_COUNTED)

    def up_to(self, last: int) -> Gap:
        """The part of it up to a step."""
        return Gap(self.first, min(self.last, last), self.why)


def joined(gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps in order; neighbors with the same reason are merged into one."""
    merged: list[Gap] = []
    for gap in sorted(gaps):
        if merged and merged[-1].why == gap.why and gap.first <= merged[-1].last + 1:
            merged[-1] = Gap(merged[-1].first, max(gap.last, merged[-1].last), gap.why)
        else:
            merged.append(gap)
    return merged
