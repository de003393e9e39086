"""`Witness`, which sees gradients arrive, for a recorder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import final

from minigrad.gradients import Arrival
from minigrad.recording.aggregates import Aggregates


@final
class Witness:
    """Has the counts look at what a gradient is made of when it arrives, and notes those that no step has used.

    Args:
        names: The recorded parameters.
        aggregates: The counts, if there are any.
        note: Is called with a note, once.
    """

    def __init__(self, names: Collection[str], aggregates: Aggregates | None, note: Callable[[str], None]) -> None:
        self._names = names
        self._aggregates = aggregates
        self._note = note
        self._noted = False

    def arrived(self, latest: Arrival) -> None:
        """A backward is done."""
        if self._aggregates is not None:
            self._aggregates.arrived(latest)

    def overwritten(self, names: Sequence[str]) -> None:
        """Gradients were replaced by another backward before any step used them."""
        own = [name for name in names if name in self._names]
        if own and not self._noted:
            self._noted = True
            self._note(
                f"a backward replaced the gradients of {', '.join(own)} that no step had used (accumulate=True adds them "
                f"up; this is noted once)"
            )
