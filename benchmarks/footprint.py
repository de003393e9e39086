"""Time to wait and memory: import, the first epoch, and the peak of a training, in new processes.

    python benchmarks/footprint.py
    python benchmarks/footprint.py --rounds 15 --write docs/benchmarks
    python benchmarks/footprint.py --from docs/benchmarks/footprint.json --write docs/benchmarks

Each case is a command, timed from outside from its start to its end: Python itself is in it. Rounds
run every case in turn, so that a neighbour's load falls on all of them; the first round is not
counted, because it fills caches. Processor time is that of the child alone, user and system. This
process imports no NumPy: a child's peak can never be less than its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import machine
import targets
from peers import PEERS

IMPORTS = {
    "Python alone": "pass",
    "NumPy": "import numpy",
    "minigrad": "import minigrad",
    "scikit-learn's MLPClassifier": "import sklearn.neural_network",
    "PyTorch": "import torch",
    "JAX": "import jax.numpy",
}
TRAINED = ("plain", "minigrad", "fit", "sklearn", "torch", "jax")
TRAININGS = {"first epoch of S": ("S", 200), "epoch of L": ("L", 78)}
MAKE_DATA = """
import sys
import numpy as np
from workloads import WORKLOADS, make_data
for name in ("S", "L"):
    for kind, array in zip("xy", make_data(WORKLOADS[name]), strict=True):
        np.save(f"{sys.argv[1]}/{name}-{kind}.npy", array)
"""

Measured = dict[str, list[float]]
"""Of each round: "wall" and "processor" in milliseconds, "peak" in megabytes."""


def run(command: list[str], env: Mapping[str, str]) -> dict[str, float]:
    """Run a command, and say what it took."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "wall": round(wall * 1e3, 2),
        "processor": round((used.ru_utime + used.ru_stime) * 1e3, 2),
        "peak": round(used.ru_maxrss * unit / 1e6, 2),
    }


def commands(directory: Path) -> dict[str, list[str]]:
    """The cases whose packages are installed."""
    result = {}
    for name, code in IMPORTS.items():
        package = code.removeprefix("import ").split(".")[0]
        if package == "pass" or find_spec(package):
            result[f"import: {name}"] = [sys.executable, "-c", code]
    for title, (workload, steps) in TRAININGS.items():
        for peer in TRAINED:
            if not PEERS[peer].left_out:
                once = [
                    sys.executable,
                    str(machine.HERE / "once.py"),
                    peer,
                    workload,
                    str(steps),
                    str(directory),
                ]
                result[f"{title}: {PEERS[peer].label}"] = once
    return result


def measure(rounds: int) -> dict[str, Measured]:
    """All cases, in turn."""
    env = machine.environment()
    measured: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(prefix="minigrad-benchmark-") as name:
        directory = Path(name)
        if env.pop("PYTHONDONTWRITEBYTECODE", ""):  # or each import would compile anew
            env["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")
        subprocess.run(
            [sys.executable, "-c", MAKE_DATA, name],
            env=env | {"PYTHONPATH": _with_here(env)},
            check=True,
        )
        cases = commands(directory)
        for round_ in range(-1, rounds):
            turns = list(cases) if round_ % 2 else list(reversed(cases))
            for case in turns:
                for what, figure in run(cases[case], env).items():
                    measured.setdefault(case, {}).setdefault(what, []).append(figure)
    return {case: {what: figures[1:] for what, figures in measured[case].items()} for case in cases}


def _with_here(env: Mapping[str, str]) -> str:
    return os.pathsep.join(filter(None, (str(machine.HERE), env.get("PYTHONPATH"))))


# -- tables --------------------------------------------------------------------------------------


PAGE = """{targets}

### Imports

{imports}

### From the shell to the end of S's first epoch

200 steps. In it: Python's start, the imports, reading 10,000 images as float32 (31 MB) and their
labels from `.npy` files, which are in the system's cache, building the network, compiling where
something compiles, and the training. Not in it: making the files.

{first}

### An epoch of L

78 steps, with 9,984 images (full batches of 128), and the same things in it. The peak is that of
the whole process, the 31 MB of images included.

{epoch}

### How this was measured

{how}
{rounds} rounds; medians, for what is above NumPy's of the rounds' own differences. ± is half the
width of the middle half. A peak below that of the process that measures, some 20 MB, cannot be
seen.
"""


