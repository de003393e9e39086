"""`Optimizer`, the abstract base: a subclass computes the update, `step` applies it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np

from minigrad._messages import described
from minigrad._validation import number
from minigrad.arrays import Array, Integers
from minigrad.errors import KindError, ModelError, StaleParametersError
from minigrad.hooks.events import FlatArrays, Step
from minigrad.hooks.fit_events import RunningFit
from minigrad.hooks.hook import Handle, Hook, Listener, ask, attach, tell, telling
from minigrad.layers.layer import Layer
from minigrad.optimizers import states
from minigrad.optimizers.pipeline import Pipeline, checked_transforms
from minigrad.optimizers.replacement import Holders, look_at_orphans
from minigrad.optimizers.settings import (
    Rate,
    Schedule,
    limit,
    per_entry,
    set_up,
    settings_of,
    warn_of_settings,
)
from minigrad.optimizers.stretches import Stretch, held_entries, to_update
from minigrad.optimizers.transforms import ClipNorm, ClipValue, Transform, name_of
from minigrad.parameters.live_gradient import read_only
from minigrad.parameters.vector import ParameterVector, Writer

_NONE: dict[str, str] = {}  # what is skipped, mostly


class Optimizer(ABC):
    """Changes the parameters of a model by what `compute` asks for.

    A subclass writes `compute`, and nothing else; hooks, recording, clipping, freezing and replay
    then work by themselves:

        class SignDescent(minigrad.Optimizer):
            def compute(self, values, grads, update):
                numpy.multiply(numpy.sign(grads), -self.current_lr, out=update)

    The stages of a step: the gradients arrive, the gradient transforms, `compute`, the factors of
    the rate, the update transforms, the hooks' `before_step`, one addition, the hooks' `on_step`.

    Args:
        model: Any layer, a part of a model too.
        lr: The learning rate, above 0; or a schedule `step -> rate`, 0 or more; or rates by
            pattern, `{"0.*": 0.01, "*": 0.1}`.
        lr_factors: What the update of some parameters is multiplied by, by pattern: `{"0.*": 0.1}`.
            Others have 1.
        grad_transforms: What changes the gradients before `compute`, in order (see `Transform`).
        update_transforms: What changes the update after it, in order.
        max_grad_value: After those, limit each entry of the gradients: `ClipValue(max_grad_value)`.
        max_grad_norm: Then scale the gradients down to this norm over all parameters:
            `ClipNorm(max_grad_norm)`.

    Attributes:
        model: The layer whose parameters are changed.
        name: The class and the parameters: "SGD over 0.weight ... 2.bias".
        writer: What it is known by in the model's log of writes.
        grad_transforms, update_transforms: The transforms.
        lr_factors, max_grad_norm, max_grad_value: The settings.
        step_count: The number of steps made so far.
        current_lr: The learning rate of this step, while `compute` runs; that of the last one,
            afterwards.
        update_count: While `compute` runs, how many updates its entries have had before: 0 at the
            first. It is less than `step_count` where steps have left them out, because they were
            frozen, say.
        clip_factor: What the gradients of the last step were multiplied by, for their norm.
        fills_update: Whether `compute` writes every entry of `update`, so that it need not be 0
            before.
        session: The `fit` that is running; None in a loop by hand.
        listeners: The hooks that are attached.

    Raises:
        KindError: `model` is not a layer, or a setting is of the wrong kind.
        ModelError: The model has no parameters, or a pattern matches none.
        RangeError: A setting is out of range.
    """

    fills_update: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Have each `__init__` looked at, whether it has called this class's."""
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            setattr(cls, "__init__", set_up(vars(cls)["__init__"]))  # noqa: B010 - mypy knows no other way

    def __init__(
        self,
        model: Layer,
        lr: Rate,
        *,
        lr_factors: Mapping[str, float] | None = None,
        grad_transforms: Iterable[Transform] = (),
        update_transforms: Iterable[Transform] = (),
        max_grad_norm: float | None = None,
        max_grad_value: float | None = None,
    ) -> None:
        if not isinstance(model, Layer):
            raise KindError(
                f"{type(self).__name__} got {described(model)} as its model, expected a layer"
            )
        self.model: Layer = model
        self.step_count: int = 0
        self.update_count: int = 0
        self.current_lr: float = 0.0
        self.clip_factor: float = 1.0
        self.session: RunningFit | None = None
        self._states: dict[str, Array] = {}
        self._skips: dict[str, int] = {}  # how many steps have left a parameter out, where any has
        self._copied = False
        self._bind()
        if not isinstance(lr_factors, Mapping | None):
            raise KindError(
                f"lr_factors is {described(lr_factors)}, expected factors by pattern, such as "
                f"{{'0.*': 0.1}}"
            )
        self.lr_factors: dict[str, float] = dict(lr_factors or {})
        self._lr_factors: Array | None = None  # what the update is multiplied by
        if self.lr_factors:
            self._lr_factors = self.per_entry(self.lr_factors, "lr_factors", default=1.0)
        self.lr = lr
        self.grad_transforms: list[Transform] = checked_transforms(
            grad_transforms, "grad_transforms"
        )
        self.update_transforms: list[Transform] = checked_transforms(
            update_transforms, "update_transforms"
        )
        self.max_grad_norm: float | None = limit(max_grad_norm, "max_grad_norm")
        self.max_grad_value: float | None = limit(max_grad_value, "max_grad_value")

    def _bind(self) -> None:
        """Find the model's memory."""
        self._vector = ParameterVector.of(self.model)
        if not self._vector.parameters:
            raise ModelError(
                f"{type(self).__name__} got a model without parameters: {self.model!r}"
            )
        first, last = self._vector.parameters[0], self._vector.parameters[-1]
        self.name: str = f"{type(self).__name__} over {first.name} ... {last.name}"
        self._update: Array = np.zeros_like(self._vector.values)
        self._skipped = _NONE
        self._part = slice(0, self._vector.values.size)
        self.writer: Writer = Writer(self.name, frozenset(self._vector.parameters))
        self._gradients, self._writes = self._vector.gradients, self._vector.writes
        for parameter in self._vector.parameters:
            parameter.expected = True
        self._holders = Holders(self.model)
        self._everything = [Stretch.of(self._vector, self._update, self._part)]
        values, grads = self._everything[0].values, self._everything[0].grads
        self._pipeline = Pipeline(self._vector.slots, values)
        self._flat = FlatArrays(self._vector.slots, values, grads, read_only(self._update))
        self.listeners: list[Listener] = []

    @property
    def lr(self) -> float | Schedule:
        """The learning rate, or the schedule; of rates by pattern, the largest.

        It may be assigned.
        """
        return self._lr

    @lr.setter
    def lr(self, lr: Rate) -> None:
        if isinstance(lr, Mapping):
            rates = self.per_entry(lr, "lr", default=None)
            lr = number(float(rates.max()), "the largest lr", above=0)
            own = self.per_entry(self.lr_factors, "lr_factors", default=1.0)
            self._lr_factors = (
                rates / lr * own
            )  # they stay when a number or a schedule is assigned later
        self._lr: float | Schedule = lr if callable(lr) else number(lr, "lr", above=0)

    # -- what a subclass writes and uses ----------------------------------------------------------

    @abstractmethod
    def compute(self, values: Array, grads: Array, update: Array) -> None:
        """Fill `update` with what is to be added to `values`, sign and learning rate included.

        Called once for all, or for each run of neighbours that are not skipped; an entry's update
        depends on it alone.

        Args:
            values: Values, 1-D, read-only.
            grads: Gradients, after their transforms, 1-D, read-only.
            update: To be filled, 1-D; 0 before.
        """

    @final
    def state(self, name: str) -> Array:
        """An array of the optimizer's own, one number for each entry that `compute` was given.

        Starts at 0, and is saved.
        """
        if name not in self._states:
            self._states[name] = np.zeros_like(self._vector.values)
        return self._states[name][self._part]

    @final
    def of_entries(self, setting: float | Array) -> float | Array:
        """A setting from `per_entry`, for the entries that `compute` was given."""
        return setting[self._part] if isinstance(setting, np.ndarray) else setting

    @final
    def per_entry(self, setting: object, name: str, default: float | None = 0.0) -> Any:
        """A setting that is one number, or differs by parameter: `{"*.weight": 1e-4}`, and the
        default for all others.

        Of several patterns that fit a parameter the last counts; but "*" is for the rest, wherever
        it stands. It gives a float, or an array of one number for each entry; `default` is for
        parameters that no pattern fits, None if that is an error.

        Raises:
            KindError: It is neither a number nor a mapping of numbers.
            RangeError: A number is negative.
            ModelError: A pattern matches no parameter, or a parameter no pattern, where there is no
                default.
        """
        return per_entry(setting, name, self._vector.slots, self._vector.values, default)

    # -- the step ---------------------------------------------------------------------------------

    @final
    def step(self, *, loss: float | None = None, indices: Integers | None = None) -> None:
        """Transform the gradients, compute the update, transform it, add it to the values, tell the
        hooks.

        A gradient is used once. What is frozen, or was not reached by a backward since, gets no
        update; its state stays.

        Args:
            loss: The loss of this step, for hooks.
            indices: The rows of the data in this step's batch, for hooks.

        Raises:
            MissingGradientError: No gradient has arrived since the last step.
            StaleParametersError: The parameters have moved into another model.
            KindError: `compute` or a transform returned something.
            RangeError: The schedule gave a rate that is negative or not finite.
            HookError: A hook failed; the step is complete.
            Exception: Whatever a hook's `before_step` raises, `NonFiniteError` of a `StopOnNonFinite`;
                no value is written, but the optimizer's own arrays have moved.
        """
        self.check_not_stale()
        if self._gradients.orphans:
            look_at_orphans(self._gradients, self.model, type(self).__name__)
        stretches, skipped = self._everything, _NONE
        for parameter in self._vector.parameters:
            if self._skips or parameter.arrival is None or parameter.holds_still:
                stretches, skipped = to_update(
                    self._vector, self._update, self._skips, self._copied
                )
                break
        if skipped != self._skipped:
            self._update.fill(
                -0.0
            )  # adding -0.0 changes no bit of any number; +0.0 would turn -0.0 into 0.0
            self._skipped = skipped
        lr = self._lr
        self.current_lr = (
            number(lr(self.step_count), f"lr({self.step_count})", least=0) if callable(lr) else lr
        )
        self.clip_factor = 1.0
        if (
            self.grad_transforms
            or self.max_grad_norm is not None
            or self.max_grad_value is not None
        ):
            stretches = self._transformed(stretches)
        for stretch in stretches:
            self._part, self.update_count = stretch.part, self.step_count - stretch.skips
            if not self.fills_update:
                stretch.update.fill(0)
            kept = None if stretch.frozen is None else stretch.kept(self._states)
            result: object = self.compute(stretch.values, stretch.grads, stretch.update)
            if result is not None:
                raise KindError(
                    f"{type(self).__name__}.compute returned {described(result)}; it fills "
                    f"`update` in place, update[...] = ..., and returns nothing. Nothing was "
                    f"written"
                )
            if kept is not None:
                stretch.hold(self._update, self._states, kept)
        if self._lr_factors is not None:
            self._update *= self._lr_factors
        if self.update_transforms:
            self._pipeline.apply(self.update_transforms, self._update, skipped, stretches, -0.0)
        event = None
        if self.listeners:
            try:
                event = self._event(loss, indices)
                ask(self.listeners, "before_step", event)
            except BaseException:
                self._forget()  # a gradient is used once, also by a step that was not written
                raise
            self._gradients.closed = False
        for stretch in stretches:
            np.add(stretch.live, stretch.update, out=stretch.live)
        self.step_count += 1
        self._writes.add(self.writer)
        for name in skipped:
            self._skips[name] = self._skips.get(name, 0) + 1
        if event is None:
            self._forget()
            return
        try:
            with telling():
                tell(self.listeners, "on_step", lambda prefix: event)
        finally:
            self._forget()

    def _forget(self) -> None:
        """The step is over, and its gradients are used."""
        self._flat.told, self._flat.transformed = None, self._flat.grads
        self._gradients.used(self._vector.parameters)

    @final
    def check_not_stale(self) -> None:
        """Make sure that the parameters are still those of the model.

        Raises:
            StaleParametersError: They have moved into another model, or were replaced.
        """
        name = type(self).__name__
        if self._vector.is_stale:
            raise StaleParametersError(
                f"the parameters of this {name} have moved into another model; make a new one"
            )
        replaced = self._holders.replaced()
        if replaced is not None:
            raise StaleParametersError(
                f"{replaced} of the model was replaced by another object; assign values "
                f"(weight.value = ...), or make a new {name}"
            )

    def _transformed(self, stretches: list[Stretch]) -> list[Stretch]:
        """The stretches with the gradients that the transforms give."""
        grads, transforms = self._everything[0].grads.copy(), [*self.grad_transforms]
        transforms += [] if self.max_grad_value is None else [ClipValue(self.max_grad_value)]
        transforms += [] if self.max_grad_norm is None else [ClipNorm(self.max_grad_norm)]
        self._pipeline.apply(transforms, grads, self._skipped, stretches, 0.0)
        self.clip_factor = math.prod(one.factor for one in transforms if isinstance(one, ClipNorm))
        self._flat.transformed = read_only(grads)
        return [
            stretch._replace(grads=self._flat.transformed[stretch.part]) for stretch in stretches
        ]

    def _event(self, loss: float | None, indices: Integers | None) -> Step:
        self._flat.told, self._gradients.closed = self.step_count, True
        skipped, held = MappingProxyType(self._skipped), held_entries(self._vector, self._skipped)
        others = ", ".join(
            name_of(one) for one in self.grad_transforms if not getattr(one, "keeps_zeros", False)
        )
        told = (
            self.step_count,
            self.current_lr,
            self.clip_factor,
            skipped,
            self._flat,
            loss,
            indices,
            self.session,
        )
        return Step(*told, others, held)

    @final
    def attach(self, hook: Hook) -> Handle:
        """Have the hook called before each step is written, and after it.

        Raises:
            KindError: `hook` is not a Hook.
            AttachError: The hook has none of `before_step`, `on_step` and `flush`.
        """
        methods = "before_step", "on_step", "flush"
        return attach(hook, methods, [(self.listeners, "")], f"{type(self).__name__}.attach")

    @final
    def flush(self) -> None:
        """Have hooks put what is only in memory where it survives, as recorders with a directory do."""
        for listener in self.listeners:
            if "flush" in listener.methods:
                listener.hook.flush()

    # -- state ------------------------------------------------------------------------------------

    @final
    def state_dict(self) -> dict[str, Any]:
        """All that a step depends on: counts, copies of arrays of its own, transforms.

        The rate is None for a schedule.
        """
        found = self.live_state_dict()
        for arrays in found["state"].values():
            arrays.update({name: array.copy() for name, array in arrays.items()})
        return found

    @final
    def live_state_dict(self) -> dict[str, Any]:
        """As `state_dict`, with the live arrays: steps write into them."""
        arrays = {
            state: {
                name: flat[slot.slice].reshape(slot.shape)
                for name, slot in self._vector.slots.items()
            }
            for state, flat in self._states.items()
        }
        return {
            "optimizer": type(self).__name__,
            "lr": None if callable(self._lr) else self._lr,
            "step_count": self.step_count,
            "skipped_steps": dict(self._skips),
            "state": arrays,
            "settings": settings_of(self),
            "transforms": states.of_transforms([*self.grad_transforms, *self.update_transforms]),
        }

    @final
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave: all of it, or after an error nothing.

        The rate becomes the state's, where both are numbers; other settings stay, and a warning
        lists those that differ.

        Raises:
            ModelError: It belongs to other parameters, or to other transforms.
            ShapeError: An array has another shape.
        """
        loaded = states.checked(state, self, self._vector.slots, self._states)
        transforms = [*self.grad_transforms, *self.update_transforms]
        states.load_transforms(transforms, state.get("transforms"))
        warn_of_settings(self, state.get("settings"))
        if not callable(self._lr) and loaded.lr is not None:
            self._lr = loaded.lr
        self.step_count, self._skips, self._states = loaded.step_count, loaded.skips, loaded.arrays

    def __getstate__(self) -> dict[str, Any]:
        """A copy works on its own copy of the model, and has none of the hooks."""
        found_again = "_vector _root _gradients _writes _holders _everything _flat _update _skipped _pipeline writer listeners"
        own = {name: value for name, value in vars(self).items() if name not in found_again.split()}
        return own | {"session": None, "_copied": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind()

    def __repr__(self) -> str:
        lr = (
            getattr(self._lr, "__name__", type(self._lr).__name__)
            if callable(self._lr)
            else f"{self._lr:g}"
        )
        by_pattern = " by pattern" if self._lr_factors is not None else ""
        transforms = "".join(
            f", {one}" for one in map(name_of, (*self.grad_transforms, *self.update_transforms))
        )
        return f"{type(self).__name__}(lr={lr}{by_pattern}{transforms}, {self._vector.values.size:,} entries)"
