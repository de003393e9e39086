"""A record on disk is exact: what is read back is what was live, bit for bit."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from accident_support import sampled
from case_support import slow, sparse
from disk_modes import KINDS, MODES, OPTIMIZERS, SAMPLED, recorded
from disk_support import (
    EVERYTHING,
    ROW,
    SIZE,
    Notes,
    Settings,
    Training,
    consistent,
    normed,
    some,
    wrong,
)
from recording_support import Array, bits, dense, flat, same, train

import minigrad as mg
from minigrad.errors import HookError, NotExactError, OutOfBandWrite
from minigrad.recording import disk_store as disk

# -- exactness -----------------------------------------------------------------------------------


@sparse(
    pytest.mark.parametrize("kind", OPTIMIZERS),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=5,
)
def test_every_value_is_what_was_live(kind: str, dtype: npt.DTypeLike, tmp_path: Path) -> None:
    """For every optimizer, the value after each step that is read from disk is the live one, bit
    for bit.
    """
    training, notes = recorded(
        tmp_path / "run", 30, OPTIMIZERS[kind], keyframe_every=7, dtype=dtype
    )
    run = mg.Run.open(tmp_path / "run")
    assert list(range(30)) == run.exact_steps.tolist()
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run)
    checked = run.verify()
    assert (30, 0, None) == (checked.checked, checked.unchecked, checked.mismatch)
    assert bits(training.flat) == bits(np.concatenate([run[name].final.ravel() for name in run]))
    assert bits(flat(normed(dtype))) == bits(
        np.concatenate([run[name].initial.ravel() for name in run])
    )
    for step in run.steps:
        assert bits(notes.updates[step]) == bits(
            np.concatenate([run[name].updates[step].ravel() for name in run])
        )
    assert run.complete


@sparse(
    pytest.mark.parametrize(  # the dtypes in turn, or both for each
        ("mode", "dtype"),
        [
            (mode, kind)
            for n, mode in enumerate(some(MODES, 2))
            for kind in ((np.float32, np.float64) if EVERYTHING else (KINDS[n % 2],))
        ],
    ),
    every=8,
)
def test_disk_says_what_memory_says(mode: str, dtype: npt.DTypeLike, tmp_path: Path) -> None:
    """Whatever is kept, sampled or given up: exact steps are exact, and values, counts and reasons
    equal memory's.
    """
    training = Training(dtype=dtype)
    notes = Notes(training)
    settings = dict(MODES[mode])
    if "budget" in settings:
        settings["budget"] *= np.dtype(dtype).itemsize // 4
    in_memory = training.recorder(**settings)
    on_disk = training.recorder(tmp_path / "run", **settings)
    with in_memory, on_disk:
        training.go(76)
    memory = in_memory.run
    for run in (mg.Run.open(tmp_path / "run"), on_disk.run):
        assert [] == wrong(run, notes.values)
        assert [] == consistent(run, mode in SAMPLED)
        assert (memory.names, memory.steps, memory.optimizer) == (
            run.names,
            run.steps,
            run.optimizer,
        )
        assert run.complete
        assert 75 in run.exact_steps
        assert memory.first_difference(run) is None
        assert run.first_difference(memory) is None
        if "budget" not in settings:
            assert memory.exact_steps.tolist() == run.exact_steps.tolist()
            assert memory.gaps == run.gaps
            assert memory.report().splitlines()[2:] == run.report().splitlines()[2:]
        assert (notes.lr, notes.clip, notes.loss) == (
            run.lr.tolist(),
            run.clip_factor.tolist(),
            run.loss.tolist(),
        )
        for step, rows in zip(run.steps, notes.indices, strict=True):
            held = run.indices(step)
            assert held is not None
            assert rows.tolist() == held.tolist()
        for name in run:
            assert same(memory[name].initial, run[name].initial)
            assert same(memory[name].final, run[name].final)
            assert memory[name].why.counts == run[name].why.counts
            for index in np.ndindex(run[name].shape):
                told = [
                    re.sub(r"by \S+ in all", "", history.why.at(*index))
                    for history in (memory[name], run[name])
                ]
                assert told[0] == told[1]
            for kind, kept in (("updates", notes.updates), ("grads", notes.grads)):
                tensors = getattr(run[name], kind)
                assert (kind[:-1] in settings.get("keep", ("update",))) == (len(tensors) > 0)
                part = mg.ParameterVector.of(training.model).slots[name].slice
                for step, tensor in zip(tensors.steps.tolist(), tensors, strict=True):
                    assert bits(kept[step][part]) == bits(tensor)
            if settings.get("aggregates", True):
                for count in ("moves", "swallowed", "first_move", "last_move"):
                    assert same(getattr(memory[name], count), getattr(run[name], count)), count
                assert np.allclose(memory[name].movement, run[name].movement, rtol=1e-5)
    for step in sorted(set(run.steps) - set(run.exact_steps.tolist())):
        with pytest.raises(NotExactError, match="nearest"):
            run["0.weight"].value(step)


@pytest.mark.parametrize(
    "params", [slow("0.*"), ["*.bias", "3.weight"], lambda name: name.startswith("3")]
)
def test_chosen_parameters(params: Any, tmp_path: Path) -> None:
    """A record of some of the parameters has exactly these, and they are exact."""
    training = Training()
    notes = Notes(training)
    slots = mg.ParameterVector.of(training.model).slots
    with training.recorder(tmp_path / "run", params=params, keyframe_every=4) as recorder:
        training.go(12)
    run = mg.Run.open(tmp_path / "run")
    assert recorder.run.names == run.names
    assert 0 < len(run.names) < len(slots)
    for step in run.steps:
        for name in run:
            assert bits(notes.values[step][slots[name].slice]) == bits(run[name].value(step)), (
                step,
                name,
            )
    assert run.verify().checked == 12


@sparse(pytest.mark.parametrize("mode", ["small blocks", "every seventh", "thinned"]), every=2)
def test_frozen_parts(mode: str, tmp_path: Path) -> None:
    """Layers that are frozen and let go between steps leave a record on disk that replays, with
    minus zeros.
    """
    training = Training(lambda model: mg.Adam(model, 0.01, weight_decay=0.1))
    layer = dense(training.model, 3)
    layer.weight.value = np.full(layer.weight.shape, -0.0, np.float32)
    notes = Notes(training)

    def before(step: int) -> None:
        training.model.unfreeze()
        if step % 4 < 2:
            layer.freeze()

    with training.recorder(tmp_path / "run", **MODES[mode]) as recorder:
        training.go(40, before)
    run = mg.Run.open(tmp_path / "run")
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run, mode in SAMPLED)
    assert () == run.notes
    assert recorder.run["3.weight"].why.counts == run["3.weight"].why.counts
    assert np.signbit(run["3.weight"].value(0)).all()


@sparse(
    pytest.mark.parametrize("mode", ["small blocks", "every seventh", "ring", "counts alone"]),
    every=2,
)
def test_restore_predicts_as_then(mode: str, tmp_path: Path) -> None:
    """A model restored from disk at any exact step predicts as the model did then: running
    statistics included.
    """
    training = Training()
    notes = Notes(training, predict=True)
    with training.recorder(tmp_path / "run", **MODES[mode]):
        training.go(40)
    run = mg.Run.open(tmp_path / "run")
    model = normed(seed=9)
    for step in run.exact_steps.tolist():
        run.restore(model, step)
        assert same(notes.predictions[step], model.predict(training.x)), step
        held = [getattr(layer, buffer) for _, layer in model.layers() for buffer in layer.buffers]
        assert len(held) > 0
        assert [bits(array) for array in notes.buffers[step]] == [bits(array) for array in held]
    run.restore(model)
    assert same(notes.predictions[39], model.predict(training.x))


@pytest.mark.slow
@sparse(pytest.mark.parametrize("mode", some(MODES)), every=6)
def test_a_run_that_goes_on_is_exact_at_every_moment(mode: str, tmp_path: Path) -> None:
    """`recorder.run` between any two steps is true, in other directories or not, and looking
    changes nothing.
    """
    settings = MODES[mode]
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", **settings) as recorder:
        for step in range(24):
            training.go(1)
            run = recorder.run
            assert list(range(step + 1)) == list(run.steps)
            assert step in run.exact_steps
            assert not run.complete
            assert [] == wrong(run, notes.values)
            assert [] == consistent(run, mode in SAMPLED)
    run = mg.Run.open(tmp_path / "run")
    assert run.complete
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run, mode in SAMPLED)
    with Training().recorder(**settings) as unwatched:
        training = Training()
        with training.recorder(tmp_path / "other", **settings):
            training.go(24)
    assert unwatched.run.steps == ()
    assert [*mg.Run.open(tmp_path / "other").exact_steps] == [*run.exact_steps]
    assert mg.Run.open(tmp_path / "other").first_difference(run) is None


def test_watching_on_disk_changes_nothing(tmp_path: Path) -> None:
    """Training that is recorded to disk has the bits of training that is not."""
    plain = Training()
    plain.go(30)
    training, _ = recorded(
        tmp_path / "run", 30, keep=("update", "grad"), every=3, coactivation=True
    )
    assert bits(plain.flat) == bits(training.flat)


def test_files_of_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of rows does not grow beyond its bound, whatever the blocks could hold.

    And all of it is exact.
    """
    monkeypatch.setattr(disk, "_SEGMENT_BYTES", 10 * ROW)
    _, notes = recorded(tmp_path / "run", 35, keyframe_every=1000)
    sizes = [path.stat().st_size for path in (tmp_path / "run" / "updates").iterdir()]
    assert len(sizes) == 4
    assert max(sizes) <= 10 * ROW + 128
    assert [] == wrong(mg.Run.open(tmp_path / "run"), notes.values)


