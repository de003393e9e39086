"""`Hook` and `Handle`: who is told of which event. This module knows neither layers nor optimizers.

Hooks only observe. What an event hands out is a copy made on access, so a hook may keep it and
nothing that it does can change the training. An exception in a hook is raised as `HookError` once
the pass or the step is complete.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self, final

from minigrad._messages import described
from minigrad.errors import AttachError, HookError, KindError
from minigrad.hooks.events import Backward, Forward, Step
from minigrad.hooks.fit_events import Epoch, FitBegin, FitEnd


class Hook:
    """Override the methods you want; the others do nothing and cost nothing.

    `model.attach(hook)` calls `on_forward` and `on_backward`, `optimizer.attach(hook)` calls
    `before_step`, `on_step` and `flush`, and `minigrad.fit(..., hooks=[hook])` calls all methods.

    Raises:
        AttachError: A subclass has an `on_...` or `before_...` method that is none of these, or one
            of these is no method.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse names that nobody would ever call."""
        super().__init_subclass__(**kwargs)
        for name in (
            name for name in dir(cls) if name.startswith(("on_", "before_", "after_"))
        ):  # those of mixins too
            if name in CALLED:
                _check_method(name, getattr(cls, name), cls.__name__)
            elif callable(getattr(cls, name)):
                from difflib import get_close_matches  # not at the top: it takes long to load

                near = get_close_matches(name, CALLED, 1, 0.5)
                raise AttachError(
                    f"{cls.__name__}.{name} would never be called: a hook's methods are "
                    f"{', '.join(CALLED)}{f'; is {near[0]} meant?' if near else ''}"
                )

    def on_fit_begin(self, event: FitBegin) -> None:
        """A training by `fit` begins: forget what was seen of another one.

        If this raises, `fit` raises the same.
        """

    def on_fit_end(self, event: FitEnd) -> None:
        """It is over, also after an error or Ctrl-C: whoever was told of the beginning is told of the end."""

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
        """What a checkpoint keeps of this hook: numbers, text, arrays, and lists and dicts of these."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""


