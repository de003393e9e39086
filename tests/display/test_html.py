"""The HTML report: well-formed, true, small, self-contained, and alive in a browser."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow, sparse
from layer_support import Residual
from recording_support import Array, Conv1D, Scale, Tape, dense, network, one, train
from typing_extensions import override

import minigrad as mg
from minigrad._printable import printable
from minigrad.display.drawing import HIDDEN, STRANGE
from minigrad.display.html.charts import chart, number, thinned
from minigrad.display.html.images import page_layout, pictures_of_reasons
from minigrad.errors import DataFileError
from minigrad.runs import Why

Pixels = npt.NDArray[np.uint8]
BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
TEMPLATE = files("minigrad.display.html").joinpath("template.html").read_text("utf-8")
VOID = {"meta", "link", "img", "input", "br", "hr", "path"}  # the last is always written as <path/>


class Reader(HTMLParser):
    """Reads a page and checks on the way that each element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: dict[str, str] = {}
        self.errors: list[str] = []
        self.feed(text)
        self.close()
        assert [] == self.open

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len({name for name, _ in attrs}) != len(attrs):
            self.errors.append(f"an attribute twice in {self.get_starttag_text()}")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self.open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    @override
    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts[self.elements[-1][1].get("id", self.open[-1])] = data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What is to be read, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of this kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(run: mg.Run, folder: Path) -> str:
    run.save_report(folder / "run.html")
    return (folder / "run.html").read_text("utf-8")


def pixels(uri: str) -> Pixels:
    """The pixels of a PNG in an address, read without the code that wrote it: RGB, no filters."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    length = struct.unpack(">I", data[start - 4 : start])[0]
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8).reshape(
        height, -1
    )
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


# -- runs of all kinds ---------------------------------------------------------------------------


def recorded(
    model: mg.Sequential, steps: int, *, lr: Any = 0.1, n_in: int = 5, before: Callable[[int], None] | None = None,  # noqa: E501
    tape: Tape | None = None, **settings: object,
) -> mg.Run:  # fmt: skip
    optimizer = mg.SGD(model, lr)
    with mg.Recorder(optimizer, **settings) as recorder, optimizer.attach(tape or Tape()):  # type: ignore[arg-type]
        train(model, optimizer, steps, before, n_in=n_in)
    return recorder.run


def story(steps: int = 12, tape: Tape | None = None, **settings: object) -> mg.Run:
    """A network of the story's shape; images whose border is dark."""
    model = network(784, 10, 10, activation="sigmoid")
    optimizer = mg.SGD(model, 0.1)
    rng = np.random.default_rng(3)
    bright = np.zeros((28, 28))
    bright[4:24, 4:24] = 1
    with mg.Recorder(optimizer, **settings) as recorder, optimizer.attach(tape or Tape()):  # type: ignore[arg-type]
        for _ in range(steps):
            one(
                model,
                optimizer,
                rng.random((3, 784)) * (rng.random((3, 784)) < 0.6) * bright.ravel(),
                rng,
            )
    return recorder.run


def reasons() -> mg.Run:
    """6 inputs, 4 units: two inputs dark, one unit silent, one weight too large to move, one that
    came back.
    """
    model = mg.Sequential(mg.Dense(6, 4, init=mg.init.constant(1.0)))
    dense(model, 0).weight.value[0, 0] = 1e9
    optimizer = mg.SGD(model, 0.5)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        one(model, optimizer, [[1, 2, 3, 4, 0, 0]], [[1, 1, 1, 0]])
        one(model, optimizer, [[1, 2, 3, 4, 0, 0]], [[1, 1, -1, 0]])
    return recorder.run


def nonfinite() -> mg.Run:
    """Updates that become infinite, and values NaN."""
    model = mg.Sequential(mg.Dense(3, 2, rng=0), mg.Dense(2, 2, rng=1))
    optimizer = mg.SGD(model, 1.0)
    with mg.Recorder(optimizer) as recorder, np.errstate(all="ignore"):
        for grad in (1.0, np.inf, np.nan, 1.0):
            one(model, optimizer, [[1, 2, 0]], [[grad, 1.0]])
    return recorder.run


