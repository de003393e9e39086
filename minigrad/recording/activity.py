"""`Activity`: how often the inputs and units of a parameter were not 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from minigrad.arrays import Array, Mask
from minigrad.layer import Factors, Layer
from minigrad.parameter import Parameter
from minigrad.vector import Slot

Counts = npt.NDArray[np.int64]

_ROWS = 255  # that are added up at once: as many as a byte can count


@final
@dataclass
class Activity:
    """How often the inputs and units of one parameter were not 0, over the samples of all batches.

    Attributes:
        inputs: For each input, in how many samples it was not 0; None for a bias, whose input is always 1.
        units: For each unit, in how many samples its gradient was not 0.
        together: For each (input, unit), whether both were ever not 0 in the same sample; None where not collected.
        samples: The number of samples.
    """

    inputs: Counts | None
    units: Counts
    together: Mask | None
    samples: int = 0


@final
class ExplainedLayer:
    """Counts how active the inputs and units of one layer's parameters are, as the layer explains their gradients.

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
        self._own = [(attribute, name, slots[name].slice, parameters[name]) for attribute, name in names.items()]
        self._coactivation = coactivation
        self._found: dict[str, _Active] = {}
        self.unexplained: dict[str, str] = {}

    def add(self, skipped: Mapping[str, str], grad_mask: Mask) -> None:
        """Count the samples of one step.

        Args:
            skipped: The parameters that got no update, with the reason.
            grad_mask: Where the gradients are not 0, flat.
        """
        if skipped and all(name in skipped for _, name, _, _ in self._own):
            return
        explained = self._layer.explain()
        for attribute, name, part, parameter in self._own:
            if name in skipped or name in self.unexplained:
                continue
            factors = explained.get(attribute)
            problem = _problem(factors, parameter)
            if factors is None or problem:
                self.unexplained[name] = problem
                self._found.pop(name, None)
                continue
            if name not in self._found:
                self._found[name] = _Active.of(factors, self._coactivation)
            self._found[name].add(factors, grad_mask[part])

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


def _problem(factors: Factors | None, parameter: Parameter) -> str:
    """Why this step's gradient is not known to come from these factors; empty where it is."""
    if parameter.new_grads != 1:
        return "several gradients went into one step"
    if parameter.assigned_by_hand:
        return "its gradient was assigned by hand"
    if factors is None:
        return "its layer does not explain it"
    inputs, units = factors
    size = units.shape[1] * (1 if inputs is None else inputs.shape[1])
    if size != parameter.size or (inputs is not None and len(inputs) != len(units)):
        return "its layer's explanation has another shape"
    return ""


@final
class _Active:
    """The counts of one parameter: its inputs, its units, and which of them have met."""

    def __init__(self, activity: Activity) -> None:
        self._inputs = None if activity.inputs is None else _Columns(activity.inputs.copy())
        self._units = _Columns(activity.units.copy())
        self._together = None if activity.together is None else activity.together.copy()
        self._samples = activity.samples

    @classmethod
    def of(cls, factors: Factors, coactivation: bool) -> _Active:
        """Nothing counted yet."""
        inputs, units = (None if array is None else np.zeros(array.shape[1], np.int64) for array in factors)
        assert units is not None
        together = np.zeros((len(inputs), len(units)), bool) if coactivation and inputs is not None else None
        return cls(Activity(inputs, units, together))

    def add(self, factors: Factors, grad_mask: Mask) -> None:
        """Count the samples of one batch."""
        inputs, units = factors
        self._samples += len(units)
        self._units.add(units)
        if inputs is not None and self._inputs is not None:
            self._inputs.add(inputs)
            if self._together is not None:
                self._together |= grad_mask.reshape(self._together.shape)
                _meet(self._together, inputs != 0, units != 0)

    def activity(self) -> Activity:
        """What is counted up to here, as copies."""
        inputs = None if self._inputs is None else self._inputs.counts()
        together = None if self._together is None else self._together.copy()
        return Activity(inputs, self._units.counts(), together, self._samples)


@final
class _Columns:
    """Counts in how many rows each column is not 0. Rows are gathered, and added up when a byte could overflow."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._mask = np.empty((_ROWS, len(counts)), bool)
        self._filled = 0

    def add(self, array: Array) -> None:
        """Count the rows of one array."""
        for start in range(0, len(array), _ROWS):
            rows = array[start : start + _ROWS]
            if self._filled + len(rows) > _ROWS:
                self._add_up()
            end = self._filled + len(rows)
            np.not_equal(rows, 0, out=self._mask[self._filled : end])
            self._filled = end

    def counts(self) -> Counts:
        """The counts up to here, a copy."""
        self._add_up()
        return self._counts.copy()

    def _add_up(self) -> None:
        # In bytes, which are added up 16 times faster than 64-bit numbers.
        self._counts += np.add.reduce(self._mask[: self._filled].view(np.uint8), axis=0, dtype=np.uint8)
        self._filled = 0


def _meet(together: Mask, inputs: Mask, units: Mask) -> None:
    """Note which inputs and units were active in the same sample.

    A gradient that is not 0 has proved it for most. The product that looks at every sample is left to the few that
    have not met so far, and whose input and unit were both active in this batch.
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
    found = []
    for place, layer in model.layers():
        names = {own: f"{place}.{own}" if place else own for own, _ in layer.parts()}
        names = {own: name for own, name in names.items() if name in slots}
        if names and type(layer).explain is not Layer.explain:
            found.append(ExplainedLayer(layer, names, slots, parameters, coactivation))
    return found
