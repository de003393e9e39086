"""`condensed`: a run's notes as people read them, those that repeat each other made one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_STEP = re.compile(r"\bstep (\d+)")
_WRITE = re.compile(r"(?:before|after) step \d+ (.+?) changed\b")
_SHOWN = 10
"""How many notes a report shows at most."""


def condensed(notes: Iterable[str]) -> list[str]:
    """The notes, of which those that differ only in the number of their step are one, with a count
    and the range of steps.

    Writes into the parameters come last: there may be one a step, and they must not hide what is
    said once.
    """
    found: dict[str, list[str]] = {}
    for note in notes:
        alike = _STEP.sub("step #", note) if len(_STEP.findall(note)) == 1 else note
        found.setdefault(alike, []).append(note)
    told = [same[0] if len(same) == 1 else _together(same) for same in found.values()]
    return sorted(
        told,
        key=lambda note: " changed " in note and note.startswith(("before step", "after step")),
    )


def shown(notes: Iterable[str]) -> list[str]:
    """The condensed notes as sentences; beyond the tenth they are only counted."""
    told = [f"Note: {note}." for note in condensed(notes)]
    if len(told) <= _SHOWN:
        return told
    return [*told[: _SHOWN - 1], f"And {len(told) - _SHOWN + 1:,} more notes (see run.notes)."]


def _together(same: Sequence[str]) -> str:
    """Several notes as one."""
    steps = sorted({int(number) for note in same for number in _STEP.findall(note)})
    if len(steps) < 2:
        return f"{same[0]} ({len(same):,} times)"
    return _STEP.sub(f"steps {steps[0]} to {steps[-1]} ({len(same):,} times)", same[0])


def written_by_others(notes: Iterable[str], name: str) -> bool:
    """Whether a note says that somebody else has written into this parameter."""
    found = [match[1] for match in map(_WRITE.match, notes) if match]
    return any(
        which == "the values" or name in which.removeprefix("something of ").split(", ")
        for which in found
    )
