"""The checks at the door: what is passed on, what is converted, what is refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad import _kernels, _validation, randomness
from minigrad._messages import described, where
from minigrad.errors import KindError, RangeError, ShapeError

F32, F64 = np.dtype(np.float32), np.dtype(np.float64)


@pytest.mark.parametrize("given", [np.float32, F32, "<f4", np.float64, "d", float], ids=repr)
def test_float_dtype_takes_the_two(given: Any) -> None:
    """Float32 and float64, however they are named."""
    assert np.dtype(given) == _validation.float_dtype(given)


@pytest.mark.parametrize("given", ["f2", "i8", "c8", "O", "bool"])
def test_float_dtype_refuses_others(given: str) -> None:
    """Nothing else is computed in."""
    with pytest.raises(KindError, match=r"use np\.float32 or np\.float64"):
        _validation.float_dtype(given)


@pytest.mark.parametrize("given", ["float31", "no such", 3, "f4,f4"])
def test_float_dtype_of_no_dtype(given: Any) -> None:
    """What NumPy does not know as a dtype is told in the same way."""
    with pytest.raises(KindError, match=r"use np\.float32 or np\.float64"):
        _validation.float_dtype(given)


@pytest.mark.parametrize("dtype", [F32, F64])
def test_what_fits_is_passed_on_and_not_copied(dtype: np.dtype[Any]) -> None:
    """An array that is right already costs nothing."""
    x = np.ones((3, 2), dtype)
    assert x is _validation.float_array(x, dtype, "x")
    assert x is _validation.float_array(x, None, "x")
    assert x is _validation.batch(x, dtype, "who")
    assert x is _validation.rows(x, 2, dtype, "who")
    assert x is _validation.shaped(x, (3, 2), dtype, "x")


@pytest.mark.parametrize("kind", ["bool", "u1", "i8", "f2", "f4", "f8", ">f4", ">i2"])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_real_numbers_are_converted(kind: str, dtype: np.dtype[Any]) -> None:
    """All checks convert any real kind to the dtype that is asked for, in native byte order."""
    x = np.array([[1, 0], [0, 1], [1, 1]], kind)
    for found in (
        _validation.float_array(x, dtype, "x"),
        _validation.batch(x, dtype, "who"),
        _validation.rows(x, 2, dtype, "who"),
        _validation.shaped(x, (3, 2), dtype, "x"),
    ):
        assert dtype == found.dtype
        assert found.dtype.isnative
        assert x.tolist() == found.tolist()


def test_without_a_dtype_integers_become_float32() -> None:
    """The default dtype of minigrad."""
    assert F32 == _validation.float_array([1, 2], None, "x").dtype
    assert F32 == _validation.float_array(np.ones(2, np.float16), None, "x").dtype
    assert F64 == _validation.float_array([1.0, 2.0], None, "x").dtype


def test_a_byte_order_that_is_not_native_is_converted() -> None:
    """Arrays read from files of another machine are converted as well where no dtype is asked
    for.
    """
    assert _validation.float_array(np.ones(2, ">f8"), None, "x").dtype.isnative
    assert _validation.batch(np.ones((2, 2), ">f4"), None, "who").dtype.isnative


def test_subclasses_become_plain_arrays() -> None:
    """Matrices and memory maps do not travel through the layers as such."""
    x = np.ones((2, 2)).view(np.recarray)
    for found in (
        _validation.float_array(x, F64, "x"),
        _validation.batch(x, F64, "x"),
        _validation.shaped(x, (2, 2), F64, "x"),
    ):
        assert np.ndarray is type(found)


@pytest.mark.parametrize(
    ("x", "told"),
    [
        (np.ones(2, complex), "complex128"),
        (["a"], "text"),
        ([b"a"], "text"),
        ([None], "Python objects"),
        ([{}], "Python objects"),
        ([[1], [1, 2]], "ragged"),
        (np.zeros(2, "M8[s]"), "datetime64"),
        (np.zeros(2, "m8[s]"), "timedelta64"),
        (np.zeros(2, "i4,f4"), "expected real numbers"),
    ],
    ids=["complex", "str", "bytes", "none", "dict", "ragged", "time", "duration", "record"],
)
def test_other_things_are_no_numbers(x: Any, told: str) -> None:
    """The message says whose array it is, and what is in it."""
    with pytest.raises(KindError, match=rf"^the thing .*{told}"):
        _validation.real_array(x, "the thing")


@pytest.mark.parametrize(
    ("value", "bounds", "expected"),
    [
        (1, {}, 1.0),
        (0.5, {"above": 0, "below": 1}, 0.5),
        (0, {"least": 0}, 0.0),
        (1, {"most": 1}, 1.0),
        (np.float32(0.25), {"above": 0}, 0.25),
        (np.int8(3), {}, 3.0),
        (np.array(2.5), {}, 2.5),
        (Fraction(1, 4), {}, 0.25),
        (Decimal("0.5"), {}, 0.5),
    ],
)
def test_numbers(value: Any, bounds: dict[str, float], expected: float) -> None:
    """Anything that is one finite real number is one, as a Python float."""
    found = _validation.number(value, "it", **bounds)
    assert (expected, float) == (found, type(found))


@pytest.mark.parametrize(
    ("value", "bounds", "error"),
    [
        (0, {"above": 0}, RangeError),
        (1, {"below": 1}, RangeError),
        (-1e-9, {"least": 0}, RangeError),
        (1.1, {"most": 1}, RangeError),
        (float("nan"), {}, RangeError),
        (float("-inf"), {"most": 1}, RangeError),
        (True, {}, KindError),
        (np.True_, {}, KindError),
        ("1", {}, KindError),
        (b"1", {}, KindError),
        (None, {}, KindError),
        (1j, {}, KindError),
        ([1], {}, KindError),
        (np.ones(2), {}, KindError),
    ],
)
def test_no_numbers(value: Any, bounds: dict[str, float], error: type[Exception]) -> None:
    """The message repeats the name, the value and every bound."""
    with pytest.raises(error, match=r"^it is ") as told:
        _validation.number(value, "it", **bounds)
    assert described(value) in str(told.value)
    words = {"above": "above", "least": "at least", "below": "below", "most": "at most"}
    for bound, limit in bounds.items():
        assert f"{words[bound]} {limit}" in str(told.value)


def test_bounds_read_like_a_sentence() -> None:
    """A rate must be "a finite number above 0", not "a finite number and above 0"."""
    with pytest.raises(RangeError, match=r"lr is -1, expected a finite number above 0$"):
        _validation.number(-1, "lr", above=0)


@pytest.mark.parametrize(("value", "least"), [(1, 1), (np.int64(5), 1), (0, 0), (np.uint8(7), 7)])
def test_whole_numbers(value: Any, least: int) -> None:
    """Integers of any kind, as Python's."""
    found = _validation.whole(value, "it", least=least)
    assert (int(value), int) == (found, type(found))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, RangeError),
        (-3, RangeError),
        (2.0, KindError),
        ("2", KindError),
        (True, KindError),
        (None, KindError),
    ],
)
def test_no_whole_numbers(value: Any, error: type[Exception]) -> None:
    """3.0 is no whole number, and neither is True."""
    with pytest.raises(error, match="expected a whole number, 1 or more") as told:
        _validation.whole(value, "it")
    assert str(told.value).startswith(f"it is {described(value)}, ")


