"""What `growth.py` measured, as Markdown tables, and as pictures for light and dark pages."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

# copies of the parameters that each training needs: values, gradients and update, and what else
# there is
PAPER = {
    "SGD": 3.0,
    "SGD with momentum": 4.0,  # the velocity
    "SGD, two updates recorded": 3
    + 2
    + 2
    + 2.0,  # two updates, two keyframes, the values before the first step and after the last
    "SGD, counts recorded": 3
    + 64 / 4
    + 3.0,  # 64 bytes an entry, and the values at both ends of a step and before the first
}
COLORS = ["#3b6fb6", "#c2410c", "#2e8b57", "#8a5fbf"]
THEMES = {
    "light": {"text": "#24292f", "grid": "#d0d7de", "colors": COLORS},
    "dark": {
        "text": "#e2e4e9",
        "grid": "#4a4f5c",
        "colors": ["#7aa7e0", "#fb8b4e", "#63c088", "#b999e8"],
    },
}


def line(times: dict[str, float]) -> tuple[float, float]:
    """The straight line a + b n through times, where each counts by its relative distance."""
    n, result = np.array(list(map(float, times))), np.array(list(times.values()))
    columns = np.stack([np.ones_like(n), n], axis=1) / result[:, np.newaxis]
    a, b = np.linalg.lstsq(columns, np.ones_like(n), rcond=None)[0]
    return float(a), float(b)


def tables(result: dict[str, Any]) -> str:
    """All tables, with what they were measured with below."""
    about = result["about"]
    message = (
        f"{about['date']}, {about['processor']}, {about['threads']} BLAS thread, Python "
        f"{about['python']}, NumPy {about['numpy']}, minigrad {about['minigrad']}: "
        f"`{about['command']}`"
    )
    return "\n\n".join(
        [
            _steps(result),
            _lines(result["lines"]),
            _layers(result["layers"]),
            _large(result["large"]),
            message,
            "",
        ]
    )


def _table(columns: list[str], rows: list[list[str]]) -> str:
    ruler = "|---|" + "---:|" * (len(columns) - 1)
    return "\n".join(
        f"| {' | '.join(cells)} |" if cells else ruler for cells in (columns, [], *rows)
    )


def _steps(result: dict[str, Any]) -> str:
    columns = [
        "",
        "µs a step, first tenth",
        "slowest",
        "last",
        "MB after the first tenth",
        "at the end",
        "announced",
    ]
    rows = []
    for case, one in result["steps"].items():
        tenths, memory = one["tenths"], one["resident"]
        bounded = "MB" in case  # by a budget, of which the announcement says nothing
        announced = "" if bounded or not one["announced"] else f"{one['announced'] / 1e6:,.0f}"
        times = [f"{time:,.1f}" for time in (tenths[0], max(tenths), tenths[-1])]
        rows.append([case, *times, *(f"{memory[at] / 1e6:,.0f}" for at in (1, -1)), announced])
    return f"### {result['count']:,} steps\n\n{_table(columns, rows)}"


def _lines(lines: dict[str, dict[str, float]]) -> str:
    titles = {"batch": "Batch", "depth 64": "Depth, 64 wide", "depth 256": "Depth, 256 wide"}
    parts = ["### Batch and depth"]
    for key, times in lines.items():
        a, b = line(times)
        rows = [
            ["µs a step", *(f"{time:,.0f}" for time in times.values())],
            [f"{a:,.0f} + {b:,.2f} n", *(f"{a + b * float(n):,.0f}" for n in times)],
        ]
        parts.append(_table([f"{titles[key]}, n =", *times], rows))
    return "\n\n".join(parts)


def _layers(layers: dict[str, dict[str, float]]) -> str:
    labels = {
        "building": "building it",
        "plain": "a step",
        "hooked": "a step, told to a hook",
        "recorded": "a step, counted",
    }
    rows = [
        [labels[key], *(f"{time:,.1f}" for time in times.values())] for key, times in layers.items()
    ]
    columns = ["µs for each layer", *(f"{int(n):,} layers" for n in layers["plain"])]
    return f"### A thousand layers\n\n{_table(columns, rows)}"


def _large(large: dict[str, Any]) -> str:
    entries, size = (next(iter(large.values()))[what] for what in ("entries", "bytes"))
    columns = [
        "",
        "copies, on paper",
        "after the third step",
        "at the peak",
        "GB at the peak",
        "seconds a step",
    ]
    rows = []
    for case, one in large.items():
        copies = [
            f"{PAPER[case]:.1f}",
            f"{one['stages']['step 2'] / size:.1f}",
            f"{one['peak'] / size:.1f}",
        ]
        rows.append([case, *copies, f"{one['peak'] / 1e9:.2f}", f"{one['seconds']:.2f}"])
    return (
        f"### {entries:,} parameters\n\nOne copy of them takes {size / 1e6:,.0f} MB.\n\n"
        f"{_table(columns, rows)}"
    )


# -- the picture ---------------------------------------------------------------------------------


def draw(result: dict[str, Any], directory: Path) -> None:
    """Draw time and memory over steps, batch and depth: growth-light.svg and growth-dark.svg."""
    matplotlib: Any = import_module("matplotlib")
    figure_of: Any = import_module("matplotlib.figure").Figure
    for theme, look in THEMES.items():
        settings: dict[str, Any] = dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), look["text"]
        )
        settings |= {
            "axes.edgecolor": look["grid"],
            "grid.color": look["grid"],
            "grid.linewidth": 0.6,
        }
        settings |= {
            "svg.hashsalt": "minigrad",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "font.size": 9,
        }
        with matplotlib.rc_context(settings):
            figure = figure_of(figsize=(9, 6.4), layout="constrained")
            axes = figure.subplots(2, 2)
            _panels(axes, result, list(look["colors"]))
            figure.legend(
                *axes[0, 0].get_legend_handles_labels(),
                loc="outside upper center",
                ncols=4,
                frameon=False,
            )
            figure.savefig(
                directory / f"growth-{theme}.svg", transparent=True, metadata={"Date": None}
            )


def _panels(axes: Any, result: dict[str, Any], colors: list[str]) -> None:
    ends = np.linspace(0, result["count"], 11)
    for color, (case, one) in zip(colors, result["steps"].items(), strict=False):
        axes[0, 0].stairs(one["tenths"], ends, baseline=None, color=color, linewidth=2, label=case)
        axes[0, 1].plot(ends, np.array(one["resident"]) / 1e6, color=color, marker=".", label=case)
    axes[0, 0].set(title="Time of a step, over the steps", xlabel="steps", ylabel="µs")
    axes[0, 1].set(title="Memory, over the steps", xlabel="steps", ylabel="MB resident")
    lines = result["lines"]
    _line(axes[1, 0], lines["batch"], colors[0], "256-256-256-10")
    axes[1, 0].set(title="Time of a step, over the batch", xlabel="samples in a batch", ylabel="ms")
    for color, key in zip(colors, ("depth 64", "depth 256"), strict=False):
        _line(axes[1, 1], lines[key], color, f"{key.removeprefix('depth ')} wide, batch 64")
    axes[1, 1].set(title="Time of a step, over the depth", xlabel="hidden layers", ylabel="ms")
    for one in axes.flat:
        one.set_ylim(bottom=0)
        one.grid(axis="y")
        one.set_axisbelow(True)
    for one in axes[0]:
        one.set_xticks(ends[::5], [f"{count:,.0f}" for count in ends[::5]])
    for one in axes[1]:
        one.legend(frameon=False, loc="upper left")


def _line(axes: Any, times: dict[str, float], color: str, label: str) -> None:
    n = np.array(list(map(float, times)))
    a, b = line(times)
    axes.plot(n, np.array(list(times.values())) / 1e3, "o", color=color, markersize=4, label=label)
    axes.plot(
        [0, n[-1]], [a / 1e3, (a + b * n[-1]) / 1e3], color=color, linewidth=1, linestyle="--"
    )
