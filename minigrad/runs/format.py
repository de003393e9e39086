"""What the files of a run on disk look like: `.npy` arrays, one `.npz`, one JSON file.

    run.json              what the run is: version, parameters, settings, sessions, gaps, notes
    steps.npy             one row of `STEP` for each step
    blocks.npy            one row of `BLOCK` for each block
    updates/000000.npy    the updates of block 0, a row for each step: all parameters, flat
    grads/, values/       the same for gradients and values, where they are kept
    keyframes/000000.npy  all values before the first step of block 0; row 0 is the initial values
    indices.npy           the rows of the data in each batch, one after the other
    buffers/000000.npy    the first buffer of the layers after each step, one row a step
    aggregates.npz        the counts of each entry, with the values that they belong to

NumPy alone reads them. `run.json` and `aggregates.npz` are replaced as a whole; all numbers are
little-endian. A growing file is appended first, and then its header tells of the new rows: so at
any time, also after the writer was killed, the header describes rows that are whole.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.errors import RunError
from minigrad.parameters.vector import Slot
from minigrad.runs.activity import Activity
from minigrad.runs.counts import Tally

NAME = "minigrad run"
VERSION = 1

FOLDERS: dict[str, str] = {"update": "updates", "grad": "grads", "value": "values"}
"""Where the rows of each kind of tensor lie."""

STEP: np.dtype[Any] = np.dtype(
    [
        ("step", "<i8"),
        ("lr", "<f8"),
        ("loss", "<f8"),  # NaN where it is not known
        ("clip_factor", "<f8"),
        (
            "segment",
            "<i8",
        ),  # the number of the block that holds the step's rows; -1 where none was written
        ("row", "<i8"),  # which row of it
        ("crc32", "<u4"),  # of the step's rows, one kind after the other
        ("has_indices", "?"),
        ("indices_end", "<i8"),  # where the batch's rows end in indices.npy
        ("row_crc32", "<u4"),  # of the bytes of this row before this field
    ]
)
"""A row of steps.npy."""

BLOCK: np.dtype[Any] = np.dtype(
    [
        ("number", "<i8"),
        ("first", "<i8"),  # the first step after its keyframe
        ("has_keyframe", "?"),
        ("has_rows", "?"),
        ("foreign", "?"),  # whether somebody else wrote into the values before it
        (
            "crc32",
            "<u4",
        ),  # of the keyframe, if there is one, then of first, has_keyframe and foreign as int64
    ]
)
"""A row of blocks.npy."""


def sums_of(steps: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """The CRC-32 of each row of steps.npy, without its last field."""
    return np.array([zlib.crc32(row.tobytes()[:-4]) for row in steps], np.uint32)


def checksum_of_block(row: Any, keyframe: npt.NDArray[Any] | None) -> int:
    """The CRC-32 of a block's keyframe and of what the table says of it."""
    found = 0 if keyframe is None else zlib.crc32(np.ascontiguousarray(keyframe).data)
    facts = np.array([row["first"], row["has_keyframe"], row["foreign"]], "<i8")
    return zlib.crc32(facts.tobytes(), found)


