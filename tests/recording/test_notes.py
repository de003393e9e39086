"""Notes as reports show them: what repeats is one line, and what is said once is not hidden behind
it.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from recording_support import dense, one

import minigrad as mg
from minigrad.display.notes import condensed, note_lines
from minigrad.runs.notes import written_by_others


def test_notes_that_differ_in_their_step_are_one() -> None:
    """25 writes are one line with their count and range.

    Others keep their words; what is said once comes first.
    """
    writes = [
        f"before step {step} 0.weight changed other than by an optimizer" for step in range(3, 28)
    ]
    others = [
        "before step 9 a backward replaced the gradients of 0.weight",
        "entries are not counted",
    ]
    assert [
        *others,
        "before steps 3 to 27 (25 times) 0.weight changed other than by an optimizer",
    ] == condensed([*writes[:10], others[0], *writes[10:], others[1]])


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([], []),
        (["a", "a", "a"], ["a (3 times)"]),
        (["step 4 is the optimizer's step 1", "step 8 is the optimizer's step 1"],) * 2,
        (["in step 5 x", "in step 1 x"], ["in steps 1 to 5 (2 times) x"]),
        (["in step 5 x", "in step 5 x"], ["in step 5 x (2 times)"]),
        (["in step 5 x", "in step 6 y"],) * 2,
    ],
    ids=str,
)
def test_condensed(notes: list[str], expected: list[str]) -> None:
    """Only notes that say the same of different steps are put together."""
    assert expected == condensed(notes)


def test_at_most_ten_notes_are_note_lines() -> None:
    """Beyond that they are counted, and the writes are those that are not shown."""
    notes = [f"before step 1 {n}.weight changed by Adam" for n in range(12)] + [
        "something important"
    ]
    told = note_lines(notes)
    assert 10 == len(told)
    assert ["Note: something important.", "And 4 more notes (see run.notes)."] == [
        told[0],
        told[-1],
    ]


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_a_run_with_a_write_before_every_step(tmp_path: Path) -> None:
    """Text, notebook and HTML have one line for all of them, and name every kind of note.

    Run.notes has each.
    """
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    weight = dense(model, 0).weight
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        for step in range(9):
            if step:
                weight.value = np.full((2, 2), step)
            one(model, recorder.optimizer, [[1, 1]], [[1, 1]])
    run = recorder.run
    assert 8 == len(run.notes)
    run.save_report(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text("utf-8")
    said = "before steps 1 to 8 (8 times) 0.weight changed other than by an optimizer."
    for text in (run.report(), run._repr_html_(), page):
        assert 1 == re.sub(r"\s+", " ", text).count(said)
    assert "more note" not in run.report()
    assert re.search(r"<details class='note' open><summary>1 note</summary>", page)
    assert written_by_others(run.notes, "0.weight")
    assert not written_by_others(run.notes, "0.bias")
