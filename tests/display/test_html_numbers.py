"""The numbers and pictures of the HTML report are those of the run."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from html_support import Reader, page_of, pages, pixels, recorded, story
from recording_support import Tape, network

import minigrad as mg
from minigrad.display.drawing import HIDDEN
from minigrad.display.html.charts import number
from minigrad.display.html.images import page_layout, pictures_of_reasons
from minigrad.runs import Why


def test_counts_are_true(tmp_path: Path) -> None:
    """Headline, table, reasons and gates are what comparing the values before and after each step
    gives.
    """
    tape = Tape()
    run = story(tape=tape, coactivation=True)
    page = Reader(page_of(run, tmp_path))
    values = [run["0.weight"].initial, *(step["0.weight"] for step in tape.values)]
    moved = int(np.any([a != b for a, b in pairwise(values)], axis=0).sum())
    dark = (784 - 400) * 10
    assert 4_000 - 5 < moved <= 4_000 == 7_840 - dark
    assert (
        f"0.weight 784 × 10, float32 {moved:,} of 7,840 entries moved; {7_840 - moved:,} never did."
        in page.text
    )
    assert (
        f"INPUT_ZERO its input was 0 in every sample {dark:,} {100 * dark / 7840:.2f} %"
        in page.text
    )
    assert (
        "its input was not 0 4,000 3,840 stopped here: their input was 0 in every sample"
        in page.text
    )
    assert f"its value changed {moved:,}" in page.text
    assert (
        "NumPy's print of this parameter shows 36 entries; none of them moved, so it looks "
        "unchanged." in page.text
    )
    assert f"0.weight {moved:,} {7_840 - moved:,} 0.bias 10 0" in page.text
    assert run["0.weight"].why.at(0, 0) in page.text


def test_gates() -> None:
    """The gates of a case made by hand: each count is the one before less those that were
    stopped.
    """
    page = Reader(pages["reasons"][1])
    part = page.text.split("passed each gate in at least one step.")[1].split("Examples")[0]
    assert (
        "it may be trained 24 backward reached it 24 "
        "its input was not 0 16 8 stopped here: their input was 0 in every sample "
        "its unit's gradient was not 0 12 4 stopped here: their unit's gradient was 0 in every "
        "sample both in the same sample 12 its gradient was not 0 12 its update was not 0 12 "
        "its value changed 11 1 stopped here: every update was lost to rounding"
    ) == part.strip()


def test_gates_of_layers_that_do_not_explain() -> None:
    """Frozen parameters stop at the first gate, and gates that nobody looked at are not claimed."""
    page = Reader(pages["others"][1])
    assert "it may be trained 0 144 stopped here: they were frozen" in page.text
    custom = page.text.split("0.kernel 2 × 3")[1].split("Examples")[0]
    assert "its input was not 0" not in custom
    assert "its gradient was not 0" in custom


def test_norms_are_true(tmp_path: Path) -> None:
    """First, last, smallest and largest norm and ratio, from what a hook saw."""
    tape = Tape()
    run = recorded(network(5, 4, 3), 20, tape=tape, keyframe_every=8)
    page = Reader(page_of(run, tmp_path))
    for name in run.names:
        norms = np.array([np.linalg.norm(step[name].astype(np.float64)) for step in tape.updates])
        sizes = np.array([np.linalg.norm(step[name].astype(np.float64)) for step in tape.values])
        part = page.text.split(f"{name} {' × '.join(map(str, run[name].shape))}, float32")[1]
        assert _told("Norm of its updates", norms) in part
        assert _told("|update| / |value|", norms / sizes) in part


def _told(title: str, values: npt.NDArray[np.float64]) -> str:
    first, last, least, most = map(number, (values[0], values[-1], values.min(), values.max()))
    return f"{title} first {first}, last {last}, smallest {least}, largest {most}."


@sparse(
    pytest.mark.parametrize("entries", [1, 100, 2**20]),
    pytest.mark.parametrize("settings", [{}, {"every": 7}, {"budget": 8_000, "keyframe_every": 8}]),
    every=3,
)
def test_ratio_is_the_history_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], entries: int
) -> None:
    """The page's ratio, replayed for all parameters and many steps at once, is that of each
    parameter's history.
    """
    monkeypatch.setattr("minigrad.runs.norms._ENTRIES", entries)
    run = recorded(network(5, 4, 3), 120, **settings)
    page = Reader(page_of(run, tmp_path))
    for name in run.names:
        assert _told("|update| / |value|", run[name].ratio) in page.text


def test_pictures_are_true(tmp_path: Path) -> None:
    """Each pixel of a unit: green where it never moved, white where it came back, red up, blue
    down, the more the fuller.
    """
    tape = Tape()
    run = story(tape=tape)
    page = Reader(page_of(run, tmp_path))
    weight = run["0.weight"]
    change = weight.final.astype(np.float64) - weight.initial
    shown = [a for a in page.all("img") if a["alt"].startswith("0.weight, unit ")]
    assert 20 == len(shown)  # of each unit where it moved, and why
    for unit in range(10):
        moved = weight.moved[:, unit].reshape(28, 28)
        assert f"0.weight, unit {unit}: {moved.sum()} of 784 entries moved" == shown[unit]["alt"]
        picture = pixels(shown[unit]["src"]).astype(int)
        assert (picture[~moved] == HIDDEN).all()
        amounts = change[:, unit].reshape(28, 28)
        red, _, blue = np.moveaxis(picture, -1, 0)
        assert (red[moved & (amounts > 0)] > blue[moved & (amounts > 0)]).all()
        assert (red[moved & (amounts < 0)] < blue[moved & (amounts < 0)]).all()
    largest = np.unravel_index(np.abs(change).argmax(), change.shape)
    full = (190, 30, 45) if change[largest] > 0 else (33, 82, 180)
    assert full == tuple(pixels(shown[largest[1]]["src"]).reshape(784, 3)[largest[0]])
    assert number(float(np.abs(change).max())) in page.text


def test_frames_are_true(tmp_path: Path) -> None:
    """Each frame of the slider is the update of its step, unit beside unit.

    Its words count what is not 0.
    """
    tape = Tape()
    run = story(tape=tape)
    page = Reader(page_of(run, tmp_path))
    data = json.loads(page.scripts["frames"])
    assert list(run.steps) == data["steps"]
    assert "All 12 recorded updates." in page.text
    sheet = pixels(
        next(a["src"] for a in page.all("img") if a.get("id") == "frames-0-sheet")
    ).astype(int)
    columns = int(next(a["data-columns"] for _, a in page.elements if a.get("id") == "frames-0"))
    for place, step in enumerate(data["steps"]):
        update = tape.updates[step]["0.weight"]
        top, left = place // columns * 28, place % columns * 280
        frame = np.hstack([update[:, unit].reshape(28, 28) for unit in range(10)])
        still = np.hstack([~run["0.weight"].moved[:, unit].reshape(28, 28) for unit in range(10)])
        colors = sheet[top : top + 28, left : left + 280]
        assert (~still & (frame == 0)).any()
        assert np.array_equal(still & (frame == 0), (colors == HIDDEN).all(-1))
        assert np.array_equal(~still & (frame == 0), (colors == 255).all(-1))
        assert np.array_equal(
            frame > 0, (colors[..., 0] > colors[..., 2]) & ~(colors == HIDDEN).all(-1)
        )
        words = f"{np.count_nonzero(update):,} of 7,840 updates not 0"
        assert [number(float(np.abs(update).max())), words] == data["says"][0][place]
    for (top, words), *_ in data["says"]:  # the first scale, which stands there without the script
        assert f"-{top} {top} {words}" in page.text


def test_an_update_that_is_swallowed_is_seen() -> None:
    """Green is an entry without an update: one whose updates rounding took has their color,
    although it never moved.
    """
    run, text = pages["reasons"]
    assert not run["0.weight"].moved[0, 0]
    first = pixels(
        next(a["src"] for a in Reader(text).all("img") if a.get("id") == "frames-0-sheet")
    )[:4, :6]
    update = run["0.weight"].updates[0].T  # more inputs than units: a unit is a row
    assert update[0, 0] < 0
    assert np.array_equal(update != 0, (first != HIDDEN).any(-1) & (first != 255).any(-1))


def test_pictures_of_reasons_are_true() -> None:
    """Each pixel has the color of its entry's reason, as the table shows it.

    Its words give the counts.
    """
    run, text = pages["reasons"]
    why, page = run["0.weight"].why, Reader(text)
    shown = [a for a in page.all("img") if a["alt"].startswith("0.weight: ")][1]
    assert "0.weight: 8 INPUT_ZERO, 4 UNIT_SILENT, 1 SWALLOWED, " in shown["alt"]
    wanted = np.array([[reason.color for reason in row] for row in why.reasons.T])
    assert np.array_equal(wanted, pixels(shown["src"]))
    table = text.split("<caption>Reasons</caption>")[1].split("</table>")[0]
    swatches = re.findall(r"background:(#\w{6})", table)
    assert ["#{:02x}{:02x}{:02x}".format(*reason.color) for reason in why.counts] == swatches


def test_reasons_that_share_a_pixel() -> None:
    """The one that came least far is shown, so that no entry that never moved is lost."""
    codes = np.full((1_000, 900), mg.Reason.MOVED.code, np.uint8)
    codes[501, 333] = mg.Reason.SWALLOWED.code
    layout = page_layout(codes.shape, False, 10_000)
    why = Why("w", codes, lambda index, reason: "")
    picture = pictures_of_reasons(layout, why, codes.shape)[0]
    assert 1 == (picture == mg.Reason.SWALLOWED.color).all(-1).sum()
    assert picture.size // 3 - 1 == (picture == mg.Reason.MOVED.color).all(-1).sum()


def test_what_is_missing_is_said() -> None:
    """No counts, no tensors, no step, gaps, notes, NaN: each is told, and nothing is made up in its
    place.
    """

    def text(name: str) -> str:
        return Reader(pages[name][1]).text

    assert (
        "Nothing was counted (aggregates=False), so why entries did not move is unknown."
        in text("no counts")
    )
    assert "passed each gate" not in text("no counts")
    assert "never moved" not in text("no counts")
    assert "The record holds no updates, so there is nothing to step through." in text("no tensors")
    assert "Norm of its updates" not in text("no tensors")
    assert "Tensors held none" in text("no tensors")
    assert "Counts of every entry in 8 steps" in text("no tensors")
    assert "Counts none (aggregates=False), so reasons are unknown" in text("neither")
    assert "No step is recorded." in text("no step")
    assert (
        "1 NaN or infinite" in text("nonfinite")
        or "NaN or infinite, black" in pages["nonfinite"][1]
    )
    gap = pages["thinned"][0].gaps[0]
    assert f"No tensors of steps {gap.first} to {gap.last}: {gap.why}." in text("thinned")
    assert f"{pages['touched'][0].notes[0]}." in text("touched")
    assert "its update was not 0 0" in text("lr 0")
