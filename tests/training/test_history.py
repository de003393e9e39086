"""`History`: lists by name, a table as text, files, and a picture."""

from __future__ import annotations

import csv
import json
import math
import pickle
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from training_support import constant, descent, towards

import minigrad as mg
from minigrad.errors import (
    DataFileError,
    MissingExtraError,
    ModelError,
    ShapeError,
    UnknownNameError,
)
from minigrad.training.history import short

FIGURES = {
    "loss": [2.5, 0.125, 1 / 3],
    "val_loss": [12345.678, 0.00012345, math.nan],
    "accuracy": [0.0, 1.0, 0.5],
}


def history() -> mg.History:
    return mg.History(FIGURES)


# -- lists by name -------------------------------------------------------------------------------


def test_what_fit_returns() -> None:
    """A mapping of plain lists of plain numbers: |w| and |w - 2| for w = 4, 3 and 3, 2."""
    found = descent(4.0).fit(
        2, validation_data=towards(2.0), metrics={"two": lambda outputs, targets: 2}
    )
    expected = {
        "loss": [4.0, 3.0],
        "two": [2.0, 2.0],
        "val_loss": [1.0, 0.0],
        "val_two": [2.0, 2.0],
    }
    assert expected == dict(found)
    assert ["loss", "two", "val_loss", "val_two"] == list(found)
    assert {list} == {type(column) for column in found.values()}
    assert {float} == {type(figure) for column in found.values() for figure in column}
    assert isinstance(found, Mapping)
    assert (2, 4, True, "") == (found.epochs, len(found), bool(found), found.stopped)
    assert "loss" in found
    assert None is found.get("accuracy")


def test_zero_epochs_give_an_empty_history() -> None:
    """The names are known, the lists are empty, and nothing has changed."""
    training = constant(mg.SoftmaxCrossEntropy(), [[1.0, 0.0], [0.0, 1.0]], [0, 1], 2)
    before = training.bits()
    found = training.fit(0, validation_data=([[1.0, 0.0]], [0]))
    assert {"loss": [], "accuracy": [], "val_loss": [], "val_accuracy": []} == dict(found)
    assert (0, False, "") == (found.epochs, bool(found), found.stopped)
    assert "epoch  loss  accuracy  val_loss  val_accuracy" == str(found)
    assert before == training.bits()


def test_an_unknown_name_is_told_which_there_are() -> None:
    """As a KeyError too, as of every mapping."""
    with pytest.raises(KeyError) as caught:
        history()["acc"]
    assert UnknownNameError is type(caught.value)
    assert "no figure 'acc' in this history; there are loss, val_loss, accuracy" == str(
        caught.value
    )
    with pytest.raises(UnknownNameError, match="there are none"):
        mg.History()["loss"]


def test_lists_of_one_length() -> None:
    """One figure for each epoch; others are refused."""
    told = r"must be of one length, one for each epoch; these have \{'loss': 2, 'accuracy': 1\}"
    with pytest.raises(ShapeError, match=told):
        mg.History({"loss": [1.0, 2.0], "accuracy": [0.5]})


def test_a_figure_that_comes_later_is_no_number_before() -> None:
    """And one that is missing in an epoch is none there."""
    found = history()
    found.add({"loss": 0.25, "r2": 0.75})
    assert [2.5, 0.125, 1 / 3, 0.25] == found["loss"]
    assert [0.0, 1.0, 0.5] == found["accuracy"][:3]
    assert math.isnan(found["accuracy"][3])
    assert [True, True, True] == [math.isnan(figure) for figure in found["r2"][:3]]
    assert 0.75 == found["r2"][3]
    assert 4 == found.epochs


def test_it_holds_copies() -> None:
    """What it was made from may change afterwards."""
    figures = {"loss": [1.0]}
    found = mg.History(figures)
    figures["loss"].append(2.0)
    assert [1.0] == found["loss"]


def test_state_and_pickle() -> None:
    """Both bring every figure back; a state of something else is refused, and changes nothing."""
    before, other = history(), mg.History({"r2": [1.0]})
    before.stopped = "enough"
    other.load_state_dict(before.state_dict())
    copy = pickle.loads(pickle.dumps(before))
    for found in (other, copy):
        assert [*FIGURES] == list(found)
        assert FIGURES["loss"] == found["loss"]
        assert math.isnan(found["val_loss"][2])
        assert {float} == {type(figure) for column in found.values() for figure in column}
    assert ("", "enough") == (
        other.stopped,
        copy.stopped,
    )  # a training that goes on has not ended early
    with pytest.raises(ModelError, match=r"this is no state of a History: it has \['loss'\]"):
        other.load_state_dict({"loss": [1.0]})
    assert FIGURES["loss"] == other["loss"]


