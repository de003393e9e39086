"""`Event`, what all events have in common."""

from __future__ import annotations


class Event:
    """What a hook is given: nothing in it can be set."""

    __slots__ = ()

    @property
    def where(self) -> str:
        """Where in a training it happened: "layer '0'"; empty where it can only be one place."""
        return ""
