"""What notebooks show: HTML that is well-formed, small, escaped, right in its numbers, and never an
error.
"""

from __future__ import annotations

import re
import struct
import zlib
from binascii import a2b_base64
from html.parser import HTMLParser
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from typing_extensions import override

import minigrad as mg
from minigrad.display import drawing, notebook
from minigrad.reason import Reason
from minigrad.recording import Why

Pixels = npt.NDArray[np.uint8]


class Shown(Protocol):
    """Anything that a notebook shows in its own way."""

    def _repr_html_(self) -> str: ...


class Page(HTMLParser):
    """HTML, taken apart: its text, the rows of its tables, its pictures."""

    def __init__(self, thing: Shown | str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.lines: list[str] = []
        self.rows: list[list[str]] = []
        self.pictures: list[Pixels] = []
        self.alts: list[str] = []
        self.colors: list[str] = []
        source = thing if isinstance(thing, str) else thing._repr_html_()
        self.length = len(source)
        assert source.isprintable()
        assert not re.search(r"<(script|style|link)|http|on\w+=|[ ;\"]color:", source)
        self.feed(source)
        self.close()
        assert [] == self.open  # each element is closed, in the right order
        self.text = "\n".join(self.lines)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs)
        if tag == "img":
            source = given["src"] or ""
            assert source.startswith("data:image/png;base64,")
            self.pictures.append(decode(a2b_base64(source.split(",")[1], strict_mode=True)))
            self.alts.append(given["alt"] or "")
            return
        assert tag in ("div", "strong", "small", "span", "table", "tr", "th", "td")
        self.open.append(tag)
        self.colors += re.findall(r"background:(rgb\(.*?\))", given.get("style") or "")
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")

    @override
    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    @override
    def handle_data(self, data: str) -> None:
        self.lines.append(data)
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.strip()


def decode(data: bytes) -> Pixels:
    """The pixels of a PNG with one IDAT chunk and no filter."""
    assert bytes([137, 80, 78, 71, 13, 10, 26, 10]) == data[:8]
    width, height = struct.unpack(">II", data[16:24])
    (length,) = struct.unpack(">I", data[33:37])
    raw = np.frombuffer(zlib.decompress(data[41 : 41 + length]), np.uint8).reshape(
        height, 1 + 3 * width
    )
    return raw[:, 1:].reshape(height, width, 3)


def trained(
    steps: int = 5, lr: float = 0.5, dtype: npt.DTypeLike = np.float32, **settings: Any
) -> mg.Recorder:
    """6 inputs, of which two are dark, 4 units, and no activation between."""
    model = mg.Sequential(mg.Dense(6, 4, rng=0, dtype=dtype))
    optimizer = mg.SGD(model, lr)
    rng = np.random.default_rng(1)
    with mg.Recorder(optimizer, **settings) as recorder:
        for _ in range(steps):
            x = rng.normal(size=(2, 6))
            x[:, 4:] = 0
            model.backward(rng.normal(size=model(x.astype(dtype)).shape).astype(dtype))
            optimizer.step()
    return recorder


def everything(recorder: mg.Recorder) -> list[Shown]:
    """All that a notebook may show of a run."""
    run = recorder.run
    parameters = [parameter for _, parameter in recorder.optimizer.model.parameters()]
    histories = [run[name] for name in run]
    compared = [mg.compare(history.initial, history.final) for history in histories]
    return [run, *parameters, *histories, *(history.why for history in histories), *compared]


# -- what each shows -----------------------------------------------------------------------------


def test_a_parameter() -> None:
    """Name, shape and counts first; then its values, red above 0 and blue below."""
    model = mg.Sequential(mg.Dense(2, 3, rng=0))
    values = np.array([[1, -2, 0], [0.5, 0, -1]], np.float32)
    weight = dict(model.parameters())["0.weight"]
    weight.value = values
    page = Page(weight)
    assert ["Parameter 0.weight", "(2, 3) float32, -2 to 1, 2 of 6 are 0"] == page.lines[:2]
    (picture,) = page.pictures
    assert (2 * 8, 3 * 8, 3) == picture.shape
    cells = picture[::8, ::8]
    assert np.array_equal(cells.repeat(8, 0).repeat(8, 1), picture)
    assert np.array_equal(drawing.diverging(values, np.zeros((2, 3), bool), 2.0), cells)
    assert "full color at 2" in page.alts[0]
    assert "axis 0 from top to bottom, axis 1 from left to right" in page.text
    weight.trainable = False
    assert "frozen" in Page(weight).text
    assert "Parameter" == Page(mg.Parameter(values)).lines[0]