CALLED = (
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


@final
class Listener:
    """A hook in one of the places where it is attached.

    Attributes:
        hook: The hook.
        methods: The names of the methods that it wants called here.
        prefix: What comes before the names of this place, to make them names of the model that was
            asked.
    """

    __slots__ = ("hook", "methods", "prefix")

    def __init__(self, hook: Hook, methods: frozenset[str], prefix: str) -> None:
        self.hook: Hook = hook
        self.methods: frozenset[str] = methods
        self.prefix: str = prefix


def attach(
    hook: Hook, methods: tuple[str, ...], places: list[tuple[list[Listener], str]], where: str
) -> Handle:
    """Attach a hook to some places.

    Args:
        hook: The hook.
        methods: The names of the methods that these places call.
        places: The listeners of each place, and the prefix of its names; none, if nothing is ever
            called.
        where: What the hook is attached to, for the error.

    Raises:
        KindError: `hook` is not a Hook.
        AttachError: None of the hook's methods would ever be called here.
    """
    if not isinstance(hook, Hook):
        raise KindError(
            f"cannot attach {described(hook)}: expected an instance of a subclass of minigrad.Hook"
        )
    own = methods_of(hook)
    wanted = own.intersection(methods)
    name = type(hook).__name__
    if not wanted:
        has = f"has only {', '.join(sorted(own))}" if own else "overrides no method of Hook"
        called = f"{', '.join(methods[:-1])} and {methods[-1]}" if methods[1:] else methods[0]
        raise AttachError(f"{where} calls {called}, but {name} {has}: it would never be called")
    if not places:
        raise AttachError(
            f"{where}: there is no Sequential inside, which is what tells hooks: {name} would "
            f"never be called"
        )
    attached = []
    for listeners, prefix in places:
        listener = Listener(hook, wanted, prefix)
        listeners.append(listener)
        attached.append((listeners, listener))
    return Handle(attached)


def methods_of(hook: Hook) -> frozenset[str]:
    """The names of the methods that a hook overrides, in its class or on the instance.

    Raises:
        AttachError: What stands under such a name is no method.
    """
    own = frozenset(name for name in CALLED if _overrides(hook, name))
    for name in own & vars(hook).keys():
        _check_method(name, vars(hook)[name], type(hook).__name__)
    return own


def _check_method(name: str, thing: object, owner: str) -> None:
    if not callable(thing):
        raise AttachError(
            f"{owner}.{name} is {described(thing)}, expected a method; leave it out to be told "
            f"nothing"
        )


def is_attached(hook: Hook, listeners: list[Listener]) -> bool:
    """Whether a hook is attached to a place already."""
    return any(listener.hook is hook for listener in listeners)


def _overrides(hook: Hook, name: str) -> bool:
    return name in vars(hook) or getattr(type(hook), name) is not getattr(Hook, name)


def ask(listeners: list[Listener], method: str, event: object) -> None:
    """Ask all listeners, in order of attachment, whether something may happen; what one of them
    raises is raised as it is.

    Args:
        listeners: The listeners of this place.
        method: The name of the method to call.
        event: What it is given.

    Raises:
        HookError: A hook returned something.
    """
    for listener in tuple(listeners):
        if method in listener.methods:
            result: object = getattr(listener.hook, method)(event)
            if result is not None:
                _raise([(listener.hook, _returned(method, result), event)])


class _Dispatch(threading.local):
    """Which pass of this thread is the outermost one, by its frame, and what went wrong in hooks meanwhile."""

    outermost: FrameType | None = (
        None  # not a count, which an interrupt at the wrong moment would leave too high for ever
    )
    failures: tuple[Any, ...] = ()


_dispatch = _Dispatch()


def tell(listeners: list[Listener], method: str, event: Callable[[str], object]) -> None:
    """Tell all listeners, in order of attachment; those added or removed meanwhile count from the
    next event on.

    Args:
        listeners: The listeners of this place.
        method: The name of the method to call.
        event: Makes the event, given the listener's prefix.
    """
    for listener in tuple(listeners):
        if method in listener.methods:
            told = event(listener.prefix)
            try:
                result: object = getattr(listener.hook, method)(told)
                if result is not None:
                    raise _returned(method, result)
            except Exception as error:
                _dispatch.failures += ((listener.hook, error, told),)


def _returned(method: str, result: object) -> TypeError:
    return TypeError(
        f"{method} returned {type(result).__name__}; hooks only observe and return nothing"
    )


@final
class telling:
    """A pass, or a step: what goes wrong in hooks is raised at the end of the outermost one that is
    running.

    Raises:
        HookError: With the hook, the event, the step, and the original exception as `__cause__`.
    """

    __slots__ = ("_frame",)

    def __enter__(self) -> None:
        self._frame = sys._getframe(1)
        if not _is_running(_dispatch.outermost, self._frame):
            _dispatch.outermost, _dispatch.failures = self._frame, ()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if _dispatch.outermost is not self._frame:
            return
        failures, _dispatch.outermost, _dispatch.failures = _dispatch.failures, None, ()
        if failures and error is None:
            _raise(failures)


def _is_running(frame: FrameType | None, innermost: FrameType) -> bool:
    """Whether a frame is among those that have called the innermost one."""
    caller: FrameType | None = None if frame is None else innermost
    while caller is not None and caller is not frame:
        caller = caller.f_back
    return caller is not None


def _raise(failures: Sequence[tuple[Hook, Exception, object]]) -> NoReturn:
    hook, error, event = failures[0]
    step: int | None = getattr(event, "step", None)
    match event:
        case Forward() | Backward():
            when = f" of layer '{event.name}'"
        case Epoch():
            when = f" of epoch {event.epoch}"
        case Step():
            when = f" of step {step}"
        case _:  # there is one beginning, and one end
            when = ""
    more = f" ({len(failures) - 1} more failures in hooks)" if len(failures) > 1 else ""
    message = f"{type(hook).__name__} failed in {type(event).__name__}{when}: {type(error).__name__}: {error}{more}"
    raise HookError(message, hook, event, step) from error


@final
class Handle:
    """Removes one attachment of a hook: by `remove()`, any number of times, or at the end of a `with`."""

    def __init__(self, attachments: list[tuple[list[Listener], Listener]]) -> None:
        self._attachments = attachments

    def remove(self) -> None:
        """Remove the hook; also while hooks are being called, and again without effect."""
        for listeners, listener in self._attachments:
            if listener in listeners:
                listeners.remove(listener)
        self._attachments = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()
