"""`Reason`: what became of an entry, with the words and the color that stand for it."""

from __future__ import annotations

from enum import Enum
from typing import Self

Color = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


class Reason(Enum):
    """What became of an entry: it moved, or the gate that no update of it ever passed.

    At each step an entry's update passes gates, one after the other; the reasons stand in the order
    of these gates. Each has the sentence of one entry, its value, and of several; the gate; and its
    color in pictures.

    Attributes:
        several: The sentence of several entries.
        gate: What is true of an update that passes the gate; empty where none stopped the entry.
        color: The color in pictures.
    """

    _value_: str
    several: str
    gate: str
    color: Color

    FROZEN = (
        "it was frozen",
        "they were frozen",
        "it may be trained",
        (110, 78, 66),
    )
    NO_GRADIENT = (
        "no backward reached it",
        "no backward reached them",
        "backward reached it",
        (196, 160, 128),
    )
    INPUT_ZERO = (
        "its input was 0 in every sample",
        "their input was 0 in every sample",
        "its input was not 0",
        (88, 106, 119),
    )
    UNIT_SILENT = (
        "its unit's gradient was 0 in every sample",
        "their unit's gradient was 0 in every sample",
        "its unit's gradient was not 0",
        (142, 94, 162),
    )
    NEVER_TOGETHER = (
        "its input and its unit were never active in the same sample",
        "their input and their unit were never active in the same sample",
        "both in the same sample",
        (230, 159, 0),
    )
    CANCELLED = (
        "its gradient, summed over the batch, was 0 in every step",
        "their gradient, summed over the batch, was 0 in every step",
        "its gradient was not 0",
        (213, 94, 0),
    )
    NEVER_TOGETHER_OR_CANCELLED = (
        "its gradient was 0: input and unit never met, or the batch cancelled out",
        "their gradient was 0: input and unit never met, or the batch cancelled out",
        "its gradient was not 0",
        (201, 138, 27),
    )
    GRADIENT_ZERO = (
        "its gradient was 0 in every step",
        "their gradient was 0 in every step",
        "its gradient was not 0",
        (204, 121, 167),
    )
    UPDATE_ZERO = (
        "its update was 0 in every step",
        "their update was 0 in every step",
        "its update was not 0",
        (240, 228, 66),
    )
    SWALLOWED = (
        "every update was lost to rounding",
        "every update was lost to rounding",
        "its value changed",
        (190, 30, 45),
    )
    RETURNED = (
        "it moved, and came back to exactly where it began",
        "they moved, and came back to exactly where they began",
        "",
        (0, 158, 115),
    )
    MOVED = (
        "it moved",
        "they moved",
        "",
        (222, 217, 204),
    )
    UNKNOWN = (
        "it was not counted, or changed where nothing was recorded",
        "they were not counted, or changed where nothing was recorded",
        "",
        (140, 140, 140),
    )

    def __new__(cls, one: str, several: str, gate: str, color: Color) -> Self:
        """A reason whose value is the sentence of one entry."""
        reason = object.__new__(cls)
        reason._value_ = one
        reason.several, reason.gate, reason.color = several, gate, color
        return reason

    def __str__(self) -> str:
        return self.name

    @property
    def moved(self) -> bool:
        """Whether an entry with this reason moved."""
        return self in (Reason.MOVED, Reason.RETURNED)

    @property
    def code(self) -> int:
        """The position among the reasons, which stands for the reason in arrays."""
        return _CODES[self.name]


_CODES = {reason.name: code for code, reason in enumerate(Reason)}
