"""Where the time of a step goes: the parts of minigrad's own step, and what a recorder adds.

    python benchmarks/breakdown.py --write docs/benchmarks/breakdown.md

A clock is read at the beginning and the end of each part, which takes a tenth of a microsecond
itself. The figures are medians over the rounds, each of some hundred steps. What is inside of
another part is not counted there.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import machine

os.environ.update(machine.environment())  # before NumPy
os.environ.pop("OPENBLAS_CORETYPE", None)

import numpy as np
from peers.minigrad_loops import parts
from workloads import WORKLOADS, make_data

import minigrad as mg
from minigrad.recording.coactivity import Coactivity
from minigrad.recording.entry_counter import EntryCounter
from minigrad.recording.memory_store import MemoryStore
from minigrad.recording.out_of_band import OutOfBandWatch

STEPS = {"S": 400, "M": 100, "L": 15}


class Stopwatch:
    """Adds up the time of each part, without that of the parts inside of it."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._inside: list[float] = []
        self._undo: list[Callable[[], None]] = []

    def watch(self, owner: Any, method: str, part: str) -> None:
        """Count a method of an object or class as this part."""
        original = getattr(owner, method)
        own = method in vars(owner)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inside.append(0.0)
            start = perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                took = perf_counter() - start
                self.spent[part] += took - self._inside.pop()
                if self._inside:
                    self._inside[-1] += took

        setattr(owner, method, timed)
        self._undo.append(
            lambda: setattr(owner, method, original) if own else delattr(owner, method)
        )

    def release(self) -> None:
        """Take all watches away."""
        for undo in reversed(self._undo):
            undo()


def measure(name: str, rounds: int, recorded: dict[str, Any] | None) -> dict[str, float]:
    """Microseconds of each part of a step."""
    workload = WORKLOADS[name]
    model, loss, optimizer, data = parts(workload, *make_data(workload))
    watch = Stopwatch()
    for layer in model:
        kind = type(layer).__name__
        for method, part in (
            ("forward", "forward"),
            ("backward", "backward"),
            ("backward_parameters", "backward"),
        ):
            watch.watch(layer, method, f"{kind}, {part}")
    owner: Any
    for owner, method, part in (
        (model, "forward", "Sequential, forward"),
        (model, "backward", "Sequential, backward"),
        (loss, "forward", "loss, forward"),
        (loss, "backward", "loss, backward"),
        (optimizer, "compute", "optimizer, the update"),
        (optimizer, "step", "optimizer, the rest"),
    ):
        watch.watch(owner, method, part)
    if recorded is not None:
        recorder = mg.Recorder(optimizer, loss, data, **recorded)
        for owner, method, part in (
            (recorder, "before_step", "recorder, compare the values"),
            (recorder, "on_step", "recorder, the rest"),
            (OutOfBandWatch, "remember", "recorder, copy the values"),
            (EntryCounter, "add", "recorder, gather what happened"),
            (EntryCounter, "_count", "recorder, count it"),
            (Coactivity, "add", "recorder, inputs and units"),
            (MemoryStore, "keep", "recorder, what is kept of a step"),
            (MemoryStore, "add", "recorder, copy the row"),
        ):
            watch.watch(owner, method, part)
        recorder.start()

    def train(steps: int) -> None:
        while steps > 0:
            batches = iter(data)
            while steps > 0:
                start = perf_counter()
                batch = next(batches, None)
                if batch is None:
                    break
                watch.spent["batch"] += perf_counter() - start
                loss.forward(model.forward(batch[0]), batch[1])
                model.backward(loss.backward())
                optimizer.step()
                steps -= 1

    train(STEPS[name])
    result: list[dict[str, float]] = []
    for _ in range(rounds):
        watch.spent.clear()
        train(STEPS[name])
        result.append({part: seconds / STEPS[name] * 1e6 for part, seconds in watch.spent.items()})
    watch.release()
    return {part: float(np.median([times[part] for times in result])) for part in result[0]}


def table(results: dict[str, dict[str, float]]) -> str:
    """Markdown, with the sum below."""
    lines = ["| | " + " | ".join(results) + " |", "| --- |" + " ---: |" * len(results)]
    order = dict.fromkeys(part for times in results.values() for part in times)
    for part in sorted(order, key=lambda part: part.startswith("recorder")):
        lines.append(
            f"| {part} | "
            + " | ".join(f"{times.get(part, 0):,.1f}" for times in results.values())
            + " |"
        )
    lines.append(
        "| together | "
        + " | ".join(f"{sum(times.values()):,.1f}" for times in results.values())
        + " |"
    )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description="Where the time of a step goes.")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--write", type=Path, help="write the table into this file")
    options = parser.parse_args()
    machine.pin(2)  # as in steps.py: the second core is for the thread that gets memory ready
    results = {name: measure(name, options.rounds, {"budget": "100MB"}) for name in STEPS}
    text = f"{table(results)}\n\n{machine.described(machine.about(dict(os.environ), False))}"
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
