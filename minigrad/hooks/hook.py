"""`Hook`, the abstract observer of a training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigrad._messages import described
from minigrad.errors import AttachError
from minigrad.hooks.events import Backward, Forward, Step
from minigrad.hooks.fit_events import Epoch, FitBegin, FitEnd


class Hook:
    """Override the methods you want; the others do nothing and cost nothing.

    `model.attach(hook)` calls `on_forward` and `on_backward`, `optimizer.attach(hook)` calls
    `before_step`, `on_step` and `flush`, and `minigrad.fit(..., hooks=[hook])` calls all methods.
    A hook has the methods with which it was attached: replacing one later changes nothing.

    Hooks only observe. What an event hands out is a copy made on access, so a hook may keep it, and
    nothing that it does can change the training. An exception in a hook is raised as `HookError`
    once the pass or the step is complete.

    Raises:
        AttachError: A subclass has an `on_...` or `before_...` method that is none of these, or one
            of these is no method.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse names that nobody would ever call."""
        super().__init_subclass__(**kwargs)
        for name in dir(cls):  # those of mixins too
            if not name.startswith(("on_", "before_", "after_")):
                continue
            if name in METHOD_NAMES:
                check_method(getattr(cls, name), name, cls.__name__)
            elif callable(getattr(cls, name)):
                from difflib import get_close_matches  # not at the top: it takes long to load

                near = get_close_matches(name, METHOD_NAMES, 1, 0.5)
                raise AttachError(
                    f"{cls.__name__}.{name} would never be called: a hook's methods are "
                    f"{', '.join(METHOD_NAMES)}{f'; is {near[0]} meant?' if near else ''}"
                )

    def on_fit_begin(self, event: FitBegin) -> None:
        """A training by `fit` begins: forget what was seen of another one.

        If this raises, `fit` raises the same.
        """

    def on_fit_end(self, event: FitEnd) -> None:
        """It is over, also after an error or Ctrl-C.

        Whoever was told of the beginning is told of the end.
        """

    def on_forward(self, event: Forward) -> None:
        """A layer has run forward."""

    def on_backward(self, event: Backward) -> None:
        """A layer has run backward."""

    def before_step(self, event: Step) -> None:
        """An update is about to be written: the last word.

        If this raises, nothing is, and `step()` raises the same.
        """

    def on_step(self, event: Step) -> None:
        """The optimizer has made a step; the parameters are already changed."""

    def on_epoch(self, event: Epoch) -> None:
        """An epoch has ended."""

    def flush(self) -> None:
        """A checkpoint is about to be written: put what is only in memory where it survives."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this hook: numbers, text, arrays, lists, dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


METHOD_NAMES = (
    "on_fit_begin",
    "on_fit_end",
    "on_forward",
    "on_backward",
    "before_step",
    "on_step",
    "on_epoch",
    "flush",
)
"""The methods that are called where a hook is attached."""


def check_method(thing: object, name: str, owner: str) -> None:
    """Make sure that what stands under the name of a method is one.

    Raises:
        AttachError: It is not.
    """
    if not callable(thing):
        raise AttachError(
            f"{owner}.{name} is {described(thing)}, expected a method; leave it out to be told "
            f"nothing"
        )
