"""The examples run as a user would run them, and tell what they promise."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example draws its picture."""
    return tmp_path_factory.mktemp("story")


@pytest.fixture(scope="module")
def story(directory: Path) -> str:
    """What `python examples/frozen_layer.py` prints."""
    command = [
        sys.executable,
        str(ROOT / "examples" / "frozen_layer.py"),
        "--output",
        str(directory),
    ]
    environment = {
        **os.environ,
        "PYTHONUTF8": "1",
        "PYTHONPATH": str(ROOT),
    }  # this checkout, installed or not
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout


def test_both_prints_are_identical(story: str) -> None:
    """NumPy's print of the first layer stands there twice, to the letter, and the program says
    so.
    """
    prints = re.findall(r"^\[\[.*?\]\]$", story, re.DOTALL | re.MULTILINE)
    assert 2 == len(prints)
    assert prints[0] == prints[1]
    assert "..." in prints[0]
    assert "The two prints are identical, to the letter." in story


def test_the_network_learns(story: str) -> None:
    """At least 85 % of the digits that were held out are read correctly."""
    found = re.search(r"reads (\d+\.\d)% of (\d+) digits", story)
    assert found is not None
    assert float(found[1]) >= 85
    assert "359" == found[2]


def test_the_counts_add_up(story: str) -> None:
    """The comparison and the report agree: 235 dark pixels hold 2,350 entries, and the other 5,490
    moved.
    """
    assert (
        "2,350 of 7,840 unchanged; all 2,350 lie on 235 inputs that are 0 in every row of x"
        in story
    )
    assert "0.weight (784, 10) float32: 5,490 of 7,840 entries moved; 2,350 never did:" in story
    assert "2,350  their input was 0 in every sample (235 inputs)" in story
    assert (
        "NumPy's print of this parameter shows 36 entries; none of them moved, so it looks "
        "unchanged." in story
    )


def test_single_entries_are_explained(story: str) -> None:
    """An entry of the printed corner never moved, and another one did, each in a sentence with its
    numbers.
    """
    assert "0.weight[0, 3] never moved: its input 0 was 0 in all 28,760 samples" in story
    assert re.search(r"0\.weight\[\d+, \d\] moved in 580 of 580 steps", story)


def test_the_picture_in_text(story: str) -> None:
    """One unit is drawn as 28 lines of 28 characters, its border as entries that never moved."""
    drawn = re.findall(r"^[·░▒▓█]{28}$", story, re.MULTILINE)
    assert 28 == len(drawn)
    assert "·" * 28 == drawn[0]
    assert set("·░▒▓█") == set("".join(drawn))


def test_the_record_is_complete_and_exact(story: str) -> None:
    """All 580 steps are kept, and replaying them gives the final values."""
    assert "580 steps, every update of every entry:" in story
    assert "580 steps replayed exactly" in story
    assert "0 not checked." in story


def test_the_picture_as_png(story: str, directory: Path) -> None:
    """Ten units, five in a row, each entry four pixels wide, with lines of two pixels between."""
    picture = directory / "frozen_layer_digits.png"
    assert str(picture) in story
    content = picture.read_bytes()
    assert PNG_SIGNATURE == content[:8]
    assert (5 * (28 * 4 + 2) + 2, 2 * (28 * 4 + 2) + 2) == struct.unpack(">II", content[16:24])


def test_the_picture_of_the_docs_is_a_png_of_the_same_size(story: str, directory: Path) -> None:
    """The picture that README and docs show comes from the example."""
    shown = (ROOT / "docs" / "images" / "frozen_layer.png").read_bytes()
    assert (directory / "frozen_layer_digits.png").read_bytes()[:24] == shown[:24]


@pytest.mark.slow
def test_the_animation(story: str, directory: Path, tmp_path: Path) -> None:
    """With `--animation`, and only then, the ten units are drawn as they learn: 60 frames as large
    as the still picture.
    """
    assert ["frozen_layer_digits.png"] == [file.name for file in directory.iterdir()]
    command = [
        sys.executable,
        str(ROOT / "examples" / "frozen_layer.py"),
        "--output",
        str(tmp_path),
    ]
    command += ["--animation", "--epochs", "3"]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    moving = tmp_path / "learning_digits.png"
    assert f"The same, as they learn: {moving}" in done.stdout
    for file in (
        moving,
        ROOT / "docs" / "images" / "learning.png",
    ):  # the one that README and docs show is alike
        content = file.read_bytes()
        assert (directory / "frozen_layer_digits.png").read_bytes()[:24] == content[:24]
        assert (b"acTL", 60) == struct.unpack(">4sI", content[37:45])
        assert len(content) < 600_000


@pytest.mark.slow
def test_the_regularized_network_reads_well_and_follows_its_schedule() -> None:
    """`python examples/regularized.py` reads at least 95 % of the digits held out.

    The updates grow, then fade.
    """
    command = [sys.executable, str(ROOT / "examples" / "regularized.py"), "--epochs", "15"]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    accuracies = re.findall(r"(\d+\.\d)% of 359 digits held out", done.stdout)
    assert float(accuracies[-1]) >= 95
    assert "345 steps replayed exactly" in done.stdout
    for first, largest, last in re.findall(r"weight: (\S+), (\S+) in step \d+, (\S+)", done.stdout):
        assert float(last) < float(first) < float(largest)


def test_a_resumed_training_gives_the_same_bits() -> None:
    """`python examples/stop_and_resume.py` says so, of weights and history, and really stops in the
    middle of an epoch.
    """
    command = [
        sys.executable,
        str(ROOT / "examples" / "stop_and_resume.py"),
        "--epochs",
        "3",
        "--stop-after",
        "40",
    ]
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "always guessing the class shares gives 2.30" in done.stdout
    assert "stopped: after 40 steps" in done.stdout
    assert "going on after 40 steps, in epoch 2" in done.stdout
    assert "The 7 arrays of the model are the same bits." in done.stdout
    assert "The two histories are the same:" in done.stdout
