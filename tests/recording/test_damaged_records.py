"""Records of which one file is damaged, in every way: what a run still says is true, or it raises
one of our own errors, says UNKNOWN, or has a note.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from damage_support import RUNS, Truth, damages, lies, made, put_one, truth_of
from disk_support import EVERYTHING, contents, put


@pytest.fixture(scope="module", params=list(RUNS))
def run_and_truth(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, bytes], dict[str, bytes], Truth]:
    """The files of a run, those of another one of the same kind, and what was true."""
    place = tmp_path_factory.mktemp("runs")
    notes = made(place / "run", request.param)
    made(place / "other", request.param, seed=1)
    return (
        request.param,
        contents(place / "run"),
        contents(place / "other"),
        truth_of(place / "run", notes),
    )


def test_an_undamaged_run_tells_the_truth(
    run_and_truth: tuple[str, dict[str, bytes], dict[str, bytes], Truth], tmp_path: Path
) -> None:
    """What a run says of each step and each entry is what was noted while it was made."""
    _, files, _, truth = run_and_truth
    put(tmp_path / "run", files)
    assert [] == lies(tmp_path / "run", truth)


@pytest.mark.parametrize("seed", [0] if not EVERYTHING else [0, 1])
def test_one_damaged_file(
    seed: int,
    run_and_truth: tuple[str, dict[str, bytes], dict[str, bytes], Truth],
    tmp_path: Path,
) -> None:
    """Whatever becomes of one file, no wrong value, no false reason, and no error but our own."""
    kind, files, others, truth = run_and_truth
    put(tmp_path / "run", files)
    rng = np.random.default_rng([seed, *kind.encode()])
    cases = [
        (name, what, content)
        for name, before in files.items()
        if before
        for what, content in damages(name, before, others.get(name), rng, 4 if EVERYTHING else 1)
    ]
    if not EVERYTHING:
        cases = [cases[n] for n in rng.permutation(len(cases))[:12]]
    for name, what, content in cases:
        undo = put_one(tmp_path / "run", name, content)
        crafted = name == "run.json" and " is " in what
        try:
            found = lies(tmp_path / "run", truth, of_values=not crafted)
        except Exception as error:
            raise AssertionError(f"{name}, {what}: {type(error).__name__}: {error}") from error
        assert [] == found, f"{name}, {what}"
        undo()
