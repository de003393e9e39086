"""A process that trains and records in children of its own, and kills them, for the tests of kills
and readers.

It is a program of its own, so that it forks from a warm process without threads. Its arguments: a
directory, how many children, and whether to let them finish. Child number n records into `n/run`,
and notes in `n/values` the CRC-32 of the live values after each step, before the recorder hears of
the step, and in `n/told` how many steps count for readers.
"""

from __future__ import annotations

import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from child_support import busy, forked, wait_for
from disk_support import ROW, Settings, Training

import minigrad as mg
from minigrad.recording import disk_store as disk
from minigrad.recording.disk_store import DiskStore

MODES: list[Settings] = [
    {},
    {"keyframe_every": 2},
    {"keyframe_every": 1},
    {"keyframe_every": 3, "budget": 30 * ROW},
    {"keyframe_every": 3, "budget": 30 * ROW, "on_full": "ring"},
    {"keyframe_every": 3, "budget": 60 * ROW, "on_full": "stop"},
    {"every": 3, "keyframe_every": 2},
    {"every": 3, "budget": 30 * ROW},
    {"keep": ("update", "grad"), "keyframe_every": 5},
    {"aggregates": False, "keyframe_every": 4},
    {"keep": ()},
]


class Teller(mg.Hook):
    """Notes the live values of each step, unbuffered."""

    def __init__(self, training: Training, file: int) -> None:
        self._training = training
        self._file = file

    def on_step(self, event: mg.Step) -> None:
        os.write(self._file, struct.pack("<I", self._training.crc))


def child(place: Path, number: int, steps: int, resume: bool = False) -> None:
    """Train and record, until the end or the kill."""
    place.mkdir(exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    values, told = os.open(place / "values", flags), os.open(place / "told", flags)
    kept: Any = DiskStore.flush

    def flush(store: DiskStore) -> None:
        kept(store)
        os.write(told, struct.pack("<I", len(np.load(place / "run" / "steps.npy", mmap_mode="r"))))

    settings: Any = disk
    settings._FLUSH_STEPS = (1, 4, 16, 256)[number % 4]  # noqa: SLF001
    settings._FLUSH_SECONDS = 0.005 * (1 + number % 3)  # noqa: SLF001
    type.__setattr__(DiskStore, "flush", flush)
    training = Training(seed=number)
    training.optimizer.attach(Teller(training, values))
    training.recorder(place / "run", **MODES[number % len(MODES)]).start()
    training.go(steps)
    os._exit(0)  # without stopping the recorder: as if it was killed here


def main(directory: Path, children: int, steps: int) -> None:
    """Start children and kill them, at moments of all kinds.

    Or with `steps`, let them make so many.
    """
    rng = np.random.default_rng()
    Training().go(3)  # warm
    load = forked(busy)
    try:
        for number in range(children):
            place = directory / str(number)
            process = forked(child, place, number, steps or 10**9)
            if not steps:
                wait_for(
                    place / "values", 4 * int(rng.integers(0, (3, 30, 120)[number % 3])), process
                )
                time.sleep(float(rng.random()) * 0.004)
                os.kill(process, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if status != (0 if steps else -signal.SIGKILL):
                raise SystemExit(f"child {number} ended by itself: {status}")
    finally:
        os.kill(load, signal.SIGKILL)
        os.waitpid(load, 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
