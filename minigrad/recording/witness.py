"""`Witness`, which sees gradients arrive, for a recorder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import final

from minigrad.losses import Loss
from minigrad.optimizers import Optimizer
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.observers import Writer
from minigrad.recording.counting import Aggregates
from minigrad.recording.out_of_band import Watch


@final
class Witness:
    """Has the counts look at what a gradient is made of when it arrives, and notes those that no
    step has used.

    Args:
        names: The recorded parameters.
        optimizer: The optimizer whose steps are recorded.
        watch: Is told who else writes values.
        aggregates: The counts, if there are any.
        note: Is called with a note, once.
        loss: The loss, if it is recorded.
    """

    def __init__(
        self,
        names: Collection[str],
        optimizer: Optimizer,
        watch: Watch,
        aggregates: Aggregates | None,
        note: Callable[[str], None],
        loss: Loss | None = None,
    ) -> None:
        self._loss = loss
        self._differentiated: float | None = (
            None  # the value whose gradient has arrived last, since the last step
        )
        self._names = names
        self._optimizer = optimizer
        self._watch = watch
        self._aggregates = aggregates
        self._note = note
        self._noted = False

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward is done.

        Later ones that leave no gradients may differentiate the loss again.
        """
        if self._loss is not None:
            self._differentiated = self._loss.differentiated
        if self._aggregates is not None:
            self._aggregates.arrived(latest, adds)

    def written(self, writer: Writer) -> None:
        """Somebody has written values on purpose."""
        self._watch.written(writer, self._optimizer.writer)

    def used_loss(self) -> float | None:
        """The value of the loss whose gradient a step has used; None if it is not known."""
        found, self._differentiated = self._differentiated, None
        return self._loss.differentiated if found is None and self._loss is not None else found

    def overwritten(self, names: Sequence[str]) -> None:
        """Gradients were replaced by another backward before any step used them."""
        own = [name for name in names if name in self._names]
        if own and not self._noted:
            self._noted = True
            self._note(
                f"a backward replaced the gradients of {', '.join(own)} that no step had used "
                f"(accumulate=True adds them up; this is noted once)"
            )
