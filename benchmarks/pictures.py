"""The results as a picture, once for light pages and once for dark ones; needs matplotlib."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from peers import PEERS
from results import Results

GROUPS = (
    ("floor", ("products",)),
    ("minigrad", ("minigrad", "fit")),
    (
        "others",
        ("learner", "plain", "classes", "sklearn", "torch", "torch-compile", "jax", "jax-scan"),
    ),
    ("recorded", ("rows", "counts", "both", "disk")),
)

THEMES = {
    "light": {
        "text": "#24292f",
        "grid": "#d0d7de",
        "floor": "#8c959f",
        "minigrad": "#c2410c",
        "others": "#3b6fb6",
        "recorded": "#e0995e",
    },
    "dark": {
        "text": "#e2e4e9",
        "grid": "#4a4f5c",
        "floor": "#9aa3ad",
        "minigrad": "#fb8b4e",
        "others": "#7aa7e0",
        "recorded": "#b9683a",
    },
}

NARROWEST = 2.0
"""The longest bar of a panel is drawn at least this long, in times of minigrad's step."""


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw bars for each peer and workload, as steps-light.svg and steps-dark.svg."""
    matplotlib: Any = import_module("matplotlib")
    figure_of: Any = import_module("matplotlib.figure").Figure
    paths = []
    for theme, colors in THEMES.items():
        path = directory / f"steps-{theme}.svg"
        settings = dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), colors["text"]
        )
        settings |= {
            "axes.edgecolor": colors["grid"],
            "svg.hashsalt": "minigrad",
        }  # the same bytes each time
        with matplotlib.rc_context(settings):
            _figure(figure_of, results, colors).savefig(
                path, transparent=True, metadata={"Date": None}
            )
        paths.append(path)
    return paths


def _figure(figure_of: Any, results: Results, colors: dict[str, str]) -> Any:
    rows: list[tuple[float, str, str]] = []  # where, which group, which peer
    place = 0.0
    for group, members in GROUPS:
        measured = [
            peer for peer in members if any(results.step(name, peer) for name in results.workloads)
        ]
        rows += [(place + index, group, peer) for index, peer in enumerate(measured)]
        place += len(measured) + 0.6 * bool(measured)
    workloads = [name for name in results.workloads if results.step(name, "minigrad")]
    figure = figure_of(
        figsize=(3.4 + 1.9 * len(workloads), 1.2 + 0.29 * place), layout="constrained"
    )
    figure.get_layout_engine().set(
        w_pad=0.12
    )  # the figures at a panel's right belong to it, not to the next
    for axes, name in zip(
        figure.subplots(1, len(workloads), sharey=True, squeeze=False)[0], workloads, strict=True
    ):
        _panel(axes, results, name, rows, colors)
        axes.set_yticks(
            [where for where, _, _ in rows],
            [PEERS[peer].label.replace("`", "") for _, _, peer in rows],
        )
        axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()  # for all panels, because they share it
    clock = "" if results.clock == "wall" else ", processor time"
    figure.supxlabel(
        f"time of a step, in times of minigrad's (the loop by hand){clock}: shorter bars are "
        f"faster",
        fontsize=10,
    )
    return figure


def _panel(
    axes: Any,
    results: Results,
    name: str,
    rows: list[tuple[float, str, str]],
    colors: dict[str, str],
) -> None:
    longest = NARROWEST
    for where, group, peer in rows:
        ratio = results.ratio(name, peer, "minigrad")
        if ratio is not None:
            longest = max(longest, ratio.median)
            axes.barh(where, ratio.median, height=0.78, color=colors[group])
            at_the_right = axes.get_yaxis_transform()  # a column of figures, which no bar reaches
            axes.text(
                1,
                where,
                f"{ratio.median:.2f}",
                transform=at_the_right,
                ha="right",
                va="center",
                fontsize=9,
            )
    axes.axvline(1, color=colors["minigrad"], linewidth=1, linestyle=(0, (3, 2)), zorder=0)
    mine = results.step(name, "minigrad")
    assert mine is not None
    step = f"{mine.median:,.0f} µs" if mine.median < 10_000 else f"{mine.median / 1000:,.0f} ms"
    axes.set_title(f"{name}: 1 = {step}", fontsize=10.5, fontweight="bold")
    axes.set_xlim(0, longest * 1.35)
    axes.grid(axis="x", color=colors["grid"], linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
