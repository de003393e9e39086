"""The report of a run in text, and in short for notebooks: counts and reasons first, never a corner of an array."""

from __future__ import annotations

import textwrap

import numpy as np

from minigrad import notebook
from minigrad.compare import printed_entries
from minigrad.pictures import counted
from minigrad.recording.history import ParameterHistory
from minigrad.recording.reasons import Reason
from minigrad.recording.record import Record

WIDTH = 100
_MOST = 2  # notes and gaps are many or few; the counts of the entries matter more

UNMOVED = {
    Reason.FROZEN: "they were frozen",
    Reason.NO_GRADIENT: "no backward reached them",
    Reason.INPUT_ZERO: "their input was 0 in every sample",
    Reason.UNIT_SILENT: "their unit's gradient was 0 in every sample",
    Reason.NEVER_TOGETHER: "their input and their unit were never active in the same sample",
    Reason.CANCELLED: "their gradient, summed over the batch, was 0 in every step",
    Reason.NEVER_TOGETHER_OR_CANCELLED: "their gradient was 0: input and unit never met, or the batch cancelled out",
    Reason.GRADIENT_ZERO: "their gradient was 0 in every step",
    Reason.UPDATE_ZERO: "their update was 0 in every step",
    Reason.SWALLOWED: "every update was lost to rounding",
    Reason.UNKNOWN: "they were not counted, or changed where nothing was recorded",
}


def report_of(record: Record) -> str:
    """The whole report."""
    lines = [headline(record)]
    lines += [f"Note: {note}." for note in record.notes[:_MOST]]
    if len(record.notes) > _MOST:
        lines.append(f"And {counted(len(record.notes) - _MOST, 'more note')} (see run.notes).")
    lines += [f"Gap: no tensors of steps {gap.first} to {gap.last}, {gap.why}." for gap in record.gaps[:_MOST]]
    if gaps := record.gaps[_MOST:]:
        lines.append(f"And {counted(len(gaps), 'more gap')}, up to step {gaps[-1].last} (see run.gaps).")
    for name in record.slots:
        lines += ["", *_parameter(record, ParameterHistory(record, name))]
    return "\n".join(_wrapped(line) for line in lines)


def html_of(record: Record) -> str:
    """The report in short, as notebooks show it: a row for each parameter."""
    rows: list[tuple[object, ...]] = []
    for name in record.slots:
        history = ParameterHistory(record, name)
        row: tuple[object, ...] = ("not counted", "", "nothing was counted (aggregates=False)")
        if record.tally is not None:
            moved = int(np.count_nonzero(history.moved))
            unmoved = {reason: n for reason, n in history.why.counts.items() if reason in UNMOVED}
            row = (moved, history.size - moved, "; ".join(f"{n:,} {UNMOVED[reason]}" for reason, n in unmoved.items()))
        rows.append((name, str(history.shape), history.size, *row))
    told = [*(f"Note: {note}." for note in record.notes[:_MOST])]
    if record.gaps:
        told.append(f"Gaps: no tensors of {counted(sum(gap.last - gap.first + 1 for gap in record.gaps), 'step')}.")
    head = ("parameter", "shape", "entries", "moved", "never did", "why not")
    return notebook.block(notebook.title(headline(record)), notebook.lines(told), notebook.table(head, rows))


def _wrapped(line: str) -> str:
    """The line, broken where it is too long, with what follows set in."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, WIDTH, subsequent_indent=indent) if len(line) > WIDTH else line


def headline(record: Record) -> str:
    """What was trained and what is kept, in a line."""
    steps = record.meta.steps
    if len(steps) == 0:
        return "No step is recorded."
    losses = record.meta.loss
    loss = (
        f", loss {losses[0]:.4g} at the first and {losses[-1]:.4g} at the last"
        if np.isfinite(losses[[0, -1]]).all()
        else ""
    )
    held = sum(block.count for block in record.blocks)
    kept = f"the tensors of {counted(held, 'step')}, {record.bytes / 1e6:,.1f} MB" if held else "counts, and no tensors"
    return f"{counted(len(steps), 'step')} of {record.optimizer}{loss}. Kept: {kept}."


def _parameter(record: Record, history: ParameterHistory) -> list[str]:
    kind = record.final.dtype
    title = f"{history.name} {history.shape} {kind}"
    if record.tally is None:
        return [f"{title}: nothing was counted (aggregates=False)"]
    if not record.tally.steps:
        return [f"{title}: no step was counted"]
    moved = history.moved
    count, size = int(np.count_nonzero(moved)), history.size
    unknown = history.why.counts.get(Reason.UNKNOWN, 0)
    if count == size:
        lines = [f"{title}: {'its one entry' if size == 1 else f'all {size:,} entries'} moved"]
    else:
        never = f"{size - count - unknown:,} never did" + (f"; of {unknown:,} it is not known" if unknown else "")
        lines = [f"{title}: {count:,} of {size:,} entries moved; {never}:"]
    unmoved = {reason: n for reason, n in history.why.counts.items() if reason not in (Reason.MOVED, Reason.RETURNED)}
    lines += [f"    {n:>{len(f'{size:,}')},}  {_reason(record, history, reason)}" for reason, n in unmoved.items()]
    if returned := history.why.counts.get(Reason.RETURNED):
        lines.append(f"    Of those that moved, {returned:,} came back to exactly where they began.")
    problem = record.tally.unexplained.get(history.name)
    if problem and Reason.GRADIENT_ZERO in unmoved:
        lines.append(f"    Inputs and units are not told apart: {problem}.")
    lines += print_trap(history)
    return lines


def _reason(record: Record, history: ParameterHistory, reason: Reason) -> str:
    if reason is Reason.INPUT_ZERO and record.tally is not None:
        inputs = record.tally.activity[history.name].inputs
        assert inputs is not None
        dark = int(np.count_nonzero(inputs == 0))
        return f"{UNMOVED[reason]} ({counted(dark, 'input')})"
    return UNMOVED[reason]


def print_trap(history: ParameterHistory) -> list[str]:
    """What NumPy's own print of this parameter shows, where it shows only a part."""
    shown = printed_entries(history.shape)
    if shown.all():
        return []
    moved = int(np.count_nonzero(history.moved & shown))
    entries = f"NumPy's print of this parameter shows {np.count_nonzero(shown):,} entries"
    if moved == 0:
        told = f"{entries}; none of them moved, so it looks unchanged."
    else:
        told = f"{entries}, of which {moved:,} moved."
    return [f"    {told}"]
