"""How long a training step takes, beside what it is compared with: side by side, in turns, in one process.

    python benchmarks/steps.py                # S, M, L and A, one BLAS thread, OpenBLAS's own kernels
    python benchmarks/steps.py --workloads S --rounds 30 --write docs/benchmarks.md

Each round gives every peer a slice of about equal length, in turn; so a neighbour's load falls on all of them. The
figures are the medians over the rounds, and the ratios the medians of the rounds' own ratios, with the range of the
middle half.
"""

from __future__ import annotations

import os

os.environ.pop("OPENBLAS_CORETYPE", None)  # before NumPy: OpenBLAS's own choice of kernels
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gc
import platform
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from peers import PEERS
from workloads import WORKLOADS, Workload

import minigrad as mg


def measure(workload: Workload, names: list[str], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Microseconds a step of each peer, for each round."""
    peers = {name: PEERS[name](workload) for name in names}
    counts = {}
    for name, steps in peers.items():
        steps(20)
        start = time.perf_counter()
        steps(20)
        counts[name] = max(5, int(seconds * 20 / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, steps in peers.items():
            gc.collect()
            start = time.perf_counter()
            steps(counts[name])
            times[name].append((time.perf_counter() - start) / counts[name] * 1e6)
    return times


def ratio(a: list[float], b: list[float]) -> str:
    """The median of the rounds' own ratios a / b, with the middle half of them."""
    low, middle, high = np.percentile(np.array(a) / np.array(b), [25, 50, 75])
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


def table(results: dict[str, dict[str, list[float]]]) -> str:
    """The results as Markdown."""
    columns = list(results)
    lines = ["| microseconds a step | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for name in next(iter(results.values())):
        lines.append(f"| {name} | " + " | ".join(f"{np.median(times[name]):,.1f}" for times in results.values()) + " |")
    comparisons = [("minigrad", "bare products"), ("classes that allocate", "minigrad")]
    comparisons += [(name, "minigrad") for name in PEERS if name.startswith("minigrad, ")]
    lines += ["", "| ratio, median (middle half) | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for a, b in comparisons:
        if all(a in times and b in times for times in results.values()):
            lines.append(f"| {a} / {b} | " + " | ".join(ratio(t[a], t[b]) for t in results.values()) + " |")
    return "\n".join(lines)


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown processor")


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description="How long a training step takes.")
    parser.add_argument("--workloads", nargs="+", choices=sorted(WORKLOADS), default=["S", "M", "L", "A"])
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.15, help="the length of a slice")
    parser.add_argument("--write", type=Path, help="write the table into this Markdown file")
    options = parser.parse_args()
    results = {
        name: measure(WORKLOADS[name], options.peers, options.rounds, options.seconds) for name in options.workloads
    }
    told = (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor()}, one process, {os.environ['OPENBLAS_NUM_THREADS']} BLAS thread, "
        f"Python {platform.python_version()}, NumPy {np.__version__}, minigrad {mg.__version__}, "
        f"{options.rounds} rounds: `python benchmarks/{' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])}`"
    )
    text = f"{table(results)}\n\n{told}\n"
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
