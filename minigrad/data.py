"""`Batches`, a data set in shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import FLOATS, Integers, Seed, generator, number, real_array, whole
from minigrad.errors import ModelError, OrderError, RangeError, ShapeError


@final
class Batches:
    """Samples and targets in batches; iterating is one epoch, in which each sample comes once.

        for x, y in Batches(x_train, y_train, batch_size=50, rng=0):
            ...

    Args:
        x: The samples, shape (n, ...); of any real kind, also a memory map: batches are read one by one.
        y: The targets, shape (n, ...).
        batch_size: How many samples a batch holds; the last of an epoch may hold fewer.
        shuffle: Whether each epoch has an order of its own.
        drop_last: Whether a smaller last batch is left out.
        rng: A seed or a generator for the orders.
        scale: What each batch of samples is multiplied by, as float32: 1 / 255 for images kept as uint8.

    Raises:
        KindError: Samples or targets hold no real numbers, or a setting is no number.
        ShapeError: There are no samples, or not as many targets.
        RangeError: A batch would hold less than one sample, or more than there are.
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
                f"Batches got x of shape {self.x.shape} and y of shape {self.y.shape}: there are no samples"
            )
        if len(self.x) != len(self.y):
            raise ShapeError(f"Batches got {len(self.x)} samples in x but {len(self.y)} targets in y")
        self.batch_size: int = whole(batch_size, "batch_size")
        if self.batch_size > len(self.x):
            raise RangeError(
                f"batch_size is {batch_size}, but there are only {len(self.x)} samples; use batch_size={len(self.x)} for all at once"
            )
        self.shuffle: bool = shuffle
        self.drop_last: bool = drop_last
        self.rng: np.random.Generator = generator(rng)
        self.scale: float | None = None if scale is None else number(scale, "scale")
        self._order: Integers | None = None
        self._start = self._stop = 0
        self._resume = False

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        full, rest = divmod(len(self.x), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
        """One epoch of (samples, targets), new arrays each; the rest of one, right after `load_state_dict`."""
        if self._resume and self._order is not None:
            order, start = self._order, self._stop
            self._resume = False
        else:
            order = self.rng.permutation(len(self.x)) if self.shuffle else np.arange(len(self.x))
            start = 0
        end = len(self) * self.batch_size
        for first in range(start, end, self.batch_size):
            rows = order[first : first + self.batch_size]
            self._order, self._start, self._stop = order, first, first + len(rows)
            # All rows exist, so "clip" never clips; it spares `take` a buffer and half of its time.
            x, y = self.x.take(rows, axis=0, mode="clip"), self.y.take(rows, axis=0, mode="clip")
            yield (x if self.scale is None else self._scaled(x, self.scale)), y

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
    def indices(self) -> Integers:
        """The rows of the batch that was given last, a copy.

        Raises:
            OrderError: No batch was given yet.
        """
        if self._order is None:
            raise OrderError("Batches.indices: no batch was given yet; iterate first")
        return self._order[self._start : self._stop].copy()

    def state_dict(self) -> dict[str, Any]:
        """Where the data stands: the order of this epoch, how far it has come, and the generator's state."""
        order = None if self._order is None else self._order.copy()
        return {"order": order, "start": self._start, "stop": self._stop, "rng": deepcopy(self.rng.bit_generator.state)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` stood: the next iteration gives the rest of that epoch.

        Raises:
            ModelError: The state is of other data.
        """
        if not {"order", "start", "stop", "rng"} <= set(state):
            raise ModelError(
                f"this is no state of Batches: it has {sorted(state)}, expected order, start, stop and rng"
            )
        order = None if state["order"] is None else np.array(state["order"])
        if order is not None and len(order) != len(self.x):
            raise ModelError(f"the state is of {len(order)} samples, but there are {len(self.x)}")
        self.rng.bit_generator.state = deepcopy(state["rng"])
        self._order, self._start, self._stop = order, int(state["start"]), int(state["stop"])
        # At the end of an epoch there is no rest, and the next iteration begins a new one.
        self._resume = order is not None and self._stop < min(len(order), len(self) * self.batch_size)

    def __repr__(self) -> str:
        return f"Batches({len(self.x):,} samples of shape {self.x.shape[1:]}, {len(self)} batches of {self.batch_size})"
