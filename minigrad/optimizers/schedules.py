"""Schedules: learning rates that change from step to step.

A schedule is any callable `step -> rate`, where steps are the optimizer's and count from 0. These
four take a rate or another schedule, so they compose: `LinearWarmup(CosineDecay(0.1, steps=5000),
steps=200)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from minigrad._validation import number, whole
from minigrad.optimizers.settings import Schedule


def _checked(lr: float | Schedule) -> None:
    if not callable(lr):
        number(lr, "lr", above=0)


def _rate(lr: float | Schedule, step: int) -> float:
    return float(lr(step) if callable(lr) else lr)


def _power(factor: float, exponent: int) -> float:
    try:
        return math.pow(factor, exponent)
    except OverflowError:
        return math.inf  # which the optimizer refuses, and says in which step


@final
@dataclass(frozen=True)
class StepDecay:
    """The rate is multiplied by `factor` after every `every` steps: lr factor^floor(step / every).

    Attributes:
        lr: The rate at the beginning, or a schedule.
        every: How many steps lie between two changes.
        factor: What the rate is multiplied by, above 0.

    Raises:
        KindError: A setting is no number.
        RangeError: A setting is out of range.
    """

    lr: float | Schedule
    every: int
    factor: float

    def __post_init__(self) -> None:
        _checked(self.lr)
        whole(self.every, "every")
        number(self.factor, "factor", above=0)

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        return _rate(self.lr, step) * _power(self.factor, step // self.every)


@final
@dataclass(frozen=True)
class ExponentialDecay:
    """The rate is multiplied by `factor` after each step: lr factor^step.

    Attributes:
        lr: The rate at the beginning, or a schedule.
        factor: What the rate is multiplied by, above 0.

    Raises:
        KindError: A setting is no number.
        RangeError: A setting is out of range.
    """

    lr: float | Schedule
    factor: float

    def __post_init__(self) -> None:
        _checked(self.lr)
        number(self.factor, "factor", above=0)

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        return _rate(self.lr, step) * _power(self.factor, step)


@final
@dataclass(frozen=True)
class CosineDecay:
    """The rate falls to `minimum` along half a cosine, and stays there.

    minimum + (lr - minimum) (1 + cos(pi min(step / steps, 1))) / 2 (Loshchilov and Hutter 2017,
    https://arxiv.org/abs/1608.03983, without restarts).

    Attributes:
        lr: The rate at the beginning, or a schedule.
        steps: After how many steps the minimum is reached.
        minimum: The rate from there on, 0 or more, and not above `lr`.

    Raises:
        KindError: A setting is no number.
        RangeError: A setting is out of range.
    """

    lr: float | Schedule
    steps: int
    minimum: float = 0.0

    def __post_init__(self) -> None:
        _checked(self.lr)
        whole(self.steps, "steps")
        number(self.minimum, "minimum", least=0, most=None if callable(self.lr) else self.lr)

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        share = (1 + math.cos(math.pi * min(step / self.steps, 1))) / 2
        return float(self.minimum + (_rate(self.lr, step) - self.minimum) * share)


@final
@dataclass(frozen=True)
class LinearWarmup:
    """The rate rises in equal parts over the first `steps` steps: lr min((step + 1) / steps, 1).

    Goyal et al. 2017, https://arxiv.org/abs/1706.02677. A schedule inside goes on meanwhile.

    Attributes:
        lr: The full rate, or a schedule.
        steps: The number of the step, counted from 1, that is the first with the full rate.

    Raises:
        KindError: A setting is no number.
        RangeError: A setting is out of range.
    """

    lr: float | Schedule
    steps: int

    def __post_init__(self) -> None:
        _checked(self.lr)
        whole(self.steps, "steps")

    def __call__(self, step: int) -> float:
        """The rate of a step."""
        return float(_rate(self.lr, step) * min((step + 1) / self.steps, 1))