def test_an_array_of_several_is_no_whole_number() -> None:
    """Python would ask it for an index, and it would raise an error of NumPy's."""
    with pytest.raises(
        KindError, match=r"it is an array of shape \(2,\), expected a whole number, 1 or more"
    ):
        _validation.whole(np.array([3, 4]), "it")


def test_kept_arrays_are_read_only() -> None:
    """Arrays that are made once and given to many cannot be spoilt."""
    ones, starts = _kernels._ones(3, "f"), _kernels._row_starts(3, 4)  # noqa: SLF001
    assert ones is _kernels._ones(3, "f")  # noqa: SLF001
    assert ([1, 1, 1], F32) == (ones.tolist(), ones.dtype)
    assert [0, 4, 8] == starts.tolist()
    for array in (ones, starts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 9


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (4, 1), (1, 5)])
def test_row_starts_of_any_form(rows: int, width: int) -> None:
    """One row, or one column, has starts as well."""
    assert [row * width for row in range(rows)] == _kernels._row_starts(rows, width).tolist()  # noqa: SLF001


def test_a_generator_is_taken_as_it_is() -> None:
    """A generator stays the same object, a seed makes one, None makes a new one each time."""
    rng = np.random.default_rng(0)
    seed: Any = np.int64(7)
    assert rng is randomness.generator(rng)
    assert (
        np.random.default_rng(7).random()
        == randomness.generator(7).random()
        == randomness.generator(seed).random()
    )
    assert randomness.generator(None).random() != randomness.generator(None).random()


@pytest.mark.parametrize("rng", ["0", 0.5, True, np.random.RandomState, [1]], ids=repr)
def test_other_things_are_no_generator(rng: Any) -> None:
    """The message says what an `rng` is."""
    with pytest.raises(KindError, match="expected a seed"):
        randomness.generator(rng)


def test_shapes_are_exact() -> None:
    """Not even an axis of length 1 is added or dropped."""
    for shape in ((2, 1), (1, 2), (), (1, 1, 2)):
        with pytest.raises(ShapeError, match="nothing is broadcast"):
            _validation.shaped(np.ones(shape), (2,), F64, "x")


@pytest.mark.parametrize("sign", [1, -1])
def test_integers_at_the_end_of_float32(sign: int) -> None:
    """What float32 holds exactly is taken; the first integer that it does not hold is refused."""
    layer = mg.Dense(1, 1, rng=0)
    for exact in (2**24 - 1, 2**24, 2**24 + 2):
        layer(np.array([[sign * exact], [2**24 + 2]]))
    with pytest.raises(RangeError, match=f"holds the integer {sign * (2**24 + 1)}"):
        layer(np.array([[sign * (2**24 + 1)]]))


def test_where_an_entry_lies() -> None:
    """Rows and columns have a name; beyond, the indices are all there."""
    assert "in row 2" == where((2,))
    assert "in row 2, column 3" == where((2, 3))
    assert "at (2, 3, 4)" == where((2, 3, 4))


@pytest.mark.parametrize(("name", "article"), [("Index", "an"), ("Unit", "a"), ("row", "a")])
def test_the_article_before_a_kind(name: str, article: str) -> None:
    """As it is spoken: "an Index", but "a Unit", as most names in u begin with the sound of you."""
    kind = type(name, (), {"shape": (2,)})
    assert f"{article} {name} of shape (2,)" == described(kind())


@pytest.mark.parametrize("methods", [("value",), ("forward", "backward")], ids="+".join)
def test_what_numpy_can_read_is_read(methods: tuple[str, ...]) -> None:
    """A quantity or a variable of another library that is an array to NumPy is one here too.

    Its attributes may have the names of a parameter's or a layer's.
    """
    held = np.array([[1.0, 2.0]])
    members = {
        "__array__": lambda self, dtype=None, copy=None: held,
        **dict.fromkeys(methods, held),
    }
    foreign = type("Foreign", (), members)()
    layer = mg.Dense(2, 1, init="ones", dtype=np.float64)
    assert [[3.0]] == layer(foreign).tolist()