@pytest.mark.slow
def test_what_is_written_counts_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader sees all steps but those since the last flush, without being told by the
    recorder.
    """
    monkeypatch.setattr(disk, "_FLUSH_SECONDS", 1e9)
    monkeypatch.setattr(disk, "_FLUSH_STEPS", 5)
    training = Training()
    with training.recorder(tmp_path / "run", keyframe_every=3):
        for step in range(1, 30):
            training.go(1)
            seen = len(mg.Run.open(tmp_path / "run").steps)
            assert step - 6 <= seen <= step
            assert not list((tmp_path / "run").glob("*.tmp"))


def test_a_run_without_a_step(tmp_path: Path) -> None:
    """A recorder that is started and stopped leaves a run of no step, which opens and says so."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        pass
    run = mg.Run.open(tmp_path / "run")
    assert ((), (), True) == (run.steps, run.gaps, run.complete)
    assert [] == run.exact_steps.tolist()
    assert bits(training.flat) == bits(np.concatenate([run[name].final.ravel() for name in run]))
    assert not run.verify()
    assert "No step" in run.report()


@sparse(
    pytest.mark.parametrize(
        "settings",
        [{"keyframe_every": 4}, {"aggregates": False}, {"every": 3}, {"keep": ()}],
        ids=str,
    ),
    every=2,
)
def test_a_write_of_somebody_else(settings: Settings, tmp_path: Path) -> None:
    """A write between two steps is a warning that names parameter and step.

    The run on disk stays true.
    """
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", **settings):
        training.go(6)
        dense(training.model, 3).weight.value[1, 2] += 1
        written = training.flat.copy()
        with pytest.warns(OutOfBandWrite, match=r"before step 6 .*3\.weight"):
            training.go(1)
        training.go(6)
    run = mg.Run.open(tmp_path / "run")
    assert 1 == len(run.notes)
    assert "before step 6" in run.notes[0]
    assert "3.weight" in run.notes[0]
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run, sampled(settings))
    if not sampled(settings):
        assert list(range(13)) == run.exact_steps.tolist()
        assert run.verify()
        effective = np.concatenate([run[name].effective(6).ravel() for name in run])
        assert bits(notes.values[6] - written) == bits(effective)


