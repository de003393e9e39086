"""Units that learn, as an animated PNG."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._validation import number, whole
from minigrad.arrays import Array
from minigrad.display.drawing import Layout, largest
from minigrad.display.pictures import layout_of_units, side_by_side
from minigrad.display.png import Pixels, apng
from minigrad.display.shown import ShownParameter
from minigrad.errors import NotExactError, RangeError

What = Literal["change", "value", "update"]
"""What a frame shows: the change since the start, the value, or the update of its step."""

_Kind = TypeVar("_Kind", bound=np.generic)


def animated(
    parameter: ShownParameter,
    units: int | Iterable[int] | None,
    shape: tuple[int, int] | None,
    *,
    steps: frozenset[int] | None,
    frames: int,
    seconds: float,
    scale: int,
    what: What,
) -> bytes:
    """A parameter over the steps of its history, as an animated PNG.

    One pass over the history, which holds no more than what the frames show.

    Args:
        parameter: The parameter.
        units: Which units' weights; None with a `shape`: all units, side by side.
        shape: How they lie, (28, 28) for an image.
        steps: Among which steps the frames are chosen; None means all.
        frames: How many, at most.
        seconds: How long they take.
        scale: How many pixels wide an entry is.
        what: "change", "value" or "update".

    Raises:
        KindError: An argument is of the wrong kind.
        NotExactError: Fewer than two of these steps are known exactly.
        RangeError: An argument is out of range.
        ShapeError: The entries do not fill that shape.
    """
    layout = layout_of_units(parameter, units, shape)
    if what not in ("change", "value", "update"):
        raise RangeError(f"what is {described(what)}, expected 'change', 'value' or 'update'")
    frames, scale = whole(frames, "frames", least=2), whole(scale, "scale")
    # Checked before the pass over the history, which may take long.
    seconds = number(seconds, "seconds", above=0)
    known = parameter.updates.steps if what == "update" else parameter.exact_steps
    chosen = _chosen(steps, known.tolist(), frames, what)

    shown = _drawn_part(parameter, layout, chosen, what)
    start = _drawn_entries(layout, parameter.initial)
    never_moved = np.zeros(parameter.shape, bool)
    if what == "change" and parameter.counted_steps is not None:
        never_moved = ~parameter.moved
    hidden = _drawn_entries(layout, never_moved)
    tiles = Layout(layout.grid, tuple(range(hidden.shape[1])))

    def amounts(entries: Array) -> npt.NDArray[np.float64]:
        exact = entries.astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            return exact - start if what == "change" else exact

    # All frames have one scale. Finding it is a round of its own, so that no more is held than what
    # is shown.
    top = max(largest(amounts(entries)) for entries in shown.values())

    def drawn() -> Iterator[Pixels]:
        for step in chosen:
            yield side_by_side(tiles.amounts(amounts(shown[step]), hidden, top), scale)

    return apng(drawn(), seconds)


def _chosen(wanted: frozenset[int] | None, known: list[int], frames: int, what: What) -> list[int]:
    """The steps to show: evenly among those that are known, the first and the last included."""
    steps = known if wanted is None else [step for step in known if step in wanted]
    if len(steps) < 2:
        which = "updates are held" if what == "update" else "values are known exactly"
        has = f"only step {steps[0]}" if steps else "no step"
        raise NotExactError(
            f"an animation needs two steps or more whose {which}, and there is {has}"
            f"{'' if wanted is None else ' among the given ones'}; record with keep=('update',), "
            f"or give other steps"
        )
    places = np.unique(np.rint(np.linspace(0, len(steps) - 1, min(frames, len(steps)))).astype(int))
    return [steps[place] for place in places]


def _drawn_part(
    parameter: ShownParameter, layout: Layout, steps: list[int], what: What
) -> dict[int, Array]:
    """What the frame of each step is made of: its entries that are drawn."""
    if what != "update":
        return {step: _drawn_entries(layout, value) for step, value in parameter.values(steps)}
    updates = parameter.updates
    places = np.searchsorted(updates.steps, steps).tolist()
    return {
        step: _drawn_entries(layout, updates[place])
        for step, place in zip(steps, places, strict=True)
    }


def _drawn_entries(layout: Layout, array: npt.NDArray[_Kind]) -> npt.NDArray[_Kind]:
    """The entries that are drawn, one column for each picture."""
    return np.stack([tile.ravel() for tile in layout.tiles(array)], axis=1)