def touched(model: mg.Sequential) -> mg.Run:
    """Somebody writes into a value between two steps."""

    def write(number: int) -> None:
        if number == 4:
            mg.ParameterVector.of(model).parameters[0].value[0, 0] = 7

    with pytest.warns(mg.errors.OutOfBandWrite):
        return recorded(model, 8, before=write)


def others() -> mg.Run:
    """Layers that do not explain themselves, parameters of one axis and of one entry, a frozen
    layer.
    """
    model = mg.Sequential(
        Conv1D(2, 3, np.random.default_rng(0)), Residual(mg.Dense(12, 12, rng=0)), Scale(12)
    )
    model[1].freeze()
    return recorded(model, 6, every=2)


class Odd(mg.Layer):
    """Parameters with names that must be escaped, of three axes and of none."""

    def __init__(self) -> None:
        vars(self)['</script><script>alert("1")</script>&amp;'] = mg.Parameter(
            np.ones((2, 3, 4), np.float32)
        )
        # With ESC, line breaks and a mark that turns the direction.
        vars(self)["\"'<b>$title ${body}\x1b[31m\r\n\x0b\u2028\u202e"] = mg.Parameter(
            np.array(2, np.float32)
        )

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad: Array) -> Array:
        for _, parameter in self.parameters():
            parameter.grad = np.full(parameter.shape, grad.sum(), parameter.dtype)
        return grad


RUNS: dict[str, Callable[[], mg.Run]] = {
    "story": story,
    "reasons": reasons,
    "no counts": lambda: recorded(network(5, 4, 3), 8, aggregates=False),
    "no tensors": lambda: recorded(network(5, 4, 3), 8, keep=()),
    "neither": lambda: recorded(network(5, 4, 3), 8, keep=(), aggregates=False),
    "gradients": lambda: recorded(network(5, 4, 3), 8, keep=("grad",)),
    "one step": lambda: recorded(network(5, 4, 3), 1),
    "no step": lambda: recorded(network(5, 4, 3), 0),
    "lr 0": lambda: recorded(network(5, 4, 3), 3, lr=lambda step: 0.0),
    "every 7": lambda: recorded(network(5, 4, 3), 60, every=7),
    "thinned": lambda: recorded(network(5, 4, 3), 300, budget=8_000, keyframe_every=8),
    "ring": lambda: recorded(network(5, 4, 3), 300, budget=8_000, keyframe_every=8, on_full="ring"),
    "nonfinite": nonfinite,
    "touched": lambda: touched(network(5, 3)),
    "others": others,
    "odd names": lambda: touched(mg.Sequential(Odd(), mg.Dense(5, 2, rng=0))),
    "large": lambda: recorded(network(5, 700, 3), 4),
}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[mg.Run, str]]:
    """Each run of the table and its page, made when it is first asked for."""
    folder = tmp_path_factory.mktemp("pages")

    class Pages(dict[str, tuple[mg.Run, str]]):
        def __missing__(self, name: str) -> tuple[mg.Run, str]:
            run = RUNS[name]()
            self[name] = run, page_of(run, folder)
            return self[name]

    return Pages()


# -- structure -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [slow(name) if name in ("story", "large", "ring") else name for name in RUNS]
)
def test_structure(pages: dict[str, tuple[mg.Run, str]], name: str) -> None:
    """Well-formed; ids are unique, and what refers to one finds it; pictures have words; one h1;
    nothing is loaded.
    """
    run, text = pages[name]
    page = Reader(text)
    assert [] == page.errors
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = {
        value
        for _, a in page.elements
        for key in ("for", "aria-labelledby")
        if (value := a.get(key))
    }
    wanted |= {attributes["href"][1:] for attributes in page.all("a")}
    assert not wanted - set(ids)
    assert 1 == len(page.all("h1"))
    assert all("alt" in attributes for attributes in page.all("img"))
    assert all(
        attributes.get("alt") for attributes in page.all("img") if "hidden" not in attributes
    )
    assert all(a.get("aria-label") for _, a in page.elements if a.get("role") == "img")
    assert all(a.get("scope") for a in page.all("th"))
    loaded = [a[key] for _, a in page.elements for key in ("src", "href") if key in a]
    assert [] == [address for address in loaded if not address.startswith(("data:", "#"))]
    assert "http:" not in text
    assert "https:" not in text
    if name != "nonfinite":  # whose examples end at NaN
        assert not re.search(r"\bnan\b|\binf\b|\bNone\b", page.text)
    assert (
        len(run.names) == sum(f'id="p{place}"' in text for place in range(len(run.names)))
        or not run.steps
    )
    assert len(text) < 300_000


