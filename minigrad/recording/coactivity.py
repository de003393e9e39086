"""`Coactivity`: counts how active the inputs and units of a layer's parameters are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import final

import numpy as np

from minigrad.arrays import Mask
from minigrad.layers.factors import Factors, Layout, layout_of
from minigrad.layers.layer import Layer
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import Slot
from minigrad.recording.nonzero_counter import NonzeroCounter
from minigrad.runs.activity import Activity


@final
class Coactivity:
    """Counts how active the inputs and units of one layer's parameters are.

    The layer explains what their gradients are made of. That is looked at when a backward is done,
    because inputs may change before the step; it counts once a step has used it.

    Args:
        layer: The layer.
        names: The full names of its recorded parameters, by attribute.
        slots: Where each parameter lies in the flat arrays.
        parameters: The parameters by full name.
        coactivation: Whether to collect which inputs and units were active in the same sample.

    Attributes:
        unexplained: For each parameter that the layer could not explain at some step, why.
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
        self._arrivals: dict[str, tuple[Arrival | None, str]] = {}
        self.unexplained: dict[str, str] = {}

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward is done: look at what the gradients are made of, before it changes.

        Args:
            latest: The arrival of the parameters that it has reached.
            adds: Whether it is added to what had arrived before, or replaces it.
        """
        explained: Mapping[str, Factors] | None = None
        for attribute, name, _, parameter in self._own:
            if parameter.arrival is not latest or name in self.unexplained:
                continue
            explained = self._layer.explain() if explained is None else explained
            factors = explained.get(attribute)
            layout = None if factors is None else layout_of(factors, parameter)
            if factors is None or layout is None:
                why = (
                    "its layer does not explain it"
                    if factors is None
                    else "its layer's explanation does not fit it, or leaves open how it lies "
                    "(Factors(..., layout=))"
                )
                self._give_up(name, why)
                continue
            if name not in self._active:
                self._active[name] = _Active.of(factors, self._coactivation, layout)
            if not adds:
                self._active[name].forget()
            self._active[name].look(factors, latest.passes[0])

    def look(self, transforms: str = "") -> None:
        """A step is about to be written: see how the gradients that it uses have arrived.

        Args:
            transforms: The names of what may have changed after backward which gradients are 0.
        """
        self._arrivals = {
            name: (
                parameter.arrival,
                _problem(parameter.arrival, self._active.get(name), transforms),
            )
            for _, name, _, parameter in self._own
        }

    def add(self, skipped: Mapping[str, str], grad_mask: Mask) -> None:
        """Count the samples of a step that was looked at.

        Args:
            skipped: The parameters that got no update, with the reason.
            grad_mask: Where the gradients are not 0, flat.
        """
        for _, name, part, _ in self._own:
            if name in self.unexplained:
                continue
            active = self._active.get(name)
            if name in skipped:
                if active is not None:
                    active.forget()
                continue
            arrival, why = self._arrivals[name]
            if why or active is None or arrival is None:
                self._give_up(name, why)
            else:
                active.count(arrival.passes, grad_mask[part])

    def _give_up(self, name: str, why: str) -> None:
        self.unexplained[name] = why
        self._active.pop(name, None)

    def activity(self) -> dict[str, Activity]:
        """What is counted up to here, as copies, by the names of the parameters."""
        return {name: active.activity() for name, active in self._active.items()}

    def go_on_with(self, activity: Mapping[str, Activity], unexplained: Mapping[str, str]) -> None:
        """Begin with what was counted in an earlier session."""
        for _, name, _, _ in self._own:
            if name in activity:
                self._active[name] = _Active(activity[name])
            if name in unexplained:
                self.unexplained[name] = unexplained[name]


def _problem(arrival: Arrival | None, active: _Active | None, transforms: str) -> str:
    """Why this step's gradient is not known to come from what was looked at; empty where it is."""
    if arrival is None or not (arrival.passes or arrival.by_hand):
        return "its gradient arrived before anybody could look at it"
    if arrival.by_hand:
        return (
            "its gradient was changed after backward"
            if arrival.passes
            else "its gradient was assigned by hand"
        )
    if active is None or not active.has_seen(arrival.passes):
        return "its gradient arrived before it was recorded"
    return f"its gradient may have been changed by the transform {transforms}" if transforms else ""


@final
class _Active:
    """The counts of one parameter: its inputs, its units, and which of them have met."""

    def __init__(self, activity: Activity) -> None:
        self._inputs = None if activity.inputs is None else NonzeroCounter(activity.inputs.copy())
        self._units = NonzeroCounter(activity.units.copy())
        self._together = None if activity.together is None else activity.together.copy()
        self._samples = activity.samples
        self._layout = activity.layout
        self._passes: dict[int, int] = {}  # the rows of each backward that are not counted yet

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

    def look(self, factors: Factors, number: int) -> None:
        """Look at the samples of a backward."""
        self._passes[number] = len(factors.units)
        self._units.look(factors.units)
        if self._inputs is not None:
            assert factors.inputs is not None
            self._inputs.look(factors.inputs)

    def has_seen(self, passes: tuple[int, ...]) -> bool:
        """Whether the samples of all these backwards were looked at."""
        return all(number in self._passes for number in passes)

    def count(self, passes: tuple[int, ...], grad_mask: Mask) -> None:
        """Count what was looked at in these backwards, and forget the rest."""
        units, inputs = self._units, self._inputs
        if passes != tuple(self._passes):  # some of them were of no use for this step
            used = np.concatenate(
                [np.full(rows, number in passes) for number, rows in self._passes.items()]
            )
            units.keep(used)
            if inputs is not None:
                inputs.keep(used)
        self._samples += units.pending
        if self._together is not None and inputs is not None:
            mask = grad_mask.reshape(
                self._together.shape if self._layout == "in_out" else self._together.T.shape
            )
            self._together |= mask if self._layout == "in_out" else mask.T
            _meet(self._together, inputs.looked_at(), units.looked_at())
        units.count()
        if inputs is not None:
            inputs.count()
        self._passes.clear()

    def forget(self) -> None:
        """Forget what was looked at: no step has used it."""
        if not self._passes:
            return
        self._passes.clear()
        for columns in (self._units, self._inputs):
            if columns is not None:
                columns.keep(np.zeros(columns.pending, bool))

    def activity(self) -> Activity:
        """What is counted up to here, as copies."""
        inputs = None if self._inputs is None else self._inputs.counts()
        together = None if self._together is None else self._together.copy()
        return Activity(inputs, self._units.counts(), together, self._samples, self._layout)


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
