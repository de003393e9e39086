"""A process that saves checkpoints in children of its own, and kills them: at random moments, and
at each that there is.

It is a program of its own, so that it forks from a warm process without threads. Its arguments: a
directory, how many children to kill at random, and how many of the other moments to leave out.

Random child number n trains and saves to `random/n/x.npz` after each step. In `random/n.values` it
notes the CRC-32 of the values before each save, in `random/n.done` one byte after each. Exact child
number n has the checkpoint `a.npz` at `exact/n/x.npz`, and is killed at the n-th of all that it
asks the system for while it puts `b.npz` there.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import struct
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from checkpoint_support import PLAIN, Training
from child_support import busy, forked, wait_for

import minigrad as mg


def trained(seed: int, steps: int) -> Training:
    """A training with a history so large that writing it takes longer than a step."""
    training = Training(PLAIN, seed)
    training.history["padding"] = np.arange(20_000.0)  # type: ignore[assignment]
    return training.made(steps)


def crc(training: Training) -> int:
    """The CRC-32 of the live values."""
    return zlib.crc32(mg.ParameterVector.of(training.model).values.tobytes())


def save_for_ever(place: Path, number: int) -> None:
    """Train and save, until killed."""
    training = trained(number, 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    values, done = os.open(f"{place}.values", flags), os.open(f"{place}.done", flags)

    def pause() -> None:
        os.write(values, struct.pack("<I", crc(training)))
        mg.save(place / "x.npz", **training.parts)
        os.write(done, b"1")

    training.go(10**9, pause)


class Dying(io.FileIO):
    """A file whose writer is killed in the middle of a write, once all of its moments are used
    up.
    """

    left: int

    def write(self, data: Any, /) -> int:
        if Dying.left == 0:
            super().write(bytes(data)[: len(data) // 2])
        tick()
        return super().write(data)


def tick() -> None:
    """One moment more."""
    Dying.left -= 1
    if Dying.left < 0:
        os.kill(os.getpid(), signal.SIGKILL)


def around(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function with a moment before it and a moment after it."""

    def call(*arguments: Any, **settings: Any) -> Any:
        tick()
        found = function(*arguments, **settings)
        tick()
        return found

    return call


def save_until(moment: int, path: Path, training: Training) -> None:
    """Save, and be killed at this moment; or come to the end."""
    real: Any = io.open
    places: Any = io

    def opened(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
        if str(file).endswith(".part") and set(mode) & set("wa+"):
            tick()
            return io.BufferedRandom(Dying(file, mode.replace("b", "")), 4096)
        return real(file, mode, *rest, **more)

    Dying.left = moment
    places.open = opened
    os.fsync = around(os.fsync)
    type.__setattr__(Path, "replace", around(Path.replace))
    mg.save(path, **training.parts)
    os._exit(0)


def kill_at_random(directory: Path, children: int) -> None:
    """Kill children while others keep the processors busy."""
    rng = np.random.default_rng()
    load = forked(busy)
    try:
        for number in range(children):
            place = directory / str(number)
            place.mkdir(parents=True)
            process = forked(save_for_ever, place, number)
            wait_for(
                Path(f"{place}.values"), 4 * int(rng.integers(0, (3, 6, 12)[number % 3])), process
            )
            time.sleep(float(rng.random()) * 0.008)
            os.kill(process, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if status != -signal.SIGKILL:
                raise SystemExit(f"child {number} ended by itself: {status}")
    finally:
        os.kill(load, signal.SIGKILL)
        os.waitpid(load, 0)


def kill_at_each(directory: Path, stride: int) -> None:
    """Kill a child at each moment of a save, or at some."""
    old, new = trained(1, 2), trained(1, 4)
    directory.mkdir()
    mg.save(directory / "a.npz", **old.parts)
    mg.save(directory / "b.npz", **new.parts)
    for moment in range(0, 10_000, stride):
        place = directory / str(moment)
        place.mkdir()
        shutil.copyfile(directory / "a.npz", place / "x.npz")
        process = forked(save_until, moment, place / "x.npz", new)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status == 0:
            return
        if status != -signal.SIGKILL:
            raise SystemExit(f"the child of moment {moment} ended by itself: {status}")


if __name__ == "__main__":
    kill_at_each(Path(sys.argv[1]) / "exact", int(sys.argv[3]))
    kill_at_random(Path(sys.argv[1]) / "random", int(sys.argv[2]))
