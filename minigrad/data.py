"""`Batches`, a data set in shuffled batches."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._validation import FLOATS, LAST_ROW, number, real_array, whole
from minigrad.arrays import Integers, Seed
from minigrad.errors import CallOrderError, ModelError, RangeError, ShapeError
from minigrad.randomness import generator, set_generator

_LARGE = 256 << 20  # bytes of a memory map from which on it is worth giving its pages back
_PART = 1 << 23  # numbers that a part of samples has at most
_FEW = 128  # rows of such a map that are read at once; each may bring a page of 2 MB along


@final
class Batches:
    """Samples and targets in batches; iterating is one epoch, in which each sample comes once.

        for x, y in Batches(x_train, y_train, batch_size=50, rng=0):
            ...

    Samples are shuffled, not batches: each epoch is one permutation of all of them. Where their
    number is no multiple of the batch size, the last batch of an epoch is smaller. A mean over the
    batches then gives its samples more weight than the others; `fit` takes that into account, and a
    loop by hand can use `drop_last`, which leaves that batch
    out: other samples each time, as the order changes.

    Args:
        x: The samples, shape (n, ...); of any real kind. They are read batch by batch, so a memory
            map may be larger than memory.
        y: The targets, shape (n, ...).
        batch_size: How many samples a batch holds; the last of an epoch may hold fewer.
        shuffle: Whether each epoch has an order of its own.
        drop_last: Whether a smaller last batch is left out.
        rng: A seed or a generator for the orders.
        scale: What each batch of samples is multiplied by, as float32: 1 / 255 for images kept as
            uint8.

    Raises:
        KindError: Samples or targets hold no real numbers (a masked array or a sparse matrix is
            refused too), or a setting is no number.
        ShapeError: There are no samples, or not as many targets.
        RangeError: A batch would hold less than one sample, or more than there are; or there are
            more than 2,147,483,647 samples.
    """

    def __init__(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike,
        batch_size: int,
        *,
        shuffle: bool = True,
        drop_last: bool = False,
        rng: Seed = None,
        scale: float | None = None,
    ) -> None:
        self.x: npt.NDArray[Any] = real_array(x, "x of Batches")
        self.y: npt.NDArray[Any] = real_array(y, "y of Batches")
        if self.x.ndim == 0 or self.y.ndim == 0 or len(self.x) == 0:
            raise ShapeError(
                f"Batches got x of shape {self.x.shape} and y of shape {self.y.shape}: there are "
                f"no samples"
            )
        if len(self.x) != len(self.y):
            raise ShapeError(
                f"Batches got {len(self.x)} samples in x but {len(self.y)} targets in "
                f"y{_hint(x, self.y)}"
            )
        if len(self.x) > LAST_ROW:
            raise RangeError(
                f"Batches got {len(self.x):,} samples, expected at most {LAST_ROW:,}, because rows "
                f"are recorded as numbers of 32 bits: split the data into several Batches"
            )
        self.batch_size: int = whole(batch_size, "batch_size")
        if self.batch_size > len(self.x):
            raise RangeError(
                f"batch_size is {batch_size}, but there are only {len(self.x)} samples; use "
                f"batch_size={len(self.x)} for all at once"
            )
        self.shuffle: bool = shuffle
        self.drop_last: bool = drop_last
        self.rng: np.random.Generator = generator(rng)
        self.scale: float | None = None if scale is None else number(scale, "scale")
        self._order: Integers | None = None
        self._start = self._stop = 0
        self._ended = False  # whether the last batch of the epoch was given, and more was asked for
        self._resume = False
        self._samples, self._targets = _Rows(self.x), _Rows(self.y)

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.x), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """One epoch of (samples, targets), new arrays each.

        The rest of one, right after `load_state_dict`.
        """
        if self._resume and self._order is not None:
            order, start = self._order, self._stop
            self._resume = False
        else:
            order = self.rng.permutation(len(self.x)) if self.shuffle else np.arange(len(self.x))
            start = 0
        self._ended = False
        end = min(len(order), len(self) * self.batch_size)
        for first in range(start, end, self.batch_size):
            rows = order[first : first + self.batch_size]
            self._order, self._start, self._stop = order, first, first + len(rows)
            yield self._read(rows)
        self._ended = True

    def in_order(self, every: int = 1) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """Samples and targets from the first to the last, in chunks, outside of any epoch.

        Args:
            every: Take every n-th sample.
        """
        rows = np.arange(0, len(self.x), every)
        size = max(1, min(1024, _PART * len(self.x) // max(1, self.x.size)))
        for first in range(0, len(rows), size):
            yield self._read(rows[first : first + size])

    def targets_in_order(self, size: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """(first row, targets) for all targets from the first to the last, so many at once."""
        for first in range(0, len(self.y), size):
            yield first, self._targets.take(np.arange(first, min(first + size, len(self.y))))

    def _read(self, rows: Integers) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        x = self._samples.take(rows)
        return (x if self.scale is None else self._scaled(x, self.scale)), self._targets.take(rows)

    @staticmethod
    def _scaled(x: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
        kind = x.dtype if x.dtype in FLOATS else np.dtype(np.float32)
        scaled: npt.NDArray[Any] = np.multiply(x, kind.type(scale), dtype=kind, casting="unsafe")
        return scaled

    @property
    def has_given(self) -> bool:
        """Whether a batch was given yet."""
        return self._order is not None

    @property
    def given(self) -> int:
        """How many batches of this epoch were given."""
        return -(-self._stop // self.batch_size)

    @property
    def indices(self) -> Integers:
        """The rows of the batch that was given last, a copy.

        Raises:
            CallOrderError: No batch was given yet.
        """
        if self._order is None:
            raise CallOrderError("Batches.indices: no batch was given yet; iterate first")
        return self._order[self._start : self._stop].copy()

    def state_dict(self) -> dict[str, Any]:
        """The order of this epoch, how far it has come, and the state of the generator."""
        order = None if self._order is None else self._order.copy()
        place = {"start": self._start, "stop": self._stop, "ended": self._ended}
        return {"order": order, **place, "rng": deepcopy(self.rng.bit_generator.state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` stood: the next iteration gives the rest of that epoch.

        If that was at the last batch, inside of the loop, the rest is empty; if it was after the
        loop, a new epoch begins.

        Raises:
            ModelError: The state is of other data; nothing is changed.
        """
        expected = {"order", "start", "stop", "ended", "rng"}
        if not isinstance(state, Mapping) or not expected <= set(state):
            has = sorted(map(str, state)) if isinstance(state, Mapping) else described(state)
            raise ModelError(
                f"this is no state of Batches: it has {has}, expected {sorted(expected)}"
            )
        try:
            order = None if state["order"] is None else np.array(state["order"])
            start, stop = (whole(state[name], name, least=0) for name in ("start", "stop"))
        except (TypeError, ValueError) as error:
            raise ModelError(f"the state of Batches is damaged: {error}") from error
        if order is not None and order.ndim == 1 and len(order) != len(self.x):
            raise ModelError(f"the state is of {len(order)} samples, but there are {len(self.x)}")
        if order is not None and not self._names_each_sample(order):
            raise ModelError("the order in the state of Batches does not name each sample once")
        if not start <= stop <= len(self.x):
            raise ModelError(
                f"the state of Batches stands at {start} to {stop} of {len(self.x)} samples"
            )
        ended = state["ended"]
        if not isinstance(ended, bool | np.bool_):
            raise ModelError(
                f"the state of Batches is damaged: ended is {described(ended)}, expected True or "
                f"False"
            )
        set_generator(self.rng, state["rng"], "the rng of Batches")
        self._order, self._start, self._stop, self._ended = order, start, stop, bool(ended)
        self._resume = order is not None and not self._ended

    def _names_each_sample(self, order: npt.NDArray[Any]) -> bool:
        known = order.ndim == 1 and order.dtype.kind in "iu"
        return known and np.array_equal(np.sort(order), np.arange(len(self.x)))

    def __repr__(self) -> str:
        samples = f"{len(self.x):,} samples of shape {self.x.shape[1:]}"
        return f"Batches({samples}, {len(self)} batches of {self.batch_size})"


