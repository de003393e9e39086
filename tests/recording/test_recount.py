"""Counting again from the rows: after a kill, and where the counts are lost."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from disk_support import Notes, Settings, Training, momentum
from recording_support import bits

import minigrad as mg
from minigrad.errors import CallOrderError, OutOfBandWrite
from minigrad.runs.reader import read_record
from minigrad.runs.recount import not_counted, recount_from_rows, recounted

KEPT: dict[str, Settings] = {
    "all": {"keyframe_every": 4},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 3},
    "one block": {},
}
FACTS = ("updates", "moves", "first_move", "last_move")


def killed(path: Path, steps: int, counted: int, **settings: object) -> Notes:
    """A run whose counts end before its rows, as a kill leaves it."""
    training = Training()
    notes = Notes(training)
    with training.recorder(path.with_name("whole"), **settings) as recorder:
        training.go(counted)
        recorder.flush()
        counts = (path.with_name("whole") / "aggregates.npz").read_bytes()
        training.go(steps - counted)
        recorder.run  # noqa: B018 - publishes the rows
        shutil.copytree(path.with_name("whole"), path)
        (path / "aggregates.npz").write_bytes(counts)
    return notes


@pytest.mark.parametrize("kind", KEPT)
@pytest.mark.parametrize("make", [momentum, lambda model: mg.SGD(model, 1e-8)], ids=["", "tiny"])
def test_counts_are_completed_from_rows(kind: str, make: object, tmp_path: Path) -> None:
    """What rows give is what was counted while the steps were made: exactly, but for movement."""
    training = Training(make)  # type: ignore[arg-type]
    with training.recorder(tmp_path / "run", **KEPT[kind]):
        training.go(23)
    record = read_record(tmp_path / "run")
    assert record.counts is not None
    told, lost = recount_from_rows(record, record.last_step)
    assert (0, 23, 0, 0) == (len(lost), told.recounted, told.steps, told.uncounted)
    for fact in FACTS:
        assert getattr(record.counts, fact).tolist() == getattr(told, fact).tolist(), fact
    assert np.allclose(record.counts.movement, told.movement, rtol=1e-4)


@pytest.mark.parametrize("kind", ["in a block", "between blocks", "between sessions"])
def test_writes_by_others_are_counted_as_they_were(kind: str, tmp_path: Path) -> None:
    """What somebody else wrote between two steps did move in the next, unless nobody recorded."""
    training = Training()
    recorder = training.recorder(tmp_path / "run", keyframe_every=4)
    first = {"in a block": 6, "between blocks": 8, "between sessions": 6}[kind]
    with recorder:
        training.go(first)
        if kind != "between sessions":
            training.flat[3] += 1
            with pytest.warns(OutOfBandWrite):
                training.go(5)
    if kind == "between sessions":
        training.flat[3] += 1
        with recorder:
            training.go(5)
    record = read_record(tmp_path / "run")
    told, lost = recount_from_rows(record, record.last_step)
    assert record.counts is not None
    assert not len(lost)
    for fact in FACTS:
        assert getattr(record.counts, fact).tolist() == getattr(told, fact).tolist(), fact
    assert mg.Run.open(tmp_path / "run").verify()


def test_nan_and_infinity_are_counted_as_they_were(tmp_path: Path) -> None:
    """NaN that stays NaN has not moved, and a change to or from it has no length."""
    model = mg.Sequential(mg.Dense(2, 3, rng=0))
    optimizer = mg.SGD(model, 1.0)
    with np.errstate(all="ignore"), mg.Recorder(optimizer, path=tmp_path / "run"):
        for scale in (1.0, 1e30, 1e38, 1e38, np.nan, 1.0):
            model(np.full((1, 2), scale, np.float32))
            model.backward(np.full((1, 3), 1e5, np.float32))
            optimizer.step()
    record = read_record(tmp_path / "run")
    assert record.counts is not None
    assert not np.isfinite(record.final).all()
    told, _ = recount_from_rows(record, record.last_step)
    for fact in FACTS:
        assert getattr(record.counts, fact).tolist() == getattr(told, fact).tolist(), fact
    assert mg.Run.open(tmp_path / "run").verify().mismatch is None


def test_a_killed_run_that_goes_on_is_counted_whole(tmp_path: Path) -> None:
    """After a kill and `resume=True`, updates and moves are those of all steps.

    Of gradients the rows tell nothing: entries without an update are UNKNOWN.
    """
    notes = killed(tmp_path / "run", 20, 7, keyframe_every=4)
    training = Training()
    with training.recorder(tmp_path / "run", resume=True, keyframe_every=4):
        training.go(3)
    run = mg.Run.open(tmp_path / "run")
    assert 23 == run.counted_steps
    assert () == run.gaps
    assert run.verify()
    values = [np.concatenate([run[name].initial.ravel() for name in run])]
    values += [notes.values[step] for step in range(20)]
    moves = sum(after != before for before, after in pairwise(values))
    whole = np.concatenate([run[name].moves.ravel() for name in run])
    last = [run[name].value(step) for step in range(19, 23) for name in ["0.weight"]]
    later = sum(after != before for before, after in pairwise(last))
    jump = (run["0.weight"].value(20) != run["0.weight"].value(19)).ravel()
    assert (np.abs(whole[:20] - (moves[:20] + np.ravel(later))) <= jump).all()
    why = run["0.weight"].why
    assert set(why.counts) <= {mg.Reason.MOVED, mg.Reason.RETURNED, mg.Reason.UNKNOWN}
    assert "after a writer was cut off, only the rows tell of 13 steps" in why.at(1, 0)
    assert "moved" in why.at(0, 0)
    assert 0 == why.moved_without_gradient


def test_an_update_that_only_rows_tell_of_was_swallowed(tmp_path: Path) -> None:
    """An entry whose input was 0 while steps were counted, and whose updates were lost to rounding
    afterwards, is SWALLOWED after the run was killed and went on.
    """
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    model["0"].weight.value = np.ones((3, 2), np.float32)
    optimizer = mg.SGD(model, lr=1e-12)

    def step(dark: float) -> None:
        model(np.array([[1, dark, 1]], np.float32))
        model.backward(np.ones((1, 2), np.float32))
        optimizer.step()

    with mg.Recorder(optimizer, path=tmp_path / "whole") as recorder:
        for _ in range(5):
            step(0)
        recorder.flush()
        counts = (tmp_path / "whole" / "aggregates.npz").read_bytes()
        for _ in range(6):
            step(1)
        recorder.run  # noqa: B018 - publishes the rows
        shutil.copytree(tmp_path / "whole", tmp_path / "run")
        (tmp_path / "run" / "aggregates.npz").write_bytes(counts)
    before = mg.Run.open(tmp_path / "run")
    assert {mg.Reason.INPUT_ZERO: 2, mg.Reason.SWALLOWED: 4} == before["0.weight"].why.counts
    assert "steps are counted up to 4 of 10" in before["0.weight"].why.at(1, 0)
    assert any("counted up to step 4 of 10" in note for note in before.notes)
    with mg.Recorder(optimizer, path=tmp_path / "run", resume=True):
        step(0)
    weight = mg.Run.open(tmp_path / "run")["0.weight"]
    assert {mg.Reason.SWALLOWED: 6} == weight.why.counts
    assert 6 == weight.swallowed[1, 0]


def test_steps_that_no_row_tells_of_are_gaps(tmp_path: Path) -> None:
    """Where rows are not held either, the steps are a gap, and what did not move is UNKNOWN."""
    killed(tmp_path / "run", 20, 7, keep=())
    record = read_record(tmp_path / "run")
    counts = recounted(record)
    assert counts is not None
    assert (7, 0, 13) == (counts.steps, counts.recounted, counts.uncounted)
    (gap,) = not_counted(record)
    assert (7, 19, True) == (gap.first, gap.last, gap.of_counts)
    training = Training()
    with training.recorder(tmp_path / "run", resume=True, keep=()):
        training.go(3)
    run = mg.Run.open(tmp_path / "run")
    assert gap in run.gaps
    assert 10 == run.counted_steps
    assert "Gap: steps 7 to 19 were not counted" in run.report()
    assert "no tensors of steps 7" not in run.report()
    assert mg.Reason.INPUT_ZERO not in run["0.weight"].why.counts


@pytest.mark.parametrize("what", ["missing", "damaged"])
def test_lost_counts_are_those_that_the_rows_give(what: str, tmp_path: Path) -> None:
    """Without aggregates.npz entries are counted from the rows; a note says so."""
    training = Training()
    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(12)
    whole = mg.Run.open(tmp_path / "run")
    file = tmp_path / "run" / "aggregates.npz"
    file.unlink() if what == "missing" else file.write_bytes(file.read_bytes()[:-1])
    run = mg.Run.open(tmp_path / "run")
    assert any("counted from the rows" in note and what in note for note in run.notes)
    assert 12 == run.counted_steps
    for name in run:
        for fact in ("moves", "swallowed", "first_move", "last_move", "moved"):
            ours, theirs = getattr(run[name], fact), getattr(whole[name], fact)
            assert bits(theirs) == bits(ours)
    reasons = run["0.weight"].why.counts
    assert mg.Reason.INPUT_ZERO not in reasons
    assert 4 == reasons[mg.Reason.UNKNOWN]
    assert run["0.weight"].why.zero_inputs is None
    assert run.verify()


def test_lost_counts_without_rows_are_not_made_up(tmp_path: Path) -> None:
    """Where neither counts nor rows are there, nothing is said of the entries, and why."""
    training = Training()
    with training.recorder(tmp_path / "run", keep=()):
        training.go(5)
    (tmp_path / "run" / "aggregates.npz").unlink()
    run = mg.Run.open(tmp_path / "run")
    assert run.counted_steps is None
    with pytest.raises(CallOrderError, match=r"no counts \(aggregates\.npz is missing"):
        _ = run["0.weight"].moved
    assert {mg.Reason.UNKNOWN: 20} == run["0.weight"].why.counts
    assert "aggregates.npz is missing" in run["0.weight"].why.at(0, 0)
    assert "aggregates=False" not in run.report()
