"""Array types, and the checks that every array and number passes at the door.

Each check returns what it was given, converted where that loses nothing that matters, or raises an
error that says what came, what was expected and what to do. A check that passes costs well under a
microsecond.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import lru_cache
from numbers import Real
from typing import Any, SupportsIndex, TypeAlias

import numpy as np
import numpy.typing as npt

from minigrad._wording import described as described
from minigrad._wording import no_numbers, refusal, unreadable, where
from minigrad.errors import KindError, ModelError, RangeError, ShapeError

Array: TypeAlias = npt.NDArray[np.floating[Any]]
"""A float32 or float64 array."""

Integers: TypeAlias = npt.NDArray[np.integer[Any]]
"""An array of integers: labels, row indices."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""An array of booleans."""

Seed: TypeAlias = "int | np.random.Generator | None"  # as text: np.random takes long to load
"""What every `rng` argument takes: a seed, a generator, or None for one of its own that no seed repeats."""


FLOATS: tuple[np.dtype[Any], np.dtype[Any]] = (np.dtype(np.float32), np.dtype(np.float64))
"""The dtypes that minigrad computes in."""


def float_dtype(dtype: npt.DTypeLike) -> np.dtype[np.floating[Any]]:
    """`dtype` as float32 or float64, the two that minigrad computes in.

    Raises:
        KindError: It is neither.
    """
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except (TypeError, ValueError) as error:
        raise KindError(
            f"dtype {described(dtype)} is not known: use np.float32 or np.float64"
        ) from error
    if found not in FLOATS:
        raise KindError(f"dtype {found} is not supported: use np.float32 or np.float64")
    return found


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


def _called(who: object) -> str:
    return str(getattr(who, "called", who))


