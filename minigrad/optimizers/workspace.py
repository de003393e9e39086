"""`Workspace`, what the steps of an optimizer work on: the memory of its model, and the update."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import final

import numpy as np

from minigrad._messages import described
from minigrad.arrays import Array, Integers, Mask
from minigrad.errors import KindError, ModelError, StaleParametersError
from minigrad.hooks import Step
from minigrad.hooks.events import FlatArrays
from minigrad.hooks.fit_events import RunningFit
from minigrad.layers.layer import Layer
from minigrad.optimizers.chain import apply_transforms
from minigrad.optimizers.entry_range import EntryRange, frozen_entries, ranges_to_update
from minigrad.optimizers.replacement import Places
from minigrad.optimizers.transforms import Transform
from minigrad.parameters.gradients import Gradients
from minigrad.parameters.live_gradient import read_only
from minigrad.parameters.observers import Writer
from minigrad.parameters.vector import ParameterVector

_NONE: dict[str, str] = {}  # what is skipped, mostly
_NOTHING_HELD: Mapping[str, Mask] = MappingProxyType({})


@final
class Workspace:
    """What the steps of one optimizer work on.

    Args:
        model: The model, or the part of one, whose parameters are changed.
        kind: The class of the optimizer.

    Attributes:
        vector: The memory of the parameters.
        gradients: How their gradients have arrived.
        update: What a step adds to the values, of all entries; -0.0 for those that it leaves out.
        flat: All of that for events.
        skipped: The parameters that the present step leaves out, each with the reason.
        writer: As whom observers know the optimizer.

    Raises:
        KindError: The model is no layer.
        ModelError: It has no parameters.
    """

    def __init__(self, model: Layer, kind: str) -> None:
        if not isinstance(model, Layer):
            raise KindError(f"{kind} got {described(model)} as its model, expected a layer")
        self._kind = kind
        self.vector: ParameterVector = ParameterVector.of(model)
        parameters = self.vector.parameters
        if not parameters:
            raise ModelError(f"{kind} got a model without parameters: {model!r}")
        self.gradients: Gradients = self.vector.gradients
        self.gradients.expect(parameters)
        self._places = Places(model)
        self.update: Array = np.zeros_like(self.vector.values)
        self._everything = [EntryRange.of(self.vector, self.update, slice(0, self.update.size))]
        self._ranges = self._everything  # what the present step updates
        values, grads = self._everything[0].values, self._everything[0].grads
        self.flat: FlatArrays = FlatArrays(self.vector.slots, values, grads, read_only(self.update))
        self.skipped: dict[str, str] = _NONE
        self.writer: Writer = Writer(
            f"{kind} over {parameters[0].name} ... {parameters[-1].name}", parameters
        )

    def check_not_stale(self) -> None:
        """Make sure that the parameters are still those of the model.

        Raises:
            StaleParametersError: They have moved into another model, or were replaced.
        """
        if self.vector.is_stale:
            raise StaleParametersError(
                f"the parameters of this {self._kind} have moved into another model; make a new one"
            )
        replaced = self._places.replaced()
        if replaced is not None:
            raise StaleParametersError(
                f"{replaced} of the model was replaced by another object; assign values "
                f"(weight.value = ...), or make a new {self._kind}"
            )

    def ranges(self, skips: Mapping[str, int], copied: bool) -> list[EntryRange]:
        """What a step updates: everything, but for what is frozen or has no gradient.

        Args:
            skips: How many steps have left a parameter out, where any has.
            copied: Whether the optimizer is a copy.

        Raises:
            MissingGradientError: No gradient has arrived.
        """
        ranges, skipped = self._everything, _NONE
        for parameter in self.vector.parameters:
            if parameter.arrival is None or parameter.holds_still or skips:
                ranges, skipped = ranges_to_update(self.vector, self.update, skips, copied)
                break
        if skipped is not self.skipped and skipped != self.skipped:
            # Adding -0.0 changes no bit of any number; +0.0 would turn -0.0 into 0.0.
            self.update.fill(-0.0)
            self.skipped = skipped
        self._ranges = ranges
        return ranges

    def apply(
        self,
        transforms: Iterable[Transform],
        array: Array,
        ranges: Iterable[EntryRange],
        nothing: float,
    ) -> None:
        """Apply transforms to gradients or an update, but for what the step leaves out.

        Args:
            transforms: The transforms, in order.
            array: The gradients or the update of all entries, changed in place.
            ranges: What the step updates.
            nothing: What the rest is: 0.0, or -0.0 in an update.

        Raises:
            KindError: A transform returned something.
        """
        left_out = [
            *(self.vector.slots[name].slice for name in self.skipped),
            *(one.frozen for one in ranges if one.frozen is not None),
        ]
        apply_transforms(transforms, self.vector.slots, self.flat.values, array, left_out, nothing)

    def open_event(
        self,
        step: int,
        lr: float,
        clip_factor: float,
        loss: float | None,
        indices: Integers | None,
        session: RunningFit | None,
        transforms: str,
    ) -> Step:
        """The event of a step that is about to be written; no hook may change its gradients.

        Args:
            step: Its number.
            lr: Its learning rate.
            clip_factor: What its gradients were multiplied by to clip them.
            loss: The loss, where known.
            indices: The rows of its batch, where known.
            session: The `fit` that is running, if any.
            transforms: The names of those that may have changed which gradients are 0.
        """
        self.flat.step, self.gradients.closed = step, True
        skipped, held = MappingProxyType(self.skipped), _NOTHING_HELD
        if self._ranges is not self._everything:
            held = MappingProxyType(frozen_entries(self.vector, self.skipped))
        facts = step, lr, clip_factor, skipped, self.flat, loss, indices, session
        return Step(*facts, transforms=transforms, held=held)

    def write(self, ranges: Iterable[EntryRange]) -> None:
        """Add the update to the values: the only place where an optimizer writes them."""
        self.gradients.closed = False
        for one in ranges:
            np.add(one.live, one.update, out=one.live)

    def announce(self) -> None:
        """Tell of values that were written."""
        for observer in self.vector.observers.all:
            observer.written(self.writer)

    def finish(self) -> None:
        """The step is over, and its gradients are used, also if it was not written."""
        flat = self.flat
        flat.step, flat.transformed = None, flat.grads
        self.gradients.used(self.vector.parameters)