def test_the_page_may_load_nothing() -> None:
    """Its own policy forbids it, so that a mistake would be seen in the browser's console."""
    policy = next(a["content"] for a in Reader(TEMPLATE).all("meta") if "http-equiv" in a)
    assert (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        == policy
    )


def test_names_are_escaped(pages: dict[str, tuple[mg.Run, str]]) -> None:
    """Names, notes and the optimizer's words are text, whatever characters they have.

    What does not print is escaped, and the template's are left alone.
    """
    run, text = pages["odd names"]
    page = Reader(text)
    assert [] == [one for one in text if not one.isprintable() and one != "\n"]
    for name in map(printable, run.names):
        assert name in page.text
        assert any(a.get("data-name") == name for _, a in page.elements)
    assert r"\x1b[31m\r\n\x0b\u2028\u202e" in page.text
    assert run.names[0] in run.notes[0]
    assert f"{run.notes[0]}." in page.text
    assert "alert(" not in "".join(page.scripts.values())
    assert 2 == text.count("</script>")  # the slider's data, and the script
    assert 2 == len(page.all("script"))


def test_every_length_fits_its_json(pages: dict[str, tuple[mg.Run, str]]) -> None:
    """The script's data are JSON without NaN, with one entry a step and a parameter."""
    for run, text in (
        pages[name] for name in ("one step", "no step", "every 7", "nonfinite", "touched")
    ):
        page = Reader(text)
        if "frames" in page.scripts:
            data = json.loads(page.scripts["frames"], parse_constant=pytest.fail)
            assert len(data["steps"]) == len(data["x"])
            assert [len(data["steps"])] * len(run.names) == [len(says) for says in data["says"]]


# -- numbers -------------------------------------------------------------------------------------


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


def test_gates(pages: dict[str, tuple[mg.Run, str]]) -> None:
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


def test_gates_of_layers_that_do_not_explain(pages: dict[str, tuple[mg.Run, str]]) -> None:
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


def test_an_update_that_is_swallowed_is_seen(pages: dict[str, tuple[mg.Run, str]]) -> None:
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


def test_pictures_of_reasons_are_true(pages: dict[str, tuple[mg.Run, str]]) -> None:
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


def test_what_is_missing_is_said(pages: dict[str, tuple[mg.Run, str]]) -> None:
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


# -- parts ---------------------------------------------------------------------------------------


def test_thinning_keeps_the_extremes() -> None:
    """However many points there are, at most 500 are drawn, and among them the smallest and largest
    of each bin.
    """
    rng = np.random.default_rng(0)
    values = rng.normal(size=24_000)
    values[12_345], values[23_456] = 99, -99
    kept = thinned(values, 500)
    assert len(kept) <= 500
    assert {12_345, 23_456} <= set(kept.tolist())
    for start in range(0, 24_000, 96):
        part = values[start : start + 96]
        assert {part.min(), part.max()} <= set(values[kept])
    assert np.array_equal(np.arange(500), thinned(values[:500], 500))


def test_chart_draws_each_point_in_its_place() -> None:
    """The line goes through (step, value) on axes whose ends are the outer ticks, and has holes
    where nothing is known.
    """
    steps = np.array([0, 1, 2, 3, 4, 8, 9, 10])
    values = np.array([0, 1, 4, np.nan, 2, 3, np.inf, 4])
    drawn = chart(steps, values, title="a <b>", span=(0, 10))
    line = re.search(r'class="line" d="([^"]*)"', drawn)
    assert line
    assert "M0.0 200.0h0L100.0 150.0L200.0 0.0M400.0 100.0h0M800.0 50.0h0M1000.0 0.0h0" == line[1]
    assert "a &lt;b&gt;" in drawn
    assert "Not drawn: 2 steps that are NaN or infinite." in drawn
    log = chart(steps[:3], values[:3], title="", span=(0, 10), log=True)
    assert "Not drawn: 1 step of 0, NaN or infinite." in log


