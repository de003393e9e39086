"""`Coactivity`: counts how active the inputs and units of a layer's parameters are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, final

import numpy as np

from minigrad.arrays import Mask
from minigrad.layers.factors import Factors, Layout, layout_of
from minigrad.layers.layer import Layer
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import Slot
from minigrad.recording.journal import Explained
from minigrad.recording.nonzero_counter import NonzeroCounter
from minigrad.runs.activity import Activity

Use: TypeAlias = "tuple[str, slice, _Active | None, tuple[int, ...], str]"
"""How a step uses the gradient of a parameter: its name and place, its samples, if any were looked
at, the backwards that its gradient comes from, and why it does not come from these samples alone;
empty where it does.
"""


@final
class Coactivity:
    """Counts how active the inputs and units of one layer's parameters are.

    The layer explains what their gradients are made of. That is looked at when a backward is done,
    because inputs may change before the step; it counts once the journal says that a step has used
    it. Until then it is scratch space behind what counts.

    Args:
        layer: The layer.
        names: The full names of its recorded parameters, by attribute.
        slots: Where each parameter lies in the flat arrays.
        parameters: The parameters by full name.
        coactivation: Whether to collect which inputs and units were active in the same sample.

    Attributes:
        unexplained: For each parameter that the layer could not explain after some backward, why.
    """

    def __init__(
        self,
        layer: Layer,
        names: Mapping[str, str],
        slots: Mapping[str, Slot],
        parameters: Mapping[str, Parameter],
        coactivation: bool,
    ) -> None:
        self._layer = layer
        self._own = [
            (attribute, name, slots[name].slice, parameters[name])
            for attribute, name in names.items()
        ]
        self._coactivation = coactivation
        self._active: dict[str, _Active] = {}
        self.unexplained: dict[str, str] = {}

    def arrived(self, latest: Arrival, adds: bool, now: Explained) -> None:
        """A backward is done: look at what the gradients are made of, before it changes.

        Args:
            latest: The arrival of the parameters that it has reached.
            adds: Whether it is added to what had arrived before, or replaces it.
            now: What counts.
        """
        explained: Mapping[str, Factors] | None = None
        for attribute, name, _, parameter in self._own:
            if (
                parameter.arrival is not latest
                or name in self.unexplained
                or name in now.unexplained
            ):
                continue
            explained = self._layer.explain() if explained is None else explained
            factors = explained.get(attribute)
            layout = None if factors is None else layout_of(factors, parameter)
            if factors is None or layout is None:
                self.unexplained[name] = (
                    "its layer does not explain it"
                    if factors is None
                    else "its layer's explanation does not fit it, or leaves open how it lies "
                    "(Factors(..., layout=))"
                )
                continue
            if name not in self._active:
                self._active[name] = _Active.of(factors, self._coactivation, layout)
            self._active[name].look(factors, latest.passes[0], adds, now.samples.get(name))

    def look(self, transforms: str, now: Explained) -> list[Use]:
        """A step is about to be written: see how the gradients that it uses have arrived.

        Args:
            transforms: The names of what may have changed after backward which gradients are 0.
            now: What counts, from here on for good.
        """
        uses = []
        for _, name, part, parameter in self._own:
            if name in self.unexplained or name in now.unexplained:
                self._active.pop(name, None)
            else:
                active, arrival = self._active.get(name), parameter.arrival
                why = _problem(arrival, active, transforms, now.samples.get(name))
                uses.append((name, part, active, () if arrival is None else arrival.passes, why))
        return uses

    def add(
        self, uses: list[Use], skipped: Mapping[str, str], grad_mask: Mask, new: Explained
    ) -> None:
        """Add the samples of a step that was looked at to what will count after it.

        Args:
            uses: What `look` has seen.
            skipped: The parameters that got no update, with the reason.
            grad_mask: Where the gradients are not 0, flat.
            new: What counted before the step, and will count after it.
        """
        for name, part, active, passes, why in uses:
            if name in skipped:
                if active is not None:
                    active.forget()
            elif why or active is None:
                new.unexplained[name] = why
            elif not active.count(name, passes, grad_mask[part], new):
                new.unexplained[name] = "another backward came before its step was recorded"

    def activity(self, now: Explained) -> dict[str, Activity]:
        """What counts, as copies, by the names of the parameters."""
        return {
            name: active.activity(now.samples.get(name), now.together.get(name))
            for name, active in self._active.items()
            if name not in self.unexplained and name not in now.unexplained
        }

    def go_on_with(self, activity: Mapping[str, Activity], unexplained: Mapping[str, str]) -> None:
        """Begin with what was counted in an earlier session."""
        for _, name, _, _ in self._own:
            if name in activity:
                self._active[name] = _Active(activity[name])
            if name in unexplained:
                self.unexplained[name] = unexplained[name]


def _problem(
    arrival: Arrival | None, active: _Active | None, transforms: str, samples: int | None
) -> str:
    """Why this step's gradient is not known to come from what was looked at; empty where it is."""
    if arrival is None or not (arrival.passes or arrival.by_hand):
        return "its gradient arrived before anybody could look at it"
    if arrival.by_hand:
        return (
            "its gradient was changed after backward"
            if arrival.passes
            else "its gradient was assigned by hand"
        )
    if active is None or not active.has_seen(arrival.passes, samples):
        return "its gradient arrived before it was recorded"
    return f"its gradient may have been changed by the transform {transforms}" if transforms else ""


