"""`Listener`, a hook where it is attached, and which of its methods are called there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, final

from minigrad.hooks.hook import METHOD_NAMES, Hook, check_method

Method: TypeAlias = Callable[..., None]
"""A method of `Hook` as the class has it, `Hook.on_step`: it says which of them is meant."""


@final
class Listener:
    """A hook in one of the places where it is attached.

    Attributes:
        hook: The hook.
        methods: The methods that it wants called here, each with its own version.
        prefix: What comes before the names of this place, to make them names of the model that was
            asked.
    """

    __slots__ = ("hook", "methods", "prefix")

    def __init__(
        self, hook: Hook, methods: Mapping[Method, Callable[..., Any]], prefix: str = ""
    ) -> None:
        self.hook: Hook = hook
        self.methods: Mapping[Method, Callable[..., Any]] = methods
        self.prefix: str = prefix


def methods_of(hook: Hook) -> dict[Method, Callable[..., Any]]:
    """The methods that a hook overrides, in its class or on the instance, with its own versions.

    Raises:
        AttachError: What stands under such a name is no method.
    """
    own: dict[Method, Callable[..., Any]] = {}
    for name in METHOD_NAMES:
        method = getattr(Hook, name)
        if name in vars(hook):
            check_method(vars(hook)[name], name, type(hook).__name__)
            own[method] = getattr(hook, name)
        elif getattr(type(hook), name) is not method:
            own[method] = getattr(hook, name)
    return own


def is_attached(hook: Hook, listeners: list[Listener]) -> bool:
    """Whether a hook is attached to a place already."""
    return any(listener.hook is hook for listener in listeners)
