"""The report of a run as text: counts and reasons first, never a corner of an array."""

from __future__ import annotations

import textwrap

import numpy as np

from minigrad._printable import printable
from minigrad.display.notes import note_lines
from minigrad.display.sentences import (
    headline,
    non_finite_lines,
    print_trap,
    strange_at_the_end,
    why_not,
    without_gradient,
)
from minigrad.display.shown import ShownParameter, ShownRun
from minigrad.display.words import counted
from minigrad.reason import Reason

WIDTH = 100
_MOST = 2  # gaps are many or few; the counts of the entries matter more


def report_of(run: ShownRun) -> str:
    """The whole report."""
    lines = [*non_finite_lines(run), headline(run), *note_lines(run.notes)]
    lines += [
        f"Gap: {'' if gap.of_counts else 'no tensors of '}steps {gap.first} to {gap.last}"
        f"{' were ' if gap.of_counts else ', '}{gap.why}."
        for gap in run.gaps[:_MOST]
    ]
    if gaps := run.gaps[_MOST:]:
        lines.append(
            f"And {counted(len(gaps), 'more gap')}, up to step {gaps[-1].last} (see run.gaps)."
        )
    for name in run.names:
        lines += ["", *_parameter(run[name])]
    return "\n".join(_wrapped(printable(line)) for line in lines)


def _wrapped(line: str) -> str:
    """The line, broken where it is too long, with what follows indented."""
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return textwrap.fill(line, WIDTH, subsequent_indent=indent) if len(line) > WIDTH else line


def _parameter(parameter: ShownParameter) -> list[str]:
    """The lines of one parameter."""
    title = f"{parameter.name} {parameter.shape} {parameter.dtype}"
    if parameter.counted_steps is None:
        strange = strange_at_the_end(parameter)
        title += f": nothing was counted ({parameter.no_counts})"
        return [f"{title}{f'; {strange}' if strange else ''}"]
    if not parameter.counted_steps:
        return [f"{title}: no step was counted"]
    counts, size, why = parameter.why.counts, parameter.size, parameter.why
    unmoved = {reason: count for reason, count in counts.items() if not reason.moved}
    lines = [f"{title}: {_moved(parameter)}"]
    lines += [
        f"    {count:>{len(f'{size:,}')},}  {_why_not(parameter, reason)}"
        for reason, count in unmoved.items()
    ]
    if returned := counts.get(Reason.RETURNED):
        lines.append(
            f"    Of those that moved, {returned:,} came back to exactly where they began."
        )
    if why.unexplained and Reason.GRADIENT_ZERO in unmoved:
        lines.append(f"    Inputs and units are not told apart: {why.unexplained}.")
    if trap := print_trap(parameter):
        lines.append(f"    {trap}")
    return lines


def _moved(parameter: ShownParameter) -> str:
    """How many entries moved, and how many did not."""
    alone, strange = without_gradient(parameter), strange_at_the_end(parameter)
    at_the_end = f"; {strange}" if strange else ""
    count, size = int(np.count_nonzero(parameter.moved)), parameter.size
    if count == size == 1:
        return f"its one entry moved{f', {alone}' if alone else ''}{at_the_end}"
    if count == size:
        return f"all {size:,} entries moved{f'; {alone}' if alone else ''}{at_the_end}"
    unknown = parameter.why.counts.get(Reason.UNKNOWN, 0)
    never = f"{size - count - unknown:,} never did"
    never += f"; of {unknown:,} it is not known" if unknown else ""
    moved = f"{count:,} of {size:,} entries moved{f', {alone}' if alone else ''}"
    return f"{moved}{at_the_end}; {never}:"


def _why_not(parameter: ShownParameter, reason: Reason) -> str:
    """Why entries did not move; where their inputs were 0, of how many inputs."""
    zero_inputs = parameter.why.zero_inputs
    if reason is Reason.INPUT_ZERO and zero_inputs is not None:
        return f"{reason.several} ({counted(len(zero_inputs), 'input')})"
    return why_not(parameter, reason)
