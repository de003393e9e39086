"""The memory of a recorded training, and whether its steps stay as fast, over many steps.

    python benchmarks/memory.py                        # 100,000 steps, in memory and on disk, with
    budgets python benchmarks/memory.py --steps 1000000
    python benchmarks/memory.py --map 4                # instead: fit on a memory map of 4 GB

Each training runs in a process of its own. It prints the resident memory above that of the same
training without a recorder, what `estimate` announced, and the time of a step in the first and in
the last tenth.
"""

from __future__ import annotations

import os

os.environ.pop("OPENBLAS_CORETYPE", None)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from workloads import WORKLOADS, make_data

import minigrad as mg

CASES: dict[str, dict[str, Any] | None] = {
    "without a recorder": None,
    "counts alone": {"keep": ()},
    "in memory, 50 MB, thinned": {"budget": "50MB"},
    "in memory, 50 MB, ring": {"budget": "50MB", "on_full": "ring"},
    "in memory, 50 MB, stop": {"budget": "50MB", "on_full": "stop"},
    "on disk, 200 MB, thinned": {"budget": "200MB", "path": "run"},
}


def resident() -> int:
    """The bytes of memory that this process has now.

    Where the system does not tell, the most that it ever had.
    """
    try:
        return (
            int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
            * resource.getpagesize()
        )
    except OSError:
        return peak()


def peak() -> int:
    """The most bytes of memory that this process ever had."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def train(case: str, steps: int, directory: Path) -> dict[str, Any]:
    """Microseconds per step in each tenth of a training, and resident bytes around each."""
    workload = WORKLOADS["S"]
    x, y = make_data(workload, 2_000)
    layers: list[mg.Layer] = []
    for n_in, n_out in zip(workload.sizes, workload.sizes[1:], strict=False):
        layers += [mg.Dense(n_in, n_out, rng=0), mg.Activation(workload.activation)]
    model, loss = mg.Sequential(*layers[:-1]), mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, lr=workload.lr)
    data = mg.Batches(x, y, workload.batch_size, drop_last=True, rng=3)
    settings = CASES[case]
    recorder = None
    announced = 0
    if settings is not None:
        if "path" in settings:
            settings = {**settings, "path": directory / "run"}
        recorder = mg.Recorder(optimizer, loss=loss, data=data, **settings)
        announced = recorder.estimate(steps).bytes
        recorder.start()
    done, memory, marks = 0, [resident()], [time.perf_counter()]
    while done < steps:
        for inputs, labels in data:
            loss.forward(model(inputs), labels)
            model.backward(loss.backward())
            optimizer.step()
            done += 1
            if done % (steps // 10) == 0:
                marks.append(time.perf_counter())
                memory.append(resident())
    if recorder is not None:
        recorder.stop()
    tenths = (np.diff(marks[:11]) / (steps // 10) * 1e6).tolist()
    return {"peak": peak(), "announced": announced, "tenths": tenths, "resident": memory[:11]}


def fit_on_map(gigabytes: float, directory: Path) -> None:
    """Train for an epoch on more bytes than the process may take, and say what it took."""
    samples = int(gigabytes * 1e9) // 784
    path = directory / "images.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (samples, 784)).flush()
    images, labels = np.load(path, mmap_mode="r"), (np.arange(samples) % 10).astype(np.uint8)
    model = mg.Sequential(mg.Dense(784, 10, rng=0))
    data = mg.Batches(images, labels, 1000, scale=1 / 255, rng=1)
    before, began = peak(), time.perf_counter()
    mg.fit(
        model,
        mg.SoftmaxCrossEntropy(),
        mg.SGD(model, lr=0.01),
        data,
        epochs=1,
        validation_data=data,
        progress=True,
    )
    seconds = time.perf_counter() - began
    print(
        f"a map of {images.nbytes / 1e9:.1f} GB, {samples:,} samples, trained on and validated "
        f"with in {seconds:.0f} s: at most {peak() / 1e6:,.0f} MB resident, {before / 1e6:,.0f} MB "
        f"before"
    )


def main() -> None:
    """Run each case in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description="How much memory a recorded training takes.")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument(
        "--case",
        choices=list(CASES),
        help="run one in this process, and print what it took as JSON",
    )
    parser.add_argument(
        "--map", type=float, metavar="GB", help="fit on a memory map of so many gigabytes instead"
    )
    options = parser.parse_args()
    if options.case or options.map:
        directory = Path(tempfile.mkdtemp(prefix="minigrad-benchmark-"))
        try:
            if options.map:
                fit_on_map(options.map, directory)
            else:
                print(json.dumps(train(options.case, options.steps, directory)))
        finally:
            shutil.rmtree(directory)
        return
    print(f"{options.steps:,} steps of the story's network (784-10-10, batches of 50)\n")
    print(
        "| | MB above no recorder | MB announced | us a step, first tenth | last tenth "
        "|\n|---|---:|---:|---:|---:|"
    )
    plain = 0
    for case in CASES:
        command = [sys.executable, __file__, "--steps", str(options.steps), "--case", case]
        result = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout
        )
        plain = plain or result["peak"]
        peak, announced, tenths = result["peak"], result["announced"], result["tenths"]
        print(
            f"| {case} | {(peak - plain) / 1e6:,.0f} | {announced / 1e6:,.0f} | "
            f"{tenths[0]:,.0f} | {tenths[-1]:,.0f} |"
        )


if __name__ == "__main__":
    main()
