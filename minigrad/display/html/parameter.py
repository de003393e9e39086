"""The section of one parameter: what moved, what did not, and why."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.display.html.charts import chart, number
from minigrad.display.html.drawing import (
    UNIT_SCALE,
    Drawing,
    Pixels,
    color_name,
    drawing_of,
    image,
    largest,
    scale_bar,
    scale_of,
)
from minigrad.display.pictures import HIDDEN, STRANGE, counted
from minigrad.display.text_report import print_trap, strange_at_the_end, why_not, without_gradient
from minigrad.runs.norms import Norms
from minigrad.runs.parameter_history import ParameterHistory
from minigrad.runs.reasons import COLORS, Reason, Why
from minigrad.runs.record import Record

Part = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""Takes what is drawn in one picture out of an array of the parameter's shape."""

_PIXELS = 400_000  # of all parameters' pictures; noise takes 2.4 characters of the page for each
_POINTS = 50_000  # of all charts


def parameter_section(record: Record, place: int, first: bool, norms: Norms) -> str:
    """The section.

    Args:
        record: The record.
        place: The parameter's position in it.
        first: Whether its inputs are the data.
        norms: The norms of its updates.
    """
    history = ParameterHistory(record, list(record.slots)[place])
    shape = " × ".join(f"{n:,}" for n in history.shape) or "a single number"
    told = (
        f'<h2 id="p{place}"><code>{escape(history.name)}</code> <small>{shape}, '
        f"{record.final.dtype}</small></h2>"
        f"{_moved(record, history)}"
    )
    told += f'<div class="columns">{_pictures_and_reasons(record, history, first)}</div>'
    if record.counts is not None:
        told += _examples(history)
    told += _charts(record, history, norms)
    return f'<section aria-labelledby="p{place}">{told}</section>'


