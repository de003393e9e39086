"""What the tests of damaged records share: small runs, ways to damage a file, and a judge that
compares everything a run still says with what was true.
"""

# ruff: noqa: PT017 - an error may come, or not; if it comes, it must be the right one

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from disk_support import Notes, Settings, Training, normed
from recording_support import bits

import minigrad as mg
from minigrad.errors import MinigradError
from minigrad.runs.run_json import checksum_of_json

RUNS: dict[str, Settings] = {
    "default": {"keyframe_every": 5},
    "counts alone": {"keep": ()},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 4},
    "every third": {"every": 3, "keyframe_every": 2},
    "no counts": {"keyframe_every": 5, "aggregates": False},
    "counts lost": {"keyframe_every": 5},
}
STEPS = 14
Integers = npt.NDArray[np.int64]
Content = bytes | None | str
"""What a file is replaced by: bytes, nothing, or "fifo", "directory", "loop"."""


class Truth(NamedTuple):
    """What was true of each step, and what the undamaged run says.

    Attributes:
        notes: What was noted while the run was made.
        initial: The values before the first step.
        codes: The code of each entry's reason, by parameter; empty where nothing was counted.
        counted: The number of steps that these reasons are about.
    """

    notes: Notes
    initial: npt.NDArray[Any]
    codes: dict[str, npt.NDArray[np.uint8]]
    counted: int


def made(path: Path, kind: str, seed: int = 0) -> Notes:
    """Make a run at a path."""
    training = Training(seed=seed)
    notes = Notes(training)
    with training.recorder(path, **RUNS[kind]):
        training.go(STEPS)
    if kind == "counts lost":
        (path / "aggregates.npz").unlink()
    return notes


def truth_of(path: Path, notes: Notes) -> Truth:
    """What was true of an undamaged run."""
    run = mg.Run.open(path)
    initial = mg.ParameterVector.of(normed()).values.copy()
    codes = {} if run.counted_steps is None else {name: codes_of(run[name].why) for name in run}
    return Truth(notes, initial, codes, run.counted_steps or 0)


def codes_of(why: mg.runs.Why) -> npt.NDArray[np.uint8]:
    """The place of each entry's reason among all reasons."""
    order = list(mg.Reason)
    return np.array([order.index(reason) for reason in why.reasons.ravel()], np.uint8)


# -- damage ---------------------------------------------------------------------------------------


def damages(
    name: str, content: bytes, other: bytes | None, rng: np.random.Generator, many: int
) -> Iterator[tuple[str, Content]]:
    """(what is done, what the file is replaced by) of one file, for a while.

    Args:
        name: The file.
        content: What is in it.
        other: What the same file of another run has, if that run has it.
        rng: Draws places.
        many: How many places are tried for each way of damaging.
    """
    size = len(content)
    for _ in range(many):
        place, bit = int(rng.integers(size)), int(rng.integers(8))
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        yield f"bit {bit} of byte {place} flipped", bytes(flipped)
        yield f"cut off after {place}", content[:place]
        end = min(size, place + int(rng.integers(1, 64)))
        yield f"{place} to {end} zeroed", content[:place] + bytes(end - place) + content[end:]
    yield "extended", content + rng.bytes(int(rng.integers(1, 200)))
    yield "empty", b""
    if other is not None and other != content:
        yield "swapped", other
    yield "missing", None
    if hasattr(os, "mkfifo"):
        yield from ((kind, kind) for kind in ("fifo", "directory", "loop"))
    if name.endswith(".npy"):
        yield from _other_headers(content)
    if name == "run.json":
        yield from _other_descriptions(content, rng, many)


def _other_headers(content: bytes) -> Iterator[tuple[str, Content]]:
    """The same rows, with a header that says something else of them."""
    file = io.BytesIO(content)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    data = content[file.tell() :]
    rows = shape[0] if shape else 1
    for first in (rows + 1, rows - 1, 0, 10**15, 2**63, -1):
        header = {
            "descr": np.lib.format.dtype_to_descr(dtype),
            "fortran_order": False,
            "shape": (first, *shape[1:]),
        }
        out = io.BytesIO()
        np.lib.format.write_array_header_1_0(out, header)
        yield f"{first} rows in the header", out.getvalue() + data
    for text in ("(" * 3000, "{'descr': '|O', 'fortran_order': False, 'shape': (3,)}", "9" * 9000):
        line = text.encode().ljust(9998) + b"\n"
        start = b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little")
        yield f"header {text[:20]}", start + line + data