# -- text ----------------------------------------------------------------------------------------


def test_it_prints_as_a_table() -> None:
    """Epochs count from 1, columns are aligned, about four digits are shown."""
    expected = [
        "epoch    loss   val_loss  accuracy",
        "    1  2.5000  1.235e+04         0",
        "    2  0.1250  0.0001234    1.0000",
        "    3  0.3333        nan    0.5000",
    ]
    assert expected == str(history()).splitlines()


def test_it_says_why_the_training_ended() -> None:
    """In the table and in its repr, which has no numbers of epochs."""
    found = history()
    assert "History(3 epochs of loss, val_loss, accuracy)" == repr(found)
    found.stopped = "Ctrl-C"
    assert "stopped: Ctrl-C" == str(found).splitlines()[-1]
    assert "History(3 epochs of loss, val_loss, accuracy; stopped: Ctrl-C)" == repr(found)
    assert "History(0 epochs of nothing)" == repr(mg.History())


# -- files ---------------------------------------------------------------------------------------


def test_csv(tmp_path: Path) -> None:
    """A header, a row for each epoch, all digits, lines that end alike everywhere."""
    path = tmp_path / "history.csv"
    history().to_csv(path)
    text = path.read_bytes().decode()
    header, *rows = csv.reader(text.splitlines())
    assert ["epoch", "loss", "val_loss", "accuracy"] == header
    assert ["1", "2", "3"] == [row[0] for row in rows]
    for column, name in enumerate(header[1:], start=1):
        assert [repr(figure) for figure in FIGURES[name]] == [
            repr(float(row[column])) for row in rows
        ]
    assert text.endswith("\n")
    assert "\r" not in text


def test_csv_of_names_with_commas(tmp_path: Path) -> None:
    """They are quoted, as `csv` reads them."""
    mg.History({'a, "b"': [1.0]}).to_csv(tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="") as file:
        assert [["epoch", 'a, "b"'], ["1", "1.0"]] == list(csv.reader(file))


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1", "'+1"),
        ("-0.5", "'-0.5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("  =1", "'  =1"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "\\t=1"),
        ("\r\n=1", "\\r\\n=1"),
        ("a;=1", "a;'=1"),
        ("a, -b", "a,' -b"),
        ("a|@b", "a|'@b"),
        ("a\x1b[31m\0\udc80", "a\\x1b[31m\\x00\\udc80"),
        ("val_loss", "val_loss"),
        ("a=b-c", "a=b-c"),
        ("größer als 0.5", "größer als 0.5"),
    ],
)
def test_csv_of_names_that_are_formulas(name: str, written: str, tmp_path: Path) -> None:
    """A spreadsheet computes nothing, wherever it separates cells; a number below 0 stays one."""
    mg.History({name: [-0.5, float("-inf")]}).to_csv(tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_bytes().decode()
    assert [["epoch", written], ["1", "-0.5"], ["2", "-inf"]] == list(csv.reader(text.splitlines()))
    for cell in re.split("[,;|]", text.splitlines()[0]):
        assert cell.strip().strip('"').strip()[:1] not in tuple("=+-@\t\r")


def test_json(tmp_path: Path) -> None:
    """Lists by name; what is no number is null, which every reader knows."""
    path = tmp_path / "history.json"
    found = history()
    found.add({"loss": math.inf})
    found.to_json(str(path))

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    expected = {
        "loss": [2.5, 0.125, 1 / 3, None],
        "val_loss": [12345.678, 0.00012345, None, None],
        "accuracy": [0.0, 1.0, 0.5, None],
    }
    assert expected == json.loads(path.read_text("utf-8"), parse_constant=refuse)


def test_files_of_an_empty_history(tmp_path: Path) -> None:
    """A header alone, and an object of empty lists."""
    empty = mg.History({"loss": []})
    empty.to_csv(tmp_path / "a.csv")
    empty.to_json(tmp_path / "a.json")
    assert b"epoch,loss\n" == (tmp_path / "a.csv").read_bytes()
    assert {"loss": []} == json.loads((tmp_path / "a.json").read_text("utf-8"))


@pytest.mark.parametrize("method", ["to_csv", "to_json"])
def test_files_that_cannot_be_written(method: str, tmp_path: Path) -> None:
    """They say which file, and what to do."""
    with pytest.raises(
        DataFileError,
        match=r"the history '.*no.a' cannot be written: .*; give a file in a directory",
    ):
        getattr(history(), method)(tmp_path / "no" / "a")


# -- a picture -----------------------------------------------------------------------------------


class Axis:
    """A stand-in for matplotlib's axes: it writes down what is drawn."""

    def __init__(self) -> None:
        self.lines: dict[str, tuple[list[int], list[float]]] = {}
        self.settings: dict[str, str] = {}
        self.has_legend = False
        self.whole_numbers = False
        self.xaxis = self

    def plot(self, x: Any, y: Any, marker: str, label: str) -> None:
        assert "." == marker
        self.lines[label] = list(x), list(y)

    def set(self, **settings: str) -> None:
        self.settings = settings

    def legend(self) -> None:
        self.has_legend = True

    def get_major_locator(self) -> Axis:
        return self

    def set_params(self, integer: bool) -> None:
        self.whole_numbers = integer


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Axis]:
    """The axes that a stand-in of matplotlib was asked for."""
    axes: list[Axis] = []

    def subplots(rows: int, columns: int, **settings: Any) -> tuple[str, list[list[Axis]]]:
        assert 1 == rows
        assert not settings["squeeze"]
        axes.extend(Axis() for _ in range(columns))
        return "the figure", [axes]

    pyplot: Any = ModuleType("matplotlib.pyplot")
    pyplot.subplots = subplots
    monkeypatch.setitem(sys.modules, "matplotlib", ModuleType("matplotlib"))
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", pyplot)
    return axes


