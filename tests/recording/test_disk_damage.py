"""Files that are cut off, missing, changed by a bit or by others: named, or found by `verify`, and
never believed.
"""

# ruff: noqa: PT017 - an error may come, or not; if it comes, it must be the right one

from __future__ import annotations

import io
import pickle
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from accident_support import STRIDE, Bomb, sampled
from case_support import slow, sparse
from disk_support import (
    ROW,
    SIZE,
    Notes,
    Settings,
    Training,
    contents,
    flat_value,
    in_gaps,
    put,
    some,
    wrong,
)
from recording_support import bits

import minigrad as mg
from minigrad.errors import MinigradError, RunError

DAMAGED: dict[str, Settings] = {
    "small blocks": {"keyframe_every": 5},
    "gradients too, sampled": {"keep": ("update", "grad"), "every": 3, "keyframe_every": 2},
    "ring": {"keyframe_every": 2, "budget": 20 * ROW, "on_full": "ring"},
    "counts alone": {"keep": ()},
}


@pytest.fixture(
    scope="module",
    params=[*map(slow, some(DAMAGED)), "small blocks, killed"],
)
def finished(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Notes, Settings]:
    """A run, complete or killed, and what was true while it was made."""
    mode = request.param.removesuffix(", killed")
    killed = mode != request.param
    path = tmp_path_factory.mktemp("finished") / "run"
    training = Training()
    notes = Notes(training)
    with training.recorder(path, **DAMAGED[mode]) as recorder:
        training.go(23)
        if killed:
            recorder.flush()
            shutil.copytree(path, path.with_name("killed"))
    return path.with_name("killed") if killed else path, notes, DAMAGED[mode]


def read_all(run: mg.Run) -> None:
    """Ask a run for everything that it has."""
    assert run.report()
    assert len(run.steps) == len(run.lr) == len(run.loss) == len(run.clip_factor)
    for step in run.steps[:3]:
        run.indices(step)
    for name in run:
        history = run[name]
        assert history.size == sum(history.why.counts.values())
        np.asarray(history.updates)
        np.asarray(history.grads)
        assert len(history.ratio) == len(history.updates)
        history.why.at(*(0 for _ in history.shape))


def judge(path: Path, file: str, notes: Notes) -> str:
    """Look at a run with one damaged file, and say what became of it: "refused", "found" or
    "harmless".

    Whatever it is, no error but our own comes, and no wrong value after `verify` said that all is
    well.
    """
    try:
        run = mg.Run.open(path)
    except RunError as error:
        assert str(path) in str(error)
        # What the tables say of other files may be what is damaged.
        tables = ("run.json", "blocks.npy", "steps.npy")
        assert file in str(error) or file in tables, (
            f"the error for {file} names something else: {error}"
        )
        return "refused"
    try:
        checked = run.verify()
        fine = checked.mismatch is None and not checked.damaged
    except RunError as error:
        assert file in str(error)
        fine = False
    told = [*run.notes, *(gap.why for gap in run.gaps)]
    bad: list[int] = []
    for step in run.exact_steps.tolist():
        try:
            if step not in notes.values or bits(flat_value(run, step)) != bits(notes.values[step]):
                bad.append(step)
        except RunError as error:
            assert file in str(error)
            fine = False
    assert not (fine and bad), f"verify() finds nothing, and the values after steps {bad} are wrong"
    try:
        read_all(run)
    except MinigradError as error:
        assert file in str(error), error
        return "found"
    if any(file in note for note in told):
        assert not bad, "what is still there is right"
        return "found"
    return "harmless" if fine else "found"


