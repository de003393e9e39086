"""`check_names`: what a part of a model may be called."""

from __future__ import annotations

from collections.abc import Iterable

from minigrad._messages import described
from minigrad.errors import ModelError

LONGEST_NAME: int = 10_000
"""The most characters of a name, those of the layers around it included: "encoder.0.weight".

Checkpoints keep arrays in members of a ZIP file, whose names have at most 65,535 bytes.
"""


def check_names(names: Iterable[str]) -> None:
    """Make sure that files can hold these names, and that they are told apart by them.

    Args:
        names: The full names of a model's layers and parameters.

    Raises:
        ModelError: One is too long, holds NUL or a lone surrogate, or is there twice.
    """
    known: set[str] = set()
    for name in names:
        if name in known:
            raise ModelError(
                f"two parts of the model are named {described(name)}: names are joined by dots, so "
                f"a name with a dot in it may be that of a part of another; give one of them "
                f"another name"
            )
        known.add(name)
        if len(name) > LONGEST_NAME:
            raise ModelError(
                f"a part of the model has a name of {len(name):,} characters, {name[:20]!r} and so "
                f"on; expected at most {LONGEST_NAME:,}, with the names of the layers around it, "
                f"since files hold no longer ones: give it a shorter name"
            )
        if not name.isprintable() and any(map(_unwritable, name)):
            raise ModelError(
                f"a part of the model is named {described(name)}, which holds NUL or a lone "
                f"surrogate: expected text that files can hold as a name, so leave that out"
            )


def _unwritable(character: str) -> bool:
    return character == "\0" or "\ud800" <= character <= "\udfff"
