"""`compare`: what differs between two arrays, told in sentences, against NumPy's own print."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.display.printed import printed_entries


def story(n_in: int = 784, n_out: int = 10) -> tuple[Any, Any, Any]:
    """Weights before and after a training on images whose first and last 33 pixels, and one more,
    are always 0.
    """
    rng = np.random.default_rng(0)
    x = rng.random((50, n_in))
    dark = [*range(33), 100, *range(n_in - 33, n_in)]
    x[:, dark] = 0
    before = rng.uniform(-0.5, 0.5, (n_in, n_out))
    after = before + 0.125
    after[dark] = before[dark]
    return before, after, x


def test_the_story_is_answered() -> None:
    """670 of 7,840 entries did not change, all of them lie on dark inputs, and the print shows only
    those.
    """
    before, after, x = story()
    found = mg.compare(before, after, inputs=x)
    assert (7840, 7170, 670, 670) == (found.size, found.changed, found.unchanged, found.stuck)
    assert found.prints_alike
    assert repr(before) == repr(after)
    assert (36, 0) == (found.shown, found.shown_changed)  # three rows and columns at each corner
    assert 0 == found.input_axis
    assert found.zero_inputs is not None
    assert [*range(33), 100, *range(751, 784)] == found.zero_inputs.tolist()
    assert (784, 10) == found.mask.shape
    assert np.array_equal(before != after, found.mask)
    assert ((33, 750), (0, 9)) == found.changed_range
    assert 0.125 == found.largest_change
    first, *rest = str(found).splitlines()
    assert (
        "670 of 7,840 unchanged; all 670 lie on 67 inputs that are 0 in every row of x; "
        "NumPy's print shows only such entries."
    ) == first
    text = " ".join(rest)
    for part in (
        "7,170 changed",
        "up to 0.125",
        "axis 0: 33 to 750 (of 0 to 783)",
        "same text",
        "0-32, 100, 751-783",
    ):
        assert part in text


def test_weights_the_other_way_round() -> None:
    """(n_out, n_in), as PyTorch has them, is understood as well."""
    before, after, x = story()
    found = mg.compare(before.T, after.T, inputs=x.astype(np.float32))
    assert (1, 670, 670) == (found.input_axis, found.unchanged, found.stuck)
    assert str(found).startswith("670 of 7,840 unchanged; all 670 lie on 67 inputs")


@pytest.mark.parametrize("turned", [False, True])
def test_square_weights(turned: bool) -> None:
    """Where both axes fit, the one along which the entries of dark inputs did not move is meant."""
    before, after, x = story(200, 200)
    found = (
        mg.compare(before.T, after.T, inputs=x) if turned else mg.compare(before, after, inputs=x)
    )
    assert (int(turned), 67 * 200) == (found.input_axis, found.stuck)


def test_images_as_inputs() -> None:
    """Inputs of any form are taken apart into features."""
    before, after, x = story()
    assert 670 == mg.compare(before, after, inputs=x.reshape(-1, 28, 28)).stuck


def test_entries_unchanged_for_other_reasons() -> None:
    """What lies on dark inputs is told from what does not."""
    before, after, x = story()
    after[400:402] = before[400:402]
    assert "690 of 7,840 unchanged; 670 of them lie on 67 inputs" in str(
        mg.compare(before, after, inputs=x)
    )
    bright = np.ones_like(x)
    assert "none of them lies on an input that is 0" in str(
        mg.compare(before, after, inputs=bright)
    )


def test_one_input() -> None:
    """The grammar of one."""
    x = np.array([[1.0, 0.0, 2.0]])
    found = mg.compare([[1], [2], [3]], [[2], [2], [4]], inputs=x)
    assert (
        "1 of 3 unchanged; all 1 lie on 1 input that is 0 in every row of x."
        == str(found).splitlines()[0]
    )


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ([0.0, 1.0], [-0.0, 1.0], 0),
        ([np.nan, 1.0], [np.nan, 1.0], 0),
        ([np.nan, 1.0], [1.0, 1.0], 1),
        ([np.inf, -np.inf], [np.inf, np.inf], 1),
        ([1, 2, 3], [1, 2, 4], 1),
        ([True, False], [False, False], 1),
        ([1.0], np.nextafter([1.0], 2), 1),
        (np.array([0, 255], np.uint8), np.array([255, 255], np.uint8), 1),
        (np.array([0.1], np.float32), np.array([0.1]), 1),
        ([], [], 0),
        ([[1.0, 2.0]], [[3.0, 4.0]], 2),
    ],
)
def test_what_counts_as_a_change(before: Any, after: Any, changed: int) -> None:
    """NaN equals NaN, the sign of zero does not count, and the smallest difference does."""
    found = mg.compare(before, after)
    assert (changed, np.size(before) - changed) == (found.changed, found.unchanged)
    assert str(found)


def test_nan_and_infinity_are_said_first() -> None:
    """Both are counted in both arrays.

    The way to and from them has no length; NaN that stays NaN is unchanged.
    """
    before = np.array([np.nan, np.nan, 1, 2, 3, np.inf, 7])
    after = np.array([np.nan, 5, np.nan, 2.5, 3, -np.inf, 7])
    found = mg.compare(before, after)
    assert ((2, 1), (2, 1)) == (found.not_finite_before, found.not_finite_after)
    assert [True, True, True, False, False, True, False] == found.strange.tolist()
    assert (4, 0.5) == (found.changed, found.largest_change)
    assert [
        (
            "NaN or infinity: of 7 entries 2 are NaN and 1 is infinite before, 2 are NaN and 1 is "
            "infinite after."
        ),
        "3 of 7 unchanged.",
        (
            "4 changed, by up to 0.5, but for 3 to or from NaN or infinity; they lie on axis 0: 1 "
            "to 5 (of 0 to 6)."
        ),
    ] == str(found).splitlines()
    first, _, last = str(mg.compare([1.0, 2.0], [np.nan, np.nan])).splitlines()
    assert "NaN or infinity: of 2 entries none is before, 2 are NaN after." == first
    assert last.startswith("2 changed, all to or from NaN or infinity; they lie on")
    assert "NaN" not in str(mg.compare([1.0], [2.0]))


def test_the_largest_change_of_bytes() -> None:
    """Unsigned differences do not wrap around."""
    dark, bright = np.array([0], np.uint8), np.array([255], np.uint8)
    assert 255 == mg.compare(dark, bright).largest_change == mg.compare(bright, dark).largest_change


def test_single_numbers() -> None:
    """Arrays without an axis have one entry."""
    found = mg.compare(1.0, 3.0)
    assert (1, 1, 2.0) == (found.size, found.changed, found.largest_change)
    assert "all 1 entries changed" in str(found) or "1 changed" in str(found)
    assert 0 == mg.compare(np.float32(1), np.float32(1)).changed


def test_nothing_and_everything() -> None:
    """Said in words."""
    a = np.arange(2000.0)
    assert "nothing changed: all 2,000 entries are the same" in str(mg.compare(a, a.copy()))
    assert "all 2,000 entries changed" in str(mg.compare(a, a + 1))
    assert "NumPy's print shows 6 entries, of which 6 changed" in str(mg.compare(a, a + 1))


def test_names_of_axes_and_inputs() -> None:
    """The ranges, or the inputs, carry the names that they are given."""
    found = str(mg.compare([[1, 2], [3, 4]], [[1, 2], [3, 5]], names=["pixel", "unit"]))
    assert "pixel: 1 to 1 (of 0 to 1), unit: 1 to 1 (of 0 to 1)" in found
    x = np.array([[1.0, 0, 0]])
    found = str(
        mg.compare(np.zeros((3, 1)), [[1], [0], [0]], inputs=x, names=["age", "height", "weight"])
    )
    assert "always 0: height, weight" in found


@pytest.mark.parametrize(("dark", "more"), [(10, 0), (11, 1), (13, 3)])
@pytest.mark.parametrize("named", [True, False])
def test_more_than_ten_inputs_or_ranges(dark: int, more: int, named: bool) -> None:
    """Ten are listed, and the others counted."""
    x = np.ones((1, 2 * dark))
    x[:, ::2] = 0  # no two side by side, so that each is a range of its own
    before = np.zeros((2 * dark, 1))
    names = [f"input {index}" for index in range(2 * dark)] if named else None
    text = str(mg.compare(before, before + x.T, inputs=x, names=names))
    listed = [names[index] if names else str(index) for index in range(0, 20, 2)]
    rest = (f" and {more} more" if named else f" and {more} more ranges") if more else ""
    assert f"Inputs that are always 0: {', '.join(listed)}{rest}." in text


def test_views_of_different_parts_are_not_the_same_array() -> None:
    """Only memory that is really shared is an error."""
    both = np.arange(8.0)
    assert 4 == mg.compare(both[::2], both[1::2]).changed


def test_nothing_is_changed() -> None:
    """Arrays that are read-only can be compared."""
    before, after, x = story()
    for array in (before, after, x):
        array.flags.writeable = False
    mg.compare(before, after, inputs=x)


@sparse(
    pytest.mark.parametrize(
        "shape",
        [(), (3,), (1000,), (1001,), (784, 10), (10, 784), (11, 11, 11), (1200, 1), (5, 300)],
    ),
    pytest.mark.parametrize(
        "options", [{}, {"threshold": 5, "edgeitems": 2}, {"threshold": 10**9}]
    ),
)
def test_which_entries_numpy_prints(shape: tuple[int, ...], options: dict[str, int]) -> None:
    """Against the print itself: each entry is a number of its own, to be found in the text or
    not.
    """
    numbers = np.arange(np.prod(shape, dtype=int)).reshape(shape) + 100_000
    with np.printoptions(**options):  # type: ignore[arg-type]
        text = np.array_repr(numbers)
        shown = printed_entries(shape)
    printed = {int(number) for number in re.findall(r"\d{6,}", text)}
    assert shape == shown.shape
    assert printed == set(np.asarray(numbers)[shown].ravel().tolist())


def test_the_comparison_respects_print_options() -> None:
    """Whoever prints all entries is not told that only the corners are shown."""
    before, after, x = story()
    with np.printoptions(threshold=10**6):
        found = mg.compare(before, after, inputs=x)
    assert (7840, 7170, False) == (found.shown, found.shown_changed, found.prints_alike)
    assert "NumPy's print" not in str(found)
