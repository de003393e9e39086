"""How long a matrix product takes with other settings of BLAS.

BLAS reads its settings once, when NumPy is loaded; so each is measured in a process of its own.
These take turns, a few products each, so that a busy machine is unjust to none of them.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from threading import Timer
from time import perf_counter
from typing import NamedTuple

import numpy as np

from minigrad.config.openblas import loaded

SIZE = 512
PRODUCTS = 3  # in each turn
TURNS = 16
PATIENCE = 20.0  # seconds, after which a process is given up


class Product(NamedTuple):
    """A product's time.

    Attributes:
        kernels: The kernels that OpenBLAS used.
        seconds: The time of the fastest one.
    """

    kernels: str
    seconds: float


def in_turn(*environments: Mapping[str, str]) -> list[Product | None]:
    """Measure a product of two matrices on one thread, in several environments.

    Returns:
        The fastest one of each; None where no process could be run, or it ended badly.
    """
    if not sys.executable or getattr(
        sys, "frozen", False
    ):  # Python inside another program, which would be started
        return [None for _ in environments]
    try:
        with ExitStack() as stack:
            processes = [stack.enter_context(_process(environment)) for environment in environments]
            kernels = [_answer(process) for process in processes]
            turns = [[_turn(process) for process in processes] for _ in range(TURNS)]
    except OSError:
        return [None for _ in environments]
    fastest = [min(times) for times in zip(*turns, strict=True)]
    return [
        Product(*pair) if math.isfinite(pair[1]) else None
        for pair in zip(kernels, fastest, strict=True)
    ]


@contextmanager
def _process(environment: Mapping[str, str]) -> Iterator[Popen[bytes]]:
    """A process that runs `main` with this environment; it finds the same modules as this one."""
    modules = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    environment = {**environment, "PYTHONPATH": modules, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
    process = Popen(command, env=environment, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, bufsize=0)
    alarm = Timer(PATIENCE, process.kill)
    alarm.start()
    try:
        with process:  # in the end its input is closed, so that it ends too
            yield process
    finally:
        alarm.cancel()


def _turn(process: Popen[bytes]) -> float:
    """The time that a process takes in its turn; infinite, if it has ended."""
    assert process.stdin is not None
    try:
        process.stdin.write(b"\n")
        return float(_answer(process))
    except (OSError, ValueError):
        return math.inf


def _answer(process: Popen[bytes]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


def main() -> None:
    """Be such a process: print the kernels in use, then for each line that comes in the time of the fastest product."""
    openblas = loaded()
    print(openblas.kernels if openblas else "not known", flush=True)
    matrix = np.ones((SIZE, SIZE), np.float32)
    out = matrix @ matrix
    for _ in sys.stdin:
        marks = [perf_counter()]
        for _ in range(PRODUCTS):
            matrix.dot(matrix, out)
            marks.append(perf_counter())
        print(np.diff(marks).min(), flush=True)
