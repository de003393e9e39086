"""`escape`: text as HTML has it."""

from __future__ import annotations

import html

from minigrad._printable import printable


def escape(text: str) -> str:
    """The text for an element or an attribute; what does not print is escaped first.

    HTML has no way to write most control characters, and a page with a lone surrogate is no file.
    """
    return html.escape(printable(text))
