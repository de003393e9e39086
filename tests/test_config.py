"""`show_config`: what this machine computes with, and what would make it faster."""

from __future__ import annotations

import platform
from importlib import metadata

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