@pytest.mark.parametrize(
    "values", [[0.0], [5e-324], [1e300], [-1e299, 1e299], [1e-300, 1e-290], [3.0, 3.0], [np.nan]]
)
@pytest.mark.parametrize("log", [False, True])
def test_charts_of_any_magnitude(values: list[float], log: bool) -> None:
    """No magnitude breaks an axis."""
    drawn = chart(
        np.arange(len(values)), np.array(values), title="any", span=(0, len(values) - 1), log=log
    )
    assert "nan" not in re.sub(r"<figcaption>.*?</figcaption>", "", drawn)
    assert [] == Reader(drawn).errors


def test_numbers_for_people() -> None:
    """Three digits; no zeros in front of an exponent."""
    given = [0.0, 1.0, 0.12345, 1234.5, 1e-5, -2.5e-17, 1e300, np.nan, -np.inf]
    wanted = ["0", "1", "0.123", "1.23e3", "1e-5", "-2.5e-17", "1e300", "NaN", "infinite"]
    assert wanted == [number(value) for value in given]


@pytest.mark.parametrize(
    ("shape", "first", "units", "grid", "cell"),
    [
        ((784, 10), True, 10, (28, 28), (1, 1)),
        ((64, 3), True, 3, (8, 8), (1, 1)),
        ((64, 3), False, None, (3, 64), (1, 1)),
        ((4, 3), True, None, (3, 4), (1, 1)),
        ((784, 400), True, 12, (28, 28), (1, 1)),
        ((20, 30), False, None, (20, 30), (1, 1)),
        ((1000, 500), False, None, (500, 1000), (5, 10)),
        ((10,), True, None, (1, 10), (1, 1)),
        ((100_000,), False, None, (1, 100_000), (1, 313)),
        ((), False, None, (1, 1), (1, 1)),
        ((3, 3, 8, 2), False, None, (2, 72), (1, 1)),
    ],
)
def test_layouts(
    shape: tuple[int, ...],
    first: bool,
    units: int | None,
    grid: tuple[int, int],
    cell: tuple[int, int],
) -> None:
    """Images per unit where the inputs of the data fill a square, else the matrix.

    Reduced only if it says so.
    """
    layout = page_layout(shape, first, 10_000)
    assert units == (None if layout.units is None else len(layout.units))
    assert (grid, cell) == (layout.grid, layout.cell)
    assert layout.pixels <= 10_000
    assert (cell != (1, 1)) == ("share a pixel" in layout.says)
    assert (units is not None and units < shape[1]) == ("evenly chosen" in layout.says)
    colored = layout.amounts(np.ones(shape, np.float32), np.zeros(shape, bool), 1.0)
    assert all((*layout.size, 3) == tile.shape for tile in colored)


def test_a_reduced_picture_loses_nothing() -> None:
    """Entries that share a pixel show their largest magnitude, and green only if none of them ever
    moved.
    """
    layout = page_layout((1_000, 900), False, 10_000)
    amounts, hidden = np.zeros((1_000, 900)), np.ones((1_000, 900), bool)
    amounts[501, 333], hidden[501, 333] = -1e-9, False
    picture = layout.amounts(amounts, hidden, 1.0)[0]
    assert 1 == (picture != HIDDEN).any(-1).sum()
    colors = picture[(picture != HIDDEN).any(-1)][0].astype(int)
    assert colors[2] == 255 - round(75 / 127)  # the palest blue, but not white
    assert colors[0] < 255


def test_nan_is_black_and_zero_is_white() -> None:
    """What is not a number is no amount, and looks like none."""
    layout = page_layout((5,), False, 100)
    values = np.array([np.nan, np.inf, 0, -1, 1])
    colors = [
        tuple(map(int, color)) for color in layout.amounts(values, np.zeros(5, bool), 1.0)[0][0]
    ]
    assert [STRANGE, STRANGE, (255, 255, 255), (33, 82, 180), (190, 30, 45)] == colors


# -- size ----------------------------------------------------------------------------------------


