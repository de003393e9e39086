"""`run.json`: what a run on disk is."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minigrad.errors import RunError
from minigrad.parameters.vector import Slot
from minigrad.runs.format import NAME, READABLE, VERSION


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
        slots[parameter["name"]] = Slot(slice(start, start + int(np.prod(shape))), shape)
    return slots


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
    if not path.is_file():
        there = "is no directory" if not directory.is_dir() else "holds no run.json"
        raise RunError(
            f"'{directory}' {there}, so it is no recorded run; give the path that "
            f"Recorder(path=...) wrote to"
        )
    try:
        description = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"'{path}' is damaged ({error}); the arrays beside it can still be read by numpy.load"
        ) from error
    if not isinstance(description, dict) or description.get("format") != NAME:
        raise RunError(f"'{path}' does not describe a run of minigrad")
    if description.get("version") not in READABLE:
        raise RunError(
            f"'{directory}' has version {description.get('version')} of the format, and this "
            f"minigrad reads versions 1 to {VERSION}: use the one that wrote it, or a later one"
        )
    if checksum_of_json(description) != description.get("crc32"):
        raise RunError(
            f"'{path}' is damaged: its checksum differs; the arrays beside it can still be read by "
            f"numpy.load"
        )
    return description
