"""`Witness`, which observes a model for a recorder."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import final

from minigrad.parameters.arrival import Arrival
from minigrad.parameters.observers import Writer
from minigrad.recording.entry_counter import EntryCounter
from minigrad.recording.out_of_band import OutOfBandWatch
from minigrad.recording.step_facts import StepFacts


@final
class Witness:
    """Passes on what happens to gradients and values, and notes gradients that no step has used.

    Args:
        names: The recorded parameters.
        counter: What counts entries, if anything does.
        facts: What finds out the loss of a step.
        watch: What notices writes into the values.
        note: What takes a note.
    """

    def __init__(
        self,
        names: Collection[str],
        counter: EntryCounter | None,
        facts: StepFacts,
        watch: OutOfBandWatch,
        note: Callable[[str], None],
    ) -> None:
        self._names = names
        self._counter = counter
        self._facts = facts
        self._watch = watch
        self._note = note
        self._noted = False

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward is done."""
        self._facts.arrived()
        if self._counter is not None:
            self._counter.arrived(latest, adds)

    def written(self, writer: Writer) -> None:
        """Somebody has written values on purpose."""
        self._watch.written(writer)

    def overwritten(self, names: Sequence[str]) -> None:
        """A backward has replaced gradients before any step used them; this is noted once."""
        own = [name for name in names if name in self._names]
        if own and not self._noted:
            self._noted = True
            self._note(
                f"a backward replaced the gradients of {', '.join(own)} that no step had used "
                f"(accumulate=True adds them up; this is noted once)"
            )