class Growing(mg.Layer):
    """Begins with a plain 0 for what becomes something else later."""

    buffers = ("mean",)

    def __init__(self, becomes: Any, at: int) -> None:
        self.mean: Any = 0
        self._becomes, self._at, self._calls = becomes, at, 0

    def forward(self, x: Array) -> Array:
        self._calls += 1
        self.mean = self._becomes if self._calls > self._at else self._calls
        return x.copy()

    def backward(self, grad: Array) -> Array:
        return grad.copy()


@pytest.mark.parametrize("becomes", [0.5, np.ones(3)], ids=["number", "array"])
@pytest.mark.parametrize("at", [0, 3])
def test_state_that_becomes_something_else(becomes: Any, at: int, tmp_path: Path) -> None:
    """Where a layer's state changes its kind, the files cannot hold it: one error says so, training
    and the rest stay.
    """
    model = mg.Sequential(mg.Dense(5, 3, rng=0), Growing(becomes, at))
    optimizer = mg.SGD(model, 0.1)
    told = []
    with mg.Recorder(optimizer, path=tmp_path / "run"):
        for _ in range(6):
            try:
                train(model, optimizer, 1)
            except HookError as error:
                told.append(str(error))
    assert 6 == optimizer.step_count
    assert 1 == len(told)
    shape = re.escape(str(np.shape(becomes)))
    assert re.search(
        rf"step {at}: .*'1\.mean' is now float64 of shape {shape}, and was int64 of shape \(\)",
        told[0],
    )
    assert "let its layer give it dtype and shape in `__init__`" in told[0]
    run = mg.Run.open(tmp_path / "run")
    assert list(range(at)) == list(run.steps)
    assert [] == consistent(run)
    for step in run.steps:
        other = mg.Sequential(mg.Dense(5, 3, rng=1), Growing(0, 0))
        run.restore(other, step)
        assert step + 1 == other[1].mean