def _pictures_and_reasons(record: Record, history: ParameterHistory, first: bool) -> str:
    """What moved and why, as pictures and as numbers.

    Where all have one reason, a picture of it would say nothing.
    """
    if not history.size:
        return ""
    drawing = drawing_of(
        history.shape, first, max(1_000, min(40_000, _PIXELS // len(record.slots)))
    )
    where = _where(record, history, drawing)
    if record.counts is None:
        return where
    reasons, funnel = _reasons(record, history), _funnel(record, history)
    if len(history.why.counts) == 1:
        return f"{where}<div>{reasons}<details><summary>Gates</summary>{funnel}</details></div>"
    return f"{where}{_reasons_drawn(history, drawing)}{reasons}{funnel}"


def _moved(record: Record, history: ParameterHistory) -> str:
    if record.counts is None:
        before, after = history.initial, history.final
        differ = int(np.count_nonzero((before != after) & ~(np.isnan(before) & np.isnan(after))))
        return (
            f'<p class="lead">Nothing was counted (aggregates=False), so why entries did not move '
            f"is unknown. "
            f"<b>{differ:,}</b> of {history.size:,} differ between the first and the last "
            f"value.</p>"
        )
    moved = int(np.count_nonzero(history.moved))
    told = f"All <b>{moved:,}</b> entries moved" if moved != 1 else "Its <b>1</b> entry moved"
    if moved != history.size:
        told = f"<b>{moved:,}</b> of {history.size:,} entries moved"
    if alone := without_gradient(record, history):
        told += f", {escape(alone)}"
    told += f"; <b>{history.size - moved:,}</b> never did." if moved != history.size else "."
    if strange := strange_at_the_end(history):
        told += f" <b>{escape(strange[0].upper() + strange[1:])}.</b>"
    trap = "".join(f" <span>{escape(line.strip())}</span>" for line in print_trap(history))
    return f'<p class="lead">{told}{trap}</p>{reasons_bar(history.why)}'


def reasons_bar(why: Why) -> str:
    """The reasons' shares in one line; whoever cannot see it finds the numbers in the table."""
    size = max(1, sum(why.counts.values()))
    words = ", ".join(f"{count:,} {reason.name}" for reason, count in why.counts.items())
    parts = "".join(
        f'<i style="flex:{count / size:.6f} 1 0;background:{color_name(COLORS[reason])}"></i>'
        for reason, count in why.counts.items()
    )
    return f'<div class="bar" role="img" aria-label="{escape(words)}">{parts}</div>'


def _where(record: Record, history: ParameterHistory, drawing: Drawing) -> str:
    """Where it moved: the change from the first to the last value."""
    change = history.final.astype(np.float64) - history.initial
    still = np.zeros(history.shape, bool) if record.counts is None else ~history.moved
    top, strange = largest(change), bool((~np.isfinite(change)).any())
    title = "Where it moved" if record.counts is not None else "What changed"

    def alt(part: str, entries: Part) -> str:
        if record.counts is None:
            return f"{part}: {np.count_nonzero(entries(change)):,} of {entries(change).size:,} entries changed"
        return f"{part}: {np.count_nonzero(~entries(still)):,} of {entries(still).size:,} entries moved"

    pictures = _pictures(history.name, drawing, drawing.amounts(change, still, top), alt)
    says = f"{drawing.says.format(which='the largest change')} Red grew, blue fell, from the first to the last value."
    return (
        f"<figure><figcaption><b>{title}</b> <span>{escape(says)}</span></figcaption>{pictures}"
        f"{_legend(top, bool(still.any()), strange)}</figure>"
    )


def _legend(top: float, still: bool, strange: bool) -> str:
    """The scale with its numbers."""
    told = f"{scale_bar(number(top))}<span>white: 0</span>"
    if still:
        told += f"<span>{_swatch(HIDDEN)}never moved</span>"
    if strange:
        told += f"<span>{_swatch(STRANGE)}NaN or infinite</span>"
    return f'<p class="legend">{told}</p>'


def _swatch(color: tuple[int, int, int]) -> str:
    return f'<i class="swatch" style="background:{color_name(color)}"></i>'


def _reasons_drawn(history: ParameterHistory, drawing: Drawing) -> str:
    def alt(part: str, entries: Part) -> str:
        counts = {
            reason: np.count_nonzero(entries(history.why.where(reason)))
            for reason in history.why.counts
        }
        return f"{part}: " + ", ".join(
            f"{count:,} {reason.name}" for reason, count in counts.items() if count
        )

    tiles = drawing.reasons(history.why, history.shape)
    says = "The colors are those of the table below."
    if drawing.block != (1, 1):
        says += drawing.says.format(which="the one that came least far")
    return (
        f"<figure><figcaption><b>Why</b> <span>{escape(says)}</span></figcaption>"
        f"{_pictures(history.name, drawing, tiles, alt)}</figure>"
    )


def _pictures(
    name: str, drawing: Drawing, tiles: list[Pixels], alt: Callable[[str, Part], str]
) -> str:
    if drawing.units is None:
        height, width = drawing.size
        return image(
            tiles[0],
            alt(name, lambda array: array),
            scale_of(width),
            "strip" if height == 1 else "",
        )
    figures = ""
    for unit, tile in zip(drawing.units, tiles, strict=True):
        told = alt(f"{name}, unit {unit}", partial(_of_unit, unit))
        figures += (
            f"<figure>{image(tile, told, UNIT_SCALE)}<figcaption>unit {unit}</figcaption></figure>"
        )
    return f'<div class="units" style="--tile:{drawing.size[1] * UNIT_SCALE}px">{figures}</div>'


def _of_unit(unit: int, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array[:, unit]


def _reasons(record: Record, history: ParameterHistory) -> str:
    rows = ""
    for reason, count in history.why.counts.items():
        rows += (
            f"<tr><th "
            f'scope="row">{_swatch(COLORS[reason])}{reason.name}<span>{escape(_says(history, reason))}</span></th>'
            f"<td>{count:,}</td><td>{_share(count, history.size)}</td></tr>"
        )
    problem = record.counts.unexplained.get(history.name) if record.counts else None
    note = f"<p>Inputs and units are not told apart: {escape(problem)}.</p>" if problem else ""
    return (
        '<div><table class="reasons"><caption>Reasons</caption><thead><tr><th '
        'scope="col">reason</th>'
        f'<th scope="col">entries</th><th '
        f'scope="col">share</th></tr></thead><tbody>{rows}</tbody></table>{note}</div>'
    )


def _says(history: ParameterHistory, reason: Reason) -> str:
    return why_not(history, reason) if reason is Reason.SWALLOWED else reason.value


def _share(count: int, size: int) -> str:
    """A percentage that is never rounded to nothing or to all."""
    percent = 100 * count / size
    if 0 < percent < 0.01:
        return "< 0.01 %"
    return f"{percent:.2f} %" if percent < 99.995 or count == size else "> 99.99 %"


# -- the gates -----------------------------------------------------------------------------------


def gates(record: Record, history: ParameterHistory) -> list[tuple[str, int, dict[Reason, int]]]:
    """The gates that an update passes: each with how many entries passed it, and who did not and
    why.

    Entries whose reason is UNKNOWN are not among them.
    """
    counts = history.why.counts
    activity = record.counts.activity.get(history.name) if record.counts else None
    order: list[tuple[str, tuple[Reason, ...]]] = [
        ("it may be trained", (Reason.FROZEN,)),
        ("backward reached it", (Reason.NO_GRADIENT,)),
    ]
    last = (Reason.CANCELLED, Reason.NEVER_TOGETHER_OR_CANCELLED, Reason.GRADIENT_ZERO)
    if activity is not None:
        if activity.inputs is not None:  # a bias has no input that could be 0
            order.append(("its input was not 0", (Reason.INPUT_ZERO,)))
        order.append(("its unit's gradient was not 0", (Reason.UNIT_SILENT,)))
        if activity.together is not None:
            order.append(("both in the same sample", (Reason.NEVER_TOGETHER,)))
    order += [
        ("its gradient was not 0", last),
        ("its update was not 0", (Reason.UPDATE_ZERO,)),
        ("its value changed", (Reason.SWALLOWED,)),
    ]
    passed = history.size - counts.get(Reason.UNKNOWN, 0)
    found = []
    for gate, reasons in order:
        stopped = {reason: counts[reason] for reason in reasons if reason in counts}
        passed -= sum(stopped.values())
        found.append((gate, passed, stopped))
    return found


def _funnel(record: Record, history: ParameterHistory) -> str:
    unknown = history.why.counts.get(Reason.UNKNOWN, 0)
    size = history.size - unknown
    rows = ""
    for gate, passed, stopped in gates(record, history):
        track = f'<i style="width:{100 * passed / max(1, size):.3f}%"></i>'
        words = ""
        for reason, count in stopped.items():
            color = color_name(COLORS[reason])
            track += f'<i class="stopped" style="width:{100 * count / size:.3f}%;background:{color}"></i>'
            words += f'<span class="why">{count:,} stopped here: {why_not(history, reason)}</span>'
        rows += f'<li><span>{gate}</span><b>{passed:,}</b><span class="track" aria-hidden="true">{track}</span>{words}</li>'
    note = f"<p>{unknown:,} whose reason is unknown are left out.</p>" if unknown else ""
    return (
        f'<div class="funnel"><h3>Gates</h3><p>How many of '
        f"{counted(size, 'entr').replace('entrs', 'entries')} passed each "
        f"gate in at least one step.</p><ol>{rows}</ol>{note}</div>"
    )


def _examples(history: ParameterHistory) -> str:
    """For each reason its first entry and one from the middle, in sentences with their numbers."""
    items = ""
    for reason, count in history.why.counts.items():
        places = np.flatnonzero(history.why.where(reason))
        for place in dict.fromkeys([int(places[0]), int(places[count // 2])]):
            index = [int(i) for i in np.unravel_index(place, history.shape)]
            items += f"<li>{_swatch(COLORS[reason])}{escape(history.why.at(*index))}</li>"
    return f"<details><summary>Examples, one or two of each reason</summary><ul class='examples'>{items}</ul></details>"


def _charts(record: Record, history: ParameterHistory, norms: Norms) -> str:
    if not len(norms.updates):
        return ""
    steps = history.updates.steps
    span = int(record.kept.steps[0]), int(record.kept.steps[-1])
    most = max(20, min(500, _POINTS // len(record.slots)))
    return (
        f"<div "
        f'class="columns">{chart(steps, norms.updates, title="Norm of its updates", span=span, most=most)}'
        f"{chart(steps, norms.ratios, title='|update| / |value|', span=span, log=True, most=most)}</div>"
    )
