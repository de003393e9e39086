"""How long a training step takes, beside what it is compared with.

    python benchmarks/steps.py                               # all workloads and peers, one thread
    python benchmarks/steps.py --workloads S --rounds 30 --write docs/benchmarks
    python benchmarks/steps.py --from docs/benchmarks/steps.json --write docs/benchmarks

Each peer has a process of its own. Each round gives every peer a slice of about the same length, in
turn, while the others wait; so a neighbour's load falls on all of them. The figures are medians
over the rounds, and the ratios medians of the rounds' own ratios. A peer that is not installed is
left out, and the table says so. `--write` writes the table, the raw data and the picture: steps.md,
steps.json, steps-light.svg and steps-dark.svg.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import machine
import pictures
import tables
from peers import PEERS
from results import CLOCKS, Results
from workloads import WORKLOADS


class LeftOut(Exception):  # noqa: N818
    """A peer cannot be measured; the text says why."""


class Worker:
    """A process that trains one workload with one peer, and waits in between."""

    def __init__(
        self, peer: str, workload: str, options: argparse.Namespace, env: dict[str, str]
    ) -> None:
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        cores = 0 if options.unpinned else options.threads
        command = [
            sys.executable,
            str(machine.HERE / "worker.py"),
            peer,
            workload,
            str(options.seconds),
            str(cores),
        ]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=env,
            encoding="utf-8",
        )
        try:
            answer = self._answer()
            if "left_out" in answer:
                raise LeftOut(answer["left_out"])
        except BaseException:
            self.close()
            raise
        self.steps: int = answer["steps"]

    def slice(self) -> dict[str, float]:
        """Microseconds a step, now, by each clock."""
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            said = [
                line for line in self.errors.read().splitlines() if re.match(r"\w[\w.]*: ", line)
            ]
            raise LeftOut(f"it failed: {said[-1] if said else 'it said nothing'}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.process.wait()
        self.errors.close()


def measure(
    results: Results,
    workload: str,
    names: list[str],
    options: argparse.Namespace,
    env: dict[str, str],
) -> None:
    """Time all these peers on a workload, slices in turn."""
    workers: dict[str, Worker] = {}
    rounds: list[dict[str, dict[str, float]]] = []
    try:
        for name in names:
            try:
                workers[name] = Worker(name, workload, options, env)
            except LeftOut as why:
                results.left_out.setdefault(workload, {})[name] = str(why)
                say(f"{workload}: {PEERS[name].label} is left out: {why}")
        for round_ in range(-1, options.rounds):  # the first is not counted
            turns = (
                list(workers) if round_ % 2 else list(reversed(workers))
            )  # so that a drift falls on all alike
            rounds.append({name: workers[name].slice() for name in turns})
    finally:
        for worker in workers.values():
            worker.close()
    for clock, slices in results.slices.items():
        slices[workload] = {
            name: [result[name][clock] for result in rounds[1:]] for name in workers
        }
    results.counts[workload] = {name: worker.steps for name, worker in workers.items()}
    say(f"{workload}: measured {len(workers)} peers in {options.rounds} rounds")


def say(line: str) -> None:
    """A line for who waits: on stderr, so that stdout has the table alone."""
    print(line, file=sys.stderr, flush=True)


def write(results: Results, directory: Path) -> None:
    """Write the table, the raw data and, with matplotlib, the picture."""
    directory.mkdir(parents=True, exist_ok=True)
    results.save(directory / "steps.json")
    (directory / "steps.md").write_text(tables.page(results), encoding="utf-8")
    if find_spec("matplotlib"):
        pictures.draw(results, directory)
    else:
        say("matplotlib is not installed: no picture is drawn")


def main() -> None:
    """Measure, or read what was measured; print, and write if asked."""
    parser = argparse.ArgumentParser(description="How long a training step takes.")
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.2, help="the length of a slice")
    parser.add_argument("--threads", type=int, default=1, help="of each peer, on as many cores")
    parser.add_argument(
        "--clock", choices=CLOCKS, help="processor time hardly minds a busy machine; default: wall"
    )
    parser.add_argument("--unpinned", action="store_true", help="let the system choose the cores")
    parser.add_argument(
        "--keep-coretype", action="store_true", help="leave OPENBLAS_CORETYPE as it is set"
    )
    parser.add_argument(
        "--from", dest="source", type=Path, help="measure nothing; take this steps.json"
    )
    parser.add_argument(
        "--write", type=Path, help="write table, raw data and picture into this directory"
    )
    options = parser.parse_args()
    if options.source:
        results = Results.load(options.source)
    else:
        env = machine.environment(options.threads, options.keep_coretype)
        about = machine.about(env, not options.unpinned)
        results = Results({**about, "rounds": options.rounds, "seconds": options.seconds})
        for workload in options.workloads:
            names = [name for name in options.peers if workload in PEERS[name].workloads]
            measure(results, workload, names, options, env)
    results.clock = options.clock or results.clock
    print(tables.page(results))
    if options.write:
        write(results, options.write)


if __name__ == "__main__":
    main()