def _other_descriptions(
    content: bytes, rng: np.random.Generator, many: int
) -> Iterator[tuple[str, Content]]:
    """run.json with something else in one place, and a checksum that fits."""
    strange: list[Any] = [
        None, True, -1, 2**70, 10**400, 1.5, float("nan"), "", "x" * 999, [], {}, [[]], {"a": 1},
        [1, 2], [3, 1, "why"], "float16", [0, 0, 0], ["update", "update"],
    ]  # fmt: skip
    for number in range(6 * many):
        said = json.loads(content)
        place, key = _a_place(said, rng)
        if key == "crc32":
            continue
        value = strange[int(rng.integers(len(strange)))]
        if number % 5 == 0 and isinstance(place, dict):
            del place[key]
        elif number % 7 == 0 and isinstance(place, list):
            place.append(place[key])
        else:
            place[key] = value
        try:
            said["crc32"] = checksum_of_json(said)
        except (ValueError, TypeError):
            continue
        yield f"{key} is {str(value)[:40]}", json.dumps(said).encode()
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "nested", deep
    yield "huge number", content.replace(b'"version": 2', b'"version": ' + b"9" * 9000)
    yield "not UTF-8", content.replace(b"minigrad", b"\xff\xfe")


def _a_place(said: Any, rng: np.random.Generator) -> tuple[Any, Any]:
    """Something inside, and a key or an index of it."""
    while True:
        keys = list(said) if isinstance(said, dict) else list(range(len(said)))
        key = keys[int(rng.integers(len(keys)))]
        inner = said[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            return said, key
        said = inner


def put_one(directory: Path, name: str, content: Content) -> Callable[[], None]:
    """Replace a file; the function that is returned undoes it."""
    path = directory / name
    before = path.read_bytes()
    path.unlink()
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "fifo":
        os.mkfifo(path)
    elif content == "directory":
        path.mkdir()
    elif content == "loop":
        path.symlink_to(path.name)

    def undo() -> None:
        if content == "directory":
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
        path.write_bytes(before)

    return undo


# -- the judge ------------------------------------------------------------------------------------


def lies(path: Path, truth: Truth, *, of_values: bool = True) -> list[str]:
    """What a run says that is not true; it may say less than the truth, and raise our own errors.

    Args:
        path: Where the run is.
        truth: What was true.
        of_values: Whether values are compared; otherwise everything is only asked for.
    """
    try:
        run = mg.Run.open(path)
    except MinigradError as error:
        assert str(path) in str(error), error
        return []
    found: list[str] = []
    for look in (_facts, _values, _rows, _restored, _counts, _reasons):
        found += look(run, truth)
    for ask in (run.report, run.verify, run._repr_html_, run.norms, lambda: str(run.verify())):
        _asked(ask)
    _asked(lambda: run.first_non_finite)
    _asked(lambda: run.first_difference(run))
    if not of_values:
        return []
    if not set(run.steps) <= set(range(STEPS)) or list(run.steps) != list(range(len(run.steps))):
        found.append(f"the steps are {run.steps}")
    if run.complete and len(run.steps) < STEPS:
        found.append("it calls itself complete")
    return found


def _asked(ask: Callable[[], Any]) -> Any:
    """What a run answers, or None where it raises one of our own errors."""
    try:
        return ask()
    except MinigradError:
        return None


def _facts(run: mg.Run, truth: Truth) -> Iterator[str]:
    count, notes = len(run.steps), truth.notes
    for name, ours, theirs in (
        ("lr", run.lr, notes.lr),
        ("loss", run.loss, notes.loss),
        ("clip_factor", run.clip_factor, notes.clip),
    ):
        if ours.tolist() != theirs[:count]:
            yield f"{name} is {ours}"
    for step in run.steps[:STEPS]:
        indices = _asked(lambda step=step: run.indices(step))  # type: ignore[misc]
        if indices is not None and indices.tolist() != notes.indices[step].tolist():
            yield f"the indices of step {step} are {indices}"


def _parts(run: mg.Run) -> Iterator[tuple[str, slice]]:
    start = 0
    for name in run:
        yield name, slice(start, start + run[name].size)
        start += run[name].size


def _values(run: mg.Run, truth: Truth) -> Iterator[str]:
    for name, part in _parts(run):
        initial = _asked(lambda name=name: run[name].initial)  # type: ignore[misc]
        if initial is not None and bits(initial.ravel()) != bits(truth.initial[part]):
            yield f"the initial values of {name}"
        for step in run.exact_steps.tolist():
            value = _asked(lambda name=name, step=step: run[name].value(step))  # type: ignore[misc]
            if value is not None and bits(value.ravel()) != bits(truth.notes.values[step][part]):
                yield f"the value of {name} after step {step}"
        _asked(lambda name=name: list(run[name].values(run.exact_steps.tolist())))  # type: ignore[misc]


def _rows(run: mg.Run, truth: Truth) -> Iterator[str]:
    for name, part in _parts(run):
        for kind, theirs in (("updates", truth.notes.updates), ("grads", truth.notes.grads)):
            tensors = getattr(run[name], kind)
            for place, step in enumerate(tensors.steps.tolist()):
                row = _asked(lambda tensors=tensors, place=place: tensors[place])  # type: ignore[misc]
                if row is not None and bits(row.ravel()) != bits(theirs[step][part]):
                    yield f"the {kind} of {name} in step {step}"
            _asked(lambda tensors=tensors: np.asarray(tensors))  # type: ignore[misc]


def _restored(run: mg.Run, truth: Truth) -> Iterator[str]:
    for step in run.steps[:STEPS:3]:
        model = normed(seed=9)
        before = bits(mg.ParameterVector.of(model).values)
        try:
            run.restore(model, step)
        except MinigradError:
            if bits(mg.ParameterVector.of(model).values) != before:
                yield f"a restore to step {step} that fails has changed the model"
            continue
        if bits(mg.ParameterVector.of(model).values) != bits(truth.notes.values[step]):
            yield f"the parameters restored to step {step}"
        buffers = [array for _, array in model.named_buffers()]
        if [bits(array) for array in buffers] != [bits(a) for a in truth.notes.buffers[step]]:
            yield f"the buffers restored to step {step}"


def recount(truth: Truth, steps: list[int]) -> Mapping[str, Integers]:
    """By brute force from what was noted: updates, moves, first and last moves in some steps."""
    values = {-1: truth.initial, **truth.notes.values}
    size = len(truth.initial)
    found = {name: np.zeros(size, np.int64) for name in ("updates", "moves")}
    found |= {name: np.full(size, -1, np.int64) for name in ("first_move", "last_move")}
    for step in steps:
        moved = values[step] != values[step - 1]
        found["updates"] += truth.notes.updates[step] != 0
        found["moves"] += moved
        found["first_move"][moved & (found["first_move"] < 0)] = step
        found["last_move"][moved] = step
    return found


def _lost(run: mg.Run) -> bool:
    """Whether steps are not counted."""
    return any(gap.of_counts for gap in run.gaps)


def _last_counted(run: mg.Run) -> int:
    """The last step that is counted."""
    return int(run._record.counted_step)  # noqa: SLF001


def _counts(run: mg.Run, truth: Truth) -> Iterator[str]:
    if run.counted_steps is None:
        return
    true = recount(truth, list(range(_last_counted(run) + 1)))
    for name, part in _parts(run):
        history = run[name]
        ours = {
            "moves": history.moves,
            "updates": history.moves + history.swallowed,
            "first_move": history.first_move,
            "last_move": history.last_move,
        }
        for what, array in ours.items():
            flat, theirs = array.ravel(), true[what][part]
            wrong = flat > theirs if _lost(run) and not what.endswith("move") else flat != theirs
            if wrong.any() and not (_lost(run) and what.endswith("move")):
                yield f"{what} of {name}"


def _reasons(run: mg.Run, truth: Truth) -> Iterator[str]:
    unknown = list(mg.Reason).index(mg.Reason.UNKNOWN)
    true = recount(truth, list(range(_last_counted(run) + 1)))
    for name, part in _parts(run):
        why = run[name].why
        codes = codes_of(why)
        for index in np.ndindex(run[name].shape):
            assert why.at(*index)
        known = codes != unknown
        if not truth.codes and known.any():
            yield f"reasons of {name}, where nothing was counted"
        elif run.counted_steps == truth.counted and truth.codes:
            if (codes != truth.codes[name])[known].any():
                yield f"reasons of {name}"
        else:
            moved = [mg.Reason.MOVED, mg.Reason.RETURNED]
            order = list(mg.Reason)
            says = np.isin(codes, [order.index(reason) for reason in moved])
            if (says & (true["moves"][part] == 0)).any():
                yield f"{name} did not move"
            if (known & ~says & (true["moves"][part] > 0)).any():
                yield f"{name} did move"
            if ((codes == order.index(mg.Reason.SWALLOWED)) & (true["updates"][part] == 0)).any():
                yield f"no update of {name} was swallowed"