def noise(model: mg.Sequential, steps: int, **settings: object) -> mg.Run:
    """Updates of pure noise, which no compression makes small."""
    optimizer = mg.SGD(model, 0.1)
    vector, rng = mg.ParameterVector.of(model), np.random.default_rng(0)
    with mg.Recorder(optimizer, **settings) as recorder:  # type: ignore[arg-type]
        for _ in range(steps):
            vector.grads = rng.uniform(-1, 1, vector.grads.shape)
            optimizer.step()
    return recorder.run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        slow((784, 10, 10), 600),
        ((784, 128, 64, 10), 30),
        slow((6,) * 60, 200),
        slow((300, 2000), 5),
    ],
)
def test_size_is_bounded(tmp_path: Path, sizes: tuple[int, ...], steps: int) -> None:
    """The page has less than 5 MB, of the worst that can come: and the first and last update are
    always among those shown.
    """
    run = noise(network(*sizes), steps)
    page = Reader(page_of(run, tmp_path))
    assert (tmp_path / "run.html").stat().st_size < 5_000_000
    shown = json.loads(page.scripts["frames"])["steps"]
    assert (run.steps[0], run.steps[-1]) == (shown[0], shown[-1])
    assert len(shown) >= min(steps, 12)
    assert f"The steps of the slider {', '.join(f'{step:,}' for step in shown)} " in page.text
    if len(shown) < steps:
        assert (
            f"{len(shown):,} of the {steps:,} recorded updates: the first, the last, and others "
            f"evenly" in page.text
        )
        assert np.ptp(np.diff(shown)) <= 1


# -- the file ------------------------------------------------------------------------------------


def test_saving(tmp_path: Path) -> None:
    """A path may be a string or a path.

    It returns None; an older file is replaced, and nothing else is left behind.
    """
    run = reasons()
    target = tmp_path / "a report, of 100 %.html"
    target.write_text("older")
    assert run.save_report(str(target)) is None  # type: ignore[func-returns-value]
    first = target.read_bytes()
    assert first.startswith(b"<!doctype html>")
    run.save_report(target)
    assert first == target.read_bytes()
    assert [target] == list(tmp_path.iterdir())


def test_a_report_that_cannot_be_saved(tmp_path: Path) -> None:
    """A directory that is missing or not one, a directory in its place, one that is not writable:
    an error that says so.
    """
    run = reasons()
    (tmp_path / "file").write_text("kept")
    (tmp_path / "directory").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for wrong, why in [
        ("missing/run.html", "No such file or directory"),
        ("file/run.html", "Not a directory"),
        ("directory", "Is a directory"),
    ]:
        path = tmp_path / wrong
        with pytest.raises(DataFileError) as caught:
            run.save_report(path)
        assert (
            f"the report '{path}' cannot be written: {why}; give a file in a directory that exists "
            f"and is writable" == str(caught.value)
        )
        assert isinstance(caught.value.__cause__, OSError)
        assert before == sorted(tmp_path.rglob("*"))