def _hint(x: object, y: npt.NDArray[Any]) -> str:
    """What to do where several inputs of one shape were given: they look like so many samples."""
    if isinstance(x, list | tuple) and all(np.ndim(item) and len(item) == len(y) for item in x):
        return f"; for {len(x)} inputs of the same samples pass one array, np.column_stack(x)"
    return ""


@final
class _Rows:
    """Reads rows of an array.

    Of a large memory map it gives the pages back that it has read, or all would stay in memory.
    """

    def __init__(self, array: npt.NDArray[Any]) -> None:
        self._array = array
        self._map = _map_of(array)
        self._scattered = not array.flags.c_contiguous

    def take(self, rows: Integers) -> npt.NDArray[Any]:
        """A copy of these rows."""
        if self._map is not None:
            taken = np.empty((len(rows), *self._array.shape[1:]), self._array.dtype)
            for first in range(0, len(rows), _FEW):
                taken[first : first + _FEW] = self._array[rows[first : first + _FEW]]
                self._map.madvise(mmap.MADV_DONTNEED)
            return taken
        if self._scattered:  # `take` would copy everything first
            return self._array[rows]
        # All rows exist, so "clip" never clips; it spares `take` a buffer and half of its time.
        return self._array.take(rows, axis=0, mode="clip")

    def __reduce__(self) -> tuple[Any, ...]:
        return _Rows, (self._array,)  # a copy reads a copy, which is in memory


def _map_of(array: npt.NDArray[Any]) -> mmap.mmap | None:
    """The map of a file that an array reads, where its pages can be given back without loss."""
    base: Any = array
    modes = set()
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            modes.add(base.mode)
        base = base.base
    # What is in a private map, mode "c" or one that is not NumPy's, may be nowhere else.
    shared = bool(modes) and modes <= {"r", "r+", "w+"}
    wanted = (
        shared
        and isinstance(base, mmap.mmap)
        and hasattr(mmap, "MADV_DONTNEED")
        and len(base) >= _LARGE
    )
    return base if wanted else None
