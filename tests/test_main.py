"""`python -m minigrad` is the check that an installation works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import minigrad as mg


@pytest.mark.slow
def test_it_trains_and_says_what_it_saw() -> None:
    """It learns to read the bundled digits in a second, and prints the report: counts, reasons, a
    picture.
    """
    command = [sys.executable, "-W", "error", "-m", "minigrad"]
    done = subprocess.run(
        command,
        cwd=Path(mg.__file__).parent.parent,
        capture_output=True,
        encoding="utf-8",
        check=True,
        timeout=60,
    )
    assert "" == done.stderr
    printed = done.stdout
    assert f"minigrad {mg.__version__}" in printed
    accuracy = re.search(r"([\d.]+)% of 359 others", printed)
    assert accuracy is not None
    assert float(accuracy[1]) > 60
    moved = re.search(
        r"0\.weight \(784, 32\) float32: ([\d,]+) of 25,088 entries moved; ([\d,]+) never did",
        printed,
    )
    assert moved is not None
    assert 25_088 == sum(int(number.replace(",", "")) for number in moved.groups())
    assert "their input was 0 in every sample" in printed
    assert "..." not in printed
    picture = [
        line
        for line in printed.splitlines()
        if len(line.strip()) == 28 and set(line.strip()) <= set("·░▒▓█")
    ]
    assert 28 == len(picture)
    assert any("·" in line for line in picture)
