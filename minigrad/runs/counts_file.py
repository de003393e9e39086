"""`aggregates.npz`: the counts of each entry, as bytes and back."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minigrad.errors import RunError
from minigrad.runs.activity import Activity
from minigrad.runs.counts import Counts

_FLAT = ("grads", "updates", "moves", "first_move", "last_move", "movement")


def packed(counts: Counts, values: npt.NDArray[Any], last_step: int, run_id: str) -> bytes:
    """The counts, the last step that they cover, and the values after it, as an `.npz` file."""
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(counts, name) for name in _FLAT}
    arrays["values"] = values
    facts: dict[str, Any] = {
        "run": run_id,
        "steps": counts.steps,
        "uncounted": counts.uncounted,
        "last_step": last_step,
        "frozen": counts.frozen,
        "unreached": counts.unreached,
        "unexplained": counts.unexplained,
        "samples": {name: activity.samples for name, activity in counts.activity.items()},
        "layouts": {name: activity.layout for name, activity in counts.activity.items()},
        "frozen_entries": list(counts.frozen_entries),
    }
    for number, entries in enumerate(counts.frozen_entries.values()):
        arrays[f"frozen/{number}"] = entries
    for number, activity in enumerate(counts.activity.values()):
        arrays[f"units/{number}"] = activity.units
        if activity.inputs is not None:
            arrays[f"inputs/{number}"] = activity.inputs
        if activity.together is not None:
            arrays[f"together/{number}"] = activity.together
    facts["arrays"] = sorted([*arrays, "about"])
    arrays["about"] = np.array(json.dumps(facts))
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type] # its stubs take the names for other arguments
    return file.getvalue()


def unpacked(path: Path) -> tuple[Counts, npt.NDArray[Any], int]:
    """The counts in a file, the values that they belong to, and the last step that they cover."""
    # Not np.load(path): it leaves the file open if it is damaged.
    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
        facts: Mapping[str, Any] = json.loads(str(arrays["about"]))
        if sorted(arrays) != facts["arrays"]:
            raise RunError("its arrays have other names")
        activity = {
            name: Activity(
                arrays.get(f"inputs/{number}"),
                arrays[f"units/{number}"],
                arrays.get(f"together/{number}"),
                samples,
                facts.get("layouts", {}).get(name, "in_out"),
            )
            for number, (name, samples) in enumerate(facts["samples"].items())
        }
        counts = Counts(
            **{name: arrays[name] for name in _FLAT},
            frozen=dict(facts["frozen"]),
            unreached=dict(facts["unreached"]),
            steps=facts["steps"],
            uncounted=facts.get("uncounted", 0),
            frozen_entries={
                name: arrays[f"frozen/{number}"]
                for number, name in enumerate(facts.get("frozen_entries", ()))
            },
            activity=activity,
            unexplained=dict(facts["unexplained"]),
        )
        return counts, arrays["values"], facts["last_step"]
