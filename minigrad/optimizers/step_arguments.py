"""What `Optimizer.step` is told of a step, checked."""

from __future__ import annotations

import numpy as np

from minigrad._messages import described
from minigrad._validation import LAST_ROW, real_array
from minigrad.arrays import Integers
from minigrad.errors import KindError, RangeError, ShapeError


def checked_loss(loss: object) -> float | None:
    """A loss as a number, which may be NaN or infinite; None where it is not known.

    Raises:
        KindError: It is no number: text, a complex number, an array of one axis or more.
        RangeError: It is a whole number beyond the range of float64.
    """
    if loss is None or isinstance(loss, float):
        return loss
    expected = "one number, as loss.forward returns"
    one = loss.item() if isinstance(loss, np.ndarray | np.generic) and not loss.ndim else loss
    if isinstance(one, np.ndarray):
        expected = "one number: take it out, loss.item()" if one.size == 1 else "one number"
    elif not isinstance(one, bool) and (hasattr(one, "__float__") or hasattr(one, "__index__")):
        try:
            return float(one)
        except OverflowError as error:
            raise RangeError(f"{_given(loss)}, expected one that float64 can hold") from error
        except Exception as error:  # noqa: BLE001 - whatever somebody else's `__float__` raises
            expected = f"{expected} ({type(error).__name__}: {error})"
    raise KindError(f"{_given(loss)}, expected {expected}")


def _given(loss: object) -> str:
    return f"loss of step is {described(loss)}"


def checked_rows(indices: object) -> Integers | None:
    """The rows of a batch as an array of whole numbers; None where they are not known.

    Raises:
        KindError: They are not whole numbers: 1.0 is none, nor is True.
        ShapeError: They do not lie on one axis.
        RangeError: One is negative, or beyond 2,147,483,647.
    """
    if indices is None:
        return None
    try:
        rows = real_array(indices, "indices of step")
    except KindError as error:  # its own advice is for data: to make floats of them, say
        raise KindError(
            f"indices of step is {described(indices)}, expected whole numbers, for each sample of "
            f"the batch its row in the data: np.array(indices, dtype=np.int64)"
        ) from error
    if rows.ndim != 1:
        raise ShapeError(
            f"indices of step has shape {rows.shape}, expected one axis: for each sample of the "
            f"batch its row in the data"
        )
    if not rows.size:
        return rows.astype(np.int64)
    if rows.dtype.kind not in "iu":
        advice = "of a mask pass np.flatnonzero(mask)" if rows.dtype == bool else "3.0 is none"
        raise KindError(f"indices of step has dtype {rows.dtype}, expected whole numbers; {advice}")
    # One look for both ends: some row has the bit of the sign, or a bit above those of LAST_ROW.
    if not 0 <= int(np.bitwise_or.reduce(rows)) <= LAST_ROW:
        wrong = (rows < 0) | (rows > LAST_ROW)
        place = int(wrong.argmax())
        raise RangeError(
            f"indices of step holds {int(rows[place])} at position {place}, and "
            f"{np.count_nonzero(wrong):,} of {rows.size:,} are out of range; expected rows of the "
            f"data from 0 to {LAST_ROW:,}, as Batches.indices gives them"
        )
    return rows
