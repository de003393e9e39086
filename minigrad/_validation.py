"""The checks that every array and number passes at the door.

Each check returns what it was given, converted where that loses nothing that matters, or raises an
error that says what came, what was expected and what to do. A check that passes costs well under a
microsecond.
"""

from __future__ import annotations

import math
import operator
import re
from numbers import Real
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from minigrad._messages import described, no_numbers, refusal, unreadable, where
from minigrad.arrays import Array, Integers, Mask
from minigrad.errors import KindError, RangeError, ShapeError

FLOATS: tuple[np.dtype[Any], np.dtype[Any]] = (np.dtype(np.float32), np.dtype(np.float64))
"""The dtypes that minigrad computes in."""

LAST_ROW: int = 2**31 - 1
"""The largest number of a row of the data: records keep it in 32 bits."""


def float_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating[Any]]:
    """`dtype` as float32 or float64, the two that minigrad computes in.

    Raises:
        KindError: It is neither.
    """
    try:
        known: np.dtype[Any] = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise KindError(
            f"dtype {described(dtype)} is not known: use np.float32 or np.float64"
        ) from error
    if known not in FLOATS:
        raise KindError(f"dtype {known} is not supported: use np.float32 or np.float64")
    return known


def real_array(x: object, what: str) -> npt.NDArray[Any]:
    """`x` as an array of real numbers of any kind: booleans, integers or floats.

    Args:
        x: Anything that NumPy turns into an array.
        what: What it is, for the error: "the input of Dense(784, 10)".

    Raises:
        KindError: It holds complex numbers, strings or Python objects, or is no array: masked,
            sparse, an iterator, a dict, None.
    """
    why = None if type(x) is np.ndarray else refusal(x)
    if why is not None:
        raise KindError(f"{what} is {why}")
    try:
        array = np.asarray(x)
    except Exception as error:  # of whatever kind the thing's own `__array__` raises
        raise KindError(f"{what} is {unreadable(x, error)}") from error
    if array.dtype.kind not in "biuf":
        raise KindError(f"{what} {no_numbers(x, array)}")
    return array


def float_array(x: object, dtype: np.dtype[Any] | None, what: str) -> Array:
    """`x` as a float array of this dtype: the same object if it is one, otherwise converted.

    Args:
        x: Real numbers of any kind.
        dtype: The dtype to arrive at; None keeps float32 and float64 and turns all else into
            float32.
        what: What it is, for the error.

    Raises:
        KindError: It holds no real numbers.
        RangeError: The dtype cannot hold one of its numbers: an integer with too many digits, a
            number out of range.
    """
    if type(x) is np.ndarray and (x.dtype == dtype if dtype is not None else x.dtype in FLOATS):
        return x
    array = real_array(x, what)
    if dtype is None:
        native = array.dtype.newbyteorder("=")
        dtype = native if native in FLOATS else np.dtype(np.float32)
    if array.dtype.kind in "iu" and array.dtype.itemsize >= dtype.itemsize:
        return _exactly(array, dtype, what)
    try:
        with np.errstate(over="raise"):  # a look at a flag of the processor, and not at each number
            return array.astype(dtype, copy=False)
    except FloatingPointError:
        with np.errstate(over="ignore"):
            converted = array.astype(dtype)
        wrong = np.isinf(converted) & np.isfinite(array)
        if not wrong.any():
            return converted
        place = _first(wrong)
        raise RangeError(
            f"{what} holds {array[place]:g} {where(place)}, which is beyond the range of {dtype}, "
            f"{np.finfo(dtype).max:.3g} ({np.count_nonzero(wrong):,} of {array.size:,} entries "
            f"are): scale the data{_WIDER if dtype == np.float32 else ''}"
        ) from None


_WIDER = ", or build the model with dtype=np.float64"


