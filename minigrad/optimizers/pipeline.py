"""`Pipeline`, the transforms of an optimizer, and what they are applied to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

from minigrad._messages import described
from minigrad.arrays import Array
from minigrad.errors import KindError
from minigrad.optimizers.stretches import Stretch
from minigrad.optimizers.transforms import Names, Transform, name_of


def checked_transforms(transforms: Iterable[Transform], what: str) -> list[Transform]:
    """Transforms as a list.

    Raises:
        KindError: It is none of things that can be called.
    """
    if callable(transforms) or not isinstance(transforms, Iterable):
        raise KindError(f"{what} is {described(transforms)}, expected several transforms, [...]")
    found = list(transforms)
    for one in found:
        if not callable(one) or isinstance(one, type):
            raise KindError(
                f"{what} has {described(one)} in it, expected something to call with (names, "
                f"values, array)"
            )
    return found


@final
class Pipeline:
    """Applies transforms, one after the other, to what is updated in a step; what is left out stays
    0.

    Args:
        names: Where each parameter lies in the flat arrays.
        values: All values, read-only.
    """

    def __init__(self, names: Names, values: Array) -> None:
        self._names = names
        self._values = values

    def apply(
        self,
        transforms: Sequence[Transform],
        array: Array,
        skipped: Iterable[str],
        stretches: Sequence[Stretch],
        nothing: float,
    ) -> None:
        """Apply transforms.

        Args:
            transforms: The transforms, in order.
            array: Gradients or an update, changed in place.
            skipped: The parameters that get no update.
            stretches: What does, some of it with entries that may not move.
            nothing: What the rest is, 0.0 or -0.0.

        Raises:
            KindError: A transform returned something.
        """
        for transform in (None, *transforms):
            result: object = (
                None if transform is None else transform(self._names, self._values, array)
            )
            if result is not None:
                raise KindError(
                    f"the transform {name_of(transform)} returned {described(result)}; it changes "
                    f"its array in place, array[...] = ..., and returns nothing. Nothing was "
                    f"written"
                )
            for name in skipped:
                array[self._names[name].slice] = nothing
            for stretch in stretches:
                if stretch.frozen is not None:
                    array[stretch.frozen] = nothing
