"""How time and memory grow with the steps, the batch, the depth, and the number of parameters.

    python benchmarks/growth.py                                    # about a quarter of an hour;
    needs matplotlib python benchmarks/growth.py --steps 20000 --parameters 1000000 # a minute, to
    try it python benchmarks/growth.py --draw                             # tables and pictures
    again, from growth.json

It writes growth.md, growth.json, growth-light.svg and growth-dark.svg into docs/benchmarks. Each
training runs in a process of its own, with one BLAS thread and OpenBLAS's own kernels.
"""

from __future__ import annotations

import os

os.environ.pop("OPENBLAS_CORETYPE", None)  # before NumPy: OpenBLAS's own choice of kernels
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from growth_tables import draw, tables
from machine import processor
from memory import peak, resident, train

import minigrad as mg

OUTPUT = Path(__file__).parent.parent / "docs" / "benchmarks"
STEPS = [
    "without a recorder",
    "counts alone",
    "in memory, 50 MB, thinned",
    "on disk, 200 MB, thinned",
]  # of memory.py
BATCHES = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096]
DEPTHS = [1, 2, 4, 8, 16, 32, 64]
LAYERS = [10, 100, 1000]
LARGE: dict[
    str, tuple[float, dict[str, Any] | None]
] = {  # beside the momentum: what a Recorder is given, if there is one
    "SGD": (0.0, None),
    "SGD with momentum": (0.9, None),
    "SGD, two updates recorded": (
        0.0,
        {"aggregates": False, "keyframe_every": 1, "on_full": "stop"},
    ),
    "SGD, counts recorded": (0.0, {"keep": ()}),
}


class Listener(mg.Hook):
    """Is told, and does nothing."""

    def on_forward(self, event: mg.Forward) -> None:
        pass

    def on_backward(self, event: mg.Backward) -> None:
        pass


def chain(layers: int, width: int) -> mg.Sequential:
    """So many hidden layers with their activations, and an output of ten."""
    rng = np.random.default_rng(0)
    hidden: list[mg.Layer] = []
    for _ in range(layers):
        hidden += [mg.Dense(width, width, rng=rng), mg.Activation("relu")]
    return mg.Sequential(*hidden, mg.Dense(width, 10, rng=rng))


def stepper(model: mg.Sequential, width: int, batch: int) -> tuple[Callable[[int], None], mg.SGD]:
    """Makes so many steps on one batch; and its optimizer."""
    rng = np.random.default_rng(1)
    x: npt.NDArray[np.float32] = rng.random((batch, width), dtype=np.float32)
    y = rng.integers(0, 10, batch)
    loss, optimizer = mg.SoftmaxCrossEntropy(), mg.SGD(model, lr=1e-6)

    def steps(count: int) -> None:
        for _ in range(count):
            loss.forward(model(x), y)
            model.backward(loss.backward())
            optimizer.step()

    return steps, optimizer


def in_turns(
    cases: dict[str, Callable[[int], None]], rounds: int, seconds: float
) -> dict[str, float]:
    """Median microseconds per step of each case; all cases have a slice of time in each round."""
    counts, times = {}, dict[str, list[float]]()
    for name, steps in cases.items():
        steps(1)
        start = time.perf_counter()
        steps(1)
        counts[name] = max(1, int(seconds / (time.perf_counter() - start)))
    for _ in range(rounds):
        for name, steps in cases.items():
            start = time.perf_counter()
            steps(counts[name])
            times.setdefault(name, []).append((time.perf_counter() - start) / counts[name] * 1e6)
    return {name: statistics.median(measured) for name, measured in times.items()}