def _exactly(array: Integers, dtype: np.dtype[Any], what: str) -> Array:
    """Integers as floats, if those have enough digits: 24 binary ones in float32, 53 in float64."""
    converted: Array = array.astype(dtype)
    digits = np.finfo(dtype).nmant + 1
    if not array.size or (array.max() <= 1 << digits and array.min() >= -(1 << digits)):
        return converted
    # A float of exponent e stands for multiples of 2^(e - digits): an integer with lower binary
    # digits is rounded.
    _, exponents = np.frexp(converted)
    lower = np.left_shift(np.int64(1), np.maximum(exponents - digits, 0).astype(np.int64)) - 1
    wrong = (array & lower.astype(array.dtype)) != 0
    if not wrong.any():
        return converted
    place = _first(wrong)
    raise RangeError(
        f"{what} holds the integer {array[place]} {where(place)}, of which {dtype} would make "
        f"{converted[place]:.0f} ({np.count_nonzero(wrong):,} of {array.size:,} entries would be "
        f"rounded): pass x.astype(np.{dtype}) if that is "
        f"meant{_WIDER if dtype == np.float32 else ''}"
    )


def _first(wrong: Mask) -> tuple[int, ...]:
    return tuple(int(index) for index in np.unravel_index(int(wrong.argmax()), wrong.shape))


def batch(x: object, dtype: np.dtype[Any] | None, who: object) -> Array:
    """`x` as a batch: an array of real numbers, batch-first, with at least one row.

    Args:
        x: Shape (batch, ...).
        dtype: The dtype to arrive at; None for float32 or float64, whichever `x` has.
        who: The layer that asks, or its name, for the error.

    Raises:
        KindError: It holds no real numbers.
        ShapeError: It is a single number, or has no rows.
    """
    if (
        type(x) is np.ndarray
        and x.ndim
        and len(x)
        and (x.dtype in FLOATS if dtype is None else x.dtype == dtype)
    ):
        return x
    array = float_array(x, dtype, f"the input of {_name(who)}")
    if array.ndim == 0 or len(array) == 0:
        got = "a single number" if array.ndim == 0 else f"an empty batch, shape {array.shape}"
        raise ShapeError(f"{_name(who)} got {got}: expected at least one row, shape (batch, ...)")
    return array


def rows(x: object, width: int, dtype: np.dtype[Any], who: object) -> Array:
    """`x` as a batch of rows, each `width` numbers wide.

    Args:
        x: Shape (batch, width).
        width: How many features each row must have.
        dtype: The dtype to arrive at.
        who: The layer that asks, or its name, for the error.

    Raises:
        KindError: It holds no real numbers.
        ShapeError: Another rank or width, or no rows.
    """
    if (
        type(x) is np.ndarray
        and x.dtype == dtype
        and x.ndim == 2
        and x.shape[1] == width
        and len(x)
    ):
        return x
    array = batch(x, dtype, who)
    if array.shape[1:] == (width,):
        return array
    if array.ndim != 2 and array.ndim != 1 and math.prod(array.shape[1:]) == width:
        problem = "flatten each sample first, x.reshape(len(x), -1)"
    elif array.ndim == 2 or array.shape == (width,):
        problem = _wrong_width(array, width)
    else:
        problem = f"the input must have 2 axes, this one has {array.ndim}"
    raise _wrong_input(array, who, f"(batch, {width})", problem)


def vectors(x: object, width: int | None, dtype: np.dtype[Any] | None, who: object) -> Array:
    """`x` as a batch of vectors, which lie along the last axis.

    Args:
        x: Shape (batch, ..., width).
        width: How many features each vector must have; None for any number.
        dtype: The dtype to arrive at; None for float32 or float64, whichever `x` has.
        who: The layer that asks, or its name, for the error.

    Raises:
        KindError: It holds no real numbers.
        ShapeError: The last axis is that of the batch or has another size, or there are no rows.
    """
    array = batch(x, dtype, who)
    if array.ndim > 1 and width in (None, array.shape[-1]):
        return array
    expected = "(batch, classes)" if width is None else f"(batch, ..., {width})"
    raise _wrong_input(array, who, expected, _wrong_width(array, width))


