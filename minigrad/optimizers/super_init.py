"""`requires_super_init`, for the `__init__` of a subclass that must call that of its base."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from minigrad.errors import CallOrderError


def requires_super_init(init: Callable[..., None], sets: str) -> Callable[..., None]:
    """The same `__init__`, which makes sure when it is done that it has called `super().__init__`.

    Args:
        init: The `__init__`.
        sets: An attribute that the base's sets.
    """

    @wraps(init)
    def checked(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if sets not in vars(self):
            raise CallOrderError(
                f"the __init__ of {type(self).__name__} must call super().__init__(model, lr)"
            )

    return checked
