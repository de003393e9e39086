"""Tables and pictures are made of the raw data alone, and a target that is missed is called so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import footprint
import pictures
import pytest
import steps
import tables
import targets
from peers import PEERS
from results import Results
from steps import write

ABOUT = {
    "date": "2026-01-02",
    "command": "python benchmarks/steps.py",
    "processor": "a processor",
    "system": "a system",
    "threads": 1,
    "pinned": True,
    "kernels": "kernels",
    "coretype": "",
    "versions": {"python": "3.11", "numpy": "2.4"},
    "rounds": 3,
    "seconds": 0.2,
}


@pytest.fixture
def results() -> Results:
    """Three rounds of a few peers; the second round was disturbed, by a factor of two for all."""
    wall = {
        "products": [10.0, 20.0, 10.0],
        "minigrad": [40.0, 80.0, 44.0],
        "plain": [44.0, 88.0, 48.4],
    }
    processor = {name: [10.0, 10.0, 10.0] for name in wall}
    left_out = {"S": {"torch": "torch is not installed"}, "M": {"torch": "torch is not installed"}}
    return Results(
        dict(ABOUT), slices={"wall": {"S": wall}, "processor": {"S": processor}}, left_out=left_out
    )


def test_figures_are_medians_and_ratios_are_paired(results: Results) -> None:
    """Median and half the width of the middle half, by hand.

    A disturbed round does not disturb the ratio.
    """
    step = results.step("S", "minigrad")
    assert step is not None
    assert (44.0, (62 - 42) / 2) == step
    assert pytest.approx((1.1, 0.0)) == results.ratio("S", "plain", "minigrad")
    assert results.step("S", "jax") is None
    assert results.ratio("S", "plain", "jax") is None


def test_the_other_clock(results: Results) -> None:
    """The same page, of processor time."""
    results.clock = "processor"
    assert (10.0, 0.0) == results.step("S", "minigrad")
    assert "medians of processor time" in tables.page(results)


def test_the_page_names_targets_that_are_met_or_missed(results: Results) -> None:
    """1.10 misses 1.12.

    4.0 times the products is above 3.5; what was not measured is not shown, but named.
    """
    page = tables.page(results)
    assert "| a competent plain float32 program | 1.10 ± 0.00<br>✗ missed ≥ 1.12 |" in page
    assert "| minigrad, the loop by hand | 4.00 ± 0.10<br>✗ missed ≤ 3.50 |" in page
    assert "| a competent plain float32 program | 44.0 ± 0.0 |" not in page
    assert 1 == page.count("- PyTorch, eager: torch is not installed")
    assert "JAX" not in page
    assert (
        "Measured on 2026-01-02 on a processor (a system): CPU, one thread, all processes pinned "
        "to the same core" in page
    )


@pytest.mark.parametrize(
    ("value", "sign", "expected"),
    [
        (1.12, "≥", True),
        (1.116, "≥", True),
        (1.114, "≥", False),
        (1.12, "≤", True),
        (1.13, "≤", False),
    ],
)
def test_a_target_is_judged_by_the_figure_that_is_shown(
    value: float, sign: str, expected: bool
) -> None:
    """Else the table would contradict itself."""
    assert expected == tables.met(value, sign, 1.12)


def test_targets_are_of_peers_that_there_are() -> None:
    """A misspelt name would be a target that nobody is held to."""
    for wanted in (targets.AT_LEAST, targets.AT_MOST, targets.RECORDED_AT_MOST):
        for peer, bars in wanted.items():
            assert set(bars) <= set(PEERS[peer].workloads)


def written(results: Results, directory: Path) -> dict[str, bytes]:
    """What is written of these results, by the name of the file."""
    write(results, directory)
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_table_can_be_made_again(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the raw data alone, byte for byte; without matplotlib there is no picture."""
    monkeypatch.setattr(steps, "find_spec", lambda name: None)
    first = written(results, tmp_path / "first")
    assert {"steps.json", "steps.md"} == set(first)
    assert first == written(Results.load(tmp_path / "first" / "steps.json"), tmp_path / "second")


@pytest.mark.skipif("MINIGRAD_ALL_PEERS" not in os.environ, reason="it takes a second or two")
def test_the_picture_can_be_made_again(results: Results, tmp_path: Path) -> None:
    """For light pages and for dark ones, each with its own colors."""
    pytest.importorskip("matplotlib")
    first = written(results, tmp_path / "first")
    assert {"steps.json", "steps.md", "steps-light.svg", "steps-dark.svg"} == set(first)
    assert first == written(Results.load(tmp_path / "first" / "steps.json"), tmp_path / "second")
    for name, colors in pictures.THEMES.items():
        assert colors["minigrad"].encode() in first[f"steps-{name}.svg"]


def test_a_process_is_measured_from_outside() -> None:
    """A child that takes 50 MB and half a tenth of a second is seen to do so."""
    code = "import time; kept = bytearray(b'1') * 50_000_000; time.sleep(0.05)"
    found = footprint.run([sys.executable, "-S", "-c", code], os.environ)
    assert 50 < found["wall"]
    assert 50 < found["peak"]  # or what this process has taken, if that is more


def test_the_page_on_the_footprint() -> None:
    """Imports are judged by the rounds' own differences: 20, 10 and 12 ms."""
    cases = [f"import: {name}" for name in ("NumPy", "minigrad")]
    cases += [f"{title}: {PEERS['minigrad'].label}" for title in footprint.TRAININGS]
    measured = {
        case: {"wall": [100.0, 90.0, 80.0], "processor": [50.0] * 3, "peak": [100.0] * 3}
        for case in cases
    }
    measured["import: minigrad"]["wall"] = [120.0, 100.0, 92.0]
    page = footprint.page(ABOUT, measured)
    assert (
        "| `import minigrad` above `import numpy` | 12.0 ms, 0.0 ms of processor time | ✓ ≤ 15 ms |"
        in page
    )
    assert "| from the shell to the end of S's first epoch | 0.09 s | ✓ ≤ 0.3 s |" in page
    assert "| NumPy | 90.0 ± 5.0 | 50.0 ± 0.0 | 100 |" in page