@final
class _Active:
    """The samples of one parameter: its inputs, its units, and which of them have met.

    How many of the samples count, the journal knows.
    """

    def __init__(self, activity: Activity) -> None:
        samples, together = activity.samples, activity.together
        inputs = activity.inputs
        self._inputs = None if inputs is None else NonzeroCounter(inputs.copy(), samples)
        self._units = NonzeroCounter(activity.units.copy(), samples)
        self._first = samples
        # Two, of which a step reads the one that counts, and writes the other.
        self._tables = None if together is None else (together.copy(), np.empty_like(together))
        self._layout = activity.layout
        # How many samples counted when those behind were looked at (as soon as others count, these
        # are gone), and how many each backward had, by its number, in order.
        self._since = -1
        self._passes: dict[int, int] = {}

    @classmethod
    def of(cls, factors: Factors, coactivation: bool, layout: Layout) -> _Active:
        """Nothing counted yet."""
        inputs = None if factors.inputs is None else np.zeros(factors.inputs.shape[1], np.int64)
        units = np.zeros(factors.units.shape[1], np.int64)
        together = (
            np.zeros((len(inputs), len(units)), bool)
            if coactivation and inputs is not None
            else None
        )
        return cls(Activity(inputs, units, together, layout=layout))

    def look(self, factors: Factors, number: int, adds: bool, samples: int | None) -> None:
        """Look at the samples of a backward, which takes the place of earlier ones, or `adds`."""
        if samples is None:
            samples = self._first
        pending = 0
        if adds and self._since == samples:
            pending = sum(self._passes.values())
        else:
            self._passes = {}
            self._since = samples
        self._units.look(factors.units, samples, pending)
        if self._inputs is not None:
            assert factors.inputs is not None
            self._inputs.look(factors.inputs, samples, pending)
        self._passes[number] = len(factors.units)

    def forget(self) -> None:
        """Forget what was looked at."""
        self._since = -1
        self._passes = {}

    def has_seen(self, passes: tuple[int, ...], samples: int | None) -> bool:
        """Whether the samples of all these backwards lie behind those that count."""
        if self._since != (self._first if samples is None else samples):
            return False
        for number in passes:  # noqa: SIM110 - `all` takes three times as long
            if number not in self._passes:
                return False
        return True

    def count(self, name: str, passes: tuple[int, ...], grad_mask: Mask, new: Explained) -> bool:
        """Add what was looked at in these backwards to what will count after a step.

        Returns:
            Whether it is still there.
        """
        samples, units, inputs = self._since, self._units, self._inputs
        looked_at = self._passes
        pending = sum(looked_at.values())
        if passes != tuple(looked_at):  # some of them were of no use for this step
            if not looked_at.keys() >= set(passes):
                return False
            self.forget()  # while the others move
            used = np.concatenate(
                [np.full(rows, number in passes) for number, rows in looked_at.items()]
            )
            units.keep(used, samples)
            if inputs is not None:
                inputs.keep(used, samples)
            pending = int(np.count_nonzero(used))
        new.samples[name] = samples + pending
        if self._tables is not None and inputs is not None:
            together = new.together.get(name, self._tables[0])
            spare = self._tables[together is self._tables[0]]
            mask = grad_mask.reshape(spare.shape if self._layout == "in_out" else spare.T.shape)
            np.logical_or(together, mask if self._layout == "in_out" else mask.T, out=spare)
            _meet(spare, inputs.looked_at(samples, pending), units.looked_at(samples, pending))
            new.together[name] = spare
        return True

    def activity(self, samples: int | None, together: Mask | None) -> Activity:
        """What counts, as copies."""
        if samples is None:
            samples = self._first
        if together is None and self._tables is not None:
            together = self._tables[0]
        inputs = None if self._inputs is None else self._inputs.counts(samples)
        together = None if together is None else together.copy()
        return Activity(inputs, self._units.counts(samples), together, samples, self._layout)


def _meet(together: Mask, inputs: Mask, units: Mask) -> None:
    """Note which inputs and units were active in the same sample.

    A gradient that is not 0 has proved it for most. The product over every sample is left to the
    few that have not met so far, and whose input and unit were both active in this batch.
    """
    columns = np.flatnonzero(units.any(axis=0))
    rows = np.flatnonzero(~together[:, columns].all(axis=1) & inputs.any(axis=0))
    if len(rows) and len(columns):
        common = inputs[:, rows].T.astype(np.float32) @ units[:, columns].astype(np.float32)
        together[np.ix_(rows, columns)] |= common > 0


def coactivities_of(
    model: Layer, slots: Mapping[str, Slot], parameters: Mapping[str, Parameter], coactivation: bool
) -> list[Coactivity]:
    """Those of all layers of a model that explain the gradients of recorded parameters.

    Args:
        model: The model.
        slots: Where each recorded parameter lies in the flat arrays.
        parameters: The recorded parameters by full name.
        coactivation: Whether to collect which inputs and units were active in the same sample.
    """
    counters, names_of = [], {id(parameter): name for name, parameter in parameters.items()}
    for _, layer in model.layers():
        names = {own: names_of[id(part)] for own, part in layer.parts() if id(part) in names_of}
        if names and type(layer).explain is not Layer.explain:
            counters.append(Coactivity(layer, names, slots, parameters, coactivation))
    return counters
