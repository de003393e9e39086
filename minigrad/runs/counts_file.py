"""`aggregates.npz`: the counts of each entry, as bytes and back."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from minigrad.errors import RunError
from minigrad.files import open_regular
from minigrad.runs.activity import Activity
from minigrad.runs.counts import Counts
from minigrad.runs.mapped_files import header_of

_FLAT = ("grads", "updates", "moves", "first_move", "last_move", "movement")


class CountsFile(NamedTuple):
    """What aggregates.npz says.

    Attributes:
        run_id: The id of the run that it is of; empty in version 1.
        counts: The counts.
        values: The values that they belong to.
        last_step: The last step that they cover.
    """

    run_id: str
    counts: Counts
    values: npt.NDArray[Any]
    last_step: int


def packed(counts: Counts, values: npt.NDArray[Any], last_step: int, run_id: str) -> bytes:
    """The counts, the last step that they cover, and the values after it, as an `.npz` file."""
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(counts, name) for name in _FLAT}
    arrays["values"] = values
    facts: dict[str, Any] = {
        "run": run_id,
        "steps": counts.steps,
        "recounted": counts.recounted,
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


def unpacked(path: Path) -> CountsFile:
    """What is in a file.

    Nothing is trusted but that a member is as long as the file has room for: whether the counts
    make sense is for `counts_check` to say.

    Raises:
        Exception: Whatever zipfile, NumPy and JSON make of damage.
    """
    with open_regular(path) as opened, zipfile.ZipFile(opened) as archive:
        arrays = _arrays(archive, path.stat().st_size)
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
        recounted=facts.get("recounted", 0),
        frozen_entries={
            name: arrays[f"frozen/{number}"]
            for number, name in enumerate(facts.get("frozen_entries", ()))
        },
        activity=activity,
        unexplained=dict(facts["unexplained"]),
    )
    return CountsFile(facts.get("run", ""), counts, arrays["values"], facts["last_step"])


def _arrays(archive: zipfile.ZipFile, size: int) -> dict[str, npt.NDArray[Any]]:
    """All arrays of an archive. What is compressed, or longer than the file, is not opened."""
    members = archive.infolist()
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise RunError(f"its member {member.filename} is compressed")
    if sum(member.file_size for member in members) > size:
        raise RunError("its members are longer than the file")
    arrays = {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    if len(arrays) != len(members):
        raise RunError("it has two members of one name")
    return arrays


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> npt.NDArray[Any]:
    """One array; its checksum is checked, which is why it is read whole."""
    data = io.BytesIO(archive.read(member))
    shape, fortran, dtype = header_of(data)
    if dtype.hasobject or (fortran and len(shape) > 1):
        raise RunError(f"its member {member.filename} holds {dtype} of shape {shape}")
    start = data.tell()
    if start + math.prod(shape) * dtype.itemsize != member.file_size:
        raise RunError(f"its member {member.filename} is not as long as its header says")
    array: npt.NDArray[Any] = np.frombuffer(data.getbuffer(), dtype, math.prod(shape), start)
    return array.reshape(shape).copy()
