"""A record on disk is exact: what is read back is what was live, bit for bit, and the files are
what the docs say.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from accident_support import sampled
from case_support import slow, sparse
from disk_support import (
    EVERYTHING,
    ROW,
    SIZE,
    Make,
    Notes,
    Settings,
    Training,
    consistent,
    contents,
    flat_value,
    momentum,
    normed,
    opened,
    some,
    wrong,
)
from recording_support import Array, bits, dense, flat, same, train

import minigrad as mg
from minigrad.errors import HookError, NotExactError, OutOfBandWrite, RunError
from minigrad.recording import disk_store as disk
from minigrad.runs import format as disk_format

OPTIMIZERS: dict[str, Make] = {
    "momentum": momentum,
    "nesterov, decay, clipping, schedule": lambda model: mg.SGD(
        model,
        lambda step: 0.1 * 0.95**step,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        max_grad_norm=0.3,
    ),
    "decay of weights, clipped entries": lambda model: mg.SGD(
        model, 0.1, weight_decay={"*.weight": 0.1}, max_grad_value=0.05
    ),
    "tiny": lambda model: mg.SGD(model, 1e-8),
    "adam": lambda model: mg.Adam(model, 0.01),
    "adam everything": lambda model: mg.Adam(
        model,
        mg.LinearWarmup(mg.CosineDecay(0.05, steps=20, minimum=1e-3), steps=5),
        amsgrad=True,
        weight_decay={"*.weight": 0.01},
        max_grad_norm=0.3,
    ),
    "adamw": lambda model: mg.AdamW(model, mg.StepDecay(0.1, 10, 0.5), weight_decay=0.1),
    "rmsprop": lambda model: mg.RMSprop(
        model, 0.01, momentum=0.5, centered=True, weight_decay=0.01, max_grad_norm=1.0
    ),
}

KINDS: tuple[npt.DTypeLike, ...] = (np.float32, np.float64)
MODES: dict[str, Settings] = {
    "plain": {},
    "small blocks": {"keyframe_every": 3},
    "smallest blocks": {"keyframe_every": 1},
    "thinned": {"keyframe_every": 3, "budget": 30 * ROW},
    "thinned hard": {"budget": 5 * ROW},
    "ring": {"keyframe_every": 3, "budget": 30 * ROW, "on_full": "ring"},
    "small ring": {"budget": 5 * ROW, "on_full": "ring"},
    "stopped": {"keyframe_every": 3, "budget": 30 * ROW, "on_full": "stop"},
    "every seventh": {"every": 7},
    "every seventh, thinned": {"every": 7, "keyframe_every": 2, "budget": 20 * ROW},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 4},
    "gradients too, sampled": {"keep": ("update", "grad"), "every": 3, "keyframe_every": 2},
    "gradients alone": {"keep": ("grad",), "keyframe_every": 4},
    "counts alone": {"keep": ()},
    "rows alone": {"aggregates": False, "keyframe_every": 5},
    "coactivation": {"coactivation": True, "keyframe_every": 5},
}
SAMPLED = {
    name
    for name, mode in MODES.items()
    if "every" in mode or "update" not in mode.get("keep", ("update",))
}


def recorded(
    path: Path, steps: int = 40, make: Make = momentum, **settings: Any
) -> tuple[Training, Notes]:
    """A finished run on disk, and what was true while it was made."""
    training = Training(make, settings.pop("dtype", np.float32))
    notes = Notes(training)
    with training.recorder(path, **settings):
        training.go(steps)
    return training, notes


# -- exactness -----------------------------------------------------------------------------------


@sparse(
    pytest.mark.parametrize("kind", OPTIMIZERS),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=4,
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
                part = run._record.slots[name].slice  # noqa: SLF001
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
    "params", ["0.*", ["*.bias", "3.weight"], lambda name: name.startswith("3")]
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


# -- paths and processes -------------------------------------------------------------------------


class Somewhere:
    """A path that is neither text nor pathlib's."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return str(self._path)


