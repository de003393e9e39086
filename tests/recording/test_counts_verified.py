"""Counts that cannot be true, or fit neither rows nor values: refused when a run is opened, or
found by `verify`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from disk_support import Settings, Training

import minigrad as mg

KEPT: dict[str, Settings] = {
    "all rows": {"keyframe_every": 4},
    "every third": {"every": 3},
    "counts alone": {"keep": ()},
}


def made(path: Path, **settings: Any) -> dict[str, Any]:
    """A run, and the arrays of its counts."""
    training = Training()
    with training.recorder(path, coactivation=True, **settings):
        training.go(12)
    with np.load(path / "aggregates.npz") as file:
        return dict(file)


def write(path: Path, arrays: dict[str, Any]) -> None:
    """Counts that are whole by their checksums, whatever they say."""
    out = io.BytesIO()
    np.savez(out, **arrays)
    (path / "aggregates.npz").write_bytes(out.getvalue())


def about(arrays: dict[str, Any], **changes: Any) -> None:
    """Have the facts say something else."""
    facts = json.loads(str(arrays["about"]))
    arrays["about"] = np.array(json.dumps({**facts, **changes}))


def shifted(name: str, entry: int, by: int) -> Callable[[dict[str, Any]], None]:
    """Have an array say something else of one entry."""

    def change(arrays: dict[str, Any]) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name].reshape(-1)[entry] += by

    return change


IMPOSSIBLE: dict[str, Callable[[dict[str, Any]], None]] = {
    "negative": shifted("grads", 0, -100),
    "more steps than there are": shifted("grads", 0, 100),
    "more moves than updates": shifted("updates", 0, -1),
    "a first move nowhere": shifted("first_move", 0, 5000),
    "a last move before the first": shifted("last_move", 0, -1000),
    "a move without a step": shifted("first_move", 4, 1),
    "another shape": lambda arrays: arrays.update(moves=arrays["moves"][:-1]),
    "another dtype": lambda arrays: arrays.update(moves=arrays["moves"].astype(np.int32)),
    "too many steps": lambda arrays: about(arrays, steps=13),
    "steps that are no number": lambda arrays: about(arrays, steps="12"),
    "a last step that is no number": lambda arrays: about(arrays, last_step=None),
    "other parameters": lambda arrays: about(arrays, frozen={}),
    "frozen too often": lambda arrays: about(
        arrays, frozen={**json.loads(str(arrays["about"]))["frozen"], "0.weight": 13}
    ),
    "an activity of another shape": lambda arrays: arrays.update({"units/0": np.zeros(9, int)}),
    "more active than there are samples": shifted("units/0", 0, 10**6),
    "a matrix of activity": lambda arrays: arrays.update({"inputs/0": np.zeros((2, 2), int)}),
    "another layout": lambda arrays: about(arrays, layouts={"0.weight": "diagonal"}),
    "another run": lambda arrays: about(arrays, run="0" * 32),
    "a huge array": lambda arrays: arrays.update(moves=np.zeros(10**5, np.int64)),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_counts_that_cannot_be_true(kind: str, tmp_path: Path) -> None:
    """Counts that no run of these steps can have are not used, and a note says so."""
    arrays = made(tmp_path / "run", keyframe_every=4)
    whole = mg.Run.open(tmp_path / "run")
    assert () == whole.notes
    assert whole.verify()
    IMPOSSIBLE[kind](arrays)
    write(tmp_path / "run", arrays)
    run = mg.Run.open(tmp_path / "run")
    assert any("aggregates.npz" in note for note in run.notes), run.notes
    for name in run:
        assert whole[name].moves.tolist() == run[name].moves.tolist()  # the rows tell them


MISFITS = {
    "updates": [("updates", 0, -1)],
    "a move": [("moves", 0, -1)],
    "the first move": [("first_move", 0, 1)],
    "the last move": [("last_move", 0, -1)],
    "never": [("moves", 0, -12), ("first_move", 0, -1), ("last_move", 0, -12)],
}


@pytest.mark.parametrize("kind", MISFITS)
@pytest.mark.parametrize("kept", KEPT)
def test_counts_that_do_not_fit_are_found(kept: str, kind: str, tmp_path: Path) -> None:
    """Counts that could be true, but are not: `verify` finds those that the rows or values deny.

    It names the entry, and that it is the counts.
    """
    arrays = made(tmp_path / "run", **KEPT[kept])
    assert mg.Run.open(tmp_path / "run").verify().mismatch is None
    assert (12, 0, 11) == tuple(
        int(arrays[name][0]) for name in ("moves", "first_move", "last_move")
    )
    for name, entry, by in MISFITS[kind]:
        shifted(name, entry, by)(arrays)
    if kind in ("the first move", "the last move"):
        shifted("moves", 0, -1)(arrays)
    if kind == "updates":
        shifted("moves", 0, -1)(arrays)
        shifted("last_move", 0, -1)(arrays)
    if kind == "never":
        arrays["movement"][0] = 0
    write(tmp_path / "run", arrays)
    run = mg.Run.open(tmp_path / "run")
    assert () == run.notes
    checked = run.verify()
    if kept == "all rows" or kind == "never":
        assert (11, "0.weight", (0, 0)) == checked.mismatch
        assert "counts" == checked.what
        assert not checked
        assert "the counts of 0.weight[0, 0] do not fit" in str(checked)
    else:  # the rows leave it open
        assert checked.mismatch is None or checked.what == "counts"


def test_counts_are_not_opened_beyond_the_file(tmp_path: Path) -> None:
    """A member that is compressed, and would open to far more than the file has room for, is not
    opened; a note says so.
    """
    arrays = made(tmp_path / "run")
    out = io.BytesIO()
    arrays["moves"] = np.zeros(10**6, np.int64)
    np.savez_compressed(out, **arrays)
    (tmp_path / "run" / "aggregates.npz").write_bytes(out.getvalue())
    run = mg.Run.open(tmp_path / "run")
    assert any("is compressed" in note for note in run.notes)


def test_a_member_that_claims_more_than_it_has(tmp_path: Path) -> None:
    """A header inside that tells of 10**15 numbers takes no memory, and is damage."""
    made(tmp_path / "run")
    file = tmp_path / "run" / "aggregates.npz"
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<i8", "fortran_order": False, "shape": (10**15,)}
    )
    members["moves.npy"] = header.getvalue() + bytes(64)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    run = mg.Run.open(tmp_path / "run")
    assert any("not as long as its header says" in note for note in run.notes)


@pytest.mark.parametrize(("name", "by"), [("first_move", -1), ("last_move", 1), ("updates", 1)])
def test_a_fact_that_is_only_a_little_wrong(name: str, by: int, tmp_path: Path) -> None:
    """Where an entry was frozen at the beginning and at the end, one more step could be true."""
    training = Training()
    layer = training.model["3"]

    def before(step: int) -> None:
        (layer.unfreeze if 3 <= step < 9 else layer.freeze)()

    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(12, before)
    with np.load(tmp_path / "run" / "aggregates.npz") as file:
        arrays = dict(file)
    entry = len(arrays["moves"]) - 1
    assert (6, 3, 8) == tuple(
        int(arrays[fact][entry]) for fact in ("moves", "first_move", "last_move")
    )
    shifted(name, entry, by)(arrays)
    write(tmp_path / "run", arrays)
    run = mg.Run.open(tmp_path / "run")
    assert () == run.notes
    checked = run.verify()
    assert (11, "3.bias", (2,)) == checked.mismatch
    assert "counts" == checked.what
