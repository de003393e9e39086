"""The files of a record are what the docs say."""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from case_support import sparse
from disk_modes import MODES, recorded
from disk_support import SIZE, contents, flat_value, normed, opened, wrong
from recording_support import bits, flat

import minigrad as mg
from minigrad.errors import RunError
from minigrad.runs import format as disk_format

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
