"""The names of functions and initializers are types: editors complete them, checkers find typos."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import minigrad as mg
from minigrad import init
from minigrad.activations import FUNCTIONS, ActivationName

SNIPPET = """
import minigrad as mg

mg.Activation("sigmoid")
mg.Dense(2, 3, init="he_normal")
mg.Dense(2, 3, init=mg.init.uniform(-1, 1))
mg.MeanSquaredError(reduction="sum")
mg.Activation("sigmod")  # line 8
mg.Dense(2, 3, init="he_norml")  # line 9
mg.MeanSquaredError(reduction="summ")  # line 10
"""


def test_the_names_are_those_of_the_tables() -> None:
    """Each name in a type has an entry in its table, and each entry a name."""
    assert list(get_args(ActivationName)) == list(FUNCTIONS)
    assert list(get_args(init.InitName)) == list(init.BY_NAME)


@pytest.mark.slow
def test_a_type_checker_finds_misspelt_names(tmp_path: Path) -> None:
    """Mypy accepts the names that exist, and reports a name that does not on its line."""
    pytest.importorskip("mypy")
    file = tmp_path / "names.py"
    file.write_text(SNIPPET, "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path / 'cache'}", str(file)],
        env={**os.environ, "MYPYPATH": str(Path(mg.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,  # it finds errors, as it should
    )
    wrong = [line.split(":")[1] for line in done.stdout.splitlines() if " error: " in line]
    assert ["8", "9", "10"] == wrong, done.stdout + done.stderr
    assert "sigmod" in done.stdout
