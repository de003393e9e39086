"""Pictures of one parameter: in characters, and as a PNG."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._printable import printable
from minigrad._validation import whole
from minigrad.display.characters import CROSS, as_text
from minigrad.display.drawing import Layout, largest, tiled
from minigrad.display.png import Pixels, png
from minigrad.display.shown import ShownParameter
from minigrad.display.words import not_finite, not_finite_in_words
from minigrad.errors import KindError, RangeError, ShapeError

_COLUMNS = 5  # units that stand side by side at most


def text_picture(parameter: ShownParameter, unit: int | None, shape: tuple[int, int] | None) -> str:
    """Where a parameter moved, in characters, and the numbers below.

    Args:
        parameter: The parameter.
        unit: Which unit's weights, a column of (n_in, n_out). None: the whole parameter.
        shape: How they lie, (28, 28) for an image.

    Raises:
        KindError: An argument is of the wrong kind.
        RangeError: There is no such unit.
        ShapeError: The entries do not fill that shape.
    """
    units = None if unit is None else _checked_units([unit])
    layout = _layout(parameter, units, shape)
    [moved], [movement], [final] = (
        layout.tiles(array) for array in (parameter.moved, parameter.movement, parameter.final)
    )
    drawn = np.where(np.isfinite(final), np.nan_to_num(movement), np.nan)
    name = printable(parameter.name)
    which = name if unit is None else f"{name}, unit {unit}"
    text = (
        f"{as_text(drawn, ~moved)}\n{which}: {np.count_nonzero(moved):,} of {moved.size:,} entries "
        f"moved; the darkest by {movement.max(initial=0):.3g} in all"
    )
    strange = not_finite_in_words(*not_finite(final))
    return f"{text}; at the end {strange}, drawn as {CROSS}" if strange else text


def png_picture(
    parameter: ShownParameter, unit: int | None, shape: tuple[int, int] | None, scale: int
) -> bytes:
    """The change of a parameter from its first to its last value, as a PNG.

    Args:
        parameter: The parameter.
        unit: Which unit's weights; None with a `shape`: all units, side by side.
        shape: How they lie, (28, 28) for an image.
        scale: How many pixels wide an entry is.

    Raises:
        KindError: An argument is of the wrong kind.
        RangeError: There is no such unit, or `scale` is less than 1.
        ShapeError: The entries do not fill that shape.
    """
    layout, change = layout_of_units(parameter, unit, shape), change_of(parameter)
    pictures = layout.amounts(change, ~parameter.moved, largest(change))
    return png(side_by_side(pictures, whole(scale, "scale")))


def change_of(parameter: ShownParameter) -> npt.NDArray[np.float64]:
    """The value at the end less the one before the first step."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        return parameter.final.astype(np.float64) - parameter.initial


def side_by_side(pictures: list[Pixels], scale: int) -> Pixels:
    """The pictures of units as one, a few in each row."""
    return tiled(pictures, columns=min(_COLUMNS, len(pictures)), scale=scale)


def layout_of_units(
    parameter: ShownParameter,
    units: int | Iterable[int] | None,
    shape: tuple[int, int] | None,
) -> Layout:
    """Where the entries of some units lie.

    Args:
        parameter: The parameter.
        units: The units; None with a `shape`: all of them, side by side; without: the whole
            parameter in one picture.
        shape: Height and width of a unit's picture.

    Raises:
        KindError: An argument is of the wrong kind.
        RangeError: There is no such unit, or none is given.
        ShapeError: The entries do not fill that shape.
    """
    if units is not None:
        return _layout(parameter, _checked_units(units), shape)
    all_units = shape is not None and len(parameter.shape) == 2
    return _layout(parameter, tuple(range(parameter.shape[1])) if all_units else None, shape)


def _checked_units(units: int | Iterable[int]) -> tuple[int, ...]:
    several = [units] if isinstance(units, int | np.integer) else units
    if isinstance(several, str) or not isinstance(several, Iterable):
        raise KindError(f"units is {described(units)}, expected the number of a unit, or several")
    numbers = tuple(several)
    if not numbers:
        raise RangeError("units is empty: give at least one")
    for unit in numbers:
        if isinstance(unit, bool) or not isinstance(unit, int | np.integer):
            raise KindError(f"{described(unit)} is not the number of a unit")
    return numbers


def _layout(
    parameter: ShownParameter, units: tuple[int, ...] | None, shape: tuple[int, int] | None
) -> Layout:
    own, size = parameter.shape, parameter.size
    if units is not None:
        for unit in units:
            if len(own) != 2 or not -own[1] <= unit < own[1]:
                raise RangeError(f"'{parameter.name}' of shape {own} has no unit {unit}")
        own, size = own[:1], own[0]
    if shape is None:
        shape = (own[0], own[1]) if len(own) == 2 else (1, size)
    if not isinstance(shape, tuple | list):
        raise KindError(
            f"shape is {described(shape)}, expected the height and width of a picture, such as "
            f"(28, 28)"
        )
    if len(shape) != 2 or min(shape) < 0 or size != shape[0] * shape[1]:
        raise ShapeError(
            f"{size} entries of '{parameter.name}' do not fill a picture of shape {shape}"
        )
    return Layout((shape[0], shape[1]), units)
