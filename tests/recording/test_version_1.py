"""Version 1 of the format, without an id and without checksums of batches and buffers: it is read,
and a recorder does not go on with it.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
from disk_support import Notes, Training, contents, flat_value, normed
from recording_support import bits

import minigrad as mg
from minigrad.errors import RunError
from minigrad.runs.format import STEP_1, checksum_of_block
from minigrad.runs.run_json import checksum_of_json


def as_version_1(path: Path) -> None:
    """Rewrite a run as version 1 had it: checksums that begin with 0, and fewer fields."""
    said = json.loads((path / "run.json").read_text("utf-8"))
    del said["id"]
    said["version"] = 1
    said["crc32"] = checksum_of_json(said)
    (path / "run.json").write_text(json.dumps(said), "utf-8")
    steps = np.load(path / "steps.npy")
    old = np.zeros(len(steps), STEP_1)
    for name in STEP_1.names or ():
        old[name] = steps[name]
    for row in old:
        rows = np.load(path / "updates" / f"{row['segment']:06d}.npy")
        row["crc32"] = zlib.crc32(rows[row["row"]].tobytes())
        row["row_crc32"] = zlib.crc32(row.tobytes()[:-4])
    np.save(path / "steps.npy", old)
    blocks = np.load(path / "blocks.npy")
    for row in blocks:
        keyframe = np.load(path / "keyframes" / f"{row['number']:06d}.npy")[0]
        row["crc32"] = checksum_of_block(row, keyframe, 0)
    np.save(path / "blocks.npy", blocks)
    with np.load(path / "aggregates.npz") as file:
        arrays = dict(file)
    facts = json.loads(str(arrays["about"]))
    del facts["run"]
    del facts["recounted"]
    arrays["about"] = np.array(json.dumps(facts))
    np.savez(path / "aggregates.npz", **arrays)
    (path / "lock").unlink(missing_ok=True)


@pytest.fixture
def old(tmp_path: Path) -> tuple[Path, Notes]:
    """A run of version 1."""
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run", keyframe_every=4):
        training.go(10)
    as_version_1(tmp_path / "run")
    return tmp_path / "run", notes


def test_a_run_of_version_1_is_read(old: tuple[Path, Notes]) -> None:
    """Values, batches, buffers and reasons are there, and `verify` finds all in order."""
    path, notes = old
    run = mg.Run.open(path)
    assert () == run.notes
    assert run.verify()
    assert 10 == run.counted_steps
    for step in run.steps:
        assert bits(notes.values[step]) == bits(flat_value(run, step))
        indices = run.indices(step)
        assert indices is not None
        assert notes.indices[step].tolist() == indices.tolist()
        model = normed(seed=3)
        run.restore(model, step)
        assert [bits(array) for array in notes.buffers[step]] == [
            bits(array) for _, array in model.named_buffers()
        ]
    assert mg.Reason.INPUT_ZERO in run["0.weight"].why.counts


def test_a_recorder_does_not_go_on_with_version_1(old: tuple[Path, Notes]) -> None:
    """It is told that the run is of an earlier version, and nothing is written."""
    path, _ = old
    before = contents(path)
    with pytest.raises(RunError, match=r"earlier minigrad, in version 1 .*only read"):
        Training().recorder(path, resume=True)
    assert before == contents(path)


def test_a_damaged_row_of_version_1_is_found(old: tuple[Path, Notes]) -> None:
    """Its rows have checksums too."""
    path, _ = old
    file = path / "updates" / "000001.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="the row of step 7 is not what was written"):
        mg.Run.open(path)["0.weight"].updates[7]
