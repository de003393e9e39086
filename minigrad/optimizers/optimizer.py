"""`Optimizer`, the abstract base: a subclass computes the update, `step` applies it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, final

import numpy as np

from minigrad._messages import described
from minigrad._printable import printable
from minigrad._validation import number
from minigrad.arrays import Array, Integers
from minigrad.errors import KindError
from minigrad.hooks import Handle, Hook, Step
from minigrad.hooks.dispatch import ask, tell, telling
from minigrad.hooks.fit_events import RunningFit
from minigrad.hooks.handle import attach
from minigrad.hooks.listener import Listener
from minigrad.layers.layer import Layer
from minigrad.optimizers.chain import checked_transforms, load_states, states_of
from minigrad.optimizers.entry_range import EntryRange
from minigrad.optimizers.replacement import check_orphans
from minigrad.optimizers.settings import Rate, Schedule, factors_by_pattern, limit, per_entry
from minigrad.optimizers.state_dict import (
    by_parameter,
    checked_state,
    settings_of,
    warn_of_settings,
)
from minigrad.optimizers.step_arguments import checked_loss, checked_rows
from minigrad.optimizers.super_init import requires_super_init
from minigrad.optimizers.transforms import ClipNorm, ClipValue, Transform, name_of
from minigrad.optimizers.workspace import Workspace
from minigrad.parameters.live_gradient import read_only
from minigrad.parameters.observers import Writer


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
        lr_factors: What updates are multiplied by, by pattern: `{"0.*": 0.1}`. Others have 1.
        grad_transforms: What changes the gradients before `compute`, in order (see `Transform`).
        update_transforms: What changes the update after it, in order.
        max_grad_value: After those, limit each entry of the gradients: `ClipValue(max_grad_value)`.
        max_grad_norm: Then scale the gradients down to this norm over all parameters:
            `ClipNorm(max_grad_norm)`.

    Attributes:
        model: The layer whose parameters are changed.
        grad_transforms, update_transforms: The transforms.
        lr_factors, max_grad_norm, max_grad_value: The settings.
        step_count: The number of steps made so far.
        current_lr: The learning rate of this step while `compute` runs, then of the last one.
        update_count: While `compute` runs, how many updates its entries have had before: 0 at the
            first. It is less than `step_count` where steps have left them out, as frozen ones.
        clip_factor: What the gradients of the last step were multiplied by, for their norm.
        fills_update: Whether `compute` writes every entry of `update`; it need not be 0 before.
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
            checked = requires_super_init(vars(cls)["__init__"], sets="_workspace")
            setattr(cls, "__init__", checked)  # noqa: B010 - mypy knows no other way

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
        self.lr_factors: dict[str, float] = factors_by_pattern(lr_factors, "lr_factors")
        # What the update of each entry is multiplied by, where rates differ.
        self._lr_by_entry: Array | None = None
        if self.lr_factors:
            self._lr_by_entry = self.per_entry(self.lr_factors, "lr_factors", default=1.0)
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
        """Find the memory of the model."""
        self._workspace = Workspace(self.model, type(self).__name__)
        self._part = slice(0, self._workspace.update.size)  # of the entries that `compute` is given
        self.listeners: list[Listener] = []

    @property
    def lr(self) -> float | Schedule:
        """The learning rate or schedule, of rates by pattern the largest; it may be assigned."""
        return self._lr

    @lr.setter
    def lr(self, lr: Rate) -> None:
        if isinstance(lr, Mapping):
            rates = self.per_entry(lr, "lr", default=None)
            lr = number(float(rates.max()), "the largest lr", above=0)
            own = self.per_entry(self.lr_factors, "lr_factors", default=1.0)
            self._lr_by_entry = rates / lr * own  # stays if a number or schedule is assigned later
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

        It starts at 0, and is saved.
        """
        if name not in self._states:
            self._states[name] = np.zeros_like(self._workspace.update)
        return self._states[name][self._part]

    @final
    def of_entries(self, setting: float | Array) -> float | Array:
        """A setting from `per_entry`, for the entries that `compute` was given."""
        return setting[self._part] if isinstance(setting, np.ndarray) else setting

    @final
    def with_decay(self, grads: Array, values: Array, decay: float | Array) -> Array:
        """The gradients plus `decay * values`; the same gradients where there is no decay.

        Args:
            grads: The gradients that `compute` was given.
            values: The values that it was given.
            decay: A setting from `per_entry`.
        """
        if isinstance(decay, float) and decay == 0:
            return grads
        decayed: Array = grads + self.of_entries(decay) * values
        return decayed

    @final
    def per_entry(self, setting: object, name: str, default: float | None = 0.0) -> Any:
        """A setting that is one number, or differs by parameter: `{"*.weight": 1e-4}`.

        Of several patterns that fit a parameter the last counts; but "*" is for the rest, wherever
        it stands. It gives a float, or an array of one number for each entry.

        Args:
            setting: The number, or the numbers by pattern.
            name: Its name, for errors.
            default: For parameters that no pattern fits; None if that is an error.

        Raises:
            KindError: It is neither a number nor a mapping of numbers.
            RangeError: A number is negative.
            ModelError: A pattern matches no parameter, or a parameter no pattern, where there is no
                default.
        """
        vector = self._workspace.vector
        return per_entry(setting, name, vector.slots, vector.values, default)

    # -- the step ---------------------------------------------------------------------------------

    @final
    def step(self, *, loss: float | None = None, indices: Integers | None = None) -> None:
        """Make a step: transform the gradients, compute and transform the update, and add it.

        A gradient is used once. What is frozen, or was not reached by a backward since, gets no
        update; its state stays.

        Args:
            loss: The loss of this step, for hooks; it may be NaN.
            indices: The rows of the data in this step's batch, for hooks: 0 to 2,147,483,647.

        Raises:
            MissingGradientError: No gradient has arrived since the last step.
            StaleParametersError: The parameters have moved into another model.
            KindError: `loss` or `indices` are no numbers; `compute` or a transform gave something.
            ShapeError: `indices` do not lie on one axis.
            RangeError: A row is out of range; a schedule's rate is negative or not finite.
            HookError: A hook failed; the step is complete.
            Exception: Whatever a hook's `before_step` raises, `NonFiniteError` of a
                `StopOnNonFinite`; no value is written, but the optimizer's own arrays have moved.
        """
        loss, indices = checked_loss(loss), checked_rows(indices)
        work = self._workspace
        work.check_not_stale()
        if work.gradients.orphans:
            check_orphans(work.gradients, self.model, type(self).__name__)
        ranges = work.ranges(self._skips, self._copied)
        lr, count = self._lr, self.step_count
        self.current_lr = number(lr(count), f"lr({count})", least=0) if callable(lr) else lr

        self.clip_factor = 1.0
        if (self.max_grad_norm, self.max_grad_value) != (None, None) or self.grad_transforms:
            ranges = self._transform_gradients(ranges)
        self._compute(ranges)
        if self.update_transforms:
            work.apply(self.update_transforms, work.update, ranges, -0.0)
        event = self._before_step(loss, indices) if self.listeners else None
        work.write(ranges)  # the one addition
        self.step_count += 1
        for name in work.skipped:
            self._skips[name] = self._skips.get(name, 0) + 1
        try:
            work.announce()
            if event is not None:
                self._on_step(event)
        finally:
            work.finish()

    def _transform_gradients(self, ranges: list[EntryRange]) -> list[EntryRange]:
        """The same ranges, with the gradients that the transforms make of those that arrived."""
        transforms = self.grad_transforms
        if self.max_grad_value is not None:
            transforms = [*transforms, ClipValue(self.max_grad_value)]
        if self.max_grad_norm is not None:
            transforms = [*transforms, ClipNorm(self.max_grad_norm)]
        work = self._workspace
        grads = work.flat.grads.copy()
        work.apply(transforms, grads, ranges, 0.0)
        self.clip_factor = math.prod(one.factor for one in transforms if isinstance(one, ClipNorm))
        work.flat.transformed = transformed = read_only(grads)
        return [one._replace(grads=transformed[one.part]) for one in ranges]

    def _compute(self, ranges: list[EntryRange]) -> None:
        """Fill the update, range by range."""
        for one in ranges:
            self._part, self.update_count = one.part, self.step_count - one.skips
            if not self.fills_update:
                one.update.fill(0)
            kept = None if one.frozen is None else one.frozen_states(self._states)
            result: object = self.compute(one.values, one.grads, one.update)
            if result is not None:
                raise KindError(
                    f"{type(self).__name__}.compute returned {described(result)}; it fills "
                    f"`update` in place, update[...] = ..., and returns nothing. Nothing was "
                    f"written"
                )
            if kept is not None:
                one.freeze(self._workspace.update, self._states, kept)
        if self._lr_by_entry is not None:
            self._workspace.update *= self._lr_by_entry

    def _before_step(self, loss: float | None, indices: Integers | None) -> Step:
        """The event of this step, to which no hook has objected."""
        others = [one for one in self.grad_transforms if not getattr(one, "keeps_zeros", False)]
        facts = self.step_count, self.current_lr, self.clip_factor, loss, indices, self.session
        try:
            event = self._workspace.open_event(*facts, ", ".join(map(name_of, others)))
            ask(self.listeners, Hook.before_step, event)
        except BaseException:
            self._workspace.finish()
            raise
        return event

    def _on_step(self, event: Step) -> None:
        """Tell the hooks of the step that was made."""
        with telling():
            tell(self.listeners, Hook.on_step, lambda prefix: event)

    @final
    def check_not_stale(self) -> None:
        """Make sure that the parameters are still those of the model.

        Raises:
            StaleParametersError: They have moved into another model, or were replaced.
        """
        self._workspace.check_not_stale()

    @property
    def writer(self) -> Writer:
        """As whom recorders know it."""
        return self._workspace.writer

    @final
    def attach(self, hook: Hook) -> Handle:
        """Have the hook called before each step is written, and after it.

        Raises:
            KindError: `hook` is not a Hook.
            AttachError: The hook has none of `before_step`, `on_step` and `flush`.
        """
        methods = Hook.before_step, Hook.on_step, Hook.flush
        return attach(hook, methods, [(self.listeners, "")], f"{type(self).__name__}.attach")

    @final
    def flush(self) -> None:
        """Have hooks put what is only in memory where it survives, as recorders on disk do."""
        for listener in self.listeners:
            if Hook.flush in listener.methods:
                listener.methods[Hook.flush]()

    # -- state ------------------------------------------------------------------------------------

    @final
    def state_dict(self, *, live: bool = False) -> dict[str, Any]:
        """All that a step depends on: counts, arrays of its own, transforms.

        The rate is None for a schedule. The arrays are copies; with `live=True` they are the
        optimizer's own, into which steps write: for a file that is written at once.
        """
        return {
            "optimizer": type(self).__name__,
            "lr": None if callable(self._lr) else self._lr,
            "step_count": self.step_count,
            "skipped_steps": dict(self._skips),
            "state": by_parameter(self._states, self._workspace.vector.slots, live),
            "settings": settings_of(self, self._lr_by_entry),
            "transforms": states_of([*self.grad_transforms, *self.update_transforms]),
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
        loaded = checked_state(state, self, self._workspace.vector.slots, self._states)
        now = settings_of(self, self._lr_by_entry)
        warn_of_settings(type(self).__name__, state.get("settings"), now)  # which may be an error
        load_states([*self.grad_transforms, *self.update_transforms], state.get("transforms"))
        if not callable(self._lr) and loaded.lr is not None:
            self._lr = loaded.lr
        self.step_count, self._skips, self._states = loaded.step_count, loaded.skips, loaded.arrays

    def __getstate__(self) -> dict[str, Any]:
        """A copy works on its own copy of the model, and has none of the hooks."""
        own = dict(vars(self))
        del own["_workspace"], own["listeners"]
        return own | {"session": None, "_copied": True}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._bind()

    def __repr__(self) -> str:
        lr = name_of(self._lr) if callable(self._lr) else f"{self._lr:g}"
        by_pattern = "" if self._lr_by_entry is None else " by pattern"
        names = map(name_of, (*self.grad_transforms, *self.update_transforms))
        settings = "".join(f"{name}, " for name in (f"{lr}{by_pattern}", *names))
        settings += f"{self._workspace.update.size:,} entries"
        return printable(f"{type(self).__name__}(lr={settings})")
