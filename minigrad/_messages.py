"""The words of error messages about data: what was given, and what to pass instead.

Nothing here knows a library by its import. A masked array, a sparse matrix, a tensor or a table is
known by its methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MappingView
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

_LONG = 60  # characters up to which a repr is shown; beyond, the kind and the size
_COLUMNS = 5  # columns of a table that are named one by one


# -- anything, in a few words --------------------------------------------------------------------


def described(thing: object) -> str:
    """What was given, in a few words; of arrays and containers the size, never a corner."""
    if isinstance(thing, np.generic):
        thing = thing.item()
    kind, shape = type(thing).__name__, getattr(thing, "shape", None)
    if isinstance(thing, np.ndarray):
        masked = "a masked array" if hasattr(thing, "filled") else "an array"
        return f"{masked} of shape {thing.shape}" + (
            f" that holds {described(thing.item())}" if not thing.ndim else ""
        )
    if isinstance(thing, str):
        return (
            repr(thing)
            if len(thing) <= _LONG
            else f"text of {len(thing):,} characters, {thing[:20]!r} and so on"
        )
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if isinstance(shape, tuple):  # a table, a tensor, a parameter
        return f"{_a(kind)} of shape {shape}"
    if callable(thing) and hasattr(thing, "__qualname__"):
        return f"the function {thing.__qualname__}"
    try:
        text = "" if type(thing).__repr__ is object.__repr__ else repr(thing)
    except Exception:  # noqa: BLE001 - whatever somebody else's `__repr__` raises
        text = ""
    if (
        text
        and len(text) <= _LONG
        and "\n" not in text
        and "array(" not in text
        and " at 0x" not in text
    ):
        return text
    if isinstance(thing, list | tuple | AbstractSet | Mapping):
        return f"{_a(kind)} of {len(thing):,}"
    return _a(kind)


def _a(kind: str) -> str:
    return f"{'an' if kind[:1].lower() in tuple('aeio') else 'a'} {kind}"


def where(place: tuple[int, ...]) -> str:
    """Where an entry lies: "in row 2, column 3"."""
    if len(place) > 2:
        return f"at {place}"
    return ", ".join(
        f"{axis} {index}" for axis, index in zip(("in row", "column"), place, strict=False)
    )


# -- before NumPy reads it -----------------------------------------------------------------------


def refusal(x: object) -> str | None:
    """Why something that is no plain array is no data, and what to pass.

    None for what NumPy may read.
    """
    kind = _a(type(x).__name__)
    if x is None or isinstance(x, type):
        return f"{described(x)}, expected real numbers: pass an array of them"
    if isinstance(x, Mapping):
        columns = "np.column_stack(list(x.values()))"
        return f"{described(x)}, expected one array: join its columns, {columns}"
    if isinstance(x, AbstractSet) and not isinstance(x, MappingView):
        return f"{kind}, which has no order: pass a list, such as sorted(x)"
    if isinstance(x, Iterator | MappingView):
        return f"{kind}, which has no length and no shape that NumPy could see: pass list(x)"
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        return f"a sparse matrix of shape {getattr(x, 'shape', '?')}: pass x.toarray()"
    if hasattr(x, "forward") and hasattr(x, "backward") and not hasattr(x, "__array__"):
        return (
            f"{kind}, which is no array: pass what it gives, or the value of one of its "
            f"parameters, .weight.value"
        )
    if isinstance(getattr(x, "value", None), np.ndarray) and not hasattr(x, "__array__"):
        return f"{kind}, which is no array itself: pass its .value"
    hidden, size = _masked(x)
    if hidden:
        return (
            f"{'' if isinstance(x, np.ndarray) else kind + ' with '}a masked array with {hidden:,} "
            f"of {size:,} entries masked, and a mask does not go along: pass x.filled(number) to "
            f"put a number into those places, or x.data to use what lies beneath"
        )
    return None


def _masked(x: object) -> tuple[int, int]:
    """How many entries are masked, of how many; also in lists of masked arrays."""
    if isinstance(x, np.ndarray) and hasattr(x, "filled"):
        return int(np.count_nonzero(np.broadcast_to(getattr(x, "mask", False), x.shape))), x.size
    kinds = (
        set(map(type, x)) if isinstance(x, list | tuple) else set()
    )  # all at once, as it may be long
    if not any(issubclass(kind, np.ndarray | list | tuple) for kind in kinds):
        return 0, 0
    items: Iterable[object] = x  # type: ignore[assignment] # a list
    counts = [_masked(item) for item in items if isinstance(item, np.ndarray | list | tuple)]
    return sum(hidden for hidden, _ in counts), sum(size for _, size in counts)


def unreadable(x: object, error: Exception) -> str:
    """Why NumPy cannot read something, and what to pass."""
    if hasattr(x, "detach") or not isinstance(x, list | tuple):
        advice = "x.detach().cpu().numpy()" if hasattr(x, "detach") else "an array of real numbers"
        kind = _a(type(x).__name__)
        return f"{kind} that NumPy cannot read ({_first_line(error)}): pass {advice}"
    if any(hasattr(item, "detach") for item in x):
        return (
            f"{described(x)} with tensors in it that NumPy cannot read ({_first_line(error)}): "
            f"pass [item.detach().cpu().numpy() for item in x]"
        )
    shapes = [item.shape for item in x if isinstance(item, np.ndarray)]
    if len(shapes) == len(x) <= 10 and len({shape[:1] for shape in shapes}) == 1:
        return (
            f"a {type(x).__name__} of {len(x)} arrays of shapes {' and '.join(map(str, shapes))}: "
            f"for several inputs of the same samples pass one array, their columns side by side, "
            f"np.column_stack(x)"
        )
    return f"ragged ({_first_line(error)}){_first_odd_row(x)}: give rows of equal length"


def _first_odd_row(x: Iterable[Any]) -> str:
    lengths = [len(row) if hasattr(row, "__len__") else None for row in x]
    odd = next((row for row, length in enumerate(lengths) if length != lengths[0]), None)
    if odd is None:
        return ""
    first, other = (
        "is a single value" if length is None else f"has {length}"
        for length in (lengths[0], lengths[odd])
    )
    return f"; row 0 {first}, row {odd} {other}"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200].rstrip(". ")


# -- after NumPy has read it ---------------------------------------------------------------------


def no_numbers(x: object, array: npt.NDArray[Any]) -> str:
    """What is wrong with an array whose dtype is of no real numbers, and what to do.

    Args:
        x: What was given.
        array: What NumPy made of it.
    """
    message = f"has dtype {array.dtype}"
    if array.dtype.kind == "c":
        advice = "give the real and the imaginary part as columns of their own"
        return f"{message}: complex numbers are not supported; {advice}"
    if array.dtype.kind == "V":
        fields = "np.column_stack([x[name] for name in x.dtype.names])"
        return (
            f"{message}: a structured array, expected real numbers; pass its fields as columns, "
            f"{fields}"
        )
    if array.dtype.kind not in "OSUT":
        return f"{message}; expected real numbers"
    if array.ndim == 0:
        item = array.item()
        text = "text, " if isinstance(item, str) else ""
        return f"is {text}{described(item)}, expected an array of real numbers"
    if hasattr(x, "columns") and hasattr(x, "__getitem__"):
        return _of_table(x, message)
    first = _first_no_number(array)
    is_text = first is not None and isinstance(first[1], str | bytes)
    if is_text and not any(map(_is_number, array.ravel()[:_LOOK])):
        return f"{message}: text, not numbers; {_ENCODE}"
    message = f"{message}: {'Python objects' if array.dtype.kind == 'O' else 'text, not numbers'}"
    if first is None:
        return f"{message}, but each can be read as a number: pass np.array(x).astype(float)"
    place, item = first
    message = f"{message}; the first that is no number is {described(item)} {where(place)}"
    if is_text:
        return f"{message}: where it stands for a missing value put a number there; {_ENCODE}"
    nested = isinstance(item, np.ndarray | list | tuple)
    advice = "give rows of equal length" if nested else "where one is missing put a number there"
    return f"{message}; expected real numbers, {advice}"


_LOOK = 1000  # items among which some number is looked for
_ENCODE = "encode categories as numbers first: names, labels = np.unique(text, return_inverse=True)"


def _of_table(table: Any, message: str) -> str:
    """Which columns of a table make it one of objects."""
    columns = {name: np.asarray(table[name]) for name in table.columns}
    problems = {name: _problem_of_column(column) for name, column in columns.items()}
    wrong = [f"'{name}' {problem}" for name, problem in problems.items() if problem]
    message = f"{message}: {_a(type(table).__name__)} in which not all columns are numbers"
    if wrong:
        more = f", and {len(wrong) - _COLUMNS} more" if len(wrong) > _COLUMNS else ""
        message = f"{message}: {', '.join(wrong[:_COLUMNS])}{more}"
    if all(column.dtype.kind in "biuf" for column in columns.values()):
        return f"{message}; expected real numbers, pass x.astype(float)"
    return (
        f"{message}; expected real numbers: leave out or fill such columns, {_ENCODE}, then pass "
        f"x.astype(float)"
    )


def _problem_of_column(column: npt.NDArray[Any]) -> str:
    """Why a column of a table is not one of numbers; empty if it is."""
    if column.dtype.kind in "iuf":
        return ""
    if column.dtype.kind == "b":
        return "is of booleans"
    if column.dtype.kind not in "OSUT":
        return f"is of {column.dtype}"
    first = _first_no_number(column)
    if first is None:
        return "can be read as numbers"
    place, item = first
    return f"has {described(item)} {where(place)}"


def _first_no_number(array: npt.NDArray[Any]) -> tuple[tuple[int, ...], object] | None:
    """(place, item) of the first item of which `float` makes no number."""
    return next(
        ((place, item) for place, item in np.ndenumerate(array) if not _is_number(item)), None
    )


def _is_number(item: Any) -> bool:
    if isinstance(item, np.ndarray | list | tuple):
        return False
    try:
        float(item)
    except Exception:  # noqa: BLE001 - whatever somebody else's `__float__` raises
        return False
    return True


# -- weights of others ---------------------------------------------------------------------------


def transposed(shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> str:
    """What to do about weights that came transposed; empty if none did.

    It names the square weights beside them, whose shape cannot show it.

    Args:
        shapes: The shape that each parameter has, and the one that came.
    """
    matrices = {name: pair for name, pair in shapes.items() if len(pair[0]) == 2}
    turned = [f"'{name}'" for name, (own, came) in matrices.items() if came == own[::-1] != own]
    square = [f"'{name}'" for name, (own, came) in matrices.items() if came == own == own[::-1]]
    if not turned:
        return ""
    one = len(turned) == 1
    has, them = ("has", "it") if one else ("have", "them")
    message = (
        f"; {', '.join(turned)} {has} the transposed shape: transpose {them}, .T, as weights of "
        f"PyTorch need"
    )
    if square:
        message = f"{message}, and with {them} the square {', '.join(square)}"
    return message
