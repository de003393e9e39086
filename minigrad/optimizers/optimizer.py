"""`Optimizer`, the abstract base: a subclass computes the update, `step` applies it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np

from minigrad.arrays import Array, Integers, described, number, shaped, whole
from minigrad.errors import KindError, ModelError, NoGradient, StaleParameters
from minigrad.events import FlatArrays, RunningFit, Step
from minigrad.hooks import Handle, Hook, Listener, attach, tell, telling
from minigrad.layer import Layer
from minigrad.optimizers.holders import Holders
from minigrad.parameter import ParameterVector, Writer

Schedule: TypeAlias = Callable[[int], float]
"""A learning rate that changes: `step -> rate`, where steps count from 0."""


_NONE: dict[str, str] = {}  # what is skipped, mostly


class _Stretch(NamedTuple):
    """Neighbouring entries that are updated together, as views."""

    part: slice
    values: Array  # read-only
    grads: Array  # read-only
    update: Array
    live: Array
    skips: int = 0  # how many steps have left these entries out


class Optimizer(ABC):
    """Changes the parameters of a model by what `compute` asks for.

    A subclass writes `compute`, and nothing else; hooks, recording, clipping, freezing and replay then work by
    themselves:

        class SignDescent(minigrad.Optimizer):
            def compute(self, values, grads, update):
                numpy.multiply(numpy.sign(grads), -self.current_lr, out=update)

    Args:
        model: Any layer, a part of a model too.
        lr: The learning rate, above 0; or a schedule `step -> rate`, 0 or more.
        max_grad_norm: Scale the gradients down so that their norm over all parameters is at most this.
        max_grad_value: Before that, limit each entry of the gradients to between minus this and this.

    Attributes:
        model: The layer whose parameters are changed.
        name: The class and the parameters: "SGD over 0.weight ... 2.bias".
        max_grad_norm: The largest norm of the gradients, or None.
        max_grad_value: The largest magnitude of a gradient's entry, or None.
        step_count: The number of steps made so far.
        current_lr: The learning rate of this step, while `compute` runs; that of the last one, afterwards.
        update_count: While `compute` runs, how many updates its entries have had before: 0 at the first. It is less
            than `step_count` where steps have left them out, because they were frozen, say.
        clip_factor: What the gradients of the last step were multiplied by, for `max_grad_norm`.
        session: The `fit` that is running; None in a loop by hand.

    Raises:
        KindError: `model` is not a layer, or a setting is no number.
        ModelError: The model has no parameters.
        RangeError: A setting is out of range.
    """

    def __init__(
        self,
        model: Layer,
        lr: float | Schedule,
        *,
        max_grad_norm: float | None = None,
        max_grad_value: float | None = None,
    ) -> None:
        if not isinstance(model, Layer):
            raise KindError(f"{type(self).__name__} got {described(model)} as its model, expected a layer")
        self.model: Layer = model
        self.lr = lr
        self.max_grad_norm: float | None = _limit(max_grad_norm, "max_grad_norm")
        self.max_grad_value: float | None = _limit(max_grad_value, "max_grad_value")
        self.step_count: int = 0
        self.update_count: int = 0
        self.current_lr: float = 0.0
        self.clip_factor: float = 1.0
        self.session: RunningFit | None = None
        self._states: dict[str, Array] = {}
        self._skips: dict[str, int] = {}  # how many steps have left a parameter out, where any has
        self._bind()

    def _bind(self) -> None:
        """Find the model's memory."""
        self._vector = ParameterVector.of(self.model)
        if not self._vector.parameters:
            raise ModelError(f"{type(self).__name__} got a model without parameters: {self.model!r}")
        names = [parameter.name for parameter in self._vector.parameters]
        self.name: str = f"{type(self).__name__} over {names[0]} ... {names[-1]}"
        self._update: Array = np.zeros_like(self._vector.values)
        self._skipped = _NONE
        self._part = slice(0, self._vector.values.size)
        self._writer = Writer(self.name, frozenset(self._vector.parameters))
        self._vector.writers.append(self._writer)
        self._holders = Holders(self.model)
        everything = self._stretch(self._part)
        self._everything = [everything]
        self._flat = FlatArrays(self._vector.slots, everything.values, everything.grads, _read_only(self._update))
        self._listeners: list[Listener] = []

    @property
    def lr(self) -> float | Schedule:
        """The learning rate, or the schedule; may be assigned."""
        return self._lr

    @lr.setter
    def lr(self, lr: float | Schedule) -> None:
        self._lr = lr if callable(lr) else number(lr, "lr", above=0)

    # -- what a subclass writes and uses ------------------------------------------------------------------------

    @abstractmethod
    def compute(self, values: Array, grads: Array, update: Array) -> None:
        """Fill `update` with what is to be added to `values`, sign and learning rate included.

        Called once a step; where some parameters are skipped, once for each run of neighbours that are not. Each
        entry's update depends on that entry alone.

        Args:
            values: Values, 1-D, read-only.
            grads: Gradients, clipped, 1-D, read-only.
            update: To be filled, 1-D.
        """

    @final
    def state(self, name: str) -> Array:
        """An array of the optimizer's own, one number for each entry that `compute` was given; starts at 0, and is saved."""
        if name not in self._states:
            self._states[name] = np.zeros_like(self._vector.values)
        return self._states[name][self._part]

    @final
    def of_entries(self, setting: float | Array) -> float | Array:
        """A setting from `per_entry`, for the entries that `compute` was given."""
        return setting[self._part] if isinstance(setting, np.ndarray) else setting

    @final
    def per_entry(self, setting: object, name: str) -> float | Array:
        """A setting that is one number, or differs by parameter: `{"*.weight": 1e-4}`, and 0 for all others.

        Raises:
            KindError: It is neither a number nor a mapping of numbers.
            RangeError: A number is negative.
            ModelError: A pattern matches no parameter.
        """
        if not isinstance(setting, Mapping):
            return number(setting, name, least=0)
        entries = np.zeros_like(self._vector.values)
        for pattern, value in setting.items():
            parts = [slot.slice for own, slot in self._vector.slots.items() if fnmatchcase(own, str(pattern))]
            if not parts:
                raise ModelError(f"{name}: '{pattern}' matches no parameter; there are {', '.join(self._vector.slots)}")
            for part in parts:
                entries[part] = number(value, f"{name}['{pattern}']", least=0)
        return entries

    # -- the step -----------------------------------------------------------------------------------------------

    @final
    def step(self, *, loss: float | None = None, indices: Integers | None = None) -> None:
        """Clip the gradients, compute the update, add it to the values, tell the hooks.

        A gradient is used once. Frozen parameters, and those that no backward has reached since the last step, get
        no update, and their state stays.

        Args:
            loss: The loss of this step, for hooks.
            indices: The rows of the data in this step's batch, for hooks.

        Raises:
            NoGradient: No gradient has arrived since the last step.
            StaleParameters: The parameters have moved into another model.
            RangeError: The schedule gave a rate that is negative or not finite.
            NotFinite: A `StopOnNonFinite` is attached, and the update is not finite; nothing is written.
            HookError: A hook failed; the step is complete.
        """
        self.check_not_stale()
        vector = self._vector
        stretches, skipped = self._everything, _NONE
        for parameter in vector.parameters:
            if self._skips or not (parameter.new_grads and parameter.trainable):
                stretches, skipped = self._to_update()
                break
        if skipped != self._skipped:
            self._update.fill(-0.0)  # adding -0.0 changes no bit of any number; +0.0 would turn -0.0 into 0.0
            self._skipped = skipped
        lr = self._lr
        self.current_lr = number(lr(self.step_count), f"lr({self.step_count})", least=0) if callable(lr) else lr
        self.clip_factor = 1.0
        if self.max_grad_value is not None:
            stretches = _limited(stretches, self.max_grad_value)
        if self.max_grad_norm is not None:
            stretches = self._scaled(stretches, self.max_grad_norm)
        for stretch in stretches:
            self._part, self.update_count = stretch.part, self.step_count - stretch.skips
            self.compute(stretch.values, stretch.grads, stretch.update)
        told = False
        for listener in self._listeners:
            told = told or bool(listener.methods)
            if listener.hook._before_step is not None:
                listener.hook._before_step(self._flat)
        for stretch in stretches:
            values = stretch.live
            values += stretch.update
        self.step_count += 1
        self._writer.steps += 1
        for name in skipped:
            self._skips[name] = self._skips.get(name, 0) + 1
        try:
            if told:
                self._tell(loss, indices)
        finally:
            for parameter in vector.parameters:
                parameter.new_grads = 0
                parameter.assigned_by_hand = False

    @final
    def check_not_stale(self) -> None:
        """Make sure that the parameters are still those of the model.

        Raises:
            StaleParameters: They have moved into another model, or were replaced.
        """
        name = type(self).__name__
        if self._vector.is_stale:
            raise StaleParameters(f"the parameters of this {name} have moved into another model; make a new one")
        replaced = self._holders.replaced()
        if replaced is not None:
            raise StaleParameters(
                f"{replaced} of the model was replaced by another object; assign values (weight.value = ...), "
                f"or make a new {name}"
            )

    def _to_update(self) -> tuple[list[_Stretch], dict[str, str]]:
        """The neighbouring parameters that are trainable, have a new gradient and are equally old; why others are skipped."""
        vector = self._vector
        if not any(parameter.new_grads for parameter in vector.parameters):
            raise NoGradient(
                "step() needs a new gradient, and none has arrived since the last step: call model.backward(grad) "
                "first (a layer of one's own assigns its gradients, weight.grad = ...)"
            )
        runs: list[tuple[slice, int]] = []
        skipped: dict[str, str] = {}
        for (name, slot), parameter in zip(vector.slots.items(), vector.parameters, strict=True):
            skips = self._skips.get(name, 0)
            if not parameter.trainable:
                skipped[name] = "frozen"
            elif not parameter.new_grads:
                skipped[name] = "no gradient"
            elif runs and runs[-1] == (slice(runs[-1][0].start, slot.slice.start), skips):
                runs[-1] = slice(runs[-1][0].start, slot.slice.stop), skips
            else:
                runs.append((slot.slice, skips))
        return [self._stretch(part, skips) for part, skips in runs], skipped

    def _stretch(self, part: slice, skips: int = 0) -> _Stretch:
        values, grads = self._vector.values[part], self._vector.grads[part]
        return _Stretch(part, _read_only(values), _read_only(grads), self._update[part], values, skips)

    def _scaled(self, stretches: list[_Stretch], most: float) -> list[_Stretch]:
        """The gradients, scaled so that their norm is at most this (as PyTorch's clip_grad_norm_ does)."""
        with np.errstate(over="ignore"):
            norm = math.sqrt(sum(float(np.dot(stretch.grads, stretch.grads)) for stretch in stretches))
        if not math.isfinite(norm):  # squares overflow in float32 long before the norm does
            norm = math.hypot(*(float(np.linalg.norm(stretch.grads.astype(np.float64))) for stretch in stretches))
        self.clip_factor = min(1.0, most / (norm + 1e-6))
        if self.clip_factor == 1.0:
            return stretches
        return [s._replace(grads=_read_only(s.grads * s.grads.dtype.type(self.clip_factor))) for s in stretches]

    def _tell(self, loss: float | None, indices: Integers | None) -> None:
        step, flat = self.step_count - 1, self._flat
        skipped = MappingProxyType(self._skipped)
        event = Step(step, self.current_lr, self.clip_factor, skipped, flat, loss, indices, self.session)
        flat.told = step
        try:
            whole = self._vector.whole
            with telling(whole):
                tell(self._listeners, "on_step", lambda prefix: event, whole.failures)
        finally:
            flat.told = None

    @final
    def attach(self, hook: Hook) -> Handle:
        """Have the hook called after each step.

        Raises:
            KindError: `hook` is not a Hook.
            AttachError: The hook has no `on_step`.
        """
        return attach(hook, ("on_step",), [(self._listeners, "")], f"{type(self).__name__}.attach")

    @final
    def flush(self) -> None:
        """Have recorders write what they keep in memory alone, where they have a directory."""
        for listener in self._listeners:
            listener.hook._flush()

    # -- state --------------------------------------------------------------------------------------------------

    @final
    def state_dict(self) -> dict[str, Any]:
        """Its class, rate (None for a schedule) and step count, how many steps left out which parameter, copies of the state."""
        found = self._live_state_dict()
        for arrays in found["state"].values():
            arrays.update({name: array.copy() for name, array in arrays.items()})
        return found

    @final
    def _live_state_dict(self) -> dict[str, Any]:
        """As `state_dict`, with the live arrays: steps write into them."""
        states = {
            state: {name: flat[slot.slice].reshape(slot.shape) for name, slot in self._vector.slots.items()}
            for state, flat in self._states.items()
        }
        lr = None if callable(self._lr) else self._lr
        counts = {"step_count": self.step_count, "skipped_steps": dict(self._skips)}
        return {"optimizer": type(self).__name__, "lr": lr, **counts, "state": states}

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave: all of it, or after an error nothing.

        The rate becomes the state's, where both are numbers; assign `lr` afterwards to go on with another.

        Raises:
            ModelError: It belongs to other parameters.
            ShapeError: An array has another shape.
        """
        expected = {"optimizer", "lr", "step_count", "skipped_steps", "state"}
        if not isinstance(state, Mapping) or not expected <= set(state):
            has = sorted(map(str, state)) if isinstance(state, Mapping) else described(state)
            raise ModelError(f"this is no state of an optimizer: it has {has}, expected {sorted(expected)}")
        kind, names = type(self).__name__, sorted(state["state"])
        if state["optimizer"] != kind or (self._states and names != sorted(self._states)):
            raise ModelError(
                f"this is the state of {state['optimizer']} with {', '.join(names) or 'no arrays'}, expected that of "
                f"{kind} with {', '.join(sorted(self._states)) or 'any'}"
            )
        lr = self._lr if callable(self._lr) or state["lr"] is None else number(state["lr"], "lr", above=0)
        count = whole(state["step_count"], "step_count", least=0)
        skips = {name: whole(n, f"skipped_steps['{name}']", least=0) for name, n in state["skipped_steps"].items()}
        wrong = [name for name, n in skips.items() if n > count or name not in self._vector.slots]
        if wrong:
            raise ModelError(
                f"skipped_steps tells of other parameters or of more than {count} steps: {', '.join(wrong)}"
            )
        new: dict[str, Array] = {}
        for own, arrays in state["state"].items():
            if set(arrays) != set(self._vector.slots):
                different = sorted(set(arrays) ^ set(self._vector.slots))
                raise ModelError(f"the state '{own}' is of other parameters; the difference is {', '.join(different)}")
            new[own] = np.zeros_like(self._vector.values)
            for name, slot in self._vector.slots.items():
                array = shaped(arrays[name], slot.shape, new[own].dtype, f"the state '{own}' of '{name}'")
                new[own][slot.slice] = array.ravel()
        self._lr, self.step_count, self._skips = lr, count, skips
        self._states = new

    def __getstate__(self) -> dict[str, Any]:
        """A copy works on its own copy of the model, and has none of the hooks."""
        found_again = ("_vector", "_writer", "_holders", "_everything", "_flat", "_update", "_skipped", "_listeners")
        return {name: value for name, value in vars(self).items() if name not in found_again} | {"session": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind()

    def __repr__(self) -> str:
        lr = getattr(self._lr, "__name__", type(self._lr).__name__) if callable(self._lr) else f"{self._lr:g}"
        return f"{type(self).__name__}(lr={lr}, {self._vector.values.size:,} entries)"


def _limit(limit: float | None, name: str) -> float | None:
    return None if limit is None else number(limit, name, above=0)


def _limited(stretches: list[_Stretch], most: float) -> list[_Stretch]:
    """The gradients, each entry limited to this magnitude (as PyTorch's clip_grad_value_ does)."""
    return [s._replace(grads=_read_only(np.clip(s.grads, -most, most))) for s in stretches]


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
