"""A record on disk has any path, and is read by any process."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
from case_support import slow, sparse
from disk_modes import recorded
from disk_support import Training, wrong

import minigrad as mg


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
modules = sys.modules.items()
loaded = {name.partition(".")[0] for name, module in modules if getattr(module, "__file__", None)}
print("others:", sorted(name for name in loaded - own - before if not name.startswith("_")))
"""

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
