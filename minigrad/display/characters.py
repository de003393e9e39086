"""Pictures made of characters, which any terminal shows."""

from __future__ import annotations

import sys

import numpy as np

from minigrad.arrays import Array, Mask

NOTHING = "·"
"""The character of an entry that never moved."""

SHADES = "░▒▓█"
"""The characters of a small to a large amount, in four equal steps."""

ASCII_SHADES = ".:+#"
"""The same where standard output cannot show those: on Windows in a file, say."""

CROSS = "×"
"""The character of an entry that is NaN or infinite."""


def as_text(amounts: Array, hidden: Mask) -> str:
    """Magnitudes as rows of characters: the darker, the larger.

    Args:
        amounts: Shape (height, width). The largest sets the scale. What is NaN or infinite is drawn
            as `CROSS`, hidden or not.
        hidden: The entries to draw as `NOTHING`, same shape.
    """
    finite = np.isfinite(amounts)
    sizes = np.where(finite, np.abs(amounts), 0)
    top = float(sizes[~hidden].max(initial=0.0))
    steps = np.minimum(sizes / top * len(SHADES), len(SHADES) - 1) if top else np.zeros(sizes.shape)
    characters = np.array(list(SHADES if _can_be_shown(SHADES) else ASCII_SHADES))[
        steps.astype(int)
    ]
    characters[hidden] = NOTHING
    characters[~finite] = CROSS
    return "\n".join("".join(row) for row in characters)


def _can_be_shown(text: str) -> bool:
    """Whether standard output can encode a text; yes, where it does not name its encoding."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
