"""A checkpoint is one `.npz` without pickle: what lies in it, how it is written, and that equal
states give equal bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from checkpoint_support import (
    EVERYTHING,
    Plan,
    Training,
    bits,
    members_of,
    meta_of,
    resealed,
    sealed,
)
from child_support import surroundings
from irregular_support import IRREGULAR, irregular

import minigrad as mg
from minigrad.errors import DataFileError

PLAN = Plan(lambda model: mg.SGD(model, 0.1, momentum=0.9), plateau=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of a training after four steps."""
    mg.save(tmp_path / "x.npz", **Training(PLAN).made(4).parts)
    return tmp_path / "x.npz"


def test_numpy_opens_all_of_it(path: Path) -> None:
    """`numpy.load` without pickle gives every array, under the name of what it belongs to.

    "meta" is JSON.
    """
    training = Training(PLAN).made(4)
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    meta = json.loads(arrays.pop("meta").tobytes().decode())
    model = {f"model/{name}": array for name, array in training.model.state_dict().items()}
    velocity = training.optimizer.state_dict()["state"]["velocity"]
    moments = {f"optimizer/state/velocity/{name}": array for name, array in velocity.items()}
    order = {"data/order": training.data.state_dict()["order"]}
    assert bits(model | moments | order) == bits(arrays)
    assert "0.weight 0.bias 1.weight 1.bias 4.weight 4.bias" == " ".join(
        meta["optimizer"]["state"]["velocity"]
    )
    assert [*training.model.state_dict()] == [*meta["model"]]
    assert {"array in": "model/1.running_mean"} == meta["model"]["1.running_mean"]
    assert ("SGD", 0.1, 4) == tuple(
        meta["optimizer"][name] for name in ("optimizer", "lr", "step_count")
    )
    assert (12, 16, False) == tuple(meta["data"][name] for name in ("start", "stop", "ended"))
    assert {"figures": training.history, "under_way": {}} == meta["history"]
    seen = {"monitor": "val_loss", "best": None, "bad_epochs": 0, "resting": 0}
    assert [{"hook": "ReduceOnPlateau", "state": seen}] == meta["hooks"]
    rng = training.data.rng.bit_generator.state
    assert {"model 3.rng": rng, "data": rng} == meta["generators"]
    assert [["model 3.rng", "data"]] == meta["shared"]


def test_its_end_is_a_version_and_a_checksum(path: Path) -> None:
    """The comment of the ZIP file is as described, and its digits are the SHA-256 of all before
    them.
    """
    content = path.read_bytes()
    assert (
        b"minigrad checkpoint 1 sha256 " + hashlib.sha256(content[:-64]).hexdigest().encode()
        == content[-93:]
    )


def test_the_tests_can_write_one(path: Path) -> None:
    """What the tests of forgeries write is loaded like the genuine one, if they change nothing."""
    expected = Training(PLAN).made(4)
    for content in (sealed(members_of(path)), resealed(path.read_bytes()[:-64] + b"0" * 64)):
        path.write_bytes(content)
        loaded = Training(PLAN, seed=9)
        mg.load(path, **loaded.parts)
        assert expected.bits == loaded.bits


@pytest.mark.parametrize("kind", ["PCG64", "MT19937", slow("Philox"), slow("SFC64")])
def test_equal_states_give_equal_bytes(kind: str, tmp_path: Path) -> None:
    """Whoever saves, and whenever: the same training made twice, saved twice, loaded into new
    objects and saved again.
    """
    plan = Plan(kind=kind, plateau=True, shared=False)
    training = Training(plan).made(4)
    mg.save(tmp_path / "1", **training.parts)
    mg.save(tmp_path / "2", **training.parts)
    mg.save(tmp_path / "3", **Training(plan).made(4).parts)
    loaded = Training(plan, seed=5)
    mg.load(tmp_path / "1", **loaded.parts)
    mg.save(tmp_path / "4", **loaded.parts)
    mg.save(tmp_path / "4", **loaded.parts)  # in the place of one that is there
    contents = [(tmp_path / name).read_bytes() for name in "1234"]
    assert [contents[0]] * 4 == contents
    mg.save(tmp_path / "5", **training.made(1).parts)
    assert contents[0] != (tmp_path / "5").read_bytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_kinds_of_values_come_back(
    dtype: type[np.float32 | np.float64], tmp_path: Path
) -> None:
    """NaN, infinities, -0.0, the smallest and the largest numbers, in values, buffers, moments and
    figures.
    """
    info = np.finfo(dtype)
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, info.smallest_subnormal, info.max], dtype)
    plan = Plan(dtype=dtype)
    training = Training(plan).made(2)
    training.model.load_state_dict(
        {**training.model.state_dict(), "0.bias": odd, "1.running_var": odd}
    )
    state = training.optimizer.state_dict()
    state["state"]["second_moment"]["0.bias"] = odd
    training.optimizer.load_state_dict(state)
    training.history["loss"] = odd.tolist()
    mg.save(tmp_path / "x", **training.parts)
    loaded = Training(plan, seed=4)
    mg.load(tmp_path / "x", **loaded.parts)
    assert training.bits == loaded.bits
    assert odd.tobytes() == loaded.model.state_dict()["0.bias"].tobytes()