@sparse(
    pytest.mark.parametrize(
        "name", ["a run", "Lauf mit Größe ß", "пробег 走る", "deep/er/still", "100%", "run.json"]
    ),
    pytest.mark.parametrize("kind", [str, Path, Somewhere]),
    every=2,
)
def test_any_path_will_do(kind: Any, name: str, tmp_path: Path) -> None:
    """Spaces, letters of any script, parents that do not exist yet.

    Text, pathlib and whatever is a path.
    """
    path = kind(tmp_path / name)
    _, notes = recorded(path, 5)
    run = mg.Run.open(path)
    assert [] == wrong(run, notes.values)
    assert 5 == len(run.exact_steps)


def test_a_relative_path_stays_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path without a root is taken from where the process was when it gave it."""
    monkeypatch.chdir(tmp_path)
    training = Training()
    with training.recorder("run", keyframe_every=3) as recorder:
        training.go(4)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        training.go(4)
        assert 8 == len(recorder.run.steps)
    assert 8 == len(mg.Run.open(tmp_path / "run").steps)
    assert [] == list((tmp_path / "elsewhere").iterdir())


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    """A directory that exists and is empty is as good as a new one."""
    (tmp_path / "run").mkdir()
    recorded(tmp_path / "run", 3)
    assert 3 == len(mg.Run.open(tmp_path / "run").steps)


READ_WITH_MINIGRAD = """
import sys, zlib
before = {name.partition(".")[0] for name in sys.modules}  # what Python itself has loaded here
import numpy as np
import minigrad as mg
run = mg.Run.open(sys.argv[1])
for step in run.exact_steps.tolist():
    print(step, zlib.crc32(np.concatenate([run[name].value(step).ravel() for name in run])))
own = set(sys.stdlib_module_names) | {"minigrad", "numpy", "typing_extensions", "__main__"}
loaded = {name.partition(".")[0] for name, module in sys.modules.items() if getattr(module, "__file__", None)}
print("others:", sorted(name for name in loaded - own - before if not name.startswith("_")))
"""  # noqa: E501

READ_WITH_NUMPY_ALONE = """
import json, sys, zlib
from pathlib import Path
import numpy as np
run = Path(sys.argv[1])
steps = np.load(run / "steps.npy")
for row in np.load(run / "blocks.npy"):
    values = np.load(run / f"keyframes/{row['number']:06d}.npy")[0]
    if row["has_rows"]:
        updates = np.load(run / f"updates/{row['number']:06d}.npy")
        for step in steps[steps["segment"] == row["number"]]:
            values += updates[step["row"]]
            print(step["step"], zlib.crc32(values))
assert "minigrad" not in sys.modules
print("others: []")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [READ_WITH_MINIGRAD, slow(READ_WITH_NUMPY_ALONE)],
    ids=["minigrad", "NumPy alone"],
)
def test_another_process_reads_it(program: str, tmp_path: Path) -> None:
    """Another process reads every exact value, with minigrad and NumPy, and with NumPy alone as the
    docs describe it.
    """
    _, notes = recorded(tmp_path / "run", 20, keyframe_every=6)
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(mg.__file__).parent.parent)},
        check=False,
    )
    assert "" == found.stderr
    lines = found.stdout.splitlines()
    assert "others: []" == lines.pop()
    assert [
        f"{step} {zlib.crc32(values.tobytes())}" for step, values in notes.values.items()
    ] == lines


# -- the format ----------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "run-format.md"


def documented_files() -> list[str]:
    """The files that the docstring of the format's module describes, as patterns."""
    lines = (disk_format.__doc__ or "").splitlines()
    described = [
        re.split(r"\s{2,}", line.strip())[0]
        for line in lines
        if re.match(r"    \S.*\s{2,}\S", line)
    ]
    assert described
    found: list[str] = []
    for files in described:
        for file in files.split(", "):
            found.append(
                file.rstrip("/") + "/000000.npy"
                if file.endswith("/")
                else file.removesuffix(" ...")
            )
    return [re.escape(file).replace("000000", r"\d{6}") for file in found]


def fields(heading: str) -> dict[str, str]:
    """The fields of a structured array, by the page."""
    section = PAGE.read_text("utf-8").split(f"## A row of {heading}")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*`) \| (\w+) \|", section, re.MULTILINE)
    return {name.strip("`"): kind for names, kind in rows for name in names.split(", ")}


