"""Every byte that is read from a record is checked first: rows, batch indices and buffers; and a
file of another run is not taken for the run's own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk_support import SIZE, Notes, Training, normed
from recording_support import bits

import minigrad as mg
from minigrad.errors import NotExactError, RunError

STEPS = 9


def made(path: Path, seed: int = 0, **settings: Any) -> Notes:
    """A run of some steps in small blocks, with batch indices and buffers."""
    training = Training(seed=seed)
    notes = Notes(training)
    with training.recorder(path, keyframe_every=4, **settings):
        training.go(STEPS)
    return notes


def flip(file: Path, from_end: int) -> None:
    """Flip a bit of a byte that lies so far before the end of a file."""
    content = bytearray(file.read_bytes())
    content[-from_end] ^= 4
    file.write_bytes(content)


def last_bytes(path: Path, file: str, step: int) -> int:
    """How far before the end the last byte of what a file holds of a step lies, counted from 1."""
    if file == "indices.npy":
        ends = np.load(path / "steps.npy")["indices_end"]
        return 1 + 4 * int(ends[-1] - ends[step])
    rows = np.load(path / file)
    return 1 + (STEPS - 1 - step) * int(rows[0].nbytes)


@pytest.mark.parametrize("step", [0, 4, STEPS - 1])
def test_a_damaged_batch_is_refused(step: int, tmp_path: Path) -> None:
    """One bit in the indices of a batch: that step's are refused by name, and the others are right.

    `verify` lists the step.
    """
    notes = made(tmp_path / "run")
    flip(tmp_path / "run" / "indices.npy", last_bytes(tmp_path / "run", "indices.npy", step))
    run = mg.Run.open(tmp_path / "run")
    with pytest.raises(RunError, match=rf"indices\.npy' is damaged: .* step {step} "):
        run.indices(step)
    for other in set(run.steps) - {step}:
        indices = run.indices(other)
        assert indices is not None
        assert notes.indices[other].tolist() == indices.tolist()
    assert (step,) == run.verify().damaged
    assert not run.verify()


@pytest.mark.parametrize("file", ["buffers/000000.npy", "buffers/000001.npy"])
@pytest.mark.parametrize("step", [0, 4, STEPS - 1])
def test_restoring_what_is_damaged_changes_nothing(step: int, file: str, tmp_path: Path) -> None:
    """One bit in a buffer: a restore to that step is refused, and the model is what it was.

    The error says how to get the parameters; the other steps can be restored.
    """
    notes = made(tmp_path / "run")
    flip(tmp_path / "run" / file, last_bytes(tmp_path / "run", file, step))
    run, model = mg.Run.open(tmp_path / "run"), normed(seed=5)
    before = [bits(array) for _, array in [*model.named_buffers()]] + [bits(flat(model))]
    with pytest.raises(RunError, match=rf"{file}.*step {step} .*the model is unchanged.*value\("):
        run.restore(model, step)
    assert before == [bits(array) for _, array in model.named_buffers()] + [bits(flat(model))]
    assert bits(notes.values[step][:20]) == bits(run["0.weight"].value(step).ravel())
    for other in set(run.steps) - {step}:
        run.restore(model, other)
        assert bits(notes.values[other]) == bits(flat(model))
        assert [bits(array) for array in notes.buffers[other]] == [
            bits(array) for _, array in model.named_buffers()
        ]
    assert (step,) == run.verify().damaged


@pytest.mark.parametrize("file", ["buffers/000000.npy", "buffers/000001.npy"])
def test_a_missing_buffer_is_never_left_out(file: str, tmp_path: Path) -> None:
    """Where the file of a buffer is gone, a restore is refused: the model is not half restored."""
    made(tmp_path / "run")
    (tmp_path / "run" / file).unlink()
    run, model = mg.Run.open(tmp_path / "run"), normed(seed=5)
    before = bits(flat(model))
    with pytest.raises(RunError, match=rf"{file}' is missing.*the model is unchanged"):
        run.restore(model, 3)
    assert before == bits(flat(model))
    assert any(file in note for note in run.notes)


def flat(model: mg.Layer) -> np.ndarray:
    """The live values of a model."""
    return mg.ParameterVector.of(model).values


@pytest.mark.parametrize("file", ["indices.npy", "buffers/000001.npy"])
def test_a_shorter_file_costs_the_steps_that_it_does_not_cover(file: str, tmp_path: Path) -> None:
    """Of a file that was cut off, the steps before the cut are read; a note names the others."""
    notes = made(tmp_path / "run")
    path = tmp_path / "run" / file
    path.write_bytes(path.read_bytes()[: -last_bytes(tmp_path / "run", file, 5)])
    run, model = mg.Run.open(tmp_path / "run"), normed(seed=5)
    assert any(f"{STEPS - 5} steps, 5 to 8" in note and file in note for note in run.notes)
    for step in run.steps:
        look: Callable[[], object] = (
            (lambda step=step: run.indices(step))  # type: ignore[misc]
            if file == "indices.npy"
            else (lambda step=step: run.restore(model, step))  # type: ignore[misc]
        )
        if step < 5:
            look()
        else:
            with pytest.raises(RunError, match="is lost"):
                look()
    assert bits(notes.values[8]) == bits(
        np.concatenate([run[name].value(8).ravel() for name in run])
    )
    assert tuple(range(5, STEPS)) == run.verify().damaged


@pytest.mark.parametrize("step", [1, 5])
def test_a_damaged_row_gives_no_value(step: int, tmp_path: Path) -> None:
    """One bit in a stored update: neither it nor a value that it leads to is given out.

    The steps before it, and those after the next keyframe, are.
    """
    notes = made(tmp_path / "run")
    number, row = divmod(step, 4)
    file = tmp_path / "run" / "updates" / f"{number:06d}.npy"
    flip(file, 1 + (len(np.load(file)) - 1 - row) * SIZE * 4)
    run = mg.Run.open(tmp_path / "run")
    lost = set(range(step, 4 * number + 3))  # the next keyframe holds the values after its last
    for other in run.steps:
        if other in lost:
            with pytest.raises(RunError, match=rf"{file.name}' is damaged: the row of step {step}"):
                run["0.weight"].value(other)
        else:
            value = run["0.weight"].value(other)
            assert bits(notes.values[other][:20]) == bits(value.ravel())
    with pytest.raises(RunError, match=rf"the row of step {step} is not what was written"):
        run["0.weight"].updates[step]
    with pytest.raises(RunError, match=rf"the row of step {step} is not what was written"):
        np.asarray(run["0.weight"].updates)
    assert np.isnan(run["0.weight"].ratio[step])
    assert run.report()


def test_a_file_of_another_run(tmp_path: Path) -> None:
    """Any file of another run of the same architecture is noticed, though it is whole."""
    made(tmp_path / "run")
    made(tmp_path / "other", seed=1)
    for file in sorted((tmp_path / "run").rglob("*.*")):
        other = tmp_path / "other" / file.relative_to(tmp_path / "run")
        if not file.is_file() or not other.is_file():
            continue
        before = file.read_bytes()
        if before == other.read_bytes():  # as the initial values are
            continue
        file.write_bytes(other.read_bytes())
        try:
            run = mg.Run.open(tmp_path / "run")
        except RunError:
            pass
        else:
            assert run.notes or run.verify().damaged, file
        file.write_bytes(before)


@pytest.mark.parametrize("settings", [{}, {"aggregates": False}, {"keep": ()}], ids=str)
@pytest.mark.parametrize("kind", ["cut off", "out of order", "another run's", "fewer rows"])
def test_the_steps_before_the_damage_are_the_run(
    kind: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    """Of a damaged steps.npy the rows before the damage are read, and a note says where it begins.

    A recorder does not go on with such a run, and leaves it as it is.
    """
    notes = made(tmp_path / "run", **settings)
    made(tmp_path / "other", seed=1, **settings)
    file = tmp_path / "run" / "steps.npy"
    rows = np.load(file)
    data = file.read_bytes()
    header, step_bytes = data[: -rows.nbytes], rows.dtype.itemsize
    body = data[len(header) :]
    if kind == "cut off":
        body = body[: 5 * step_bytes + 7]
    elif kind == "out of order":
        body = body[: 5 * step_bytes] + body[2 * step_bytes : 3 * step_bytes] * (STEPS - 5)
    elif kind == "another run's":
        other = (tmp_path / "other" / "steps.npy").read_bytes()[len(header) :]
        body = body[: 5 * step_bytes] + other[5 * step_bytes :]
    else:
        header = header.replace(f"({STEPS},)".encode(), b"(5,)")
    file.write_bytes(header + body)
    before = file.read_bytes()
    run = mg.Run.open(tmp_path / "run")
    assert tuple(range(5)) == run.steps
    assert not run.complete
    assert any("steps.npy" in note for note in run.notes)
    for step in run.exact_steps.tolist():
        assert bits(notes.values[step][:20]) == bits(run["0.weight"].value(step).ravel())
    with pytest.raises(RunError, match=r"cannot go on: steps\.npy .*can be read"):
        Training().recorder(tmp_path / "run", resume=True, **settings)
    assert before == file.read_bytes()


def test_without_its_first_keyframe_a_run_has_no_initial_values(tmp_path: Path) -> None:
    """Where the first keyframe is damaged, the values before the first step are not given out.

    The other blocks are exact. Whether an entry came back to where it began is not known then.
    """
    notes = made(tmp_path / "run")
    flip(tmp_path / "run" / "keyframes" / "000000.npy", 9)
    run = mg.Run.open(tmp_path / "run")
    with pytest.raises(NotExactError, match="before the first step are not known"):
        _ = run["0.weight"].initial
    assert bits(notes.values[6][:20]) == bits(run["0.weight"].value(6).ravel())
    assert mg.Reason.MOVED not in run["0.weight"].why.counts
    assert mg.Reason.UNKNOWN in run["0.weight"].why.counts
    entry = np.argwhere(run["0.weight"].moved)[0].tolist()
    assert "whether it came back" in run["0.weight"].why.at(*entry)
    assert run.report()


def test_a_file_that_was_cut_off_since_the_run_was_opened(tmp_path: Path) -> None:
    """Rows that another program has cut off meanwhile are an error, and not the end of Python."""
    made(tmp_path / "run")
    run = mg.Run.open(tmp_path / "run")
    file = tmp_path / "run" / "updates" / "000000.npy"
    assert run["0.weight"].value(1).any()
    with file.open("r+b") as opened:
        opened.truncate(200)
    with pytest.raises(RunError, match=r"000000\.npy' is damaged: it was cut off meanwhile"):
        run["0.weight"].value(1)


@pytest.mark.parametrize("what", ["one bit", "missing"])
def test_a_report_leaves_out_what_is_damaged(what: str, tmp_path: Path) -> None:
    """A page and an animation are made of the rows that are whole; the page names the others."""
    made(tmp_path / "run")
    run = mg.Run.open(tmp_path / "run")
    file = tmp_path / "run" / "updates" / "000001.npy"
    if what == "missing":
        file.unlink()
    else:
        flip(file, 1 + SIZE * 4)  # in step 6 of the steps 4 to 7
    run.save_report(tmp_path / "run.html")
    page = (tmp_path / "run.html").read_text("utf-8")
    assert "updates/000001.npy" in page
    assert f"No tensors of steps {4 if what == 'missing' else 6} to 7" in page
    assert run["0.weight"].animation().startswith(b"\x89PNG")
