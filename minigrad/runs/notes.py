"""What a run's notes say of a parameter."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WRITE = re.compile(r"(?:before|after) step \d+ (.+ changed\b)", re.DOTALL)


def written_by_others(notes: Iterable[str], name: str) -> bool:
    """Whether a note says that something other than the optimizer wrote into this parameter."""
    # A name may hold anything: commas, line breaks, " changed", "something of ".
    wanted = f", {name}, ", f", {name} changed", ", the values changed"
    written = [match[1] for match in map(_WRITE.match, notes) if match]
    return any(
        words in f", {which}, {which.removeprefix('something of ')}"
        for which in written
        for words in wanted
    )