@sparse(
    pytest.mark.parametrize(
        "mode",
        ["gradients too", "gradients too, sampled", "thinned", "ring", "counts alone", "plain"],
    ),
    every=6,
)
def test_the_files_are_those_that_are_documented(mode: str, tmp_path: Path) -> None:
    """Every file of a run is described, in the docstring and on the page.

    NumPy opens every array, without pickle.
    """
    recorded(tmp_path / "run", 40, **MODES[mode])
    patterns = documented_files()
    page = PAGE.read_text("utf-8")
    for name in contents(tmp_path / "run"):
        assert any(re.fullmatch(pattern, name) for pattern in patterns), name
        assert f"`{re.sub(r'[0-9]{6}', '000000', name)}`" in page, name
        if name.endswith(".npy"):
            array = np.load(tmp_path / "run" / name, allow_pickle=False)
            mapped = np.load(tmp_path / "run" / name, allow_pickle=False, mmap_mode="r")
            assert array.dtype.kind in "fibV"
            assert array.dtype.newbyteorder("<") == array.dtype
            assert bits(array) == bits(np.asarray(mapped))
            header = np.lib.format
            with (tmp_path / "run" / name).open("rb") as file:
                assert (1, 0) == header.read_magic(file)
                header.read_array_header_1_0(file)
                start = file.tell()
            assert start + array.nbytes == (tmp_path / "run" / name).stat().st_size, (
                f"{name} holds more than it says"
            )
    if mode in ("gradients too, sampled",):
        unused = [
            pattern
            for pattern in patterns
            if not any(re.fullmatch(pattern, n) for n in contents(tmp_path / "run"))
        ]
        assert [] == unused, "described, and not there"


@sparse(
    pytest.mark.parametrize(
        "mode", ["gradients too", "gradients too, sampled", "thinned", "ring", "every seventh"]
    ),
    every=5,
)
def test_the_arrays_are_as_documented(mode: str, tmp_path: Path) -> None:
    """Steps, blocks, rows, keyframes, indices and buffers are what the page says, read with NumPy
    and zlib alone.
    """
    path = tmp_path / "run"
    training, notes = recorded(path, 40, **MODES[mode])
    steps, blocks, told = (
        np.load(path / "steps.npy"),
        np.load(path / "blocks.npy"),
        json.loads((path / "run.json").read_text()),
    )
    for array, heading in ((steps, "steps.npy"), (blocks, "blocks.npy")):
        assert array.dtype.names is not None
        assert fields(heading) == {name: array.dtype[name].name for name in array.dtype.names}
    assert list(range(40)) == steps["step"].tolist()
    assert (notes.lr, notes.loss, notes.clip) == (
        steps["lr"].tolist(), steps["loss"].tolist(), steps["clip_factor"].tolist(),
    )  # fmt: skip
    folders = {"update": "updates", "grad": "grads", "value": "values"}
    truth = {"update": notes.updates, "grad": notes.grads, "value": notes.values}
    numbers = set(blocks["number"][blocks["has_rows"]].tolist())
    kept, salt = 0, zlib.crc32(told["id"].encode())
    for row in steps:
        if int(row["segment"]) not in numbers:
            continue
        kept += 1
        crc = salt
        for kind in told["kinds"]:
            stored = np.load(path / folders[kind] / f"{row['segment']:06d}.npy")[row["row"]]
            assert bits(truth[kind][int(row["step"])]) == bits(stored)
            crc = zlib.crc32(stored.tobytes(), crc)
        assert crc == row["crc32"]
    assert kept >= 4
    assert (steps["segment"] == -1).any() == ("every" in MODES[mode])
    before = {0: flat(normed()), **{step + 1: values for step, values in notes.values.items()}}
    for row in blocks:
        keyframe = path / "keyframes" / f"{row['number']:06d}.npy"
        assert row["has_keyframe"] == keyframe.exists()
        assert row["has_rows"] == (path / "updates" / f"{row['number']:06d}.npy").exists()
        assert not row["foreign"]
        if row["has_keyframe"]:
            assert bits(before[int(row["first"])]) == bits(np.load(keyframe))
            assert (1, SIZE) == np.load(keyframe).shape
    indices, ends = np.load(path / "indices.npy"), steps["indices_end"].tolist()
    assert np.int32 == indices.dtype
    assert steps["has_indices"].all()
    for start, end, rows, crc in zip(
        [0, *ends], ends, notes.indices, steps["indices_crc32"], strict=False
    ):
        assert rows.tolist() == indices[start:end].tolist()
        assert zlib.crc32(indices[start:end].tobytes(), salt) == crc
    assert ["1.running_mean", "1.running_var"] == [buffer["name"] for buffer in told["buffers"]][:2]
    for number in range(len(told["buffers"])):
        rows = np.load(path / "buffers" / f"{number:06d}.npy")
        assert [bits(notes.buffers[step][number]) for step in range(40)] == [
            bits(row) for row in rows
        ]
    buffers = [np.load(path / "buffers" / f"{n:06d}.npy") for n in range(len(told["buffers"]))]
    for step, crc in enumerate(steps["buffers_crc32"].tolist()):
        assert zlib.crc32(b"".join(rows[step].tobytes() for rows in buffers), salt) == crc
    with np.load(path / "aggregates.npz", allow_pickle=False) as counts:
        counted = json.loads(str(counts["about"]))
        assert (39, 40) == (counted["last_step"], counted["steps"])
        assert told["id"] == counted["run"]
        assert bits(training.flat) == bits(counts["values"])
        moves = sum(before[step + 1] != before[step] for step in range(40))
        assert moves.tolist() == counts["moves"].tolist()
        assert (
            sum(notes.grads[step] != 0 for step in range(40)).tolist() == counts["grads"].tolist()
        )
        assert (
            sum(notes.updates[step] != 0 for step in range(40)).tolist()
            == counts["updates"].tolist()
        )
        swallowed = sum(
            (before[step + 1] == before[step]) & (notes.updates[step] != 0) for step in range(40)
        )
        assert swallowed.tolist() == (counts["updates"] - counts["moves"]).tolist()