def page(about: dict[str, Any], measured: dict[str, Measured]) -> str:
    """The results as Markdown."""
    numpy = measured["import: NumPy"]
    above = _above(measured["import: minigrad"], numpy)
    wall, used = above["wall"], above["processor"]
    epoch = (
        statistics.median(measured[f"first epoch of S: {PEERS['minigrad'].label}"]["wall"]) / 1e3
    )
    peak = statistics.median(measured[f"epoch of L: {PEERS['minigrad'].label}"]["peak"])
    what = [
        (
            "`import minigrad` above `import numpy`",
            f"{wall:.1f} ms, {used:.1f} ms of processor time",
            wall,
            targets.IMPORT_MS,
            "ms",
        ),
        (
            "from the shell to the end of S's first epoch",
            f"{epoch:.2f} s",
            epoch,
            targets.FIRST_EPOCH_S,
            "s",
        ),
        ("peak resident memory when L is trained", f"{peak:.0f} MB", peak, targets.PEAK_MB, "MB"),
    ]
    lines = ["| minigrad | measured | target |", "| --- | ---: | --- |"]
    lines += [
        f"| {label} | {shown} | {_mark(result, wanted, unit)} |"
        for label, shown, result, wanted, unit in what
    ]
    return PAGE.format(
        targets="\n".join(lines),
        imports=_table("import: ", measured),
        first=_table("first epoch of S: ", measured),
        epoch=_table("epoch of L: ", measured),
        how=machine.described(about),
        rounds=about["rounds"],
    )


def _above(case: Measured, floor: Measured) -> dict[str, float]:
    return {
        what: statistics.median(a - b for a, b in zip(case[what], floor[what], strict=True))
        for what in case
    }


def _mark(result: float, wanted: float, unit: str) -> str:
    return f"{'✓' if result <= wanted else '✗ missed'} ≤ {wanted} {unit}"


def _table(prefix: str, measured: dict[str, Measured]) -> str:
    lines = ["| | wall, ms | processor, ms | peak, MB |", "| --- | ---: | ---: | ---: |"]
    for case, figures in measured.items():
        if case.startswith(prefix):
            cells = [
                _spread(figures["wall"]),
                _spread(figures["processor"]),
                f"{statistics.median(figures['peak']):.0f}",
            ]
            lines.append(f"| {case.removeprefix(prefix)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(figures: list[float]) -> str:
    low, middle, high = statistics.quantiles(figures, n=4, method="inclusive")
    digits = 1 if middle < 100 else 0
    return f"{middle:,.{digits}f} ± {(high - low) / 2:,.{digits}f}"


def main() -> None:
    """Measure, or read what was measured; print, and write if asked."""
    parser = argparse.ArgumentParser(description="What imports, first epochs and trainings take.")
    parser.add_argument("--rounds", type=int, default=9, help="2 at least")
    parser.add_argument(
        "--from", dest="source", type=Path, help="measure nothing; take this footprint.json"
    )
    parser.add_argument("--write", type=Path, help="write table and raw data into this directory")
    options = parser.parse_args()
    if options.source:
        raw = json.loads(options.source.read_text(encoding="utf-8"))
    else:
        if not hasattr(os, "wait4"):
            parser.error(
                "this system does not tell what a child has used (os.wait4): run it on Linux or "
                "macOS"
            )
        machine.pin(1)
        about = {**machine.about(machine.environment(), pinned=True), "rounds": options.rounds}
        raw = {"about": about, "measured": measure(options.rounds)}
    text = page(raw["about"], raw["measured"])
    print(text)
    if options.write:
        options.write.mkdir(parents=True, exist_ok=True)
        (options.write / "footprint.json").write_text(machine.as_json(raw), encoding="utf-8")
        (options.write / "footprint.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
