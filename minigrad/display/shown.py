"""What the reports and pictures here show: anything that has these public attributes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Integers, Mask
from minigrad.reason import Reason


class ShownGate(Protocol):
    """A gate that updates pass, and what became of the entries there."""

    @property
    def name(self) -> str:
        """What is true of an update that passes it."""

    @property
    def passed(self) -> int:
        """How many entries passed it in at least one step."""

    @property
    def stopped(self) -> Mapping[Reason, int]:
        """How many never did, by reason."""


class ShownWhy(Protocol):
    """Why the entries of a parameter moved or did not."""

    @property
    def counts(self) -> Mapping[Reason, int]:
        """How many entries have each reason, in the order of the gates."""

    @property
    def gates(self) -> Sequence[ShownGate]:
        """The gates, in order."""

    @property
    def moved_without_gradient(self) -> int:
        """How many entries moved although their gradient was 0 in every step."""

    @property
    def movers(self) -> str:
        """What may have moved those, in words."""

    @property
    def zero_inputs(self) -> Integers | None:
        """The inputs that were 0 in every sample; None where that is not known."""

    @property
    def unexplained(self) -> str:
        """Why inputs and units are not told apart; empty where they are."""

    def where(self, reason: Reason) -> Mask:
        """Which entries have this reason."""

    def at(self, *index: int) -> str:
        """What became of one entry, as a sentence."""


class ShownTensors(Protocol):
    """Tensors of a parameter over the steps that are held."""

    @property
    def steps(self) -> Integers:
        """The number of each step."""

    def __len__(self) -> int: ...

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice) -> Iterable[Array]: ...


class ShownParameter(Protocol):
    """A parameter's history."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    @property
    def size(self) -> int:
        """How many entries it has."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The kind of its numbers."""

    @property
    def counted_steps(self) -> int | None:
        """In how many steps its entries were counted; None where nothing is counted."""

    @property
    def no_counts(self) -> str:
        """Why nothing is counted; empty where something is."""

    @property
    def exact_steps(self) -> Integers:
        """The steps after which the value is known to the bit, in order."""

    @property
    def initial(self) -> Array:
        """The value before the first step."""

    @property
    def final(self) -> Array:
        """The value after the last step."""

    @property
    def updates(self) -> ShownTensors:
        """The updates that are held."""

    @property
    def moved(self) -> Mask:
        """Which entries changed at least once."""

    @property
    def movement(self) -> npt.NDArray[np.float64]:
        """The sum of the magnitudes of all changes of each entry."""

    @property
    def why(self) -> ShownWhy:
        """Why each entry moved or did not."""

    def values(self, steps: Iterable[int]) -> Iterator[tuple[int, Array]]:
        """(step, the exact value after it) of several exact steps, in order."""


class ShownGap(Protocol):
    """Steps whose tensors or counts are not held."""

    @property
    def first(self) -> int:
        """The first of them."""

    @property
    def last(self) -> int:
        """The last of them."""

    @property
    def why(self) -> str:
        """What happened."""

    @property
    def of_counts(self) -> bool:
        """Whether it is their counts that are not held."""


class ShownNonFinite(Protocol):
    """Where NaN or infinity first appears."""

    @property
    def step(self) -> int:
        """The step; -1 means before the first one."""

    @property
    def what(self) -> str:
        """Where: "loss", "value", or "write": written by others before that step."""

    @property
    def entries(self) -> int:
        """How many values are NaN or infinite there."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that they belong to."""

    @property
    def exact(self) -> bool:
        """Whether there was certainly none before."""


class ShownNorms(Protocol):
    """How large a parameter's updates are, over the updates that are held."""

    @property
    def updates(self) -> npt.NDArray[np.float64]:
        """The Euclidean norm of each update."""

    @property
    def ratios(self) -> npt.NDArray[np.float64]:
        """The same over the norm of the value after it; NaN where that is 0 or not known."""


class ShownRun(Protocol):
    """The record of a training."""

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The number of each step."""

    @property
    def exact_steps(self) -> Integers:
        """The steps after which all values are known to the bit."""

    @property
    def counted_steps(self) -> int | None:
        """In how many steps entries were counted; None where nothing is counted."""

    @property
    def no_counts(self) -> str:
        """Why nothing is counted; empty where something is."""

    @property
    def held(self) -> Mapping[str, int]:
        """Of how many steps tensors are held, by kind: "update", "grad", "value"."""

    @property
    def gaps(self) -> Sequence[ShownGap]:
        """The steps whose tensors or counts are not held."""

    @property
    def notes(self) -> Sequence[str]:
        """What else happened, in sentences."""

    @property
    def optimizer(self) -> str:
        """The optimizer in words."""

    @property
    def bytes(self) -> int:
        """How many bytes the record takes."""

    @property
    def complete(self) -> bool:
        """Whether recording has ended."""

    @property
    def lr(self) -> Array:
        """The learning rate of each step."""

    @property
    def loss(self) -> Array:
        """The loss of each step; NaN where it is not known, or was NaN."""

    @property
    def loss_known(self) -> Mask:
        """Of which steps the loss is known."""

    @property
    def clip_factor(self) -> Array:
        """What the gradients of each step were multiplied by."""

    @property
    def first_non_finite(self) -> ShownNonFinite | None:
        """Where NaN or infinity first appears in the losses or the values."""

    @property
    def first_non_finite_loss(self) -> ShownNonFinite | None:
        """The first loss that was NaN or infinite."""

    @property
    def first_non_finite_values(self) -> ShownNonFinite | None:
        """The first values that are NaN or infinite."""

    def norms(self) -> Mapping[str, ShownNorms]:
        """How large the updates of each parameter are."""

    def __getitem__(self, name: str) -> ShownParameter: ...
