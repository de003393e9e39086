"""`override`, which marks a method that replaces one of a base class.

Type checkers see to it that there is one. Python has it from 3.12 on; checkers read it from
typing_extensions. Importing that takes a quarter of the time of `import minigrad`, and at run time
the decorator has nothing to do.
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
