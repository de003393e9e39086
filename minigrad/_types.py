"""`override`, which says that a method replaces one of a base class, for type checkers to see to
it.

Python has it from 3.12 on. For them it comes from typing_extensions; but loading that takes a
quarter of the time of `import minigrad`, and when a program runs there is nothing to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method):
        """The method itself."""
        return method


__all__ = ["override"]