def batch(x: object, dtype: np.dtype[Any] | None, who: object) -> Array:
    """`x` as a batch: an array of real numbers, batch-first, with at least one row.

    Args:
        x: Shape (batch, ...).
        dtype: The dtype to arrive at.
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
    array = float_array(x, dtype, f"the input of {_called(who)}")
    if array.ndim == 0 or len(array) == 0:
        shape = f"shape {array.shape}"
        told = "a single number" if array.ndim == 0 else f"an empty batch, {shape}"
        raise ShapeError(
            f"{_called(who)} got {told}: expected at least one row, shape (batch, ...)"
        )
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
    got = f"{_called(who)} got an input of shape {array.shape}, expected (batch, {width})"
    if array.shape == (width,):
        raise ShapeError(f"{got}: this is one sample without its batch axis; pass x[np.newaxis]")
    if array.ndim == 2:
        raise ShapeError(f"{got}: each row has {array.shape[1]} features and must have {width}")
    if math.prod(array.shape[1:]) == width:
        raise ShapeError(f"{got}: flatten each sample first, x.reshape(len(x), -1)")
    raise ShapeError(f"{got}: the input must have 2 axes, this one has {array.ndim}")


def shaped(x: object, shape: tuple[int, ...], dtype: np.dtype[Any], what: str) -> Array:
    """`x` as an array of exactly this shape; nothing is broadcast. Floats beyond the range of
    `dtype` become infinite.

    Raises:
        KindError: It holds no real numbers.
        RangeError: It holds an integer with too many digits for `dtype`.
        ShapeError: Another shape.
    """
    if type(x) is np.ndarray and x.dtype == dtype and x.shape == shape:
        return x
    found = real_array(x, what)
    # Of a training that diverges the gradients are infinite one day, and `StopOnNonFinite` knows
    # what to say of it.
    array = (
        found.astype(dtype, copy=False)
        if found.dtype.kind == "f"
        else float_array(found, dtype, what)
    )
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
    told = f"{name} is {described(value)}, expected {expected}"
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not (
        isinstance(value, Real) or hasattr(value, "as_integer_ratio")
    ):  # a Decimal
        raise KindError(told)
    try:
        found = float(value)  # type: ignore[arg-type] # what has a ratio of integers is a number
    except OverflowError as error:
        raise RangeError(told) from error
    if not math.isfinite(found) or not all(holds(found, bound) for bound, _, holds in given):
        raise RangeError(told)
    return found


def whole(value: object, name: str, *, least: int = 1) -> int:
    """`value` as a whole number, `least` or more.

    Raises:
        KindError: It is not a whole number; 3.0 is none.
        RangeError: It is less than `least`.
    """
    told = f"{name} is {described(value)}, expected a whole number, {least} or more"
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise KindError(told)
    try:
        found = operator.index(value)
    except TypeError as error:  # an array of several
        raise KindError(told) from error
    if found < least:
        raise RangeError(told)
    return found


@lru_cache(maxsize=256)
def ones(size: int, char: str) -> Array:
    """`size` ones, read-only and kept: `ones @ x` sums the rows of a small `x` in a quarter of the
    time of `x.sum(axis=0)`.

    Args:
        size: How many.
        char: The dtype's one-letter code, `x.dtype.char`.
    """
    array = np.ones(size, char)
    array.flags.writeable = False
    return array


def blocks(*arrays: Array, entries: int = 65_536) -> Iterator[tuple[Array, ...]]:
    """The same part of several 1-D arrays of one length, as views, and then the next part of them.

    A formula of many passes over large arrays is faster part by part: each stays in the processor's
    cache.
    """
    for start in range(0, len(arrays[0]), entries):
        yield tuple(array[start : start + entries] for array in arrays)


@lru_cache(maxsize=256)
def row_starts(rows: int, width: int) -> npt.NDArray[np.int64]:
    """Where the rows of an array of this shape begin in its flat form, read-only and kept.

    `x.take(row_starts(*x.shape) + columns)` is `x[range(len(x)), columns]` in half the time.
    """
    starts = np.arange(0, rows * width, width, dtype=np.int64)
    starts.flags.writeable = False
    return starts


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_bytes(budget: object) -> int:
    """A number of bytes, or text such as "512MB", as bytes.

    Raises:
        KindError: It is neither.
        RangeError: It is not positive, or has an unknown unit.
    """
    if isinstance(budget, SupportsIndex) and not isinstance(budget, bool | np.ndarray):
        found = operator.index(budget)
    elif isinstance(budget, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", budget)
        if match is None or match[2].upper() not in _UNITS:
            raise RangeError(
                f"budget is {described(budget)}, expected a number of bytes, or text such as "
                f"'512MB' or '2GB'"
            )
        found = int(float(match[1]) * _UNITS[match[2].upper()])
    else:
        raise KindError(
            f"budget is {described(budget)}, expected a number of bytes, or text such as '512MB' "
            f"or '2GB'"
        )
    if found <= 0:
        raise RangeError(f"budget is {described(budget)}, expected more than 0 bytes")
    return found


def generator(rng: Seed) -> np.random.Generator:
    """The generator that `rng` stands for; NumPy's global random state is never touched.

    Raises:
        KindError: It is neither a seed, nor a generator, nor None.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None:
        return np.random.default_rng()
    if isinstance(rng, bool) or not hasattr(rng, "__index__"):
        raise KindError(
            f"rng is {described(rng)}, expected a seed (0, 1, ...) or np.random.default_rng(seed)"
        )
    return np.random.default_rng(whole(rng, "rng", least=0))


def set_generator(rng: np.random.Generator, state: Any, what: str) -> None:
    """Put a generator into a state, as `rng.bit_generator.state` gave it.

    Args:
        rng: The generator.
        state: The state.
        what: Whose generator it is, for the error.

    Raises:
        ModelError: It is the state of another kind of generator, or none; the generator is
            unchanged.
    """
    before = rng.bit_generator.state
    try:
        rng.bit_generator.state = deepcopy(state)
        # MT19937 and Philox stand somewhere in a buffer; NumPy does not look, and would read
        # outside of it.
        new = rng.bit_generator.state
        if not (0 <= new["state"].get("pos", 0) <= 624 and 0 <= new.get("buffer_pos", 0) <= 4):
            raise RangeError("it stands outside of its buffer")
    except (TypeError, ValueError, KeyError, OverflowError, IndexError) as error:
        rng.bit_generator.state = before
        own, kind = (
            before["bit_generator"],
            state.get("bit_generator") if isinstance(state, Mapping) else described(state),
        )
        told = f"this is a state of {kind}; use a generator of the same kind"
        told = f"this state of one is damaged ({error})" if kind == own else told
        raise ModelError(f"{what} is a {own}, and {told}") from error
