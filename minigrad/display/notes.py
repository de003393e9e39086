"""A run's notes as people read them: those that repeat each other become one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_STEP = re.compile(r"\bstep (\d+)")
_SHOWN = 10
"""How many notes a report shows at most."""


def condensed(notes: Iterable[str]) -> list[str]:
    """The notes; those that differ only in their step become one, with a range of steps.

    Writes into the parameters come last: there may be one a step, and they must not hide what is
    said once.
    """
    groups: dict[str, list[str]] = {}
    for note in notes:
        alike = _STEP.sub("step #", note) if len(_STEP.findall(note)) == 1 else note
        groups.setdefault(alike, []).append(note)
    merged = [same[0] if len(same) == 1 else _merged(same) for same in groups.values()]
    return sorted(
        merged,
        key=lambda note: " changed " in note and note.startswith(("before step", "after step")),
    )


def note_lines(notes: Iterable[str]) -> list[str]:
    """The condensed notes as sentences; beyond the tenth they are only counted."""
    lines = [f"Note: {note}." for note in condensed(notes)]
    if len(lines) <= _SHOWN:
        return lines
    return [*lines[: _SHOWN - 1], f"And {len(lines) - _SHOWN + 1:,} more notes (see run.notes)."]


def _merged(same: Sequence[str]) -> str:
    """Several notes as one."""
    steps = sorted({int(number) for note in same for number in _STEP.findall(note)})
    if len(steps) < 2:
        return f"{same[0]} ({len(same):,} times)"
    return _STEP.sub(f"steps {steps[0]} to {steps[-1]} ({len(same):,} times)", same[0])
