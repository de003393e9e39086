"""`Handle`, by which a hook is removed, and `attach`, which gives it."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self, final

from minigrad._messages import described
from minigrad.errors import AttachError, KindError
from minigrad.hooks.hook import Hook
from minigrad.hooks.listener import Listener, Method, methods_of


@final
class Handle:
    """Removes a hook: by `remove()`, any number of times, or at the end of a `with`."""

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


def attach(
    hook: Hook,
    methods: Sequence[Method],
    places: Sequence[tuple[list[Listener], str]],
    where: str,
) -> Handle:
    """Attach a hook to some places.

    Args:
        hook: The hook.
        methods: The methods that these places call.
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
    wanted = {method: own[method] for method in methods if method in own}
    name = type(hook).__name__
    if not wanted:
        names = sorted(method.__name__ for method in own)
        has = f"has only {', '.join(names)}" if own else "overrides no method of Hook"
        *others, last = [method.__name__ for method in methods]
        called = f"{', '.join(others)} and {last}" if others else last
        raise AttachError(f"{where} calls {called}, but {name} {has}: it would never be called")
    if not places:
        raise AttachError(
            f"{where}: there is no Sequential inside, which is what tells hooks: {name} would "
            f"never be called"
        )
    attachments = []
    for listeners, prefix in places:
        listener = Listener(hook, wanted, prefix)
        listeners.append(listener)
        attachments.append((listeners, listener))
    return Handle(attachments)
