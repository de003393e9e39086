"""`Causes`: what, besides gradients, may have moved an entry or kept it from moving.

As far as the record tells.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from minigrad import optimizers

_OURS = frozenset(name for name in optimizers.__all__ if name not in ("Optimizer", "Schedule"))
# Named as clipping; they cannot make an update where there was none.
_CLIPS = ("ClipNorm", "ClipValue")
_MASKS = ("Mask",)


class Causes(NamedTuple):
    """What may change an update besides its gradient.

    Attributes:
        optimizer: The name of its class.
        transforms: The names of its transforms, in order; None where the record does not tell.
        written: Whether somebody else has written into the parameter.
    """

    optimizer: str
    transforms: tuple[str, ...] | None
    written: bool

    @classmethod
    def of(cls, optimizer: str, written: bool) -> Causes:
        """From the text of an optimizer, such as "SGD(lr=0.1, Mask, 28 entries)"."""
        name, _, rest = optimizer.partition("(")
        known = re.fullmatch(r"lr=.+?((?:, [^,]+)*), [\d,]+ entries\)", rest)
        return cls(name, None if known is None else tuple(known[1].split(", ")[1:]), written)

    @property
    def movers(self) -> str:
        """What may have moved an entry whose gradient was always 0.

        For instance "decay, momentum or the transform MaxNorm".
        """
        # What an optimizer of somebody's own adds is not known, so only its name is said.
        movers = (
            ["decay", "momentum"]
            if self.optimizer in _OURS
            else [self.optimizer or "the optimizer"]
        )
        movers += self._transforms(_CLIPS + _MASKS)
        if self.written:
            movers.append("a write by others")
        return _listed(movers)

    @property
    def stoppers(self) -> str:
        """What may have made an update 0 whose gradient was not.

        For instance "a learning rate of 0, clipping, or underflow".
        """
        own = [] if self.optimizer in _OURS else [self.optimizer or "the optimizer"]
        return ", ".join(
            ["a learning rate of 0", "clipping", *self._transforms(_CLIPS), *own, "or underflow"]
        )

    def _transforms(self, but: Sequence[str]) -> list[str]:
        if self.transforms is None:
            return ["a transform"]
        return [
            f"the transform {name}" for name in dict.fromkeys(self.transforms) if name not in but
        ]


def _listed(things: Sequence[str]) -> str:
    return things[0] if len(things) == 1 else f"{', '.join(things[:-1])} or {things[-1]}"