def places(content: bytes) -> list[int]:
    """Offsets in all parts of a file: of an array the magic, the header, and the data."""
    size = len(content)
    rng = np.random.default_rng(size)
    some = {0, 1, 6, 7, 8, 9, 10, 60, 127, 128, size // 2, size - 1}
    return sorted(
        place for place in {*some, *rng.integers(0, size, 12).tolist()} if 0 <= place < size
    )


def some_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """Of each folder the first file, one in the middle and the last; and all that lie in none, but
    for the lock, which says nothing of the run.
    """
    folders: dict[str, list[str]] = {}
    for name in sorted(files):
        folders.setdefault(name.rpartition("/")[0] or name, []).append(name)
    return {
        name: files[name]
        for names in folders.values()
        for name in {names[0], names[len(names) // 2], names[-1]}
        if name != "lock"
    }


@pytest.mark.slow
@pytest.mark.parametrize("every", [5, slow(1)])
def test_truncated_files(
    every: int, finished: tuple[Path, Notes, Settings], tmp_path: Path
) -> None:
    """A file cut off anywhere, or missing: one error that names it, or a note and a gap.

    All else stays readable.
    """
    path, notes, settings = finished
    files = contents(path)
    found: dict[str, set[str]] = {}
    put(tmp_path / "run", files)
    for name, content in some_of(files).items():
        for size in [*places(content)[:: 2 * STRIDE * every], len(content) - 1, None]:
            (tmp_path / "run" / name).unlink()
            if size is not None:
                (tmp_path / "run" / name).write_bytes(content[:size])
            found.setdefault(name, set()).add(judge(tmp_path / "run", name, notes))
            if name.startswith(("updates/", "grads/", "values/")):
                run = mg.Run.open(tmp_path / "run")
                whole = mg.Run.open(path)
                lost = set(whole["0.weight"].updates.steps.tolist()) - set(
                    run["0.weight"].updates.steps.tolist()
                )
                assert bool(lost) == any(name in note for note in run.notes), name
                assert lost <= in_gaps(run)
                assert [] == wrong(run, notes.values)
            (tmp_path / "run" / name).write_bytes(content)
    for name, what in found.items():
        empty = (
            int(name[-10:-4]) not in np.load(path / "steps.npy")["segment"]
            if "updates" in name
            else "/" in name
        )
        assert "harmless" not in what or empty or name == "aggregates.npz", name
    if not sampled(settings):
        assert any(name.startswith("updates/") for name in found)


@pytest.mark.parametrize("every", [3, slow(1)])
def test_flipped_bits(every: int, finished: tuple[Path, Notes, Settings], tmp_path: Path) -> None:
    """A single bit that differs, anywhere in any file, never gives a wrong value that verify calls
    right.
    """
    path, notes, _ = finished
    files = contents(path)
    put(tmp_path / "run", files)
    for name, content in some_of(files).items():
        for place in places(content)[:: STRIDE * every]:
            bit = (place * 7 + len(name)) % 8
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            (tmp_path / "run" / name).write_bytes(damaged)
            try:
                judge(tmp_path / "run", name, notes)
            except Exception as error:
                raise AssertionError(
                    f"bit {bit} of byte {place} of {name}: {type(error).__name__}: {error}"
                ) from error
        (tmp_path / "run" / name).write_bytes(content)


@sparse(pytest.mark.parametrize("file", ["blocks.npy", "run.json", "steps.npy"]), every=3)
def test_every_flipped_bit_of_the_tables(
    file: str, finished: tuple[Path, Notes, Settings], tmp_path: Path
) -> None:
    """Not one bit of what says where things lie can flip so that wrong values are called right."""
    path, notes, _ = finished
    files = contents(path)
    put(tmp_path / "run", files)
    content = files[file]
    rng = np.random.default_rng(0)
    for place in range(0, len(content), 1 + len(content) * STRIDE // 200):
        bit = int(rng.integers(8))
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        (tmp_path / "run" / file).write_bytes(damaged)
        try:
            judge(tmp_path / "run", file, notes)
        except Exception as error:
            raise AssertionError(
                f"bit {bit} of byte {place} of {file}: {type(error).__name__}: {error}"
            ) from error


@sparse(pytest.mark.parametrize("folder", ["updates", "grads", "values"]), every=2)
def test_a_flipped_bit_in_a_row_is_named(folder: str, tmp_path: Path) -> None:
    """One bit in any stored row, of whatever kind, is found by verify, which names the step."""
    training = Training()
    with training.recorder(tmp_path / "run", keep=("update", "grad"), every=2, keyframe_every=3):
        training.go(15)
    steps = np.load(tmp_path / "run" / "steps.npy")
    for step in steps[steps["segment"] >= 0]:
        file = tmp_path / "run" / folder / f"{step['segment']:06d}.npy"
        content = file.read_bytes()
        rows = len(np.load(file))
        for entry in (0, SIZE // 2, SIZE - 1):
            place = len(content) - (rows - int(step["row"])) * ROW + entry * 4
            damaged = bytearray(content)
            damaged[place + entry % 4] ^= 1 << (entry % 8)
            file.write_bytes(damaged)
            run = mg.Run.open(tmp_path / "run")
            checked = run.verify()
            assert (int(step["step"]),) == checked.damaged
            assert not checked
            assert f"are damaged: {step['step']}" in str(checked)
        file.write_bytes(content)


@pytest.mark.slow
@sparse(pytest.mark.parametrize("mode", ["small blocks", "ring"]), every=2)
def test_a_flipped_bit_in_a_keyframe_is_found(mode: str, tmp_path: Path) -> None:
    """One bit in any keyframe is found by verify, also where no replay leads to it.

    The file is named.
    """
    training = Training()
    with training.recorder(tmp_path / "run", **DAMAGED[mode]):
        training.go(60)
    for file in sorted((tmp_path / "run" / "keyframes").iterdir()):
        content = file.read_bytes()
        damaged = bytearray(content)
        damaged[-6] ^= 1
        file.write_bytes(damaged)
        run = mg.Run.open(tmp_path / "run")
        checked = run.verify()
        assert (
            checked.mismatch is not None
            or checked.damaged
            or any(file.name in note for note in run.notes)
        ), file.name
        file.write_bytes(content)


def test_a_keyframe_that_is_damaged_while_a_run_is_read_is_named(tmp_path: Path) -> None:
    """`verify` reads the files anew: the step, the parameter and the entry that do not hold are
    named.
    """
    training = Training()
    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(12)
    run = mg.Run.open(tmp_path / "run")
    assert 12 == run.verify().checked
    run = mg.Run.open(tmp_path / "run")
    values = np.load(tmp_path / "run" / "keyframes" / "000001.npy", mmap_mode="r+")
    values[0, SIZE - 2] += 1
    values.flush()
    checked = run.verify()
    assert not checked
    assert (3, "3.bias", (1,)) == checked.mismatch
    assert "the replay up to step 3 does not give the recorded 3.bias[1]" in str(checked)
    again = mg.Run.open(tmp_path / "run")  # who opens it now is told which file it is
    assert any("keyframes/000001.npy" in note for note in again.notes)


@pytest.mark.slow
def test_verify_holds_few_rows_at_a_time(tmp_path: Path) -> None:
    """A run on disk may be larger than memory: its keyframes and rows are read one after the
    other.
    """
    model = mg.Sequential(mg.Dense(200, 200, rng=0))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, path=tmp_path / "run", keyframe_every=1):
        for _ in range(30):
            model.backward(model(np.ones((1, 200))))
            optimizer.step()
    run = mg.Run.open(tmp_path / "run")
    tracemalloc.start()
    try:
        assert 30 == run.verify().checked
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Six of them are counts of 8 bytes, made anew to compare; the other values have 4.
    assert most < 24 * mg.ParameterVector.of(model).values.nbytes


def test_a_damaged_block_costs_itself_alone(tmp_path: Path) -> None:
    """Where a block's rows are cut off, its steps are a gap that names the file.

    The others are exact, and go on.
    """
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", keyframe_every=5):
        training.go(20)
    file = tmp_path / "run" / "updates" / "000001.npy"
    file.write_bytes(file.read_bytes()[:-1])
    run = mg.Run.open(tmp_path / "run")
    assert {5, 6, 7, 8, 9} == in_gaps(run)
    assert set(range(20)) - in_gaps(run) | {4, 9} == set(run.exact_steps.tolist()) | {4, 9}
    assert "updates/000001.npy" in run.notes[0]
    assert "updates/000001.npy" in run.gaps[0].why
    assert [] == wrong(run, notes.values)
    with training.recorder(tmp_path / "run", resume=True, keyframe_every=5):
        training.go(5)
    run = mg.Run.open(tmp_path / "run")
    assert {5, 6, 7, 8, 9} == in_gaps(run)
    assert 25 == len(run.steps)
    assert [] == wrong(run, notes.values)


def test_damaged_counts_cost_the_reasons_alone(tmp_path: Path) -> None:
    """Without its counts a run has its values, and no reason but what the rows tell.

    A bit in a name inside is damage too.
    """
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", coactivation=True):
        training.go(8)
    file = tmp_path / "run" / "aggregates.npz"
    content = file.read_bytes()
    names = [b"grads.npy", b"inputs/0", b"together/0", b"units/1", b"about.npy", b"values.npy"]
    for damaged in [
        content[:-1],
        content[: len(content) // 2],
        b"",
        *(content[: (at := content.rindex(name)) + 1] + b"?" + content[at + 2 :] for name in names),
    ]:
        file.write_bytes(damaged)
        run = mg.Run.open(tmp_path / "run")
        assert any("aggregates.npz" in note for note in run.notes), run.notes
        assert {mg.Reason.MOVED: 16, mg.Reason.UNKNOWN: 4} == run["0.weight"].why.counts
        assert [] == wrong(run, notes.values)
        assert run.report()


@pytest.mark.parametrize("file", ["indices.npy", "buffers/000000.npy", "buffers/000001.npy"])
def test_what_does_not_concern_the_values(file: str, tmp_path: Path) -> None:
    """A damaged file of indices or buffers is told of, and the values stay readable."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run"):
        training.go(8)
    path = tmp_path / "run" / file
    path.write_bytes(path.read_bytes()[:-1])
    run = mg.Run.open(tmp_path / "run")
    assert any(file in note for note in run.notes)
    assert 8 == len(run.exact_steps)
    assert [] == wrong(run, notes.values)


def test_a_write_that_nobody_noticed_is_found_later(tmp_path: Path) -> None:
    """Values that another program put into a keyframe are found by verify, or when it is opened."""
    training = Training()
    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(12)
    file = tmp_path / "run" / "keyframes" / "000001.npy"
    values = np.load(file)
    values[0, 3] += 1
    np.save(file, values)
    run = mg.Run.open(tmp_path / "run")
    told = run.verify().mismatch
    assert (3, "0.weight", (0, 3)) == told or "keyframes/000001.npy" in run.notes[0]


FILES = [
    "steps.npy",
    "blocks.npy",
    "indices.npy",
    "updates/000000.npy",
    "keyframes/000000.npy",
    "buffers/000000.npy",
    "aggregates.npz",
]


@sparse(
    pytest.mark.parametrize("file", FILES),
    pytest.mark.parametrize(
        "kind", ["pickle", "objects", "scalar", "text", "other shape", "fortran", "version 2"]
    ),
    every=2,
)
def test_a_foreign_file(file: str, kind: str, tmp_path: Path) -> None:
    """Something else in the place of a file, a pickle too, is refused by name, or a note.

    It is never executed.
    """
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", keyframe_every=3):
        training.go(6)
    path = tmp_path / "run" / file
    path.unlink()
    out = io.BytesIO()
    if kind == "pickle":
        out.write(pickle.dumps(Bomb()))
    elif kind == "objects":
        np.save(out, np.array([Bomb()], dtype=object), allow_pickle=True)
    elif kind == "scalar":
        np.save(out, np.float32(3))
    elif kind == "text":
        out.write("überall Text".encode() * 50)
    elif kind == "other shape":
        np.save(out, np.zeros((6, SIZE + 1), np.float32))
    elif kind == "fortran":
        np.save(out, np.asfortranarray(np.zeros((6, SIZE), np.float32)))
    else:
        np.lib.format.write_array(out, np.zeros((6, SIZE), np.float32), version=(2, 0))
    path.write_bytes(out.getvalue())
    assert judge(tmp_path / "run", file, notes) in ("refused", "found")
