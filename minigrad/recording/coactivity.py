"""`Activity`: how often the inputs and units of a parameter were not 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask
from minigrad.layers.factors import Factors, Layout, layout_of
from minigrad.layers.layer import Layer
from minigrad.parameters.arrival import Arrival
from minigrad.parameters.parameter import Parameter
from minigrad.parameters.vector import Slot

Counts = npt.NDArray[np.int64]

_ROWS = 255  # that are added up at once: as many as a byte can count


@final
@dataclass
class Activity:
    """How often the inputs and units of one parameter were not 0, over the samples of all batches.

    Attributes:
        inputs: For each input, in how many samples it was not 0; None for a bias, whose input is
            always 1.
        units: For each unit, in how many samples its gradient was not 0.
        together: For each (input, unit), whether both were ever not 0 in the same sample; None
            where not collected.
        samples: The number of samples.
        layout: How the parameter lies: its units along its last axis, "in_out", or along its first
            one, "out_in".
    """

    inputs: Counts | None
    units: Counts
    together: Mask | None
    samples: int = 0
    layout: Layout = "in_out"

    def place(self, index: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, int]:
        """The input and the unit of an entry of a parameter of this shape."""
        flat = int(np.ravel_multi_index(index, shape)) if index else 0
        if self.inputs is None:
            return 0, flat
        if self.layout == "in_out":
            return divmod(flat, len(self.units))
        unit, own = divmod(flat, len(self.inputs))
        return own, unit

    def laid_out(self, table: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """A table of something for each (input, unit), as the parameter lies."""
        return (table if self.layout == "in_out" else table.T).reshape(shape)


@final
class ExplainedLayer:
    """Counts how active the inputs and units of one layer's parameters are, as the layer explains
    their gradients.

    What a backward leaves is looked at when it arrives, because inputs may change before the step;
    it counts once a step has used it.

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
        self._found: dict[str, _Active] = {}
        self._arrivals: dict[str, tuple[Arrival | None, str]] = {}
        self.unexplained: dict[str, str] = {}

    def arrived(self, latest: Arrival, adds: bool) -> None:
        """A backward is done: look at what the gradients are made of, before anything of it
        changes.

        Args:
            latest: The arrival of the parameters that it has reached.
            adds: Whether it is added to what had arrived before, which is of no use otherwise.
        """
        explained: Mapping[str, Factors] | None = None
        for attribute, name, _, parameter in self._own:
            if parameter.arrival is not latest or name in self.unexplained:
                continue
            explained = self._layer.explain() if explained is None else explained
            factors = explained.get(attribute)
            layout = None if factors is None else layout_of(factors, parameter)
            if factors is None or layout is None:
                why = "its layer's explanation does not fit it, or leaves open how it lies (Factors(..., layout=))"
                self._give_up(name, "its layer does not explain it" if factors is None else why)
                continue
            if name not in self._found:
                self._found[name] = _Active.of(factors, self._coactivation, layout)
            if not adds:
                self._found[name].forget()
            self._found[name].look(factors, latest.passes[0])

    def look(self, transforms: str = "") -> None:
        """A step is about to be written: see how the gradients that it uses have arrived.

        Args:
            transforms: The names of what may have changed after backward which gradients are 0.
        """
        self._arrivals = {
            name: (
                parameter.arrival,
                _problem(parameter.arrival, self._found.get(name), transforms),
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
            active = self._found.get(name)
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
        self._found.pop(name, None)

    def activity(self) -> dict[str, Activity]:
        """What is counted up to here, as copies, by the names of the parameters."""
        return {name: active.activity() for name, active in self._found.items()}

    def go_on_with(self, activity: Mapping[str, Activity], unexplained: Mapping[str, str]) -> None:
        """Begin with what was counted in an earlier session."""
        for _, name, _, _ in self._own:
            if name in activity:
                self._found[name] = _Active(activity[name])
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
        self._inputs = None if activity.inputs is None else _Columns(activity.inputs.copy())
        self._units = _Columns(activity.units.copy())
        self._together = None if activity.together is None else activity.together.copy()
        self._samples = activity.samples
        self._layout = activity.layout
        self._passes: dict[
            int, int
        ] = {}  # what was looked at and is not counted yet: the rows of each backward

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
        """What was looked at is of no use."""
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


@final
class _Columns:
    """Counts in how many rows each column is not 0.

    Rows are gathered, and added up in bytes when one could overflow, which takes a sixteenth of the
    time. Behind those that count lie the ones that were only looked at.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._mask = np.empty((_ROWS, len(counts)), bool)
        self._counted = 0  # how many of the gathered rows count
        self.pending: int = 0  # how many more were looked at

    def look(self, array: Array) -> None:
        """Look at the rows of an array."""
        end = self._counted + self.pending
        if end + len(array) > len(self._mask):
            self._add_up()
            end = self.pending
            if end + len(array) > len(self._mask):
                larger = np.empty((2 * (end + len(array)), len(self._counts)), bool)
                larger[:end] = self._mask[:end]
                self._mask = larger
        np.not_equal(array, 0, out=self._mask[end : end + len(array)])
        self.pending += len(array)

    def looked_at(self) -> Mask:
        """Where the rows that were looked at are not 0."""
        return self._mask[self._counted : self._counted + self.pending]

    def keep(self, used: Mask) -> None:
        """Forget some of the rows that were looked at."""
        kept = self.looked_at()[used]
        self._mask[self._counted : self._counted + len(kept)] = kept
        self.pending = len(kept)

    def count(self) -> None:
        """The rows that were looked at count."""
        self._counted += self.pending
        self.pending = 0

    def counts(self) -> Counts:
        """The counts up to here, a copy."""
        self._add_up()
        return self._counts.copy()

    def _add_up(self) -> None:
        rows = self._mask[: self._counted].view(np.uint8)
        for start in range(0, len(rows), _ROWS):
            self._counts += np.add.reduce(rows[start : start + _ROWS], axis=0, dtype=np.uint8)
        self._mask[: self.pending] = self.looked_at()
        self._counted = 0


def _meet(together: Mask, inputs: Mask, units: Mask) -> None:
    """Note which inputs and units were active in the same sample.

    A gradient that is not 0 has proved it for most. The product that looks at every sample is left
    to the few that have not met so far, and whose input and unit were both active in this batch.
    """
    columns = np.flatnonzero(units.any(axis=0))
    rows = np.flatnonzero(~together[:, columns].all(axis=1) & inputs.any(axis=0))
    if len(rows) and len(columns):
        common = inputs[:, rows].T.astype(np.float32) @ units[:, columns].astype(np.float32)
        together[np.ix_(rows, columns)] |= common > 0


def explained_layers(
    model: Layer, slots: Mapping[str, Slot], parameters: Mapping[str, Parameter], coactivation: bool
) -> list[ExplainedLayer]:
    """The layers of a model that explain the gradients of recorded parameters."""
    found, names_of = [], {id(parameter): name for name, parameter in parameters.items()}
    for _, layer in model.layers():
        names = {own: names_of[id(part)] for own, part in layer.parts() if id(part) in names_of}
        if names and type(layer).explain is not Layer.explain:
            found.append(ExplainedLayer(layer, names, slots, parameters, coactivation))
    return found
