"""Units that learn, as a moving picture: one pass over the record, which holds no more than the frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._validation import number, whole
from minigrad.arrays import Array, Mask
from minigrad.display.pictures import apng, diverging, tiled
from minigrad.errors import KindError, NotExactError, RangeError
from minigrad.parameters.vector import Slot
from minigrad.runs.blocks import replay
from minigrad.runs.record import Record

What = Literal["change", "value", "update"]
"""What a frame shows: the change since the start, the value, or the update of its step."""

Lay = Callable[[npt.NDArray[Any]], list[npt.NDArray[Any]]]
"""From an array in the parameter's shape to pictures of shape (height, width), one for each unit."""

_SHADES = 120
"""How many shades of red, and of blue: with the other colors an animation may have 255."""


def animated(
    record: Record,
    slot: Slot,
    lay: Lay,
    hidden: Mask,
    *,
    steps: Iterable[int] | None,
    frames: int,
    seconds: float,
    scale: int,
    what: What,
) -> bytes:
    """A parameter over the steps of a record, as an animated PNG.

    Args:
        record: The record.
        slot: Where the parameter lies in it.
        lay: Makes pictures of an array in the parameter's shape.
        hidden: The entries that get a color which no amount has, in the parameter's shape.
        steps: Among which steps the frames are chosen; None means all.
        frames: How many, at most.
        seconds: How long they take.
        scale: How many pixels wide an entry is.
        what: "change", "value" or "update".

    Raises:
        KindError: An argument is of the wrong kind.
        NotExactError: Fewer than two of these steps are known exactly.
        RangeError: An argument is out of range.
    """
    if what not in ("change", "value", "update"):
        raise RangeError(f"what is {described(what)}, expected 'change', 'value' or 'update'")
    frames, scale = whole(frames, "frames", least=2), whole(scale, "scale")
    seconds = number(
        seconds, "seconds", above=0
    )  # here already: the pass over the record may take long
    chosen = _chosen(_wanted(record, steps), _known(record, what), frames, what)

    read = (
        _updates(record, chosen, slot.slice)
        if what == "update"
        else _values(record, chosen, slot.slice)
    )
    shown = {
        step: [np.array(tile) for tile in lay(flat.reshape(slot.shape))] for step, flat in read
    }
    start = lay(record.initial[slot.slice].reshape(slot.shape))
    unseen = lay(hidden)

    def amounts(tiles: list[npt.NDArray[Any]]) -> list[npt.NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):  # infinity less infinity
            return [
                tile.astype(np.float64) - first if what == "change" else tile.astype(np.float64)
                for tile, first in zip(tiles, start, strict=True)
            ]

    # One scale for all frames; it takes a round of its own, so that no more is held than what was
    # recorded.
    top = max(_largest(amount) for tiles in shown.values() for amount in amounts(tiles))

    def drawn() -> Iterator[npt.NDArray[np.uint8]]:
        for step in chosen:
            tiles = [
                diverging(_shades(amount, top), mask, top=1.0)
                for amount, mask in zip(amounts(shown[step]), unseen, strict=True)
            ]
            yield tiled(tiles, columns=min(5, len(tiles)), scale=scale)

    return apng(drawn(), seconds)


def _wanted(record: Record, steps: Iterable[int] | None) -> set[int] | None:
    if steps is None:
        return None
    if isinstance(steps, str) or not isinstance(steps, Iterable):
        raise KindError(
            f"steps is {described(steps)}, expected the numbers of steps, such as range(100)"
        )
    wanted = list(steps)
    recorded = set(record.meta.steps.tolist())
    for step in wanted:
        if isinstance(step, bool) or not isinstance(step, int | np.integer):
            raise KindError(f"{described(step)} is no number of a step")
        if step not in recorded:
            record.check(step)
    return {int(step) for step in wanted}


def _known(record: Record, what: What) -> list[int]:
    """The steps of which there is exactly what is to be shown, in order."""
    if what == "update":
        return sorted(step for block, _ in record.rows("update") for step in block.steps)
    known: list[int] = record.exact_steps.tolist()
    return known


def _chosen(wanted: set[int] | None, known: list[int], frames: int, what: What) -> list[int]:
    """The steps to show: evenly among those that are known, the first and the last included."""
    found = known if wanted is None else [step for step in known if step in wanted]
    if len(found) < 2:
        which = "updates are held" if what == "update" else "values are known exactly"
        has = f"only step {found[0]}" if found else "no step"
        raise NotExactError(
            f"an animation needs two steps or more whose {which}, and there is {has}"
            f"{'' if wanted is None else ' among the given ones'}; record with keep=('update',), "
            f"or give other steps"
        )
    places = np.unique(np.rint(np.linspace(0, len(found) - 1, min(frames, len(found)))).astype(int))
    return [found[place] for place in places]


def _values(record: Record, steps: list[int], part: slice) -> Iterator[tuple[int, Array]]:
    """(step, the exact values after it), in any order; each block is replayed once, and no further
    than needed.

    The array is used again for the next step. A step may come twice, with the same values.
    """
    wanted = set(steps)
    for block in record.blocks:
        if "value" in block.rows:
            rows = block.rows["value"]
            yield from (
                (step, rows[row, part]) for row, step in enumerate(block.steps) if step in wanted
            )
        if not block.has_keyframe:
            continue
        places = [row for row, step in enumerate(block.steps[: block.replayable]) if step in wanted]
        if block.value_after not in wanted and not places:
            continue
        values = replay(block, 0, part)
        if block.value_after in wanted:
            yield block.value_after, values
        if places:
            rows = block.rows["update"]
            for row in range(places[-1] + 1):
                values += rows[row, part]
                if block.steps[row] in wanted:
                    yield block.steps[row], values
    if record.final_step in wanted:
        yield record.final_step, record.final[part]


def _updates(record: Record, steps: list[int], part: slice) -> Iterator[tuple[int, Array]]:
    """(step, the update of it)."""
    wanted = set(steps)
    for block, rows in record.rows("update"):
        yield from (
            (step, rows[row, part]) for row, step in enumerate(block.steps) if step in wanted
        )


def _largest(amounts: npt.NDArray[np.float64]) -> float:
    return float(np.abs(amounts[np.isfinite(amounts)]).max(initial=0.0))


def _shades(amounts: npt.NDArray[np.float64], top: float) -> npt.NDArray[np.float64]:
    """The amounts as parts of the top, from -1 to 1, in equal steps.

    NaN for what is NaN or infinite.
    """
    shades = np.rint(np.clip(amounts / (top or 1.0), -1, 1) * _SHADES) / _SHADES
    return np.where(np.isfinite(amounts), shades, np.nan)
