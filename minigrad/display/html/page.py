"""`save_page`: a run as one HTML file."""

from __future__ import annotations

import os
from importlib.resources import files
from string import Template

import numpy as np

from minigrad.display.escaping import escape
from minigrad.display.html.charts import chart, number
from minigrad.display.html.parameter import parameter_section, reasons_bar
from minigrad.display.html.slider import slider
from minigrad.display.notes import condensed
from minigrad.display.sentences import headline, non_finite_lines
from minigrad.display.shown import ShownRun
from minigrad.display.words import counted
from minigrad.files import save

_NOTES = 200  # notes and gaps that are listed at most


def save_page(run: ShownRun, path: str | os.PathLike[str]) -> None:
    """Write the page of a run, whole or not at all.

    Args:
        run: The run.
        path: The file. One that exists is replaced.

    Raises:
        DataFileError: It cannot be written: its directory is missing or not writable, the disk is
            full.
    """
    with np.errstate(all="ignore"):  # NaN and infinity are shown as what they are
        text = page_of(run)
    save(path, text.encode(), "the report")


def page_of(run: ShownRun) -> str:
    """The whole page."""
    template = files("minigrad.display.html").joinpath("template.html").read_text("utf-8")
    body = [_overview(run)]
    if run.steps:
        first = next((name for name in run.names if len(run[name].shape) == 2), None)
        body.append(_section("Updates, step by step", "updates", slider(run, first)))
        norms = run.norms()
        for place, name in enumerate(run.names):
            body.append(parameter_section(run, place, name == first, norms[name]))
    title = f"{counted(len(run.steps), 'step')} of {run.optimizer}"
    return Template(template).substitute(title=escape(title), body="\n".join(body))


def _section(title: str, place: str, content: str) -> str:
    return (
        f'<section aria-labelledby="{place}"><h2 id="{place}">{escape(title)}</h2>{content}'
        f"</section>"
    )


# -- the run -------------------------------------------------------------------------------------


def _overview(run: ShownRun) -> str:
    """What happened, and what the record holds."""
    strange = "".join(f"<p><b>{escape(line.strip())}</b></p>" for line in non_finite_lines(run))
    first = f"<div class='note'>{strange}</div>" if strange else ""
    return (
        f"{first}<p class='lead'>{escape(headline(run))}</p>{_notes(run)}{_table(run)}"
        f'<div class="columns">{_training(run)}{_facts(run)}</div>'
    )


def _notes(run: ShownRun) -> str:
    """Notes and gaps; none, if there are none."""
    notes = condensed(run.notes)
    lines = [f"{note}." for note in notes]
    lines += [
        f"{'Steps' if gap.of_counts else 'No tensors of steps'} {gap.first:,} to {gap.last:,}: "
        f"{gap.why}."
        for gap in run.gaps
    ]
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:_NOTES])
    more = f"<p>And {len(lines) - _NOTES:,} more.</p>" if len(lines) > _NOTES else ""
    opened = " open" if len(lines) <= 3 or notes else ""  # a note is never hidden
    kinds = [
        counted(len(things), noun)
        for things, noun in ((notes, "note"), (run.gaps, "gap"))
        if things
    ]
    return (
        f"<details class='note'{opened}><summary>{' and '.join(kinds)}</summary><ul>{items}</ul>"
        f"{more}</details>"
    )


def _table(run: ShownRun) -> str:
    """One row a parameter: how many entries moved."""
    if run.counted_steps is None or not run.steps:
        return ""
    rows = ""
    for place, name in enumerate(run.names):
        parameter = run[name]
        moved = int(np.count_nonzero(parameter.moved))
        rows += (
            f'<tr><th scope="row"><a href="#p{place}"><code>{escape(name)}</code></a></th>'
            f"<td>{moved:,}</td><td>{parameter.size - moved:,}</td>"
            f'<td class="wide">{reasons_bar(parameter.why)}</td></tr>'
        )
    return (
        '<table class="parameters"><caption>How many entries moved at least once</caption>'
        '<thead><tr><th scope="col">parameter</th><th scope="col">moved</th>'
        '<th scope="col">never</th><th scope="col" class="wide"><span class="hidden">shares</span>'
        f"</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _training(run: ShownRun) -> str:
    """Loss and learning rate; a rate that never changes needs no chart."""
    if not run.steps:
        return ""
    steps, span = np.array(run.steps), (run.steps[0], run.steps[-1])
    charts = ""
    if np.isfinite(run.loss).any():
        charts += chart(steps, run.loss, title="Loss", span=span)
    if np.ptp(run.lr) != 0:  # also where it is NaN
        charts += chart(steps, run.lr, title="Learning rate", span=span)
    return charts


def _facts(run: ShownRun) -> str:
    """What the record holds."""
    facts = {"Optimizer": run.optimizer}
    if run.steps:
        lr, known, clip_factor = run.lr, run.loss_known, run.clip_factor
        facts["Steps"] = f"{len(run.steps):,}, from {run.steps[0]:,} to {run.steps[-1]:,}"
        facts["Learning rate"] = (
            f"{number(lr[0])} in every step"
            if np.ptp(lr) == 0
            else f"{number(lr[0])} in the first step, {number(lr[-1])} in the last"
        )
        if not np.isfinite(run.loss).any():
            facts["Loss"] = (
                "NaN or infinite in every step"
                if known.all()
                else "never finite"
                if known.any()
                else "not recorded"
            )
        if clipped := int(np.count_nonzero(clip_factor != 1)):
            facts["Clipping"] = f"scaled the gradients down in {counted(clipped, 'step')}"
    held = [f"{kind}s of {counted(count, 'step')}" for kind, count in run.held.items()]
    facts["Tensors held"] = ", ".join(held) or "none"
    facts["Size"] = f"{run.bytes:,} bytes"
    facts["Known to the bit"] = (
        f"the values after {len(run.exact_steps):,} of {counted(len(run.steps), 'step')}"
    )
    facts["State"] = (
        "complete" if run.complete else "the recorder had not stopped when this page was written"
    )
    facts["Counts"] = (
        f"none ({run.no_counts}), so reasons are unknown"
        if run.counted_steps is None
        else f"of every entry in {counted(run.counted_steps, 'step')}"
    )
    items = "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(fact)}</dd></div>" for term, fact in facts.items()
    )
    return f"<div><h3>What the record holds</h3><dl>{items}</dl></div>"