def test_a_tall_parameter_lies_on_its_side() -> None:
    """A weight of many inputs and few units is wider than high, and the caption says which axis is
    which.
    """
    page = Page(mg.Parameter(np.arange(30.0).reshape(10, 3)))
    assert page.pictures[0].shape[0] * 10 == page.pictures[0].shape[1] * 3
    assert "axis 0 from left to right, axis 1 from top to bottom" in page.text


def test_showing_a_parameter_reads_no_gradient() -> None:
    """A parameter without a gradient gets none by being shown."""
    parameter = mg.Parameter(np.ones((2, 2)))
    Page(parameter)
    assert parameter.arrival is None
    assert vars(parameter)["_grad"] is None


def test_a_history() -> None:
    """How many entries moved, and the change as a picture in which those that never moved are
    green.
    """
    history = trained().run["0.weight"]
    page = Page(history)
    assert "0.weight (6, 4) float32, 5 steps" == page.lines[0]
    assert page.lines[1].startswith("16 of 24 entries moved; at the end (6, 4) float32, ")
    change = history.final.astype(float) - history.initial
    expected = drawing.diverging(change, ~history.moved, float(np.abs(change).max()))
    assert np.array_equal(expected.transpose(1, 0, 2), page.pictures[0][::8, ::8])
    assert "green never moved" in page.alts[0]


def test_why() -> None:
    """A row for each reason, with its number, its color and its meaning; the numbers add up."""
    why = trained().run["0.weight"].why
    page = Page(why)
    assert "0.weight: 24 entries" == page.lines[0]
    assert ["reason", "entries", "what it says"] == page.rows[0]
    assert [[r.name, f"{n:,}", r.value] for r, n in why.counts.items()] == page.rows[1:]
    assert [f"rgb{reason.color}" for reason in why.counts] == page.colors
    colors = np.array([[reason.color for reason in row] for row in why.reasons])
    assert np.array_equal(colors.transpose(1, 0, 2), page.pictures[0][::8, ::8])
    assert [] == Page(trained().run["0.bias"].why).pictures  # all have one reason


def test_reasons_have_different_colors() -> None:
    """Each reason has a color, and no two are alike."""
    colors = np.array([reason.color for reason in Reason])
    distance = np.abs(colors[:, np.newaxis] - colors).max(axis=2)
    assert distance[~np.eye(len(colors), dtype=bool)].min() > 20


def test_a_comparison() -> None:
    """Its sentences, and where the arrays differ, with a legend; no picture if nothing does."""
    before = np.zeros((2, 5))
    after = before.copy()
    after[0, 1:3] = 1
    comparison = mg.compare(before, after)
    page = Page(comparison)
    assert str(comparison).splitlines() == page.lines[:2]
    differs, same = np.unique(page.pictures[0].reshape(-1, 3), axis=0).tolist()
    cells = page.pictures[0][::8, ::8].tolist()
    assert [[same, differs, differs, same, same], [same] * 5] == cells
    assert [f"rgb{tuple(differs)}", f"rgb{tuple(same)}"] == page.colors
    assert [] == Page(mg.compare(before, before.copy())).pictures


def test_a_run() -> None:
    """A row for each parameter, whose numbers are those of the record."""
    recorder = trained()
    page = Page(recorder.run)
    assert page.lines[0].startswith("5 steps of SGD(lr=0.5, 28 entries)")
    assert [
        ["parameter", "shape", "entries", "moved", "never did", "why not"],
        ["0.weight", "(6, 4)", "24", "16", "8", "8 their input was 0 in every sample"],
        ["0.bias", "(4,)", "4", "4", "0", ""],
    ] == page.rows


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")  # the note says it as well
def test_notes_and_gaps_of_a_run() -> None:
    """What else happened is told."""
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, budget=300, on_full="stop") as recorder:
        for step in range(30):
            if step == 3:
                dict(model.parameters())["0.weight"].value[0] = 5
            model.backward(model(np.ones((1, 3))))
            optimizer.step()
    run = recorder.run
    assert run.gaps
    text = Page(run).text
    assert f"Note: {run.notes[0]}." in text
    assert f"Gaps: no tensors of {sum(gap.last - gap.first + 1 for gap in run.gaps)} steps." in text


