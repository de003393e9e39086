"""One process, one peer, one workload: `steps.py` starts it, and asks it for slices.

    python benchmarks/worker.py PEER WORKLOAD SECONDS CORES

It writes a line of JSON when it is ready, {"steps": n}, or says why it is not, {"left_out": "..."};
then for each line that it reads, it trains for n steps and writes {"wall": ..., "processor": ...},
the microseconds of one step by two clocks. It ends when there is nothing more to read. With CORES
above 0 it keeps to so many cores, the same as the other workers.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time

import machine
from peers import PEERS, Peer, Program
from workloads import WORKLOADS, Workload, make_data

WARM_SECONDS = 0.2


def timed(program: Program, count: int) -> tuple[float, float]:
    """Seconds for so many steps: wall-clock time, and processor time of all threads together."""
    program.prepare(count)
    gc.collect()
    settle()
    start, used = time.perf_counter(), time.process_time()
    program.steps(count)
    wall = time.perf_counter() - start
    settle()
    return wall, time.process_time() - used


def settle() -> None:
    """Wait until no other thread of this process works, so that it disturbs nobody's turn."""
    used = time.process_time()
    while True:
        time.sleep(0.005)
        before, used = used, time.process_time()
        if used - before < 0.0005:
            return


def ready(peer: Peer, workload: Workload, seconds: float) -> tuple[Program, int]:
    """The training, warm, and how many steps take about so many seconds."""
    program = peer.make(workload, *make_data(workload))
    program.prepare(program.unit)
    if peer.trains and not math.isfinite(loss := program.steps(program.unit)):
        raise ArithmeticError(f"the loss is {loss}")
    count, took = (
        program.unit,
        timed(program, program.unit)[0],
    )  # the first time may have compiled something
    while took < min(WARM_SECONDS, seconds):
        count *= 4
        took = timed(program, count)[0]
    return program, program.unit * max(1, round(seconds * count / took / program.unit))


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not get between the answers
    peer, workload = PEERS[sys.argv[1]], WORKLOADS[sys.argv[2]]
    if peer.left_out:
        print(json.dumps({"left_out": peer.left_out}), file=answers, flush=True)
        return
    if cores := int(sys.argv[4]):
        machine.pin(cores + peer.helpers)
    program, count = ready(peer, workload, float(sys.argv[3]))
    try:
        print(json.dumps({"steps": count}), file=answers, flush=True)
        for _ in sys.stdin:
            wall, processor = timed(program, count)
            message = {
                "wall": round(wall / count * 1e6, 2),
                "processor": round(processor / count * 1e6, 2),
            }
            print(json.dumps(message), file=answers, flush=True)
    finally:
        program.close()


if __name__ == "__main__":
    main()
