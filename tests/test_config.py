"""`show_config`: what this machine computes with, and what would make it faster."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.config import config

THREADS = ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*THREADS, "OPENBLAS_CORETYPE"]:
        monkeypatch.delenv(name, raising=False)


def test_it_prints_the_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """What one pastes into an issue: versions, system, cores, vectors, BLAS."""
    mg.show_config()
    printed = capsys.readouterr().out
    try:
        version = metadata.version("minigrad")
    except metadata.PackageNotFoundError:
        version = "not installed"
    for part in (version, np.__version__, platform.python_version(), platform.machine(), "cores", "BLAS"):
        assert part in printed
    assert "nothing that concerns BLAS" in printed
    assert printed == config() + "\n"
    assert all(line[:10].strip() and line[9] == " " for line in printed.splitlines())


@pytest.mark.parametrize("name", THREADS)
def test_threads_are_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that limits the threads is shown, and too many of them are warned of."""
    monkeypatch.setenv(name, "1")
    assert f"{name}=1" in config()
    monkeypatch.setenv(name, "4096")
    assert "4096 threads share" in config()


def test_kernels_that_somebody_chose_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """`OPENBLAS_CORETYPE` overrides OpenBLAS's own choice; the advice is to unset it."""
    assert "OPENBLAS_CORETYPE" not in config()
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "env -u OPENBLAS_CORETYPE" in config()


@pytest.mark.parametrize("value", ["", "many", "-1"])
def test_strange_settings_do_no_harm(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is no number is shown as it is."""
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert config()


def test_kernels_and_threads_are_those_of_the_blas_that_is_loaded() -> None:
    """A process that is told which kernels and how many threads to use says so; where it cannot be found out, that."""
    said = re.search(r"^kernels   (.*)$", config(), re.MULTILINE)
    assert said is not None
    if said[1] == "not known":
        pytest.skip("this NumPy does not bring its own OpenBLAS")
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(mg.__file__).parent.parent)}
    command = [sys.executable, "-c", "import minigrad; minigrad.show_config()"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert re.search(r"^kernels   \w+, 1 thread$", told, re.MULTILINE)


def test_where_there_is_no_openblas_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """NumPy from another source has another BLAS, of which nothing is known."""
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    assert "kernels   not known" in config()