@sparse(
    pytest.mark.parametrize("settings", [{}, {"every": 7}, {"keep": ()}, {"aggregates": False}]),
    every=4,
)
def test_from_disk(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The page of a run that was opened from a directory is the page of the run in memory."""
    run = recorded(network(5, 4, 3), 30, path=tmp_path / "run", **settings)
    assert page_of(run, tmp_path) == page_of(mg.Run.open(tmp_path / "run"), tmp_path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    """One clear error."""
    run = reasons()
    tmp_path.chmod(0o500)
    with pytest.raises(DataFileError, match="Permission denied"):
        run.save_report(tmp_path / "run.html")
    tmp_path.chmod(0o700)


# -- looks ---------------------------------------------------------------------------------------


def test_contrast() -> None:
    """Letters have a contrast of at least 4.5 to what is behind them, light and dark (WCAG 2.2,
    1.4.3).
    """
    themes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root \{([^}]*)\}", TEMPLATE)
    ]
    assert 2 == len(themes)
    for theme in themes:
        for letters in ("ink", "soft", "accent"):
            for behind in ("paper", "card"):
                bright, dim = sorted(
                    (_luminance(theme[letters]), _luminance(theme[behind])), reverse=True
                )
                assert (bright + 0.05) / (dim + 0.05) >= 4.5, (letters, behind)


def _luminance(color: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


# -- a real browser ------------------------------------------------------------------------------

PROBE = """<!doctype html><meta charset="utf-8"><pre id="found"></pre>
<iframe src="run.html" width="400" height="800"></iframe><iframe src="run.html#step=5" width="1400" height="800"></iframe>
<script>
async function look(frame) {
  const page = frame.contentDocument, slider = page.getElementById("slider");
  await Promise.all([...page.querySelectorAll("img")].map((image) => image.decode()));
  await new Promise((done) => setTimeout(done, 50));
  const pictures = () => [...page.querySelectorAll("canvas")].map((canvas) => canvas.toDataURL());
  const opened = slider.value, states = [];
  for (const place of [slider.min, slider.max, slider.min]) {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    states.push({step: page.getElementById("step").textContent, pictures: pictures(), said: slider.ariaValueText,
      text: page.querySelector(".says").textContent, label: page.querySelector(".frames").ariaLabel});
  }
  const focused = [];
  for (const element of page.querySelectorAll("a, summary, input")) { element.focus(); focused.push(page.activeElement === element); }
  for (const element of page.querySelectorAll("details")) element.open = true;
  const copy = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const tile = page.querySelector("#frames-2 canvas"), inside = (place) => {
    slider.value = place;
    slider.dispatchEvent(new Event("input"));
    copy.drawImage(tile, 0, 0);
    return [...copy.getImageData(0, 0, tile.width, tile.height).data];
  };
  const drawn = [...Array(8).keys()].map(inside);
  return {opened, states, focused, drawn, width: frame.contentWindow.innerWidth, needs: page.documentElement.scrollWidth};
}
addEventListener("load", async () => {
  const found = [];
  for (const frame of document.querySelectorAll("iframe")) found.push(await look(frame));
  document.getElementById("found").textContent = JSON.stringify(found);
});
</script>"""  # noqa: E501


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_in_a_browser(tmp_path: Path) -> None:
    """No error in the console.

    The slider changes pictures and words; a link leads to a step; nothing overflows at 400 px.
    """
    assert BROWSER is not None
    run = story(steps=8, coactivation=True)
    run.save_report(tmp_path / "run.html")
    (tmp_path / "probe.html").write_text(PROBE, "utf-8")
    options = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--dump-dom",
    ]
    options += [
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    address = (tmp_path / "probe.html").as_uri()
    done = subprocess.run(
        [BROWSER, *options, address], capture_output=True, text=True, timeout=120, check=False
    )
    # What the browser says of itself in its log does not count.
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert [] == [line for line in console if tmp_path.as_uri() in line]
    answer = re.search(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    if not answer:  # on a busy machine the browser may give up before the page has answered
        pytest.skip("the browser gave no answer")
    narrow, wide = json.loads(
        answer[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
    )
    assert [(400, "0"), (1400, "5")] == [
        (found["width"], found["opened"]) for found in (narrow, wide)
    ]
    page = Reader((tmp_path / "run.html").read_text("utf-8"))
    sheet = pixels(next(a["src"] for a in page.all("img") if a.get("id") == "frames-2-sheet"))
    across = sheet.shape[1] // 10
    assert across > 1
    for found in (narrow, wide):
        for place, drawn in enumerate(
            found["drawn"]
        ):  # each frame is cut out of the sheet where it lies
            top, left = place // across * 10, place % across * 10
            shown = np.array(drawn).reshape(10, 10, 4)[..., :3]
            assert np.array_equal(sheet[top : top + 10, left : left + 10], shown)
        assert found["needs"] <= found["width"]
        assert all(found["focused"])
        first, last, again = found["states"]
        assert (first, "0", "7") == (again, first["step"], last["step"])
        assert "step 7" == last["said"]
        changed = [a != b for a, b in zip(first["pictures"], last["pictures"], strict=True)]
        assert len(changed) == 10 + 3  # ten units, and one picture of each other parameter
        assert all(changed)
        assert (
            f"{np.count_nonzero(run['0.weight'].updates[7]):,} of 7,840 updates not 0"
            == last["text"]
        )
        assert last["text"] in last["label"]
