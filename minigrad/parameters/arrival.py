"""`Arrival`, which says where a gradient has come from."""

from __future__ import annotations

from typing import final


@final
class Arrival:
    """How a gradient has arrived that no step has used yet.

    Args:
        passes: The numbers of the backward passes that went in, in order, from 1 on; 0 stands for
            those of another model, from which the parameter has come.
        by_hand: Whether somebody has assigned or edited it outside a backward pass.
    """

    __slots__ = ("by_hand", "passes")

    def __init__(self, passes: tuple[int, ...] = (), by_hand: bool = False) -> None:
        self.passes: tuple[int, ...] = passes
        self.by_hand: bool = by_hand

    def edited(self) -> Arrival:
        """The same, after somebody has assigned another array."""
        return Arrival(self.passes, by_hand=True)

    def plus(self, later: Arrival) -> Arrival:
        """Both, added up."""
        return Arrival(self.passes + later.passes, self.by_hand or later.by_hand)

    def __repr__(self) -> str:
        return f"Arrival(passes={self.passes}, by_hand={self.by_hand})"


CARRIED_OVER = Arrival((0,))  # a gradient that a parameter has brought along from another model