def _wrong_width(array: Array, width: int | None) -> str:
    if array.ndim == 1 and width in (None, len(array)):
        return "this is one sample without its batch axis; pass x[np.newaxis]"
    return f"each row has {array.shape[-1]} features and must have {width}"


def _wrong_input(array: Array, who: object, expected: str, problem: str) -> ShapeError:
    got = f"{_name(who)} got an input of shape {array.shape}, expected {expected}"
    return ShapeError(f"{got}: {problem}")


def _name(who: object) -> str:
    return str(getattr(who, "called", who))


def shaped(x: object, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Array:
    """`x` as an array of exactly this shape; nothing is broadcast.

    Floats beyond the range of `dtype` become infinite.

    Raises:
        KindError: It holds no real numbers.
        RangeError: It holds an integer with too many digits for `dtype`.
        ShapeError: Another shape.
    """
    if type(x) is np.ndarray and x.dtype == dtype and x.shape == shape:
        return x
    array = real_array(x, what)
    # The gradients of a training that diverges become infinite; `StopOnNonFinite` reports it.
    is_float = array.dtype.kind == "f"
    array = array.astype(dtype, copy=False) if is_float else float_array(array, dtype, what)
    if array.shape != shape:
        raise ShapeError(
            f"{what} has shape {array.shape}, expected {shape}; nothing is broadcast, reshape it "
            f"first"
        )
    return array


def number(
    value: object,
    name: str,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
) -> float:
    """`value` as a finite number in its range.

    Args:
        value: Anything; booleans and text are no numbers.
        name: The name of the setting, for the error.
        above: The number must be greater than this.
        least: The number must be this or more.
        below: The number must be less than this.
        most: The number must be this or less.

    Raises:
        KindError: It is not a number.
        RangeError: It is NaN, infinite or out of range.
    """
    bounds = [(above, "above", operator.gt), (least, "at least", operator.ge)]
    bounds += [(below, "below", operator.lt), (most, "at most", operator.le)]
    given = [(bound, word, holds) for bound, word, holds in bounds if bound is not None]
    expected = (
        f"a finite number {' and '.join(f'{word} {bound:g}' for bound, word, _ in given)}".rstrip()
    )
    message = f"{name} is {described(value)}, expected {expected}"
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not (
        isinstance(value, Real) or hasattr(value, "as_integer_ratio")
    ):  # a Decimal
        raise KindError(message)
    try:
        result = float(value)  # type: ignore[arg-type] # what has a ratio of integers is a number
    except OverflowError as error:
        raise RangeError(message) from error
    if not math.isfinite(result) or not all(holds(result, bound) for bound, _, holds in given):
        raise RangeError(message)
    return result


def whole(value: object, name: str, *, least: int = 1) -> int:
    """`value` as a whole number, `least` or more.

    Raises:
        KindError: It is not a whole number; 3.0 is none.
        RangeError: It is less than `least`.
    """
    message = f"{name} is {described(value)}, expected a whole number, {least} or more"
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise KindError(message)
    try:
        result = operator.index(value)
    except TypeError as error:  # an array of several
        raise KindError(message) from error
    if result < least:
        raise RangeError(message)
    return result


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_bytes(budget: object) -> int:
    """A number of bytes, or text such as "512MB", as bytes.

    Raises:
        KindError: It is neither.
        RangeError: It is not positive, or has an unknown unit.
    """
    message = (
        f"budget is {described(budget)}, expected a number of bytes, or text such as '512MB' or "
        f"'2GB'"
    )
    if isinstance(budget, SupportsIndex) and not isinstance(budget, bool | np.ndarray):
        size = operator.index(budget)
    elif isinstance(budget, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", budget)
        if match is None or match[2].upper() not in _UNITS:
            raise RangeError(message)
        size = int(float(match[1]) * _UNITS[match[2].upper()])
    else:
        raise KindError(message)
    if size <= 0:
        raise RangeError(f"budget is {described(budget)}, expected more than 0 bytes")
    return size
