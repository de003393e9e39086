"""`compare`: what differs between two arrays, for anybody's arrays, and whether NumPy's print would show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from minigrad._validation import real_array
from minigrad.arrays import Mask
from minigrad.display.pictures import not_finite
from minigrad.errors import ShapeError, SharedMemoryError

if TYPE_CHECKING:
    from minigrad.comparison import Comparison


def compare(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    inputs: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Comparison:
    """What differs between two arrays, such as a layer's weights before and after training in any
    framework.

        before = weights.copy()
        ...  # train
        print(minigrad.compare(before, weights, inputs=x_train))

    Args:
        before: An array of real numbers; a copy from before.
        after: An array of the same shape.
        inputs: The data that fed these weights, shape (n, features). The weights may be (n_in,
            n_out) or (n_out, n_in). An entry whose input is 0 in every row has the gradient 0, and
            cannot have moved by it.
        names: One name for each axis ("pixel", "unit"), or one for each input.

    Raises:
        KindError: Something holds no real numbers.
        ShapeError: The shapes differ, `inputs` fits no axis, or there are too few or too many
            names.
        SharedMemoryError: Both arrays are the same live memory.
    """
    from minigrad.comparison import (
        Comparison,
    )  # not at the top: a training needs none, and it takes long to load

    a, b = real_array(before, "before"), real_array(after, "after")
    if np.may_share_memory(a, b) and np.shares_memory(a, b):
        raise SharedMemoryError(
            "both are the same live array, so they can never differ; keep a copy from before "
            "training: before = weight.copy()"
        )
    if a.shape != b.shape:
        raise ShapeError(
            f"before has shape {a.shape} and after {b.shape}; compare arrays of the same shape"
        )
    mask = np.asarray((a != b) & ~(np.isnan(a) & np.isnan(b)))
    places = np.nonzero(mask) if mask.ndim else ()
    changed = int(np.count_nonzero(mask))
    strange_before, strange_after = ~np.isfinite(a), ~np.isfinite(b)
    strange = np.asarray(strange_before | strange_after)
    wide, measured = np.result_type(a, b, np.float64), mask & ~strange
    change = np.abs(a[measured].astype(wide) - b[measured].astype(wide))
    shown = printed_entries(a.shape)
    zero_inputs, axis, stuck = _zero_inputs(inputs, mask)
    given = None if names is None else tuple(str(name) for name in names)
    if given is not None and len(given) not in {a.ndim, -1 if axis is None else a.shape[axis]}:
        raise ShapeError(
            f"{len(given)} names for arrays of shape {a.shape}: give one for each axis, or one for "
            f"each input"
        )
    return Comparison(
        shape=a.shape,
        size=a.size,
        changed=changed,
        unchanged=a.size - changed,
        mask=mask,
        strange=strange,
        not_finite_before=not_finite(a),
        not_finite_after=not_finite(b),
        changed_range=tuple((int(place.min()), int(place.max())) for place in places)
        if changed
        else None,
        largest_change=float(change.max(initial=0)),
        prints_alike=np.array_repr(a) == np.array_repr(b),
        shown=int(np.count_nonzero(shown)),
        shown_changed=int(np.count_nonzero(shown & mask)),
        zero_inputs=zero_inputs,
        input_axis=axis,
        stuck=stuck,
        names=given,
    )


def printed_entries(shape: tuple[int, ...]) -> Mask:
    """Which entries of an array NumPy's print shows, with the print options of this moment.

    An array of more than `threshold` entries is printed as its corners: the first and last
    `edgeitems` of each axis.
    """
    options: dict[str, Any] = dict(np.get_printoptions())
    edge = options["edgeitems"]
    shown = np.ones(shape, bool)
    if shown.size > options["threshold"]:
        for axis, length in enumerate(shape):
            if length > 2 * edge:
                shown[(slice(None),) * axis + (slice(edge, length - edge),)] = False
    return shown


def _zero_inputs(
    inputs: npt.ArrayLike | None, mask: Mask
) -> tuple[npt.NDArray[np.int64] | None, int | None, int]:
    """The inputs that are always 0, the axis that they belong to, and how many unchanged entries lie on them."""
    if inputs is None:
        return None, None, 0
    x = real_array(inputs, "inputs")
    if x.ndim < 2 or len(x) == 0:
        raise ShapeError(
            f"inputs has shape {x.shape}, expected (n, features): the data that fed these weights"
        )
    zero = np.flatnonzero(~(x.reshape(len(x), -1) != 0).any(axis=0))
    features = int(np.prod(x.shape[1:]))
    axes = [axis for axis in range(min(mask.ndim, 2)) if mask.shape[axis] == features]
    if mask.ndim < 2 or not axes:
        raise ShapeError(
            f"inputs has {features} features, but the arrays have shape {mask.shape}: no axis "
            f"belongs to them"
        )
    # Where a square matrix leaves a choice, take the axis along which the entries of dark inputs
    # did not move.
    axis = max(axes, key=lambda axis: (int(np.count_nonzero(~mask.take(zero, axis))), -axis))
    return zero, axis, int(np.count_nonzero(~mask.take(zero, axis)))
