"""The report of a run in short, as notebooks show it."""

from __future__ import annotations

import numpy as np

from minigrad.display import notebook
from minigrad.display.notes import note_lines
from minigrad.display.sentences import (
    headline,
    non_finite_lines,
    strange_at_the_end,
    why_not,
    without_gradient,
)
from minigrad.display.shown import ShownParameter, ShownRun
from minigrad.display.words import counted


def notebook_report_of(run: ShownRun) -> str:
    """A table with a row for each parameter, below what happened in the run."""
    rows = [_row(run[name]) for name in run.names]
    lines = note_lines(run.notes)
    if run.gaps:
        for what, of_counts in (("no tensors", False), ("no counts", True)):
            gaps = [gap for gap in run.gaps if gap.of_counts == of_counts]
            missing = sum(gap.last - gap.first + 1 for gap in gaps)
            if missing:
                lines.append(f"Gaps: {what} of {counted(missing, 'step')}.")
    head = ["parameter", "shape", "entries", "moved", "never did", "why not", "those that moved"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return notebook.block(
        *(notebook.title(line) for line in non_finite_lines(run)),
        notebook.title(headline(run)),
        notebook.lines(lines),
        notebook.table(head, rows),
    )


def _row(parameter: ShownParameter) -> tuple[object, ...]:
    named = (parameter.name, str(parameter.shape), parameter.size)
    strange = strange_at_the_end(parameter)
    if parameter.counted_steps is None:
        return (*named, "not counted", "", f"nothing was counted ({parameter.no_counts})", strange)
    moved = int(np.count_nonzero(parameter.moved))
    why = "; ".join(
        f"{count:,} {why_not(parameter, reason)}"
        for reason, count in parameter.why.counts.items()
        if not reason.moved
    )
    remarks = "; ".join(filter(None, (without_gradient(parameter), strange)))
    return (*named, moved, parameter.size - moved, why, remarks)
