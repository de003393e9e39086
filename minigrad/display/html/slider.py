"""The slider: a bounded number of recorded updates, as sheets of pictures that a few lines of script leaf through."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from html import escape

import numpy as np

from minigrad.arrays import Integers, Mask
from minigrad.display.html.charts import WIDTH, number
from minigrad.display.html.drawing import (
    UNIT_SCALE,
    Drawing,
    Pixels,
    data_uri,
    drawing_of,
    largest,
    scale_bar,
    scale_of,
)
from minigrad.display.pictures import counted
from minigrad.runs.parameter_history import ParameterHistory, Tensors
from minigrad.runs.record import Record

BUDGET = 2_000_000
"""Characters of the page that the slider's pictures may take."""

_MOST_STEPS = 120
_CHARACTERS_A_PIXEL = 2.4  # of noise: the PNG takes up to 1.7 bytes, and base64 four thirds of that
_MOST_PIXELS = 60_000  # of one step, of all parameters


@dataclass(frozen=True)
class _Reel:
    """One parameter's part."""

    number: int
    name: str
    updates: Tensors
    drawing: Drawing
    still: Mask  # the entries that never moved; none, where nothing was counted


def film(record: Record, first: str | None) -> str:
    """The section with the slider, its pictures, and the data of its script; a sentence where no
    updates are held.

    Args:
        record: The record.
        first: The parameter whose inputs are the data, if it is known.
    """
    most = max(256, min(20_000, _MOST_PIXELS // max(1, len(record.slots))))
    histories = [ParameterHistory(record, name) for name in record.slots]
    reels = [
        _Reel(
            number,
            history.name,
            history.updates,
            drawing_of(history.shape, history.name == first, most),
            np.zeros(history.shape, bool) if record.counts is None else ~history.moved,
        )
        for number, history in enumerate(histories)
        if history.size
    ]
    held = reels[0].updates.steps if reels else np.zeros(0, np.int64)
    if not len(held):
        return "<p>The record holds no updates, so there is nothing to step through.</p>"
    frame = sum(reel.drawing.pixels * _CHARACTERS_A_PIXEL + 150 for reel in reels)
    count = max(2, min(_MOST_STEPS, len(held), int(BUDGET // frame)))
    chosen = np.unique(np.linspace(0, len(held) - 1, count).round().astype(np.int64))
    told = [_texts(reel, chosen) for reel in reels]
    views = "".join(_view(reel, chosen, *texts[0]) for reel, texts in zip(reels, told, strict=True))
    first_step, last_step = int(record.kept.steps[0]), int(record.kept.steps[-1])
    data = {
        "steps": held[chosen].tolist(),
        "x": [
            round(WIDTH * (step - first_step) / max(1, last_step - first_step), 1)
            for step in held[chosen].tolist()
        ],
        "says": told,
    }
    return (
        f"<p>{_which(held, chosen)} A positive update is red, a negative one blue, and white is "
        f"exactly 0. Each step has a scale of its own, up to the largest magnitude of that step. "
        f"{_green(record)}</p>{_slider(held[chosen])}<div class='columns'>{views}</div>"
        f"<details><summary>The steps of the "
        f"slider</summary><p>{', '.join(f'{step:,}' for step in held[chosen])}</p></details>"
        f'<script type="application/json" id="film">{_safe(data)}</script>'
    )


def _which(held: Integers, chosen: Integers) -> str:
    if len(chosen) == len(held):
        return f"All {counted(len(held), 'recorded update')}."
    return (
        f"{len(chosen):,} of the {len(held):,} recorded updates: the first, the last, and others "
        f"evenly between, so that the page stays small."
    )


def _green(record: Record) -> str:
    if record.counts is None:
        return ""
    return "Green entries never moved in any step, and have no update in this one."


def _slider(steps: Integers) -> str:
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


def _view(reel: _Reel, chosen: Integers, top: str, says: str) -> str:
    """One parameter's pictures, and the sheet of all its frames: a frame is its pictures side by side."""
    frames = [_frame(reel, int(position)) for position in chosen]
    height, width = frames[0].shape[:2]
    columns = max(1, math.ceil(math.sqrt(len(frames) * height / width)))
    sheet = np.full((-(-len(frames) // columns) * height, columns * width, 3), 255, np.uint8)
    for place, frame in enumerate(frames):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + height, left : left + width] = frame
    name, own, units = escape(reel.name), f"film-{reel.number}", reel.drawing.units
    pictures = "".join(_canvas(reel.drawing, part) for part in range(len(units or (0,))))
    which = reel.drawing.says.format(which="the largest update")
    return (
        f'<figure class="view"><figcaption><b><code>{name}</code></b> '
        f"<span>{escape(which)}</span></figcaption>"
        f'<div id="{own}" class="film{" units" if units else ""}" '
        f'style="--tile:{UNIT_SCALE * reel.drawing.size[1]}px" '
        f'role="img" data-name="{name}" data-columns="{columns}" aria-label="updates of '
        f'{name}">{pictures}</div>'
        f'<img id="{own}-sheet" src="{data_uri(sheet)}" alt="" hidden>'
        f'<p class="legend" id="{own}-says">{scale_bar(top)}<span '
        f'class="says">{escape(says)}</span></p></figure>'
    )


def _canvas(drawing: Drawing, part: int) -> str:
    height, width = drawing.size
    scale, kind = (
        (scale_of(width), "strip" if height == 1 else "")
        if drawing.units is None
        else (UNIT_SCALE, "")
    )
    canvas = f'<canvas class="pixels {kind}" width="{width}" height="{height}" style="width:{width * scale}px"></canvas>'
    return (
        canvas
        if drawing.units is None
        else f"<div>{canvas}<span>unit {drawing.units[part]}</span></div>"
    )


def _frame(reel: _Reel, position: int) -> Pixels:
    update = reel.updates[position]
    return np.hstack(reel.drawing.amounts(update, reel.still & (update == 0), largest(update)))


def _texts(reel: _Reel, chosen: Integers) -> list[tuple[str, str]]:
    """For each step the number at the end of the scale, and what stands beside it."""
    texts = []
    for position in chosen.tolist():
        update = reel.updates[position]
        text = f"{np.count_nonzero(update):,} of {counted(update.size, 'update')} not 0"
        if strange := int(np.count_nonzero(~np.isfinite(update))):
            text += f"; {strange:,} NaN or infinite, black"
        texts.append((number(largest(update)), text))
    return texts


def _safe(data: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
