"""The slider: some of the recorded updates as pictures, which a short script leafs through.

All frames of a parameter are one PNG, a sheet; so the page stays small, and the script only copies.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np

from minigrad.arrays import Integers, Mask
from minigrad.display.drawing import Layout, largest
from minigrad.display.escaping import escape
from minigrad.display.html.charts import WIDTH, number
from minigrad.display.html.images import UNIT_SCALE, page_layout, scale_bar, scale_of
from minigrad.display.png import Pixels, data_uri
from minigrad.display.shown import ShownRun, ShownTensors
from minigrad.display.words import counted

BUDGET = 2_000_000
"""Characters of the page that the slider's pictures may take."""

_MOST_STEPS = 120
_CHARACTERS_A_PIXEL = 2.4  # of noise: the PNG takes up to 1.7 bytes, and base64 four thirds of that
_MOST_PIXELS = 60_000  # of one step, of all parameters


@dataclass(frozen=True)
class _View:
    """What the slider shows of one parameter."""

    number: int
    name: str
    updates: ShownTensors
    layout: Layout
    still: Mask  # the entries that never moved; none, where nothing was counted


def slider(run: ShownRun, first: str | None) -> str:
    """The slider, its pictures, and the data of its script; a sentence where no updates are held.

    Args:
        run: The run.
        first: The parameter whose inputs are the data, if it is known.
    """
    most = max(256, min(20_000, _MOST_PIXELS // max(1, len(run.names))))
    counts = run.counted_steps is not None
    views = [
        _View(
            place,
            name,
            parameter.updates,
            page_layout(parameter.shape, name == first, most),
            ~parameter.moved if counts else np.zeros(parameter.shape, bool),
        )
        for place, (name, parameter) in enumerate((name, run[name]) for name in run.names)
        if parameter.size
    ]
    held = views[0].updates.steps if views else np.zeros(0, np.int64)
    if not len(held):
        return "<p>The record holds no updates, so there is nothing to step through.</p>"
    frame = sum(view.layout.pixels * _CHARACTERS_A_PIXEL + 150 for view in views)
    count = max(2, min(_MOST_STEPS, len(held), int(BUDGET // frame)))
    chosen = np.unique(np.linspace(0, len(held) - 1, count).round().astype(np.int64))
    steps = held[chosen]
    texts = [_texts(view, chosen) for view in views]
    figures = "".join(
        _figure(view, chosen, *own[0]) for view, own in zip(views, texts, strict=True)
    )
    span = max(1, run.steps[-1] - run.steps[0])
    data = {
        "steps": steps.tolist(),
        "x": [round(WIDTH * (step - run.steps[0]) / span, 1) for step in steps.tolist()],
        "says": texts,
    }
    green = "Green entries never moved in any step, and have no update in this one."
    return (
        f"<p>{_which(held, chosen)} A positive update is red, a negative one blue, and white is "
        f"exactly 0. Each step has a scale of its own, up to the largest magnitude of that step. "
        f"{green if counts else ''}</p>{_control(steps)}<div class='columns'>{figures}</div>"
        f"<details><summary>The steps of the slider</summary>"
        f"<p>{', '.join(f'{step:,}' for step in steps)}</p></details>"
        f'<script type="application/json" id="frames">{_safe(data)}</script>'
    )


def _which(held: Integers, chosen: Integers) -> str:
    if len(chosen) == len(held):
        return f"All {counted(len(held), 'recorded update')}."
    return (
        f"{len(chosen):,} of the {len(held):,} recorded updates: the first, the last, and others "
        f"evenly between, so that the page stays small."
    )


def _control(steps: Integers) -> str:
    """What the reader moves."""
    first, last = int(steps[0]), int(steps[-1])
    return (
        '<noscript><p class="note">The slider needs JavaScript; everything else on this page does '
        "without.</p></noscript>"
        '<div class="slider"><label for="slider">Step</label>'
        f'<input id="slider" type="range" min="0" max="{len(steps) - 1}" step="1" value="0" '
        f'aria-valuetext="step {first}" autocomplete="off">'
        f'<output id="step" for="slider">{first:,}</output><span class="of">of {first:,} to '
        f"{last:,}</span></div>"
    )


def _figure(view: _View, chosen: Integers, top: str, says: str) -> str:
    """One parameter's pictures, and the sheet of all its frames.

    A frame is its pictures side by side.
    """
    frames = [_frame(view, position) for position in chosen.tolist()]
    height, width = frames[0].shape[:2]
    columns = max(1, math.ceil(math.sqrt(len(frames) * height / width)))
    sheet = np.full((-(-len(frames) // columns) * height, columns * width, 3), 255, np.uint8)
    for place, frame in enumerate(frames):
        top_row, left = place // columns * height, place % columns * width
        sheet[top_row : top_row + height, left : left + width] = frame
    name, own, units = escape(view.name), f"frames-{view.number}", view.layout.units
    canvases = "".join(_canvas(view.layout, place) for place in range(len(units or (0,))))
    which = view.layout.says.format(which="the largest update")
    return (
        f'<figure class="view"><figcaption><b><code>{name}</code></b> '
        f"<span>{escape(which)}</span></figcaption>"
        f'<div id="{own}" class="frames{" units" if units else ""}" '
        f'style="--tile:{UNIT_SCALE * view.layout.size[1]}px" '
        f'role="img" data-name="{name}" data-columns="{columns}" aria-label="updates of '
        f'{name}">{canvases}</div>'
        f'<img id="{own}-sheet" src="{data_uri(sheet)}" alt="" hidden>'
        f'<p class="legend" id="{own}-says">{scale_bar(top)}<span '
        f'class="says">{escape(says)}</span></p></figure>'
    )


def _canvas(layout: Layout, place: int) -> str:
    """Where the script draws one picture of a frame."""
    height, width = layout.size
    scale, kind = UNIT_SCALE, ""
    if layout.units is None:
        scale, kind = scale_of(width), "strip" if height == 1 else ""
    canvas = (
        f'<canvas class="pixels {kind}" width="{width}" height="{height}" '
        f'style="width:{width * scale}px"></canvas>'
    )
    if layout.units is None:
        return canvas
    return f"<div>{canvas}<span>unit {layout.units[place]}</span></div>"


def _frame(view: _View, position: int) -> Pixels:
    update = view.updates[position]
    return np.hstack(view.layout.amounts(update, view.still & (update == 0), largest(update)))


def _texts(view: _View, chosen: Integers) -> list[tuple[str, str]]:
    """For each step the number at the end of the scale, and what stands beside it."""
    texts = []
    for position in chosen.tolist():
        update = view.updates[position]
        text = f"{np.count_nonzero(update):,} of {counted(update.size, 'update')} not 0"
        if strange := int(np.count_nonzero(~np.isfinite(update))):
            text += f"; {strange:,} NaN or infinite, black"
        texts.append((number(largest(update)), text))
    return texts


def _safe(data: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
