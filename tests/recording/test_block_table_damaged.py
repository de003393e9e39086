"""blocks.npy where rows are missing, or say what cannot be: what they told of is a gap, and all
else is read.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from disk_support import Notes, Training, consistent, in_gaps, wrong

import minigrad as mg

STEPS = 14


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Notes]:
    """A run of three full blocks and a short one."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(STEPS)
    return tmp_path / "run", notes


def test_a_row_that_is_missing(made: tuple[Path, Notes]) -> None:
    """Steps of a block that the table does not have are a gap."""
    path, notes = made
    table = np.load(path / "blocks.npy")
    np.save(path / "blocks.npy", np.delete(table, 1))
    run = mg.Run.open(path)
    assert {4, 5, 6, 7} == in_gaps(run)
    assert any("blocks.npy" in note and "steps 4 to 7" in note for note in run.notes)
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run)


def test_rows_that_are_cut_off(made: tuple[Path, Notes]) -> None:
    """The rows before the cut are read; the steps of the others are a gap."""
    path, notes = made
    file = path / "blocks.npy"
    table = np.load(file)
    file.write_bytes(file.read_bytes()[: -2 * table.dtype.itemsize - 3])
    run = mg.Run.open(path)
    assert set(range(8, STEPS)) == in_gaps(run)
    assert any("blocks.npy is damaged: it holds 2 of the 5 rows" in note for note in run.notes)
    assert [] == wrong(run, notes.values)


@pytest.mark.parametrize("what", ["number", "has_rows", "first", "order"])
def test_a_row_that_says_something_else(what: str, made: tuple[Path, Notes]) -> None:
    """A row with another number, order or step costs its own block, and gives no wrong value."""
    path, notes = made
    table = np.load(path / "blocks.npy")
    if what == "order":
        table = table[[0, 2, 1, 3, 4]]
    else:
        table[1][what] = {"number": 2, "has_rows": False, "first": 5}[what]
    np.save(path / "blocks.npy", table)
    run = mg.Run.open(path)
    assert run.notes
    assert {4, 5, 6, 7} <= in_gaps(run) | set(run.exact_steps.tolist())
    assert in_gaps(run)
    assert [] == wrong(run, notes.values)
