"""The section of one parameter: what moved, what did not, and why."""

from __future__ import annotations

import numpy as np

from minigrad.display.drawing import Layout, largest
from minigrad.display.escaping import escape
from minigrad.display.html.charts import chart
from minigrad.display.html.images import (
    Part,
    color_name,
    figures,
    legend,
    page_layout,
    pictures_of_reasons,
    swatch,
)
from minigrad.display.pictures import change_of
from minigrad.display.sentences import print_trap, strange_at_the_end, why_not, without_gradient
from minigrad.display.shown import ShownNorms, ShownParameter, ShownRun, ShownWhy
from minigrad.display.words import counted
from minigrad.reason import Reason

_PIXELS = 400_000  # of all parameters' pictures; noise takes 2.4 characters of the page for each
_POINTS = 50_000  # of all charts


def parameter_section(run: ShownRun, place: int, first: bool, norms: ShownNorms) -> str:
    """The section.

    Args:
        run: The run.
        place: The parameter's position in it.
        first: Whether its inputs are the data.
        norms: The norms of its updates.
    """
    parameter = run[run.names[place]]
    most = max(1_000, min(40_000, _PIXELS // len(run.names)))
    shape = " × ".join(f"{n:,}" for n in parameter.shape) or "a single number"
    section = (
        f'<h2 id="p{place}"><code>{escape(parameter.name)}</code> <small>{shape}, '
        f"{parameter.dtype}</small></h2>"
        f"{_moved(parameter)}"
        f'<div class="columns">{_pictures_and_reasons(parameter, first, most)}</div>'
    )
    if parameter.counted_steps is not None:
        section += _examples(parameter)
    section += _charts(run, parameter, norms)
    return f'<section aria-labelledby="p{place}">{section}</section>'


def _pictures_and_reasons(parameter: ShownParameter, first: bool, most: int) -> str:
    """What moved and why, as pictures and as numbers.

    Where all have one reason, a picture of it would say nothing.
    """
    if not parameter.size:
        return ""
    layout = page_layout(parameter.shape, first, most)
    where = _where(parameter, layout)
    if parameter.counted_steps is None:
        return where
    reasons, funnel = _reasons(parameter), _funnel(parameter)
    if len(parameter.why.counts) == 1:
        return f"{where}<div>{reasons}<details><summary>Gates</summary>{funnel}</details></div>"
    return f"{where}{_reasons_drawn(parameter, layout)}{reasons}{funnel}"


def _moved(parameter: ShownParameter) -> str:
    if parameter.counted_steps is None:
        before, after = parameter.initial, parameter.final
        differ = int(np.count_nonzero((before != after) & ~(np.isnan(before) & np.isnan(after))))
        return (
            f'<p class="lead">Nothing was counted ({escape(parameter.no_counts)}), so why entries '
            f"did not move is unknown. "
            f"<b>{differ:,}</b> of {parameter.size:,} differ between the first and the last "
            f"value.</p>"
        )
    moved = int(np.count_nonzero(parameter.moved))
    lead = f"All <b>{moved:,}</b> entries moved" if moved != 1 else "Its <b>1</b> entry moved"
    if moved != parameter.size:
        lead = f"<b>{moved:,}</b> of {parameter.size:,} entries moved"
    if alone := without_gradient(parameter):
        lead += f", {escape(alone)}"
    lead += f"; <b>{parameter.size - moved:,}</b> never did." if moved != parameter.size else "."
    if strange := strange_at_the_end(parameter):
        lead += f" <b>{escape(strange[0].upper() + strange[1:])}.</b>"
    if trap := print_trap(parameter):
        lead += f" <span>{escape(trap)}</span>"
    return f'<p class="lead">{lead}</p>{reasons_bar(parameter.why)}'


def reasons_bar(why: ShownWhy) -> str:
    """The reasons' shares in one line; whoever cannot see it finds the numbers in the table."""
    size = max(1, sum(why.counts.values()))
    words = ", ".join(f"{count:,} {reason.name}" for reason, count in why.counts.items())
    parts = "".join(
        f'<i style="flex:{count / size:.6f} 1 0;background:{color_name(reason.color)}"></i>'
        for reason, count in why.counts.items()
    )
    return f'<div class="bar" role="img" aria-label="{escape(words)}">{parts}</div>'


def _where(parameter: ShownParameter, layout: Layout) -> str:
    """Where it moved: the change from the first to the last value."""
    change, counts = change_of(parameter), parameter.counted_steps is not None
    still = ~parameter.moved if counts else np.zeros(parameter.shape, bool)
    top, strange = largest(change), bool((~np.isfinite(change)).any())

    def alt(name: str, part: Part) -> str:
        differ, what = (~part(still), "moved") if counts else (part(change), "changed")
        return f"{name}: {np.count_nonzero(differ):,} of {differ.size:,} entries {what}"

    pictures = figures(parameter.name, layout, layout.amounts(change, still, top), alt)
    says = (
        f"{layout.says.format(which='the largest change')} Red grew, blue fell, from the first to "
        f"the last value."
    )
    return (
        f"<figure><figcaption><b>{'Where it moved' if counts else 'What changed'}</b> "
        f"<span>{escape(says)}</span></figcaption>{pictures}"
        f"{legend(top, bool(still.any()), strange)}</figure>"
    )


def _reasons_drawn(parameter: ShownParameter, layout: Layout) -> str:
    why = parameter.why

    def alt(name: str, part: Part) -> str:
        counts = {reason: np.count_nonzero(part(why.where(reason))) for reason in why.counts}
        words = [f"{count:,} {reason.name}" for reason, count in counts.items() if count]
        return f"{name}: {', '.join(words)}"

    pictures = pictures_of_reasons(layout, why, parameter.shape)
    says = "The colors are those of the table below."
    if layout.cell != (1, 1):
        says += layout.says.format(which="the one that came least far")
    return (
        f"<figure><figcaption><b>Why</b> <span>{escape(says)}</span></figcaption>"
        f"{figures(parameter.name, layout, pictures, alt)}</figure>"
    )


def _reasons(parameter: ShownParameter) -> str:
    rows, why = "", parameter.why
    for reason, count in why.counts.items():
        says = why_not(parameter, reason) if reason is Reason.SWALLOWED else reason.value
        rows += (
            f'<tr><th scope="row">{swatch(reason.color)}{reason.name}'
            f"<span>{escape(says)}</span></th>"
            f"<td>{count:,}</td><td>{_share(count, parameter.size)}</td></tr>"
        )
    note = ""
    if why.unexplained:
        note = f"<p>Inputs and units are not told apart: {escape(why.unexplained)}.</p>"
    return (
        '<div><table class="reasons"><caption>Reasons</caption><thead><tr>'
        '<th scope="col">reason</th><th scope="col">entries</th><th scope="col">share</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>{note}</div>"
    )


def _share(count: int, size: int) -> str:
    """A percentage that is never rounded to nothing or to all."""
    percent = 100 * count / size
    if 0 < percent < 0.01:
        return "< 0.01 %"
    return f"{percent:.2f} %" if percent < 99.995 or count == size else "> 99.99 %"


def _funnel(parameter: ShownParameter) -> str:
    """How many entries pass each gate, and why the others do not."""
    unknown = parameter.why.counts.get(Reason.UNKNOWN, 0)
    size = parameter.size - unknown
    rows = ""
    for gate in parameter.why.gates:
        track = f'<i style="width:{100 * gate.passed / max(1, size):.3f}%"></i>'
        words = ""
        for reason, count in gate.stopped.items():
            color = color_name(reason.color)
            track += (
                f'<i class="stopped" style="width:{100 * count / size:.3f}%;background:{color}">'
                f"</i>"
            )
            words += (
                f'<span class="why">{count:,} stopped here: {why_not(parameter, reason)}</span>'
            )
        rows += (
            f"<li><span>{gate.name}</span><b>{gate.passed:,}</b>"
            f'<span class="track" aria-hidden="true">{track}</span>{words}</li>'
        )
    note = f"<p>{unknown:,} whose reason is unknown are left out.</p>" if unknown else ""
    return (
        f'<div class="funnel"><h3>Gates</h3><p>How many of '
        f"{counted(size, 'entry', 'entries')} passed each "
        f"gate in at least one step.</p><ol>{rows}</ol>{note}</div>"
    )


def _examples(parameter: ShownParameter) -> str:
    """For each reason its first entry and one from the middle, in sentences with their numbers."""
    items = ""
    for reason, count in parameter.why.counts.items():
        places = np.flatnonzero(parameter.why.where(reason))
        for place in dict.fromkeys([int(places[0]), int(places[count // 2])]):
            index = [int(i) for i in np.unravel_index(place, parameter.shape)]
            items += f"<li>{swatch(reason.color)}{escape(parameter.why.at(*index))}</li>"
    return (
        f"<details><summary>Examples, one or two of each reason</summary>"
        f"<ul class='examples'>{items}</ul></details>"
    )


def _charts(run: ShownRun, parameter: ShownParameter, norms: ShownNorms) -> str:
    if not len(norms.updates):
        return ""
    steps, span = parameter.updates.steps, (run.steps[0], run.steps[-1])
    most = max(20, min(500, _POINTS // len(run.names)))
    title = "|update| / |value|"
    return (
        f'<div class="columns">'
        f"{chart(steps, norms.updates, title='Norm of its updates', span=span, most=most)}"
        f"{chart(steps, norms.ratios, title=title, span=span, log=True, most=most)}</div>"
    )