# -- large arrays --------------------------------------------------------------------------------


@sparse(
    pytest.mark.parametrize(
        "shape",
        [
            (80, 160),
            (784, 10),
            (1000, 1000),
            (3, 20_000),
            (100_000,),
            (50_000, 2),
            (64, 32, 3, 3),
            (1, 500),
            (500, 1),
        ],
    ),
    every=9,
)
def test_it_stays_small(shape: tuple[int, ...]) -> None:
    """Whatever the size of the array, and however random its entries, at most 100 kB.

    What was reduced is said.
    """
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, shape)
    codes = rng.integers(0, len(Reason), shape).astype(np.uint8)
    things: list[Shown] = [
        mg.Parameter(values),
        mg.compare(values, values * (rng.random(shape) < 0.5)),
        Why("a", codes, str_of),
    ]
    for thing in things:
        page = Page(thing)
        assert page.length < 100_000
        height, width, _ = page.pictures[0].shape
        assert height <= 640
        assert width <= 480
        assert (shape != (80, 160)) == ("each cell shows, out of" in page.alts[0])


def str_of(index: tuple[int, ...], reason: Reason) -> str:
    return f"{index} {reason}"


def test_what_a_cell_of_a_reduced_picture_shows() -> None:
    """The entry with the largest magnitude and its sign.

    Green only where none of its entries moved.
    """
    values = np.zeros((4, 400))
    values[0, 0:3] = [0.5, -1, 0.25]
    values[1, 3:6] = [-1, 2, 0.5]
    values[2, 5] = np.nan
    hidden = np.zeros(values.shape, bool)
    hidden[3, 0:3] = True  # a whole cell
    hidden[3, 3:5] = True  # all but one of a cell
    page = Page(notebook.amounts(values, hidden, "some"))
    cells = page.pictures[0][:: page.pictures[0].shape[0] // 4, :: page.pictures[0].shape[1] // 134]
    assert (4, 134, 3) == cells.shape
    blue, red = drawing.diverging(np.array([[-1, 2]]), np.zeros((1, 2), bool), 2.0)[0].tolist()
    white, black, green = [255] * 3, list(drawing.STRANGE), list(drawing.HIDDEN)
    assert [blue, white] == cells[0, :2].tolist()
    assert [white, red] == cells[1, :2].tolist()
    assert [white, black] == cells[2, :2].tolist()
    assert [green, white] == cells[3, :2].tolist()
    assert (
        "of the 4 x 400 entries each cell shows, out of 1 x 3, the one with the largest magnitude"
        in page.text
    )
    assert "black NaN or infinite" in page.text


def test_what_a_cell_of_reasons_shows() -> None:
    """The reason of the entry that came least far."""
    codes = np.full((2, 320), Reason.MOVED.code, np.uint8)
    codes[0, 1] = Reason.INPUT_ZERO.code
    codes[1, 2:4] = Reason.SWALLOWED.code, Reason.UNIT_SILENT.code
    picture = Page(Why("a", codes, str_of)).pictures[0]
    cells = picture[:: picture.shape[0] // 2, :: picture.shape[1] // 160]
    assert [list(Reason.INPUT_ZERO.color), list(Reason.MOVED.color)] == cells[0, :2].tolist()
    assert [list(Reason.MOVED.color), list(Reason.UNIT_SILENT.color)] == cells[1, :2].tolist()


def test_a_run_of_many_parameters() -> None:
    """Fifty rows, and how many more there are."""
    model = mg.Sequential(*(mg.Dense(2, 2, rng=0) for _ in range(60)))
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        model.backward(model(np.ones((1, 2))))
        recorder.optimizer.step()
    page = Page(recorder.run)
    assert 51 == len(page.rows)
    assert "and 70 more" == page.lines[-1]
    assert page.length < 100_000


# -- never an error ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(()),
        np.zeros((0,)),
        np.zeros((0, 3)),
        np.zeros((3, 0)),
        np.zeros(1),
        np.zeros((1, 1)),
        np.zeros((5, 5)),
        np.full((3, 400), np.nan),
        np.array([[np.nan, np.inf, -np.inf, 1.0]]),
        np.array([[1e308, -1e308, 5e-324]]),
        np.array([np.nan]),
        np.arange(24.0).reshape(2, 3, 4),
        np.ones((1, 1, 1, 2), np.float32),
    ],
    ids=lambda value: f"{value.shape} {value.ravel()[:1]}",
)
def test_strange_arrays(value: npt.NDArray[Any]) -> None:
    """Empty ones, single numbers, NaN, infinity and huge numbers are shown, without a warning."""
    parameter = mg.Parameter(value)
    page = Page(parameter)
    assert str(value.shape) in page.text
    assert (value.size > 1) == len(page.pictures)
    if value.size > 1 and not np.isfinite(value).all():
        assert (page.pictures[0] == drawing.STRANGE).all(axis=2).any()
    Page(mg.compare(value, value + 1))
    Page(mg.compare(value, value.copy()))
    codes = np.full(value.shape, Reason.UNKNOWN.code, np.uint8)
    assert [] == Page(Why("a", codes, str_of)).pictures


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"aggregates": False}, {"keep": ()}, {"lr": 1e30}], ids=str
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the training itself may overflow
def test_strange_runs(settings: dict[str, Any]) -> None:
    """No steps, no counts, no tensors, and a training that explodes."""
    recorder = trained(**settings)
    for thing in everything(recorder):
        Page(thing)
    run = recorder.run
    if settings.get("aggregates") is False:
        assert "nothing was counted" in Page(run["0.weight"]).text
        assert ["not counted", "", "nothing was counted (aggregates=False)"] == Page(run).rows[1][
            3:
        ]
        assert ["UNKNOWN", "24", Reason.UNKNOWN.value] == Page(run["0.weight"].why).rows[1]
    if settings.get("steps") == 0:
        assert "No step is recorded." == Page(run).lines[0]
        assert "0.weight (6, 4) float32, 0 steps" == Page(run["0.weight"]).lines[0]


