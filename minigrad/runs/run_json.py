"""`run.json`: what a run on disk is."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import RunError
from minigrad.files import open_regular
from minigrad.parameters.vector import Slot
from minigrad.runs.format import FOLDERS, NAME, READABLE, VERSION
from minigrad.runs.gap import Gap

_MOST = 2**62  # no step, and no number of entries, is beyond


def described(
    dtype: np.dtype[Any],
    kinds: Iterable[str],
    slots: Mapping[str, Slot],
    buffers: Iterable[tuple[str, np.dtype[Any], tuple[int, ...]]],
) -> dict[str, Any]:
    """What run.json says of a run before its first session.

    Args:
        dtype: The dtype of the parameters.
        kinds: The kinds of tensors that are kept of a step.
        slots: Where each parameter lies in a row.
        buffers: Name, dtype and shape of each of the layers' buffers.
    """
    return {
        "format": NAME,
        "version": VERSION,
        "id": os.urandom(16).hex(),
        "numpy": np.__version__,
        "dtype": dtype.name,
        "kinds": list(kinds),
        "parameters": [
            {
                "name": name,
                "shape": list(slot.shape),
                "dtype": dtype.name,
                "offset": slot.slice.start,
            }
            for name, slot in slots.items()
        ],
        "buffers": [
            {"name": name, "dtype": kind.name, "shape": list(shape)}
            for name, kind, shape in buffers
        ],
        "complete": False,
    }


def slots_of(description: dict[str, Any]) -> dict[str, Slot]:
    """Where each parameter lies in a row."""
    slots: dict[str, Slot] = {}
    for parameter in description["parameters"]:
        shape = tuple(parameter["shape"])
        start = parameter["offset"]
        slots[parameter["name"]] = Slot(slice(start, start + math.prod(shape)), shape)
    return slots


def gaps_of(description: dict[str, Any]) -> list[Gap]:
    """The gaps that the writer tells of."""
    return [Gap(*gap) for gap in description["gaps"]]


def checksum_of_json(description: Mapping[str, Any]) -> int:
    """The CRC-32 of what run.json says, but for this number."""
    rest = {name: value for name, value in description.items() if name != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def read_json(directory: Path) -> dict[str, Any]:
    """What run.json says.

    Raises:
        RunError: There is no run, it is damaged, or of a later version.
    """
    path = directory / "run.json"
    try:
        with open_regular(path) as opened:
            content = opened.read()
    except (FileNotFoundError, NotADirectoryError) as error:
        there = "holds no run.json" if os.path.isdir(directory) else "is no directory"  # noqa: PTH112
        raise RunError(
            f"'{directory}' {there}, so it is no recorded run; give the path that "
            f"Recorder(path=...) wrote to"
        ) from error
    except (OSError, ValueError, MemoryError) as error:  # a path with a zero in it is a ValueError
        why = getattr(error, "strerror", None) or str(error) or "it does not fit into memory"
        raise RunError(f"'{path}' cannot be read: {why}") from error
    try:
        description = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError) as error:
        raise RunError(
            f"'{path}' is damaged ({error}); the arrays beside it can still be read by numpy.load"
        ) from error
    if not isinstance(description, dict) or description.get("format") != NAME:
        raise RunError(f"'{path}' does not describe a run of minigrad")
    version = description.get("version")
    if not isinstance(version, int) or version not in READABLE:
        raise RunError(
            f"'{directory}' has version {str(version)[:40]} of the format, and "
            f"this minigrad reads versions 1 to {VERSION}: use the minigrad that wrote it, or a "
            f"later one"
        )
    try:
        whole = checksum_of_json(description) == description.get("crc32")
    except (ValueError, RecursionError) as error:
        raise RunError(f"'{path}' is damaged ({error})") from error
    if not whole:
        raise RunError(
            f"'{path}' is damaged: its checksum differs; the arrays beside it can still be read by "
            f"numpy.load"
        )
    if problem := _problem(description):
        raise RunError(
            f"'{path}' {problem}: it is not as minigrad wrote it; put a copy of the original there"
        )
    return description


# -- whether it makes sense -----------------------------------------------------------------------


def _problem(said: dict[str, Any]) -> str:
    """What cannot be true of what run.json says, as "gives ..."; empty if all can."""
    if said["version"] > 1 and not (isinstance(said.get("id"), str) and said["id"]):
        return "gives no id of the run"
    said.setdefault("id", "")
    said.setdefault("aggregates", True)
    said.setdefault("sessions", [])
    if said.get("dtype") not in ("float32", "float64"):
        return f"gives the dtype {str(said.get('dtype'))[:40]}, expected float32 or float64"
    for name in ("complete", "full", "aggregates"):
        if not isinstance(said.get(name), bool):
            return f"gives a '{name}' that is neither true nor false"
    if not isinstance(said.get("optimizer"), str):
        return "gives an optimizer that is no text"
    for name in ("kinds", "notes"):
        if not _is_list(said.get(name), str):
            return f"gives {name} that are no list of texts"
    kinds = said["kinds"]
    if len(set(kinds)) != len(kinds) or not FOLDERS.keys() >= set(kinds):
        return f"gives kinds of tensors that there are not: {', '.join(kinds)[:80]}"
    for name in ("parameters", "buffers", "sessions"):
        if not _is_list(said.get(name), dict):
            return f"gives {name} that are no list of objects"
    return (
        _problem_of_arrays(said["parameters"], "parameter", {said["dtype"]})
        or _problem_of_arrays(said["buffers"], "buffer", None)
        or _problem_of_offsets(said["parameters"])
        or _problem_of_steps(said.get("gaps"), said["sessions"])
    )


def _problem_of_arrays(arrays: list[dict[str, Any]], what: str, dtypes: set[str] | None) -> str:
    names = [array.get("name") for array in arrays]
    if not _is_list(names, str) or len(set(names)) != len(names):
        return f"gives a {what} without a name, or with that of another one"
    for array in arrays:
        name, shape, dtype = array["name"], array.get("shape"), array.get("dtype")
        if not isinstance(shape, list) or not all(_is_whole(n) for n in shape):
            return f"gives the {what} '{name}' no shape"
        # Without the zeros too: NumPy refuses even empty arrays that are that large otherwise.
        if len(shape) > 32 or math.prod(n or 1 for n in shape) > _MOST // 32:
            return f"gives the {what} '{name}' a shape that is too large"
        if not isinstance(dtype, str) or not (dtype in dtypes if dtypes else _is_plain(dtype)):
            return f"gives the {what} '{name}' the dtype {str(dtype)[:40]}"
    return ""


def _problem_of_offsets(parameters: list[dict[str, Any]]) -> str:
    end = 0
    if not parameters:
        return "gives no parameter"
    for parameter in parameters:
        if parameter.get("offset") != end or isinstance(parameter["offset"], bool):
            return f"gives the parameter '{parameter['name']}' an offset that does not follow"
        end += math.prod(parameter["shape"])
    return "gives parameters that are too large" if end > _MOST // 32 else ""


def _problem_of_steps(gaps: object, sessions: list[dict[str, Any]]) -> str:
    if not isinstance(gaps, list):
        return "gives gaps that are no list"
    for gap in gaps:
        if not (
            isinstance(gap, list)
            and len(gap) == 3
            and _is_whole(gap[0])
            and _is_whole(gap[1])
            and gap[0] <= gap[1]
            and isinstance(gap[2], str)
        ):
            return f"gives a gap {str(gap)[:80]}, expected [first, last, why]"
    for session in sessions:
        ends = session.get("first_step", 0), session.get("last_step", 0)
        if not all(_is_whole(step) or step == -1 for step in ends):
            return f"gives a session {str(session)[:80]}"
    for before, after in pairwise(sessions):
        if after.get("first_step", 0) < before.get("first_step", 0):
            return "gives sessions that are not in order"
    return ""


def _is_list(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(one, kind) for one in value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _is_plain(dtype: str) -> bool:
    """Whether this is the name of a dtype of numbers."""
    try:
        return np.dtype(dtype).name == dtype and np.dtype(dtype).kind in "biufcmM"
    except (TypeError, ValueError, SyntaxError):
        return False