def checksum_of_json(told: Mapping[str, Any]) -> int:
    """The CRC-32 of what run.json tells, but for this number."""
    rest = {name: value for name, value in told.items() if name != "crc32"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def file_of(folder: str, number: int) -> str:
    """The file of a block: "updates/000012.npy"."""
    return f"{folder}/{number:06d}.npy"


def checksum(rows: Iterable[npt.NDArray[Any]]) -> int:
    """The CRC-32 of a step's rows."""
    found = 0
    for row in rows:
        found = zlib.crc32(np.ascontiguousarray(row).data, found)
    return found


@final
class GrowingArray:
    """A `.npy` file to which rows are appended.

    Args:
        path: The file; a new one, or one to go on with.
        dtype: The dtype of a row's entries.
        shape: The shape of a row.
        rows: How many rows of an existing file to go on after; None makes a new file.
    """

    def __init__(
        self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], rows: int | None = None
    ) -> None:
        self._dtype = dtype.newbyteorder("<")
        self._shape = shape
        self._row_bytes = self._dtype.itemsize * int(np.prod(shape))
        self._file = path.open("xb" if rows is None else "r+b", buffering=0)
        self.rows: int = 0 if rows is None else rows
        self._header_size = len(self._header())
        try:
            if rows is not None:
                self._file.truncate(self._header_size + rows * self._row_bytes)
            self.publish()
        except OSError:
            self._file.close()
            raise

    def append(self, array: npt.NDArray[Any]) -> None:
        """Write some rows behind the last one; `publish` makes them count."""
        data = memoryview(np.ascontiguousarray(array, self._dtype).reshape(-1).view(np.uint8).data)
        self._write(self._header_size + self.rows * self._row_bytes, data)
        self.rows += len(data) // self._row_bytes

    def replace_last(self, array: npt.NDArray[Any]) -> None:
        """Write the last row anew."""
        self.rows -= 1
        self.append(array)

    def publish(self) -> None:
        """Tell in the header of all rows that were appended."""
        self._write(0, memoryview(self._header()))

    def close(self) -> None:
        """Publish, and close the file; again without effect."""
        if self._file.closed:
            return
        self.publish()
        self._file.close()

    def _header(self) -> bytes:
        """The header; NumPy leaves room in it for the number of rows to grow, so its size never changes."""
        text = io.BytesIO()
        describe = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.rows, *self._shape),
        }
        np.lib.format.write_array_header_1_0(text, describe)
        return text.getvalue()

    def _write(self, place: int, data: memoryview) -> None:
        try:
            self._file.seek(place)
            while data:
                written = self._file.write(data)
                data = data[written:]
        except OSError:
            self._file.close()  # nothing more is written to it
            raise


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
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"'{path}' is damaged ({error}); the arrays beside it can still be read by numpy.load"
        ) from error
    if not isinstance(found, dict) or found.get("format") != NAME:
        raise RunError(f"'{path}' does not describe a run of minigrad")
    if found.get("version") != VERSION:
        raise RunError(
            f"'{directory}' has version {found.get('version')} of the format, and this minigrad "
            f"reads version {VERSION}: use the minigrad that wrote it, or a later one"
        )
    if checksum_of_json(found) != found.get("crc32"):
        raise RunError(
            f"'{path}' is damaged: its checksum differs; the arrays beside it can still be read by "
            f"numpy.load"
        )
    return found


def about(
    dtype: np.dtype[Any],
    kinds: Iterable[str],
    slots: Mapping[str, Slot],
    buffers: Iterable[tuple[str, np.dtype[Any], tuple[int, ...]]],
) -> dict[str, Any]:
    """What run.json tells of a run before its first session."""
    return {
        "format": NAME,
        "version": VERSION,
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


def slots_of(described: dict[str, Any]) -> dict[str, Slot]:
    """Where each parameter lies in a row, from what run.json says."""
    slots: dict[str, Slot] = {}
    for parameter in described["parameters"]:
        shape = tuple(parameter["shape"])
        start = parameter["offset"]
        slots[parameter["name"]] = Slot(slice(start, start + int(np.prod(shape))), shape)
    return slots


# -- counts --------------------------------------------------------------------------------------

_COUNTS = ("grads", "updates", "moves", "first_move", "last_move", "movement")


def packed(tally: Tally, values: npt.NDArray[Any], last_step: int) -> bytes:
    """aggregates.npz: the counts, the last step that they hold, and the values after it."""
    arrays: dict[str, npt.NDArray[Any]] = {name: getattr(tally, name) for name in _COUNTS}
    arrays["values"] = values
    facts: dict[str, Any] = {
        "steps": tally.steps,
        "uncounted": tally.uncounted,
        "last_step": last_step,
        "frozen": tally.frozen,
        "unreached": tally.unreached,
        "unexplained": tally.unexplained,
        "samples": {name: activity.samples for name, activity in tally.activity.items()},
        "layouts": {name: activity.layout for name, activity in tally.activity.items()},
        "frozen_entries": list(tally.frozen_entries),
    }
    for number, entries in enumerate(tally.frozen_entries.values()):
        arrays[f"frozen/{number}"] = entries
    for number, activity in enumerate(tally.activity.values()):
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


def unpacked(path: Path) -> tuple[Tally, npt.NDArray[Any], int]:
    """The counts of aggregates.npz, the values that they belong to, and the last step that they hold."""
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
        tally = Tally(
            **{name: arrays[name] for name in _COUNTS},
            frozen=dict(facts["frozen"]),
            unreached=dict(facts["unreached"]),
            steps=facts["steps"],
            uncounted=facts.get("uncounted", 0),
            frozen_entries={
                name: arrays[f"frozen/{n}"]
                for n, name in enumerate(facts.get("frozen_entries", ()))
            },
            activity=activity,
            unexplained=dict(facts["unexplained"]),
        )
        return tally, arrays["values"], facts["last_step"]