def test_run_json_is_as_documented(tmp_path: Path) -> None:
    """run.json has the keys that the page names, and no others; parameters lie where it says."""
    training, _ = recorded(tmp_path / "run", 9, every=3)
    told = json.loads((tmp_path / "run" / "run.json").read_text("utf-8"))
    section = PAGE.read_text("utf-8").split("## run.json")[1].split("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    assert set(told) <= named
    assert (disk_format.NAME, disk_format.VERSION, np.__version__) == (
        told["format"],
        told["version"],
        told["numpy"],
    )
    assert ("float32", ["update", "value"], 3, True) == (
        told["dtype"],
        told["kinds"],
        told["every"],
        told["aggregates"],
    )
    slots = mg.ParameterVector.of(training.model).slots
    assert [
        {"name": name, "shape": list(slot.shape), "dtype": "float32", "offset": slot.slice.start}
        for name, slot in slots.items()
    ] == told["parameters"]
    assert [{"first_step": 0, "last_step": 8}] == told["sessions"]
    assert (True, False, [], []) == (told["complete"], told["full"], told["gaps"], told["notes"])
    assert repr(training.optimizer) == told["optimizer"]


def test_nothing_else_is_taken_for_a_run(tmp_path: Path) -> None:
    """A path without a run is an error that names the path."""
    found = opened(tmp_path / "nothing")
    assert isinstance(found, RunError)
    assert str(tmp_path / "nothing") in str(found)


def test_a_value_is_the_callers(tmp_path: Path) -> None:
    """What a run on disk hands out may be written into, and changes neither the run nor its
    files.
    """
    _, notes = recorded(tmp_path / "run", 6, keyframe_every=2)
    before = contents(tmp_path / "run")
    run = mg.Run.open(tmp_path / "run")
    for name in run:
        for array in (
            run[name].initial,
            run[name].final,
            run[name].value(2),
            run[name].updates[1],
            run[name].moves,
        ):
            array[...] = 7
    rows = run.indices(2)
    assert rows is not None
    rows[...] = 7
    assert before == contents(tmp_path / "run")
    assert [] == wrong(run, notes.values)
    assert [] == wrong(mg.Run.open(tmp_path / "run"), notes.values)
    assert flat_value(run, 2).any()
