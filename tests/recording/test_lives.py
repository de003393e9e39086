"""A training that is killed at any moment, and gone on with, up to five times: the record says
nothing that is not true, and `UNKNOWN` where it cannot know.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow
from child_support import surroundings
from disk_support import EVERYTHING, flat_value

import minigrad as mg
from minigrad import Reason

PROGRAM = Path(__file__).parent / "life.py"
SETTINGS: list[dict[str, Any]] = [
    {},
    {"keep": [], "coactivation": True},
    {"keyframe_every": 8},
    {"keep": ["update", "grad"], "keyframe_every": 16},
    {"every": 3, "keyframe_every": 4},
    {"budget": 60_000, "keyframe_every": 16},
    {"budget": 60_000, "keyframe_every": 16, "on_full": "ring"},
]
COUNTED = re.compile(r"entries are counted up to step (\d+) of")
Flat = npt.NDArray[Any]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="it has no such timer")


@dataclass
class Lives:
    """What really happened in the steps of the record, entry by entry."""

    values: dict[int, bytes] = field(default_factory=dict)
    before: dict[int, bytes] = field(default_factory=dict)
    facts: dict[int, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, place: Path) -> Lives:
        """From the notes of all lives; a life goes on after the last step that was recorded."""
        lives, step, before = cls(), 0, b""
        for line in (place / "truth").read_text().splitlines():
            facts = json.loads(line)
            after = bytes.fromhex(facts["values"])
            if "first" in facts:
                step = facts["first"]
                for later in [one for one in lives.facts if one >= step]:
                    del lives.facts[later], lives.values[later], lives.before[later]
            else:
                lives.facts[step], lives.values[step] = facts, after
                lives.before[step] = before
                step += 1
            before = after
        return lives

    def total(self, what: str, steps: list[int]) -> Flat:
        """In how many of the steps something was not 0."""
        rows = np.array([self.facts[step][what] for step in steps], bool)
        counted: Flat = rows.sum(axis=0)
        return counted

    def moves(self, steps: list[int]) -> Flat:
        """In how many of the steps each entry's value changed."""
        changed = [
            np.frombuffer(self.values[step], np.float32)
            != np.frombuffer(self.before[step], np.float32)
            for step in steps
        ]
        counted: Flat = np.array(changed, bool).sum(axis=0)
        return counted


def untrue(run: mg.Run, lives: Lives) -> list[str]:
    """What the run says that is not true."""
    found = []
    for step in run.exact_steps.tolist():
        if flat_value(run, step).tobytes() != lives.values[step]:
            found.append(f"the values after step {step}")
    if not run.steps or run.counted_steps == 0:
        return found
    # Of a run that was cut off, entries are counted up to some step, and the run says which.
    up_to = [int(match[1]) for match in map(COUNTED.match, run.notes) if match]
    counted = [step for step in run.steps if step <= min([run.steps[-1], *up_to])]
    moves, updates = lives.moves(counted), lives.total("updates", counted)
    grads, inputs = lives.total("grads", counted), lives.total("inputs", counted)
    start = 0
    for name in run:
        history = run[name]
        part = slice(start, start + history.size)
        start += history.size
        shape = history.shape
        own = {"moves": moves[part].reshape(shape), "grads": grads[part].reshape(shape)}
        reasons = history.why.reasons
        certain = reasons != Reason.UNKNOWN
        moved = (reasons == Reason.MOVED) | (reasons == Reason.RETURNED)
        if (moved & (own["moves"] == 0)).any() or (certain & ~moved & (own["moves"] > 0)).any():
            found.append(f"{name}: what moved")
        swallowed = reasons == Reason.SWALLOWED
        if (swallowed & (updates[part].reshape(shape) == 0)).any():
            found.append(f"{name}: what was swallowed")
        zero = (reasons == Reason.UPDATE_ZERO) & (updates[part].reshape(shape) > 0)
        silent = certain & ~moved & ~swallowed & (reasons != Reason.UPDATE_ZERO)
        if zero.any() or (silent & (own["grads"] > 0)).any():
            found.append(f"{name}: whose gradient was 0")
        if name == "0.weight" and ((reasons == Reason.INPUT_ZERO).any(axis=1) & (inputs > 0)).any():
            found.append(f"{name}: whose input was 0")
        if (history.moves > own["moves"]).any():
            found.append(f"{name}: moves that were none")
    return found


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (seed, SETTINGS[seed % len(SETTINGS)])
        if seed == 1
        else slow(seed, SETTINGS[seed % len(SETTINGS)])
        for seed in range(200 if EVERYTHING else 8)
    ],
)
def test_after_every_life(seed: int, settings: dict[str, Any], tmp_path: Path) -> None:
    """Values, moves and reasons are true, and `verify()` finds nothing, after each of the lives."""
    chance = random.Random(seed)
    for life in range(chance.randint(2, 5)):
        seconds = 60 if chance.random() < 0.1 else 0.25 + chance.random() ** 2
        ended = subprocess.run(
            [
                *(sys.executable, "-W", "error", str(PROGRAM), str(tmp_path)),
                *(str(10 * seed + life), str(seconds), json.dumps(settings)),
            ],
            env=surroundings(PROGRAM),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "" == ended.stderr
        if (tmp_path / "run" / "run.json").exists():
            run = mg.Run.open(tmp_path / "run")
            lives = Lives.read(tmp_path) if (tmp_path / "truth").exists() else Lives()
            verification = run.verify()
            assert verification.mismatch is None, verification
            assert not verification.damaged
            assert [] == untrue(run, lives), (life, run.notes, run.gaps)
