"""`LiveGradient`, an array that shows gradients, and tells their owner of each write."""

from __future__ import annotations

from typing import Any, Protocol, Self, final
from weakref import ref

import numpy as np
import numpy.typing as npt


class Owner(Protocol):
    """Whose gradients are written."""

    def written(self, where: npt.NDArray[np.bool_], edited: bool) -> None:
        """Somebody has written.

        Args:
            where: Into which entries.
            edited: Whether it was changed by arithmetic, `grad *= 2`, which makes no gradient where
                none is.
        """
        ...


@final
class LiveGradient(np.ndarray[Any, np.dtype[Any]]):
    """A live view of gradients, read-only but for what goes through their owner.

    What Python or a ufunc writes does so: `grad[...] = array`, `grad[0] = 0`, `grad *= 0.5` and
    `numpy.clip(grad, -1, 1, out=grad)` do what they say, and are known as writes; what would bypass
    the owner raises NumPy's error. Everything that is computed from it is a plain array.
    """

    _memory: npt.NDArray[Any] | None
    _owner: ref[Owner] | None  # weak: it holds this view
    _whole: tuple[int, ...]  # the shape of all that the owner owns
    _keys: tuple[Any, ...]  # by which this is a part of it

    def __new__(
        cls,
        shown: npt.NDArray[Any],
        memory: npt.NDArray[Any],
        owner: ref[Owner] | None,
        whole: tuple[int, ...],
        keys: tuple[Any, ...],
    ) -> Self:
        """See `of`; `shown` is a read-only view of the memory."""
        self = shown.view(cls)
        self._memory, self._owner, self._whole, self._keys = memory, owner, whole, keys
        return self

    @classmethod
    def of(cls, memory: npt.NDArray[Any], owner: Owner) -> Self:
        """A view of some memory.

        Args:
            memory: The memory.
            owner: Who is to know of writes.
        """
        return cls(read_only(memory), memory, ref(owner), memory.shape, ())

    def __array_finalize__(self, source: object) -> None:
        self._memory = self._owner = None  # what is made from it writes nothing, but for its parts

    def __getitem__(self, key: Any) -> Any:
        result = np.asarray(self)[key]
        if self._memory is None or not isinstance(result, np.ndarray):
            return result
        memory = self._memory[key]
        if not np.may_share_memory(memory, self._memory):  # a copy, by a mask or a list of places
            return result
        return LiveGradient(result, memory, self._owner, self._whole, (*self._keys, key))

    def __setitem__(self, key: Any, value: Any) -> None:
        owner = None if self._owner is None else self._owner()
        if self._memory is None or owner is None:
            super().__setitem__(key, value)
            return
        if isinstance(value, LiveGradient) and _same_memory(value, np.asarray(self)[key]):
            return  # after `grad[0] *= 2`, which has written already
        self._memory[key] = value
        owner.written(self._where(key), edited=False)

    def fill(self, value: Any) -> None:
        """Write one number everywhere."""
        self[...] = value

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        plain = [np.asarray(one) if isinstance(one, LiveGradient) else one for one in inputs]
        if method == "at" and isinstance(inputs[0], LiveGradient):  # which changes that, no output
            changed = np.array(inputs[0])
            ufunc.at(changed, *plain[1:])
            inputs[0].edit(changed)
            return None
        targets = settings.pop("out", None)
        if targets is None:
            return getattr(ufunc, method)(*plain, **settings)
        aside = tuple(np.array(one) if isinstance(one, LiveGradient) else one for one in targets)
        getattr(ufunc, method)(*plain, out=aside, **settings)
        for target, result in zip(targets, aside, strict=True):
            if isinstance(target, LiveGradient):
                target.edit(result)
        return targets[0] if len(targets) == 1 else targets

    def edit(self, result: npt.NDArray[Any]) -> None:
        """Take in what arithmetic in place has made of it."""
        owner = None if self._owner is None else self._owner()
        if self._memory is None or owner is None:
            super().__setitem__(Ellipsis, result)
            return
        self._memory[...] = result
        owner.written(self._where(Ellipsis), edited=True)

    def _where(self, key: Any) -> npt.NDArray[np.bool_]:
        """Which entries of all that the owner owns a key of this part means."""
        where = part = np.zeros(self._whole, bool)
        for own in self._keys:
            part = part[own]
        part[key] = True
        return where

    def copy(self, order: Any = "C") -> Any:
        """A plain array with the same numbers."""
        return np.array(self, order=order)

    def __copy__(self) -> Any:
        return np.array(self)

    def __deepcopy__(self, memo: Any) -> Any:
        return np.array(self)

    def __reduce__(self) -> Any:
        return np.array(self).__reduce__()

    def __repr__(self) -> str:
        return repr(np.asarray(self))


def _same_memory(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> bool:
    """Whether both show the same entries of the same memory, and nothing else."""
    return a.__array_interface__ == b.__array_interface__


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view of the same memory that nobody can make writable."""
    if array.size == 0:
        view = array.view()
        view.flags.writeable = False
        return view
    buffer: Any = array
    return np.frombuffer(memoryview(buffer).toreadonly(), array.dtype).reshape(array.shape)