# -- two runs ------------------------------------------------------------------------------------


@sparse(pytest.mark.parametrize(("step", "entry"), [(0, 0), (17, 3), (30, SIZE - 1)]), every=3)
def test_the_first_different_bit_is_found(step: int, entry: int, tmp_path: Path) -> None:
    """One bit of one update on disk is found against memory: the step, the parameter and the
    entry.
    """
    training = Training()
    in_memory, on_disk = (
        training.recorder(),
        training.recorder(tmp_path / "run", keyframe_every=1000),
    )
    with in_memory, on_disk:
        training.go(31)
    assert in_memory.run.first_difference(mg.Run.open(tmp_path / "run")) is None
    file = tmp_path / "run" / "updates" / "000000.npy"
    rows = np.load(file)
    rows.view(np.uint32)[step, entry] ^= 1
    with file.open("r+b") as opened_file:
        opened_file.seek(-rows.nbytes, os.SEEK_END)
        opened_file.write(rows.tobytes())
    run = mg.Run.open(tmp_path / "run")
    found = in_memory.run.first_difference(run)
    assert found is not None
    slots = mg.ParameterVector.of(training.model).slots
    name = next(name for name, slot in slots.items() if slot.slice.start <= entry < slot.slice.stop)
    index = tuple(
        int(i) for i in np.unravel_index(entry - slots[name].slice.start, slots[name].shape)
    )
    assert (step, name, index, "update") == (found.step, found.name, found.index, found.what)
    checked = run.verify()
    assert (step,) == checked.damaged
    assert not checked
    mirrored = run.first_difference(in_memory.run)
    assert mirrored is not None
    assert (found.here, found.there) == (mirrored.there, mirrored.here)