def batch_and_depth(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds a step against the batch size, and against the depth for two widths."""
    by_batch = {str(batch): stepper(chain(2, 256), 256, batch)[0] for batch in BATCHES}
    result = {"batch": in_turns(by_batch, rounds, 0.1)}
    for width in (64, 256):
        by_depth = {str(depth): stepper(chain(depth, width), width, 64)[0] for depth in DEPTHS}
        result[f"depth {width}"] = in_turns(by_depth, rounds, 0.1)
    return result


def many_layers(rounds: int) -> dict[str, dict[str, float]]:
    """Microseconds per layer of chains: to build, to step, with a hook, with counts."""
    chain(2, 64)  # what is imported at first use
    building, cases = dict[str, float](), dict[str, Callable[[int], None]]()
    for layers in LAYERS:
        times = []
        for _ in range(5):
            start = time.perf_counter()
            chain(layers, 64)
            times.append(time.perf_counter() - start)
        building[str(layers)] = (
            min(times) / layers * 1e6
        )  # at the first times the system hands memory out
        models = [chain(layers, 64) for _ in range(3)]
        plain, hooked, recorded = (stepper(model, 64, 64) for model in models)
        models[1].attach(Listener())
        mg.Recorder(recorded[1], keep=()).start()
        cases |= {
            f"plain {layers}": plain[0],
            f"hooked {layers}": hooked[0],
            f"recorded {layers}": recorded[0],
        }
    medians = in_turns(cases, rounds, 0.1)
    result = {
        kind: {str(n): medians[f"{kind} {n}"] / n for n in LAYERS}
        for kind in ("plain", "hooked", "recorded")
    }
    return {"building": building, **result}


def large(case: str, parameters: int) -> dict[str, Any]:
    """Resident bytes after each stage: building a network n-n/2-n, and three steps."""
    momentum, settings = LARGE[case]
    width = round(parameters**0.5)
    stages: dict[str, int] = {}
    seconds = []
    x = np.ones((8, width), np.float32)
    mg.SGD(mg.Sequential(mg.Dense(2, 2, rng=0)), lr=0.1)  # imports
    before = resident()
    model = mg.Sequential(
        mg.Dense(width, width // 2, rng=0),
        mg.Activation("relu"),
        mg.Dense(width // 2, width, rng=1),
    )
    stages["built"] = resident() - before
    optimizer = mg.SGD(model, lr=1e-3, momentum=momentum)
    size = mg.ParameterVector.of(model).values.nbytes
    if settings is not None:
        mg.Recorder(optimizer, budget=4 * size, **settings).start()
    for step in range(3):
        start = time.perf_counter()
        model.backward(model(x))
        optimizer.step()
        seconds.append(time.perf_counter() - start)
        stages[f"step {step}"] = resident() - before
    entries = mg.ParameterVector.of(model).values.size
    return {
        "bytes": size,
        "entries": entries,
        "stages": stages,
        "peak": peak() - before,
        "seconds": min(seconds),
    }


def child(part: str, case: str, options: argparse.Namespace) -> dict[str, Any]:
    """One part of it, in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--case", case]
    for name in ("steps", "parameters", "rounds"):
        command += [f"--{name}", str(getattr(options, name))]
    print(f"{part} {case}".strip(), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The part of it that was asked for."""
    if options.part == "steps":
        with tempfile.TemporaryDirectory(prefix="minigrad-benchmark-") as directory:
            return train(options.case, options.steps, Path(directory))
    if options.part == "large":
        return large(options.case, options.parameters)
    return (
        batch_and_depth(options.rounds) if options.part == "lines" else many_layers(options.rounds)
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All parts, and where, when and how they were measured."""
    about = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": processor(),
        "threads": os.environ["OPENBLAS_NUM_THREADS"],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "minigrad": mg.__version__,
        "command": " ".join(["python benchmarks/growth.py", *sys.argv[1:]]),
    }
    return {
        "about": about,
        "lines": child("lines", "", options),
        "layers": child("layers", "", options),
        "large": {case: child("large", case, options) for case in LARGE},
        "count": options.steps,
        "steps": {case: child("steps", case, options) for case in STEPS},
    }


def main() -> None:
    """Measure, and write tables, raw figures and pictures."""
    parser = argparse.ArgumentParser(description="How time and memory grow.")
    parser.add_argument(
        "--steps", type=int, default=1_000_000, help="how many steps of the small network"
    )
    parser.add_argument(
        "--parameters", type=int, default=100_000_000, help="how many parameters the large one has"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="where to write")
    parser.add_argument(
        "--draw", action="store_true", help="measure nothing; tables and pictures from growth.json"
    )
    parser.add_argument(
        "--part", choices=["steps", "large", "lines", "layers"], help=argparse.SUPPRESS
    )
    parser.add_argument("--case", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        print(json.dumps(run(options)))
        return
    raw = options.output / "growth.json"
    if not options.draw:
        options.output.mkdir(exist_ok=True)
        result = measure(options)
        raw.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    result = json.loads(raw.read_text(encoding="utf-8"))
    (options.output / "growth.md").write_text(tables(result), encoding="utf-8")
    draw(result, options.output)


if __name__ == "__main__":
    main()
