"""What `steps.py` measured: kept as JSON, from which table and picture can be made again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np

CLOCKS = ("wall", "processor")


class Figure(NamedTuple):
    """A median, and how far the figures lie apart: half the width of their middle half."""

    median: float
    spread: float


@dataclass
class Results:
    """Slices in turn: the n-th of each peer belong together."""

    about: dict[str, Any]
    """Where, when and how it was measured."""

    clock: str = "wall"
    """Which of two clocks the figures are taken from: "wall", or "processor", which counts all
    threads and no waiting.
    """

    slices: dict[str, dict[str, dict[str, list[float]]]] = field(
        default_factory=lambda: {clock: {} for clock in CLOCKS}
    )
    """Microseconds a step, by clock, workload and peer: one figure for each round."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many steps a slice has, by workload and peer."""

    left_out: dict[str, dict[str, str]] = field(default_factory=dict)
    """Why a peer was not measured, by workload and peer."""

    @property
    def workloads(self) -> list[str]:
        """The workloads that were measured."""
        return list(self.slices["wall"])

    def step(self, workload: str, peer: str) -> Figure | None:
        """Microseconds a step: the median over the rounds."""
        result = self.slices[self.clock][workload].get(peer)
        return None if result is None else _summary(result)

    def ratio(self, workload: str, above: str, below: str) -> Figure | None:
        """The median of the rounds' own ratios of two peers."""
        result = self.slices[self.clock][workload]
        return _ratio(result.get(above), result.get(below))

    def waiting(self, workload: str, peer: str) -> Figure | None:
        """Wall-clock / processor time: 1 if nobody else used the core, less if a thread helped."""
        return _ratio(*(self.slices[clock][workload].get(peer) for clock in CLOCKS))

    def save(self, path: Path) -> None:
        """Write everything into a file."""
        path.write_text(machine.as_json(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def _ratio(above: list[float] | None, below: list[float] | None) -> Figure | None:
    if above is None or below is None:
        return None
    return _summary([a / b for a, b in zip(above, below, strict=True)])


def _summary(figures: list[float]) -> Figure:
    low, middle, high = np.percentile(figures, [25, 50, 75])
    return Figure(float(middle), float(high - low) / 2)
