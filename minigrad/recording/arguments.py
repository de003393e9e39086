"""What a recorder is given, checked."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike

from minigrad._messages import described
from minigrad.data import Batches
from minigrad.errors import KindError, RangeError
from minigrad.losses import Loss
from minigrad.optimizers import Optimizer


def check_arguments(
    optimizer: object, loss: object, data: object, path: object, resume: bool
) -> None:
    """Make sure that a recorder is given what it says.

    Raises:
        KindError: Something is of another kind.
        RangeError: `resume` without a path.
    """
    for name, given, kind, expected in (
        ("optimizer", optimizer, Optimizer, "an optimizer"),
        ("loss", loss, Loss | None, "a Loss"),
        ("data", data, Batches | None, "a Batches"),
        ("path", path, str | PathLike | None, "a path"),
    ):
        if not isinstance(given, kind):
            raise KindError(f"{name} of a Recorder is {described(given)}, expected {expected}")
    if resume and path is None:
        raise RangeError(
            "resume=True needs the path of the run to go on with: Recorder(..., path=...)"
        )


def kinds_of(keep: Iterable[str], every: int) -> tuple[str, ...]:
    """The kinds of tensors that are kept of a step, in order.

    Args:
        keep: Any of "update" and "grad".
        every: The tensors of every n-th step are kept. Where that leaves steps out, updates do not
            lead from one value to the next, so the values are kept too.

    Raises:
        KindError: `keep` is no collection.
        RangeError: It has another word.
    """
    known = ("update", "grad")
    given = [keep] if isinstance(keep, str) else keep
    if isinstance(given, Iterable):
        given = list(given)
        if all(isinstance(kind, str) and kind in known for kind in given):
            kinds = tuple(kind for kind in known if kind in given)
            return (*kinds, "value") if kinds and every > 1 else kinds
    error = RangeError if isinstance(keep, Iterable) else KindError
    raise error(
        f"keep is {described(keep)}, expected any of 'update' and 'grad', such as ('update',)"
    )
