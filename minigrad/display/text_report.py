"""The report of a run in text, and in short for notebooks: counts and reasons first, never a corner of an array."""

from __future__ import annotations

import textwrap

import numpy as np

from minigrad.arrays import Array
from minigrad.compare import printed_entries
from minigrad.display import notebook
from minigrad.display.pictures import counted, not_finite, strange_in_words
from minigrad.runs.causes import Causes
from minigrad.runs.nan_loss import is_nan_loss
from minigrad.runs.non_finite import lines_of
from minigrad.runs.notes import shown, written_by_others
from minigrad.runs.parameter_history import ParameterHistory
from minigrad.runs.reasons import Reason
from minigrad.runs.record import Record

WIDTH = 100
_MOST = 2  # gaps are many or few; the counts of the entries matter more

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
    lines = [*lines_of(record), headline(record), *shown(record.notes)]
    lines += [
        f"Gap: no tensors of steps {gap.first} to {gap.last}, {gap.why}."
        for gap in record.gaps[:_MOST]
    ]
    if gaps := record.gaps[_MOST:]:
        lines.append(
            f"And {counted(len(gaps), 'more gap')}, up to step {gaps[-1].last} (see run.gaps)."
        )
    for name in record.slots:
        lines += ["", *_parameter(record, ParameterHistory(record, name))]
    return "\n".join(_wrapped(line) for line in lines)


def html_of(record: Record) -> str:
    """The report in short, as notebooks show it: a row for each parameter."""
    rows: list[tuple[object, ...]] = []
    for name in record.slots:
        history = ParameterHistory(record, name)
        strange = strange_at_the_end(history)
        row: tuple[object, ...] = (
            "not counted",
            "",
            "nothing was counted (aggregates=False)",
            strange,
        )
        if record.counts is not None:
            moved = int(np.count_nonzero(history.moved))
            unmoved = {reason: n for reason, n in history.why.counts.items() if reason in UNMOVED}
            why = "; ".join(f"{n:,} {why_not(history, reason)}" for reason, n in unmoved.items())
            remarks = [one for one in (without_gradient(record, history), strange) if one]
            row = (moved, history.size - moved, why, "; ".join(remarks))
        rows.append((name, str(history.shape), history.size, *row))
    told = shown(record.notes)
    if record.gaps:
        told.append(
            f"Gaps: no tensors of "
            f"{counted(sum(gap.last - gap.first + 1 for gap in record.gaps), 'step')}."
        )
    head = ["parameter", "shape", "entries", "moved", "never did", "why not", "those that moved"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    first = [notebook.title(line) for line in lines_of(record)]
    return notebook.block(
        *first, notebook.title(headline(record)), notebook.lines(told), notebook.table(head, rows)
    )


def _wrapped(line: str) -> str:
    """The line, broken where it is too long, with what follows set in."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, WIDTH, subsequent_indent=indent) if len(line) > WIDTH else line


def headline(record: Record) -> str:
    """What was trained and what is kept, in a line."""
    steps = record.kept.steps
    if len(steps) == 0:
        return "No step is recorded."
    losses = record.kept.loss
    known = ~np.isnan(losses) | is_nan_loss(losses)
    loss = (
        f", loss {_loss(losses[:1])} at the first and {_loss(losses[-1:])} at the last"
        if known.any()
        else ""
    )
    held = sum(block.count for block in record.blocks)
    kept = (
        f"the tensors of {counted(held, 'step')}, {record.bytes / 1e6:,.1f} MB"
        if held
        else "counts, and no tensors"
    )
    return f"{counted(len(steps), 'step')} of {record.optimizer}{loss}. Kept: {kept}."


def _loss(one: Array) -> str:
    if np.isnan(one[0]):
        return "NaN" if is_nan_loss(one)[0] else "not given"
    return f"{one[0]:.4g}" if np.isfinite(one[0]) else "infinite"


def without_gradient(record: Record, history: ParameterHistory) -> str:
    """How many of the entries that moved never had a gradient, and by what they moved.

    Empty, if none did.
    """
    count = history.why.moved_without_gradient
    if not count:
        return ""
    movers = Causes.of(record.optimizer, written_by_others(record.notes, history.name)).movers
    its = "their" if history.size > 1 else "its"
    return f"{f'{count:,} of them ' if history.size > 1 else ''}by {movers} alone: {its} gradient was 0 in every step"


def strange_at_the_end(history: ParameterHistory) -> str:
    """How many of its values are NaN and infinite at the end; empty, if none is."""
    told = strange_in_words(*not_finite(history.final))
    return f"at the end {told}" if told else ""


def why_not(history: ParameterHistory, reason: Reason) -> str:
    """Why entries with this reason did not move, in words."""
    strange = 0
    if (
        reason is Reason.SWALLOWED
    ):  # what is NaN or infinite no update changes, so it was not rounding
        strange = int(np.count_nonzero(history.why.where(reason) & ~np.isfinite(history.final)))
    if not strange:
        return UNMOVED[reason]
    if strange == history.why.counts[reason]:
        return "no update changes what is NaN or infinite"
    return f"{UNMOVED[reason]}, or ({strange:,} of them) to a value that is NaN or infinite"


def _parameter(record: Record, history: ParameterHistory) -> list[str]:
    kind = record.final.dtype
    title = f"{history.name} {history.shape} {kind}"
    alone, strange = without_gradient(record, history), strange_at_the_end(history)
    if record.counts is None:
        return [
            f"{title}: nothing was counted (aggregates=False){f'; {strange}' if strange else ''}"
        ]
    if not record.counts.steps:
        return [f"{title}: no step was counted"]
    moved = history.moved
    count, size = int(np.count_nonzero(moved)), history.size
    unknown = history.why.counts.get(Reason.UNKNOWN, 0)
    if count == size:
        told = f"{'its one entry' if size == 1 else f'all {size:,} entries'} moved"
        told += f"{', ' if size == 1 else '; '}{alone}" if alone else ""
        lines = [f"{title}: {told}{f'; {strange}' if strange else ''}"]
    else:
        never = f"{size - count - unknown:,} never did" + (
            f"; of {unknown:,} it is not known" if unknown else ""
        )
        told = f"{count:,} of {size:,} entries moved{f', {alone}' if alone else ''}{f'; {strange}' if strange else ''}"
        lines = [f"{title}: {told}; {never}:"]
    unmoved = {
        reason: n
        for reason, n in history.why.counts.items()
        if reason not in (Reason.MOVED, Reason.RETURNED)
    }
    lines += [
        f"    {n:>{len(f'{size:,}')},}  {_reason(record, history, reason)}"
        for reason, n in unmoved.items()
    ]
    if returned := history.why.counts.get(Reason.RETURNED):
        lines.append(
            f"    Of those that moved, {returned:,} came back to exactly where they began."
        )
    problem = record.counts.unexplained.get(history.name)
    if problem and Reason.GRADIENT_ZERO in unmoved:
        lines.append(f"    Inputs and units are not told apart: {problem}.")
    lines += print_trap(history)
    return lines


def _reason(record: Record, history: ParameterHistory, reason: Reason) -> str:
    if reason is Reason.INPUT_ZERO and record.counts is not None:
        inputs = record.counts.activity[history.name].inputs
        assert inputs is not None
        dark = int(np.count_nonzero(inputs == 0))
        return f"{UNMOVED[reason]} ({counted(dark, 'input')})"
    return why_not(history, reason)


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
