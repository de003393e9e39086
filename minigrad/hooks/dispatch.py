"""How hooks are called: `ask` before something happens, `tell` afterwards, inside of `telling`."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, TypeVar, final

from minigrad.display.words import counted
from minigrad.errors import HookError
from minigrad.hooks.event import Event
from minigrad.hooks.events import Step
from minigrad.hooks.hook import Hook
from minigrad.hooks.listener import Listener

E = TypeVar("E", bound=Event)


def ask(listeners: Sequence[Listener], method: Callable[[Hook, E], None], event: E) -> None:
    """Ask all listeners, in order of attachment, whether something may happen.

    What one of them raises is raised as it is.

    Args:
        listeners: The listeners of this place.
        method: Which method to call: `Hook.before_step`.
        event: What it is given.

    Raises:
        HookError: A hook returned something.
    """
    for listener in tuple(listeners):
        own = listener.methods.get(method)
        if own is not None:
            result: object = own(event)
            if result is not None:
                _raise([(listener.hook, _returned(method, result), event)])


def tell(
    listeners: Sequence[Listener], method: Callable[[Hook, E], None], event: Callable[[str], E]
) -> None:
    """Tell all listeners, in order of attachment, that something has happened.

    Those that are added or removed meanwhile count from the next event on.

    Args:
        listeners: The listeners of this place.
        method: Which method to call: `Hook.on_step`.
        event: Makes the event, given the listener's prefix.
    """
    for listener in tuple(listeners):
        own = listener.methods.get(method)
        if own is not None:
            given = event(listener.prefix)
            try:
                result: object = own(given)
                if result is not None:
                    raise _returned(method, result)
            except Exception as error:  # noqa: BLE001 - raised when the pass is over
                _dispatch.failures += ((listener.hook, error, given),)


@final
class telling:
    """A pass, or a step: what fails in hooks is raised at the end of the outermost one.

    Raises:
        HookError: With the hook, the event, the step, and the original exception as `__cause__`.
    """

    __slots__ = ("_frame",)

    def __enter__(self) -> None:
        # Public, but for its name; a local variable for this frame would be a reference cycle.
        self._frame = sys._getframe(1)  # noqa: SLF001
        if not _is_running(_dispatch.outermost, self._frame):
            _dispatch.outermost, _dispatch.failures = self._frame, ()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if _dispatch.outermost is not self._frame:
            return
        failures, _dispatch.outermost, _dispatch.failures = _dispatch.failures, None, ()
        if failures and error is None:
            _raise(failures)


class _Dispatch(threading.local):
    """The outermost pass that is running in this thread, and what has failed in hooks since.

    The pass is known by its frame, and not by a depth, which an interrupt at the wrong moment would
    leave too high for ever.
    """

    outermost: FrameType | None = None
    failures: tuple[tuple[Hook, Exception, Event], ...] = ()


_dispatch = _Dispatch()


def _is_running(frame: FrameType | None, innermost: FrameType) -> bool:
    """Whether a frame is among those that have called the innermost one."""
    caller: FrameType | None = None if frame is None else innermost
    while caller is not None and caller is not frame:
        caller = caller.f_back
    return caller is not None


def _returned(method: Callable[..., None], result: object) -> TypeError:
    return TypeError(
        f"{method.__name__} returned {type(result).__name__}; hooks only observe and return nothing"
    )


def _raise(failures: Sequence[tuple[Hook, Exception, Event]]) -> NoReturn:
    hook, error, event = failures[0]
    where = f" of {event.where}" if event.where else ""
    more = f" ({counted(len(failures) - 1, 'more failure')} in hooks)" if failures[1:] else ""
    message = (
        f"{type(hook).__name__} failed in {type(event).__name__}{where}: "
        f"{type(error).__name__}: {error}{more}"
    )
    step = event.step if isinstance(event, Step) else None
    raise HookError(message, hook, event, step) from error
