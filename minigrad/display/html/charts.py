"""Line charts over the steps: inline SVG with labels in HTML.

So the letters keep their size on any screen.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Integers
from minigrad.display.escaping import escape
from minigrad.display.words import counted

Floats = npt.NDArray[np.float64]

WIDTH, HEIGHT = 1000.0, 200.0
"""The SVG's own units; the browser stretches them."""

_HUGE, _TINY = 1e300, 1e-300  # beyond these the axes themselves would overflow


def number(value: float) -> str:
    """A number for people: three digits, "1e-5" rather than "1e-05"."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    head, exponent, tail = f"{value:.3g}".partition("e")
    return f"{head}e{int(tail)}" if exponent else head


def thinned(values: Floats, most: int) -> Integers:
    """The positions of at most `most` points that look like all of them.

    Of each bin these are the smallest and the largest.

    Args:
        values: The values; NaN where there is none to draw.
        most: How many points at most.
    """
    if len(values) <= most:
        return np.arange(len(values))
    edges = np.linspace(0, len(values), max(1, most // 2) + 1).astype(int)
    kept: set[int] = set()
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[start:stop]
        if np.isnan(part).all():
            kept.add(start)  # so that the line has a hole here
        else:
            kept |= {start + int(np.nanargmin(part)), start + int(np.nanargmax(part))}
    return np.array(sorted(kept))


def chart(
    steps: Integers,
    values: Array,
    *,
    title: str,
    span: tuple[int, int],
    log: bool = False,
    most: int = 500,
) -> str:
    """A figure with a line.

    Args:
        steps: The number of each step, in order.
        values: What to draw, one a step. What is not finite, or on a log scale not above 0, is left
            out and counted.
        title: What it is, as plain text.
        span: The first and the last step of the axis.
        log: Whether the vertical axis is logarithmic.
        most: How many points are drawn at most.
    """
    values = values.astype(np.float64)
    drawable = np.isfinite(values) & (np.abs(values) < _HUGE)
    if log:
        drawable &= values > _TINY
    words = _in_words(values, drawable, log)
    if not drawable.any():
        return f'<figure class="chart">{_caption(title, words)}</figure>'
    shown = np.where(drawable, np.log10(np.where(drawable, values, 1.0)) if log else values, np.nan)
    kept = thinned(shown, most)
    if len(kept) < len(values):
        words += (
            f" {len(values):,} steps are drawn as {len(kept):,} points: the extremes of each of "
            f"{most // 2:,} bins."
        )
    ticks = _decades(shown) if log else _round_numbers(shown)
    low, high = ticks[0][0], ticks[-1][0]
    across = _across(steps, span)
    up = HEIGHT * (1 - (shown - low) / (high - low))
    label = escape(f"{title}, line chart. {words}")
    marks = "".join(
        f'<span style="bottom:{100 * (at - low) / (high - low):.2f}%">{text}</span>'
        for at, text in ticks
    )
    rules = "".join(
        f"M0 {HEIGHT * (1 - (at - low) / (high - low)):.1f}H{WIDTH:.0f}" for at, _ in ticks
    )
    return (
        f'<figure class="chart">{_caption(title, words)}'
        f'<div class="plot"><div class="y" aria-hidden="true">{marks}</div>'
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}">'
        f'<path class="rule" d="{rules}"/><path class="line" d="{_path(across, up, steps, kept)}"/>'
        f'<path class="now" d="M0 0V{HEIGHT:.0f}"/></svg>'
        f'<div class="x" aria-hidden="true">{_steps_below(span)}</div></div></figure>'
    )


def _caption(title: str, words: str) -> str:
    return f"<figcaption><b>{escape(title)}</b> <span>{escape(words)}</span></figcaption>"


def _in_words(values: Array, drawable: npt.NDArray[np.bool_], log: bool) -> str:
    """First, last, smallest and largest, and what cannot be drawn."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return f"not known in any of {counted(len(values), 'step')}."
    words = (
        f"first {number(values[0])}, last {number(values[-1])}, smallest {number(finite.min())}, "
        f"largest {number(finite.max())}."
    )
    if log:
        words += " Logarithmic scale."
    if missing := len(values) - int(np.count_nonzero(drawable)):
        what = "of 0, " if log else "that are "
        words += f" Not drawn: {counted(missing, 'step')} {what}NaN or infinite."
    return words


def _across(steps: Integers, span: tuple[int, int]) -> Floats:
    return np.asarray((steps - span[0]) * (WIDTH / max(1, span[1] - span[0])), np.float64)


def _path(across: Floats, up: Floats, steps: Integers, kept: Integers) -> str:
    """The line, with a hole where a value is missing or steps are farther apart than usual."""
    apart = np.diff(steps)
    holes = (
        np.concatenate([[0], np.cumsum(apart > 1.5 * np.median(apart))])
        if len(apart)
        else np.zeros(1, np.int64)
    )
    parts: list[str] = []
    before = None  # the stretch without holes that the last point belongs to
    for place in kept.tolist():
        if np.isnan(up[place]):
            before = None
            continue
        point = f"{across[place]:.1f} {up[place]:.1f}"
        # A line that goes nowhere is drawn as a dot, so a single step can be seen too.
        parts.append(f"L{point}" if before == holes[place] else f"M{point}h0")
        before = holes[place]
    return "".join(parts)


def _round_numbers(shown: Floats) -> list[tuple[float, str]]:
    """Ticks of a linear axis: round numbers from 0, or below, to above the largest value."""
    low, high = min(0.0, float(np.nanmin(shown))), max(0.0, float(np.nanmax(shown)))
    if high - low < _TINY:
        high = low + 1.0
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [(step * count, number(step * count)) for count in range(first, last + 1)]


def _decades(shown: Floats) -> list[tuple[float, str]]:
    """Ticks of a logarithmic axis: powers of ten, at most six of them."""
    low, high = math.floor(np.nanmin(shown)), math.ceil(np.nanmax(shown))
    high = max(high, low + 1)
    every = -(-(high - low) // 5)
    return [(float(at), number(10.0**at)) for at in range(low, high + every, every)]


def _steps_below(span: tuple[int, int]) -> str:
    first, last = span
    if first == last:
        return f'<span class="first">{first:,}</span>'
    middle = (first + last) // 2
    place = 100 * (middle - first) / (last - first)
    between = f'<span style="left:{place:.2f}%">{middle:,}</span>' if first < middle else ""
    return f'<span class="first">{first:,}</span>{between}<span class="last">step {last:,}</span>'
