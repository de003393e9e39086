"""`printable`: text that does nothing to where it is shown."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text, in which what does not print is escaped as in a string literal: "\n", "\x1b".

    Those are control characters, among them the ESC with which a terminal is told what to do; marks
    that turn the direction of writing; and lone surrogates, which no file can hold. `repr` escapes
    the same. Backslashes stay, so doing it twice changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
