"""`compare`: what differs between any two arrays, and whether a print of them would show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import numpy.typing as npt

from minigrad._printable import printable
from minigrad._validation import real_array
from minigrad.arrays import Mask
from minigrad.display import notebook
from minigrad.display.printed import printed_entries
from minigrad.display.words import counted, not_finite, not_finite_in_words
from minigrad.errors import ShapeError, SharedMemoryError


def compare(
    before: npt.ArrayLike,
    after: npt.ArrayLike,
    inputs: npt.ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Comparison:
    """What differs between two arrays.

    They may be a layer's weights before and after training, in any framework:

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


@final
@dataclass(frozen=True)
class Comparison:
    """What differs between two arrays; its `str` says it in sentences.

    Attributes:
        shape: The shape of both.
        size: The number of entries.
        changed: How many entries differ. NaN equals NaN, and the sign of zero does not count.
        unchanged: How many do not.
        mask: Which entries differ, in the arrays' shape.
        strange: Which entries are NaN or infinite in either array, in the arrays' shape.
        not_finite_before: How many entries are NaN before, and how many infinite.
        not_finite_after: How many are so after.
        changed_range: For each axis the first and last index at which something differs; None if
            nothing does.
        largest_change: The largest magnitude of a difference between two finite numbers: to or from
            NaN and infinity there is no length.
        prints_alike: Whether NumPy prints both arrays as the same text.
        shown: How many entries NumPy's print shows.
        shown_changed: How many of these differ.
        zero_inputs: The inputs that are 0 in every row of `inputs`; None if no inputs were given.
        input_axis: The axis of the arrays that belongs to the inputs; None if no inputs were given.
        stuck: How many of the unchanged entries lie on such inputs.
    """

    shape: tuple[int, ...]
    size: int
    changed: int
    unchanged: int
    mask: Mask = field(repr=False)
    strange: Mask = field(repr=False)
    not_finite_before: tuple[int, int]
    not_finite_after: tuple[int, int]
    changed_range: tuple[tuple[int, int], ...] | None
    largest_change: float
    prints_alike: bool
    shown: int
    shown_changed: int
    zero_inputs: npt.NDArray[np.int64] | None = field(default=None, repr=False)
    input_axis: int | None = None
    stuck: int = 0
    names: tuple[str, ...] | None = field(default=None, repr=False)

    def __str__(self) -> str:
        counts = f"{self._counts()}{self._inputs()}{self._print()}."
        return "\n".join(map(printable, [*self._strange(), counts, *self._details()]))

    def _repr_html_(self) -> str:
        """What a notebook shows: the sentences, and where the arrays differ."""
        return notebook.block(
            notebook.lines(str(self).splitlines()),
            notebook.differences(self.mask, self.strange)
            if self.changed or self.strange.any()
            else "",
        )

    def _strange(self) -> list[str]:
        if not self.strange.any():
            return []
        words = [
            f"{not_finite_in_words(*counts) or 'none is'} {when}"
            for counts, when in (
                (self.not_finite_before, "before"),
                (self.not_finite_after, "after"),
            )
        ]
        return [f"NaN or infinity: of {self.size:,} entries {', '.join(words)}."]

    def _counts(self) -> str:
        if self.changed == 0:
            return f"nothing changed: all {self.size:,} entries are the same"
        if self.unchanged == 0:
            return f"all {self.size:,} entries changed"
        return f"{self.unchanged:,} of {self.size:,} unchanged"

    def _inputs(self) -> str:
        if self.zero_inputs is None or self.unchanged == 0:
            return ""
        inputs = counted(len(self.zero_inputs), "input")
        if self.stuck == 0:
            return "; none of them lies on an input that is 0 in every row of x"
        share = (
            f"all {self.stuck:,} lie"
            if self.stuck == self.unchanged
            else f"{self.stuck:,} of them lie"
        )
        verb = "is" if len(self.zero_inputs) == 1 else "are"
        return f"; {share} on {inputs} that {verb} 0 in every row of x"

    def _print(self) -> str:
        if self.shown == self.size:
            return ""
        if self.shown_changed == 0 and self.changed:
            which = "only such entries" if self.unchanged else "none of them"
            return f"; NumPy's print shows {which}"
        return (
            f"; NumPy's print shows {self.shown:,} entries, of which {self.shown_changed:,} changed"
        )

    def _details(self) -> list[str]:
        if self.changed_range is None:
            return []
        axes = self.names if self.names is not None and len(self.names) == len(self.shape) else None
        ranges = [
            f"{axes[axis] if axes else f'axis {axis}'}: {low} to {high} (of 0 to {length - 1})"
            for axis, ((low, high), length) in enumerate(
                zip(self.changed_range, self.shape, strict=True)
            )
        ]
        lines = [f"{self.changed:,} changed{self._by()}; they lie on {', '.join(ranges)}."]
        if self.prints_alike:
            lines.append(
                "NumPy prints both arrays as the same text, so looking at the print shows no "
                "change."
            )
        if self.zero_inputs is not None and len(self.zero_inputs):
            lines.append(f"Inputs that are always 0: {self._zero_inputs()}.")
        return lines

    def _by(self) -> str:
        """How far. The way to or from NaN or infinity has no length."""
        without = int(np.count_nonzero(self.mask & self.strange))
        if without == self.changed:
            return ", all to or from NaN or infinity"
        return f", by up to {self.largest_change:.3g}" + (
            f", but for {without:,} to or from NaN or infinity" if without else ""
        )

    def _zero_inputs(self) -> str:
        assert self.zero_inputs is not None
        if self.names is not None and len(self.names) != len(self.shape):
            named = [self.names[index] for index in self.zero_inputs]
            more = f" and {len(named) - 10} more" if len(named) > 10 else ""
            return f"{', '.join(named[:10])}{more}"
        breaks = np.flatnonzero(np.diff(self.zero_inputs) > 1) + 1
        runs = [
            f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}"
            for run in np.split(self.zero_inputs, breaks)
        ]
        more = f" and {len(runs) - 10} more ranges" if len(runs) > 10 else ""
        return f"{', '.join(runs[:10])}{more}"


def _zero_inputs(
    inputs: npt.ArrayLike | None, mask: Mask
) -> tuple[npt.NDArray[np.int64] | None, int | None, int]:
    """The inputs that are always 0, their axis, and how many unchanged entries lie on them."""
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
