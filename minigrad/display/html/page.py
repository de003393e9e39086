"""`save_page`: a record as one HTML file."""

from __future__ import annotations

import os
from html import escape
from importlib.resources import files
from string import Template

import numpy as np

from minigrad.display.html.charts import chart, number
from minigrad.display.html.parameter import parameter_section, reasons_bar
from minigrad.display.html.slider import film
from minigrad.display.pictures import counted
from minigrad.display.text_report import headline
from minigrad.files import save
from minigrad.runs.nan_loss import is_nan_loss
from minigrad.runs.non_finite import lines_of
from minigrad.runs.norms import norms_of
from minigrad.runs.notes import condensed
from minigrad.runs.parameter_history import ParameterHistory
from minigrad.runs.record import Record


def save_page(record: Record, path: str | os.PathLike[str]) -> None:
    """Write the page of a record, whole or not at all.

    Args:
        record: The record.
        path: The file. One that exists is replaced.

    Raises:
        DataFileError: It cannot be written: its directory is missing or not writable, the disk is
            full.
    """
    with np.errstate(all="ignore"):  # NaN and infinity are shown as what they are
        text = page_of(record)
    save(path, text.encode(), "the report")


def page_of(record: Record) -> str:
    """The whole page."""
    template = files("minigrad.display.html").joinpath("template.html").read_text("utf-8")
    steps = counted(len(record.kept.steps), "step")
    body = [_overview(record)]
    if len(record.kept.steps):
        first = next((name for name, slot in record.slots.items() if len(slot.shape) == 2), None)
        body.append(_section("Updates, step by step", "updates", film(record, first)))
        norms = norms_of(record, record.slots)
        for place, name in enumerate(record.slots):
            body.append(parameter_section(record, place, name == first, norms[name]))
    return Template(template).substitute(
        title=escape(f"{steps} of {record.optimizer}"), body="\n".join(body)
    )


def _section(title: str, place: str, content: str) -> str:
    return f'<section aria-labelledby="{place}"><h2 id="{place}">{escape(title)}</h2>{content}</section>'


# -- the run -------------------------------------------------------------------------------------


def _overview(record: Record) -> str:
    said = condensed(record.notes)
    notes = [f"{note}." for note in said]
    notes += [
        f"No tensors of steps {gap.first:,} to {gap.last:,}: {gap.why}." for gap in record.gaps
    ]
    told = f"<p class='lead'>{escape(headline(record))}</p>"
    if strange := lines_of(record):
        told = f"<div class='note'>{''.join(f'<p><b>{escape(line.strip())}</b></p>' for line in strange)}</div>{told}"
    if notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in notes[:200])
        more = f"<p>And {len(notes) - 200:,} more.</p>" if len(notes) > 200 else ""
        opened = " open" if len(notes) <= 3 or said else ""  # a note is never hidden
        kinds = [
            counted(len(things), noun)
            for things, noun in ((said, "note"), (record.gaps, "gap"))
            if things
        ]
        told += f"<details class='note'{opened}><summary>{' and '.join(kinds)}</summary><ul>{items}</ul>{more}</details>"
    return f'{told}{_table(record)}<div class="columns">{_training(record)}{_facts(record)}</div>'


def _table(record: Record) -> str:
    """One row a parameter: how many entries moved."""
    if record.counts is None or not len(record.kept.steps):
        return ""
    rows = ""
    for place, name in enumerate(record.slots):
        history = ParameterHistory(record, name)
        moved = int(np.count_nonzero(history.moved))
        rows += (
            f'<tr><th scope="row"><a '
            f'href="#p{place}"><code>{escape(name)}</code></a></th><td>{moved:,}</td>'
            f"<td>{history.size - moved:,}</td><td "
            f'class="wide">{reasons_bar(history.why)}</td></tr>'
        )
    head = '<th scope="col">parameter</th><th scope="col">moved</th><th scope="col">never</th>'
    return (
        f'<table class="parameters"><caption>How many entries moved at least '
        f"once</caption><thead><tr>{head}"
        f'<th scope="col" class="wide"><span '
        f'class="hidden">shares</span></th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _training(record: Record) -> str:
    """Loss and learning rate; a rate that never changes needs no chart."""
    meta = record.kept
    if not len(meta.steps):
        return ""
    span = int(meta.steps[0]), int(meta.steps[-1])
    shown = ""
    if np.isfinite(meta.loss).any():
        shown += chart(meta.steps, meta.loss, title="Loss", span=span)
    if np.ptp(meta.lr) != 0:  # also where it is NaN
        shown += chart(meta.steps, meta.lr, title="Learning rate", span=span)
    return shown


def _facts(record: Record) -> str:
    """What the record holds."""
    meta, facts = record.kept, {"Optimizer": record.optimizer}
    if len(meta.steps):
        facts["Steps"] = f"{len(meta.steps):,}, from {meta.steps[0]:,} to {meta.steps[-1]:,}"
        facts["Learning rate"] = (
            f"{number(meta.lr[0])} in every step"
            if np.ptp(meta.lr) == 0
            else f"{number(meta.lr[0])} in the first step, {number(meta.lr[-1])} in the last"
        )
        if not np.isfinite(meta.loss).any():
            known = np.isinf(meta.loss) | is_nan_loss(meta.loss)
            facts["Loss"] = (
                "NaN or infinite in every step"
                if known.all()
                else "never finite"
                if known.any()
                else "not recorded"
            )
        if clipped := int(np.count_nonzero(meta.clip_factor != 1)):
            facts["Clipping"] = f"scaled the gradients down in {counted(clipped, 'step')}"
    kinds = {
        kind: sum(len(rows) for _, rows in record.rows(kind))
        for kind in ("update", "grad", "value")
    }
    held = [f"{kind}s of {counted(count, 'step')}" for kind, count in kinds.items() if count]
    facts["Tensors held"] = ", ".join(held) or "none"
    facts["Size"] = f"{record.bytes:,} bytes"
    facts["Known to the bit"] = (
        f"the values after {len(record.exact_steps):,} of {counted(len(meta.steps), 'step')}"
    )
    facts["State"] = (
        "complete" if record.complete else "the recorder had not stopped when this page was written"
    )
    facts["Counts"] = (
        "none (aggregates=False), so reasons are unknown"
        if record.counts is None
        else f"of every entry in {counted(record.counts.steps, 'step')}"
    )
    items = "".join(
        f"<div><dt>{escape(term)}</dt><dd>{escape(told)}</dd></div>" for term, told in facts.items()
    )
    return f"<div><h3>What the record holds</h3><dl>{items}</dl></div>"