def test_what_is_drawn(drawn: list[Axis]) -> None:
    """The losses in one picture, each other figure in one of its own, training and validation
    together.
    """
    found = mg.History(
        {"loss": [3.0, 2.0], "mean_absolute_error": [1.0, 0.5], "val_loss": [4.0, 5.0]}
    )
    assert "the figure" == found.plot()
    assert [
        {"title": "loss", "xlabel": "epoch"},
        {"title": "mean absolute error", "xlabel": "epoch"},
    ] == [axis.settings for axis in drawn]
    assert {"training": ([1, 2], [3.0, 2.0]), "validation": ([1, 2], [4.0, 5.0])} == drawn[0].lines
    assert {"training": ([1, 2], [1.0, 0.5])} == drawn[1].lines
    assert all(axis.has_legend and axis.whole_numbers for axis in drawn)


def test_an_empty_history_can_be_drawn(drawn: list[Axis]) -> None:
    """An empty picture."""
    assert "the figure" == mg.History().plot()
    assert [{}] == [axis.lines for axis in drawn]


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the extra, which exists, and how to get it; all else works without."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError) as caught:
        history().plot()
    assert MissingExtraError is type(caught.value)
    told = (
        'history.plot needs matplotlib: run `pip install -e ".[plot]"` in the checkout of minigrad'
    )
    assert told == str(caught.value)
    assert "\nplot = [" in (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")


def test_with_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real figure with two pictures, which can be saved."""
    monkeypatch.setenv("MPLBACKEND", "Agg")
    pyplot = pytest.importorskip("matplotlib.pyplot")
    figure = history().plot()
    try:
        loss, accuracy = figure.axes
        assert ["training", "validation"] == [line.get_label() for line in loss.get_lines()]
        assert FIGURES["loss"] == list(loss.get_lines()[0].get_ydata())
        assert ([1, 2, 3], "accuracy") == (
            list(accuracy.get_lines()[0].get_xdata()),
            accuracy.get_title(),
        )
        figure.savefig(tmp_path / "history.png")
    finally:
        pyplot.close(figure)
    assert (tmp_path / "history.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("figure", "text"), [(0.01, "0.0100"), (0.00999, "0.00999"), (99.5, "99.5000"), (100.0, "100")]
)
def test_short_figures(figure: float, text: str) -> None:
    """Four digits after the point from 0.01 to below 100; beyond, four digits in all."""
    assert text == short(figure)
