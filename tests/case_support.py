"""Which cases of a long table the usual run takes: enough of them to fail where something is wrong.
The others are marked slow.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, TypeAlias, TypeVar

import pytest

Case: TypeAlias = Any  # what `pytest.param` gives has no public type
Test = TypeVar("Test", bound=Callable[..., object])


def slow(*values: object, id: str | None = None) -> Case:
    """A case that the usual run leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow, id=id)


def sparse(*axes: pytest.MarkDecorator, full: int = 1, every: int = 1) -> Callable[[Test], Test]:
    """Every combination of what one or several `pytest.mark.parametrize` list, most of them slow.

    The usual run takes each value of the first axis once, with the combinations of the others in
    turn. Each test begins at another place, so that together they see more.

    Args:
        axes: The marks.
        full: How many of the first axes it takes all combinations of, instead of one.
        every: It takes only every n-th of these.
    """

    def mark(test: Test) -> Test:
        start = zlib.crc32(test.__name__.encode())
        others = list(product(*map(_cases, axes[full:])))
        cases, place = [], start
        for first in product(*map(_cases, axes[:full])):
            free = not any(case.marks for case in first)
            turn = place // every if free and place % every == 0 else -1
            place += free
            for number, other in enumerate(others):
                usual = turn >= 0 and number == turn % len(others)
                cases.append(_joined((*first, *other), () if usual else (pytest.mark.slow,)))
        names = [name for axis in axes for name in _names(axis)]
        marked: Test = pytest.mark.parametrize(names, cases)(test)
        return marked

    return mark


def _names(axis: pytest.MarkDecorator) -> list[str]:
    names = axis.args[0]
    return [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)


def _cases(axis: pytest.MarkDecorator) -> list[Case]:
    """What an axis lists as `pytest.param`s, each with an id."""
    names, ids = _names(axis), axis.kwargs.get("ids")
    values = list(axis.args[1])
    given = list(ids) if ids is not None and not callable(ids) else [None] * len(values)
    cases = []
    for number, (value, own) in enumerate(zip(values, given, strict=True)):
        if not hasattr(value, "marks"):
            value = pytest.param(*(value if len(names) > 1 else (value,)))
        parts = [
            str(ids(part)) if callable(ids) else _id(name, part, number)
            for name, part in zip(names, value.values, strict=True)
        ]
        cases.append(
            pytest.param(*value.values, marks=value.marks, id=own or value.id or "-".join(parts))
        )
    return cases


def _id(name: str, value: object, number: int) -> str:
    if isinstance(value, str | float | int | bytes | None):
        return str(value)
    own = getattr(value, "__name__", "<lambda>")
    return f"{name}{number}" if own == "<lambda>" else own


def _joined(cases: Iterable[Case], marks: Iterable[pytest.MarkDecorator]) -> Case:
    cases = list(cases)
    return pytest.param(
        *(value for case in cases for value in case.values),
        marks=[*marks, *(mark for case in cases for mark in case.marks)],
        id="-".join(case.id for case in cases),
    )
