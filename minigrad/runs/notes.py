"""What a run's notes say of a parameter."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WRITE = re.compile(r"(?:before|after) step \d+ (.+?) changed\b")


def written_by_others(notes: Iterable[str], name: str) -> bool:
    """Whether a note says that something other than the optimizer wrote into this parameter."""
    written = [match[1] for match in map(_WRITE.match, notes) if match]
    return any(
        which == "the values" or name in which.removeprefix("something of ").split(", ")
        for which in written
    )
