"""Bad data, as `Batches` refuses them: a sentence that says what to do.

And data of many kinds that are good.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from training_support import Diary, classifier, plain, samples

import minigrad as mg
from minigrad.errors import KindError, MinigradError, RangeError, ShapeError

X, Y = samples()

BAD_DATA: dict[str, tuple[dict[str, Any], type[MinigradError], str]] = {
    "two lengths": (
        {"x": X, "y": Y[:-1]},
        ShapeError,
        "Batches got 23 samples in x but 22 targets in y",
    ),
    "no samples": (
        {"x": X[:0], "y": Y[:0]},
        ShapeError,
        "Batches got x of shape (0, 4) and y of shape (0,): there are no samples",
    ),
    "one number": (
        {"x": 1.0, "y": 2.0},
        ShapeError,
        "Batches got x of shape () and y of shape (): there are no samples",
    ),
    "a batch of more than there are": (
        {"batch_size": 24},
        RangeError,
        "batch_size is 24, but there are only 23 samples; use batch_size=23 for all at once",
    ),
    "batches of nothing": (
        {"batch_size": 0},
        RangeError,
        "batch_size is 0, expected a whole number, 1 or more",
    ),
    "labels that are text": (
        {"y": np.array(["cat", "dog"] * 11 + ["cat"])},
        KindError,
        (
            "y of Batches has dtype <U3: text, not numbers; encode categories as numbers first: "
            "names, labels = np.unique(text"
        ),
    ),
    "complex samples": (
        {"x": X * 1j},
        KindError,
        "x of Batches has dtype complex64: complex numbers are not supported",
    ),
}


class Column:
    """As a library of tables hands out a column: anything that NumPy makes an array of Python
    objects of.
    """

    def __init__(self, items: Sequence[object]) -> None:
        self._items = list(items)

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return np.array(self._items, dtype=object)


BAD_DATA["a column of text"] = (
    {"y": Column(["cat", "dog"] * 11 + ["cat"])},
    KindError,
    "y of Batches has dtype object: text, not numbers; encode categories as numbers first",
)
BAD_DATA["a column with a gap"] = (
    {"y": Column([*range(22), None])},
    KindError,
    (
        "y of Batches has dtype object: Python objects; the first that is no number is None in row "
        "22; expected real numbers"
    ),
)


@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(name: str) -> None:
    """What `Batches` refuses already."""
    settings, error, told = BAD_DATA[name]
    with pytest.raises(error) as caught:
        mg.Batches(**{"x": X, "y": Y, "batch_size": 5, **settings})
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64, list])
def test_what_is_right_is_not_refused(kind: Any) -> None:
    """Labels of any integer kind, lists, NumPy's whole numbers, an iterator of hooks: the same
    figures.
    """
    labels = Y.tolist() if kind is list else Y.astype(kind)
    expected = classifier().fit(1, validation_data=(X, Y))
    training = classifier()
    model, loss, optimizer, _ = training
    data = mg.Batches(X, labels, 5, rng=training.data.rng)
    settings: dict[str, Any] = {
        "epochs": np.int8(1),
        "validation_data": [X.tolist(), labels],
        "hooks": iter([Diary()]),
    }
    assert dict(expected) == dict(mg.fit(model, loss, optimizer, data, **settings))


@pytest.mark.parametrize(("n", "settings"), [(9, {"batch_size": 4}), (4, {"batch_size": 1})])
def test_a_batch_of_one_sample_for_batchnorm(n: int, settings: dict[str, Any]) -> None:
    """It is refused before the first step, and not at the end of the first epoch.

    In eval mode it is none.
    """
    x, y = samples(n)
    model = mg.Sequential(mg.Dense(4, 3, rng=0), mg.BatchNorm(3))
    before = plain(model.state_dict())
    loss, optimizer = mg.SoftmaxCrossEntropy(), mg.SGD(model, lr=0.1)
    with pytest.raises(
        ShapeError,
        match=r"a batch of 1, and layer '1', BatchNorm\(3\) needs at least 2 samples in training",
    ):
        mg.fit(model, loss, optimizer, mg.Batches(x, y, rng=0, **settings), epochs=1)
    assert before == plain(model.state_dict())
    if n == 9:
        mg.fit(
            model, loss, optimizer, mg.Batches(x, y, rng=0, drop_last=True, **settings), epochs=1
        )
    model[1].eval()
    mg.fit(model, loss, optimizer, mg.Batches(x, y, rng=0, **settings), epochs=1)
