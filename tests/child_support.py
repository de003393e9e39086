"""Children that are killed: how a test starts and forks them, keeps the machine busy, and waits for
the moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import minigrad as mg


def busy() -> None:
    """Keep a processor busy, until killed."""
    while True:
        np.random.default_rng(0).normal(size=(60, 60)) @ np.ones((60, 60))


def forked(work: Callable[..., None], *arguments: Any) -> int:
    """Do something in a child, and give its number."""
    process = os.fork()
    if process == 0:
        try:
            work(*arguments)
        finally:
            os._exit(1)
    return process


def wait_for(file: Path, size: int, process: int) -> None:
    """Wait until a file has at least this size: so a kill comes after some steps, however slow the
    machine is.
    """
    while not file.exists() or file.stat().st_size < size:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return
        time.sleep(0.0005)


def surroundings(program: Path) -> dict[str, str]:
    """The environment of a program of the tests: it finds minigrad and what tests share, and takes
    one thread.
    """
    paths = os.pathsep.join(
        map(str, (Path(mg.__file__).parent.parent, program.parent, Path(__file__).parent))
    )
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "PYTHONPATH": paths}
