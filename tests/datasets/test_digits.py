from __future__ import annotations

import numpy as np
import pytest

from minigrad.datasets import load_digits
from minigrad.datasets.digits import enlarge

# Facts from elsewhere: scikit-learn's copy of the data, and the class counts that UCI states for
# the test set.
CLASS_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
PIXEL_SUM, PIXEL_SUM_HELD_OUT = 561_718, 111_414
FIRST_IMAGE = [
    [0, 0, 5, 13, 9, 1, 0, 0],
    [0, 0, 13, 15, 10, 15, 5, 0],
    [0, 3, 15, 2, 0, 11, 8, 0],
    [0, 4, 12, 0, 0, 8, 8, 0],
    [0, 5, 8, 0, 0, 9, 8, 0],
    [0, 4, 11, 0, 1, 12, 7, 0],
    [0, 2, 14, 5, 10, 12, 0, 0],
    [0, 0, 6, 13, 10, 0, 0, 0],
]


@pytest.mark.parametrize(("enlarged", "pixels"), [(True, 784), (False, 64)])
def test_shapes_dtypes_and_layout(enlarged: bool, pixels: int) -> None:
    """Images come as C-contiguous float32 in [0, 1], one row each, and labels as int64: what a
    model takes.
    """
    x_train, y_train, x_test, y_test = load_digits(enlarged=enlarged)
    assert (x_train.shape, y_train.shape) == ((1438, pixels), (1438,))
    assert (x_test.shape, y_test.shape) == ((359, pixels), (359,))
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    for x in (x_train, x_test):
        assert x.flags.c_contiguous
        assert (x.min(), x.max()) == (0, 1)


def test_data_are_the_published_ones() -> None:
    """The images and labels are those of the UCI collection, none lost, repeated or altered."""
    x_train, y_train, x_test, y_test = load_digits(raw=True, enlarged=False)
    assert np.bincount(np.concatenate([y_train, y_test])).tolist() == CLASS_COUNTS
    assert int(x_train.sum(dtype=int) + x_test.sum(dtype=int)) == PIXEL_SUM
    assert x_train[0].reshape(8, 8).tolist() == FIRST_IMAGE
    assert y_train[:8].tolist() == [
        0,
        1,
        2,
        3,
        5,
        6,
        7,
        8,
    ]  # of 0 to 9 in order, with every fifth held out


def test_every_fifth_image_is_held_out() -> None:
    """The test images are numbers 4, 9, 14, ...

    of the collection, so results can be compared from run to run.
    """
    _, _, x_test, y_test = load_digits(raw=True, enlarged=False)
    assert int(x_test.sum(dtype=int)) == PIXEL_SUM_HELD_OUT
    assert y_test[:5].tolist() == [4, 9, 4, 9, 4]
    assert np.bincount(y_test).tolist() == [27, 21, 34, 52, 34, 28, 31, 43, 47, 42]


def test_raw_are_sixteenths() -> None:
    """Raw pixels are bytes from 0 to 16, exactly sixteen times the scaled ones."""
    raw, _, raw_test, _ = load_digits(raw=True)
    scaled, _, scaled_test, _ = load_digits()
    assert raw.dtype == raw_test.dtype == np.uint8
    assert (raw.min(), raw.max()) == (0, 16)
    assert np.array_equal(raw / 16, scaled)
    assert np.array_equal(raw_test / 16, scaled_test)


def test_enlarge_agrees_with_a_loop() -> None:
    """Each pixel of 8 x 8 becomes 3 x 3 equal pixels inside a border of two zero pixels."""
    images = np.arange(1, 129, dtype=np.uint8).reshape(2, 8, 8)
    expected = np.zeros((2, 28, 28), np.uint8)
    for n in range(2):
        for row in range(24):
            for column in range(24):
                expected[n, row + 2, column + 2] = images[n, row // 3, column // 3]
    assert np.array_equal(enlarge(images), expected)


def test_enlarged_images_are_the_small_ones_with_a_border() -> None:
    """By default one sees the same digits in the same order, only larger, with nothing in the
    border.
    """
    small = load_digits(enlarged=False)[0].reshape(-1, 8, 8)
    large = load_digits()[0].reshape(-1, 28, 28)
    assert np.array_equal(large[:, 3:26:3, 3:26:3], small)  # the middle of each 3 x 3 pixels
    inside = np.zeros((28, 28), bool)
    inside[2:26, 2:26] = True
    assert not large[:, ~inside].any()


def test_calls_are_independent() -> None:
    """Overwriting the arrays of one call does not change what the next call returns."""
    first = load_digits()[0]
    first[:] = 7
    assert load_digits()[0].max() == 1
