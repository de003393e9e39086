"""The parts of the HTML report: charts, layouts, pixels and colours."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_support import TEMPLATE, Reader

from minigrad.display.drawing import HIDDEN, STRANGE
from minigrad.display.html.charts import chart, number, thinned
from minigrad.display.html.images import page_layout

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
