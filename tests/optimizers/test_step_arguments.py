"""What `step` is told of a step: a loss and rows that mean something, or an error at once."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import minigrad as mg
from minigrad.errors import KindError, MinigradError, RangeError, ShapeError

X, Y = np.ones((4, 3), np.float32), np.arange(4) % 2


class Unwilling:
    """What looks like a number, and is none."""

    def __float__(self) -> float:
        raise RuntimeError("not now")


class Told(mg.Hook):
    """Keeps what the events say."""

    def __init__(self) -> None:
        self.losses: list[float | None] = []
        self.rows: list[npt.NDArray[Any] | None] = []

    def on_step(self, event: mg.Step) -> None:
        self.losses.append(event.loss)
        self.rows.append(event.indices)


def pending() -> mg.SGD:
    """An optimizer whose model waits for a step."""
    model, loss = mg.Sequential(mg.Dense(3, 2, rng=0)), mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    loss.forward(model(X), Y)
    model.backward(loss.backward())
    return optimizer


def test_losses() -> None:
    """Any real number is one, and arrives as a float: NaN too, as it may happen."""
    given: list[Any] = [
        None,
        1,
        0.5,
        float("nan"),
        np.inf,
        np.float32(0.5),
        np.float64(2),
        np.array(3.0),
    ]
    given += [Fraction(1, 4), Decimal("1.5"), np.longdouble(2), np.int8(-1)]
    expected = [None, 1.0, 0.5, np.nan, np.inf, 0.5, 2.0, 3.0, 0.25, 1.5, 2.0, -1.0]
    for one, number in zip(given, expected, strict=True):
        optimizer, told = pending(), Told()
        optimizer.attach(told)
        optimizer.step(loss=one)
        np.testing.assert_equal([number], told.losses)
        assert number is None or isinstance(told.losses[0], float)


def test_rows() -> None:
    """Whole numbers of any kind, from 0 to the last that a record can hold."""
    given: list[Any] = [
        [0, 5],
        (3,),
        range(2),
        np.array([1, 0], np.uint8),
        np.array([7], ">i8"),
        [],
    ]
    given += [np.arange(6)[::-2], np.array([2**31 - 1], np.uint64)]
    expected = [[0, 5], [3], [0, 1], [1, 0], [7], [], [5, 3, 1], [2**31 - 1]]
    for one, rows in zip(given, expected, strict=True):
        optimizer, told = pending(), Told()
        optimizer.attach(told)
        with mg.Recorder(optimizer) as recorder:
            optimizer.step(indices=one)
        [event], kept = told.rows, recorder.run.indices(0)
        assert event is not None
        assert kept is not None
        assert rows == event.tolist() == kept.tolist()
        assert "i" == kept.dtype.kind


LOSSES = {
    "text": ("0.5", KindError, "'0.5'"),
    "bytes": (b"1", KindError, "b'1'"),
    "complex": (1j, KindError, "1j"),
    "complex of NumPy": (np.complex64(1), KindError, "(1+0j)"),
    "a boolean": (True, KindError, "True"),
    "a list": ([0.5], KindError, "[0.5]"),
    "an array of one": (np.array([0.5]), KindError, "loss.item()"),
    "an array of two": (np.array([0.5, 1]), KindError, "shape (2,)"),
    "a large number": (10**400, RangeError, "float64"),
    "an unwilling number": (Unwilling(), KindError, "not now"),
    "a date": (np.datetime64(1, "s"), KindError, "datetime"),
}
ROWS = {
    "beyond 32 bits": ([0, 3_000_000_000], RangeError, "3000000000 at position 1"),
    "just beyond": (np.array([2**31]), RangeError, "2,147,483,647"),
    "beyond 64 bits": (np.array([2**63], np.uint64), RangeError, str(2**63)),
    "beyond any": ([10**30], KindError, "whole numbers"),
    "negative": ([4, -1, -2], RangeError, "-1 at position 1, and 2 of 3"),
    "negative in 8 bits": (np.array([-128], np.int8), RangeError, "-128"),
    "fractions": ([1.5], KindError, "float64"),
    "whole floats": (np.array([1.0]), KindError, "float64"),
    "NaN": ([np.nan], KindError, "float64"),
    "text": (["1"], KindError, "['1']"),
    "one number": (3, ShapeError, "()"),
    "two axes": (np.zeros((2, 2), int), ShapeError, "(2, 2)"),
    "a mask": (np.array([True, False]), KindError, "np.flatnonzero"),
    "objects": (np.array([1, 2], object), KindError, "dtype=np.int64"),
    "None in a list": ([None], KindError, "[None]"),
    "an iterator": (iter([1]), KindError, "whole numbers"),
    "ragged": ([[1], [2, 3]], KindError, "whole numbers"),
}


@pytest.mark.parametrize("watched", ["alone", "in memory", "on disk"])
@pytest.mark.parametrize("case", [*(f"loss: {one}" for one in LOSSES), *ROWS])
def test_nonsense_is_refused_before_anything_happens(
    case: str, watched: str, tmp_path: Path
) -> None:
    """With a recorder and without: no value, no state and no record changes, and the step can be
    made again.
    """
    name = "loss" if case.startswith("loss: ") else "indices"
    given, error, says = LOSSES[case[6:]] if name == "loss" else ROWS[case]
    optimizer = pending()
    path = tmp_path / "run" if watched == "on disk" else None
    recorder = None if watched == "alone" else mg.Recorder(optimizer, path=path)
    if recorder is not None:
        recorder.start()
    before = optimizer.model.state_dict(), optimizer.state_dict()
    with pytest.raises(MinigradError) as caught:
        optimizer.step(**{name: given})  # type: ignore[arg-type]
    assert error is type(caught.value)
    assert f"{name} of step" in str(caught.value)
    assert says in str(caught.value)
    np.testing.assert_equal((optimizer.model.state_dict(), optimizer.state_dict()), before)
    optimizer.step(loss=0.5, indices=np.array([1]))
    assert 1 == optimizer.step_count
    if recorder is not None:
        recorder.stop()
        assert (0,) == recorder.run.steps
        np.testing.assert_equal([1], recorder.run.indices(0))
        assert recorder.run.verify()
