"""A process that is killed while it saves: the checkpoint before is there and whole, and what is
left over is swept.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoint_support import EVERYTHING, PLAIN, Training, first_difference
from child_support import surroundings
from killed_savers import crc, trained

import minigrad as mg

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

HERE = Path(__file__).parent
KILLS, STRIDE = (120, 1) if EVERYTHING else (4, 23)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the killed have left behind."""
    place = tmp_path_factory.mktemp("killed")
    program = HERE / "killed_savers.py"
    command = [sys.executable, "-W", "error", str(program), str(place), str(KILLS), str(STRIDE)]
    subprocess.run(command, env=surroundings(program), check=True)
    return place


def loaded(path: Path) -> Training:
    """A training that goes on from there."""
    training = Training(PLAIN, seed=1000)
    mg.load(path, **training.parts)
    return training


def swept(path: Path) -> int:
    """How many files the next save finds beside its own, and removes."""
    left = {file.name for file in path.parent.iterdir()} - {path.name}
    assert all(name.startswith(f".{path.name}.") and name.endswith(".part") for name in left)
    mg.save(path, model=Training().model)
    assert [path] == list(path.parent.iterdir())
    return len(left)


@pytest.mark.slow
def test_killed_at_any_moment(directory: Path) -> None:
    """At random moments, on a busy machine: what lies there is what was saved last, or was just
    about to be.
    """
    left = written = 0
    for number in range(KILLS):
        place = directory / "random" / str(number)
        crcs = (
            np.fromfile(f"{place}.values", "<u4").tolist()
            if Path(f"{place}.values").exists()
            else []
        )
        done = Path(f"{place}.done").stat().st_size if Path(f"{place}.done").exists() else 0
        assert done <= len(crcs) <= done + 1
        path = place / "x.npz"
        if not path.exists():
            assert 0 == done
        else:
            training = loaded(path)
            saves = (
                crcs.index(crc(training)) + 1
            )  # the pause after an epoch has the values of its last step
            assert max(done, 1) - 1 <= saves <= len(crcs)
            assert crc(training) in crcs[max(done, 1) - 1 :]
            written += 1
            if number % 10 == 0:
                check_that_it_goes_on(training, number)
        left += swept(path)
    if EVERYTHING:
        assert written > KILLS // 4
        assert left > KILLS // 20


def check_that_it_goes_on(training: Training, seed: int) -> None:
    """One epoch more gives the bits of a training that was never killed."""
    epochs = len(training.history["val_loss"]) + 1
    straight = trained(seed, 0)
    straight.go(epochs)
    training.go(epochs)
    assert "" == first_difference(straight.bits, training.bits)


def test_killed_while_it_kept_an_older_one(tmp_path: Path) -> None:
    """What `Checkpoint` has left over beside the older ones and the best is swept, too, when it
    writes them again.
    """
    names = ("x.npz", "x-1.npz", "x-2.npz", "x-best.npz")
    for name in names:
        (tmp_path / f".{name}.0123abcd.1.part").write_bytes(b"half")
    training = Training()
    keeps = mg.Checkpoint(tmp_path / "x.npz", keep=3, monitor="loss")
    parts = training.model, training.loss, training.optimizer, training.data
    mg.fit(*parts, epochs=4, hooks=[keeps], progress=False)
    assert sorted(names) == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.slow
def test_killed_at_each_moment(directory: Path) -> None:
    """Before, in the middle of and after whatever is asked of the system: the old file or the new
    one, byte for byte.
    """
    places = sorted(
        (int(place.name), place) for place in (directory / "exact").iterdir() if place.is_dir()
    )
    old, new = ((directory / "exact" / f"{name}.npz").read_bytes() for name in "ab")
    assert old != new
    contents = [(place / "x.npz").read_bytes() for _, place in places]
    news = contents.count(new)
    assert [old] * (len(places) - news) + [new] * news == contents
    left = [swept(place / "x.npz") for _, place in places]
    assert {0, 1} == set(left)
    assert [0] * news == left[len(places) - news :]
    if (
        EVERYTHING
    ):  # 40 pieces of 4 KB and more; then the file has its name, while its directory is flushed
        assert len(places) > 50
        assert 4 == news