def test_a_run_that_became_nan() -> None:
    """Changes that are NaN are shown as such."""
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    weight = dict(model.parameters())["0.weight"]
    with mg.Recorder(mg.SGD(model, 1.0)) as recorder:
        model.backward(model(np.ones((1, 2))))
        weight.grad = np.array([[np.nan, np.inf], [1, 0]])
        recorder.optimizer.step()
    for thing in everything(recorder):
        Page(thing)
    assert "black NaN or infinite" in Page(recorder.run["0.weight"]).text
    history = recorder.run["0.weight"]
    compared = Page(mg.compare(history.initial, history.final))
    assert "NaN or infinite" in compared.text
    assert [[True, True], [False, False]] == (
        compared.pictures[0][::8, ::8] == drawing.STRANGE
    ).all(axis=2).tolist()
    page = Page(recorder.run)
    assert "NaN or infinity appeared in step 0." == page.lines[0]
    assert ["those that moved", "at the end 1 is NaN and 1 is infinite", ""] == [
        row[-1] for row in page.rows
    ]


# -- escaping ------------------------------------------------------------------------------------


def test_names_are_escaped() -> None:
    """What looks like HTML in a name is shown as it is."""
    evil = "<b>&amp;\"'</b><script>alert(1)</script>"
    parameter = mg.Parameter(np.ones((2, 2)))
    parameter.name = evil
    assert f"Parameter {evil}" in "".join(Page(parameter).lines)
    why = Why(evil, np.zeros((2, 2), np.uint8), str_of)
    assert f"{evil}: 4 entries" in "".join(Page(why).lines)
    compared = mg.compare(np.zeros((2, 2)), np.ones((2, 2)), names=(evil, "unit"))
    assert f"{evil}: 0 to 1" in "".join(Page(compared).lines)

    class Odd(mg.Layer):
        def __init__(self) -> None:
            setattr(self, evil, mg.Parameter(np.ones((2, 2))))

        @override
        def forward(self, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return x

        @override
        def backward(self, grad: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return grad

    with mg.Recorder(mg.SGD(mg.Sequential(Odd()), 0.1)) as recorder:
        pass
    run = recorder.run
    assert f"0.{evil}" == Page(run).rows[1][0]
    assert f"0.{evil} (2, 2)" in "".join(Page(run[f"0.{evil}"]).lines)


def test_long_names_are_cut() -> None:
    """Nobody's name makes a page long."""
    parameter = mg.Parameter(np.ones((2, 2)))
    parameter.name = "x" * 10_000
    assert Page(parameter).length < 5000