def test_it_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written under another name in the same directory, flushed, renamed.

    And then the directory is flushed.
    """
    path, told = tmp_path / "x.npz", list[Any]()
    path.write_bytes(b"old")
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        real_sync(handle)
        if os.path.samestat(os.fstat(handle), tmp_path.stat()):
            told.append(("directory", path.read_bytes()))
        else:
            (part,) = set(tmp_path.iterdir()) - {path}
            assert os.path.samestat(os.fstat(handle), part.stat())
            told.append(("file", part.read_bytes()))
            assert b"old" == path.read_bytes()

    def replace(self: Path, target: Path) -> Path:
        assert ({self, path}, path) == (set(tmp_path.iterdir()), target)
        told.append(("renamed", self.read_bytes()))
        return real_replace(self, target)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    mg.save(path, **Training().parts)
    content = path.read_bytes()
    assert [("file", content), ("renamed", content), ("directory", content)] == told
    assert [path] == list(tmp_path.iterdir())


@sparse(
    pytest.mark.parametrize(
        "name",
        [
            "a b.npz",
            "Prüfpunkt ü.npz",
            "контрольная точка",
            "检查点 😀.npz",
            "[x]*?.npz",
            ".hidden",
            "x",
            "a'b\"c;$d",
        ],
    ),
    every=3,
)
def test_names_of_all_kinds(name: str, tmp_path: Path) -> None:
    """Spaces, other letters and characters that shells and patterns know.

    Given as text or as a path.
    """
    if os.name != "posix" and set(name) & set('*?"'):
        pytest.skip("this system has no such names")
    path = tmp_path / "ein Ördner, 中文" / name
    path.parent.mkdir()
    for given in (path, str(path)):
        training = Training()
        mg.save(given, **training.parts)
        loaded = Training(seed=3)
        mg.load(given, **loaded.parts)
        assert training.bits == loaded.bits
        assert [path] == list(path.parent.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="this system has no such permissions")
@pytest.mark.parametrize("permissions", [0o600, 0o640])
def test_a_checkpoint_stays_as_private_as_it_was(permissions: int, tmp_path: Path) -> None:
    """However often it is written; and the older ones and the best, which `Checkpoint` keeps."""
    path, training = tmp_path / "x.npz", Training()
    mg.save(path, **training.parts)
    path.chmod(permissions)
    keeps = mg.Checkpoint(path, keep=3, monitor="loss")
    parts = training.model, training.loss, training.optimizer, training.data
    mg.fit(*parts, epochs=4, hooks=[keeps], progress=False)
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert {"x.npz", "x-1.npz", "x-2.npz", "x-best.npz"} == set(modes)
    assert {permissions} == set(modes.values())


@pytest.mark.parametrize("what", IRREGULAR)
def test_what_is_no_regular_file_is_not_replaced(what: str, tmp_path: Path) -> None:
    """A device, a FIFO, a directory is what it was, and the error says what it is."""
    path = irregular(what, tmp_path)
    before = path.stat()
    with pytest.raises(DataFileError) as caught:
        mg.save(path, **Training().parts)
    assert f"the checkpoint '{path}' cannot be written: {IRREGULAR[what]}; " in str(caught.value)
    assert (before.st_ino, before.st_mode) == (path.stat().st_ino, path.stat().st_mode)


def test_several_processes_save_to_one_path(tmp_path: Path) -> None:
    """None disturbs another, though each sweeps what the dead have left."""
    path = tmp_path / "x.npz"
    code = f"""if True:
        import sys, minigrad as mg
        model = mg.Sequential(mg.Dense(20, 20, rng=int(sys.argv[1])))
        for _ in range({300 if EVERYTHING else 20}):
            mg.save({str(path)!r}, model=model)
            mg.load({str(path)!r}, model=model)
    """
    savers = [
        subprocess.Popen([sys.executable, "-c", code, seed], env=surroundings(Path(__file__)))
        for seed in "123"
    ]
    assert [0, 0, 0] == [saver.wait() for saver in savers]
    assert [path] == list(tmp_path.iterdir())


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is a file in the present directory."""
    monkeypatch.chdir(tmp_path)
    mg.save("x.npz", model=Training().model)
    mg.load("x.npz", model=Training().model)
    assert [Path("x.npz")] == list(Path().iterdir())


def test_the_names_of_arrays_do_not_collide(tmp_path: Path) -> None:
    """Names with slashes in them, or the name "meta", are told apart."""
    model = Training().model
    figures = {
        "a": {"b": np.ones(2)},
        "a/b": np.zeros(3),
        "meta": np.arange(4),
        "a/b'": np.zeros(1),
    }
    mg.save(tmp_path / "x", model=model, history=dict(figures))
    history: dict[str, Any] = {}
    mg.load(tmp_path / "x", history=history)
    assert bits(figures) == bits(history)
    assert 4 + len(model.state_dict()) + 1 == len(members_of(tmp_path / "x"))
    assert {"a", "a/b", "meta", "a/b'"} == set(
        meta_of(members_of(tmp_path / "x"))["history"]["figures"]
    )
