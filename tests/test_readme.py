"""The README: its length, its first sentence, its commands, and that what it refers to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
LINES = README.splitlines()

START = "python3 -m venv .venv && .venv/bin/python -m pip install -e"
COMMANDS = (
    f'{START} ".[examples]" && .venv/bin/python examples/frozen_layer.py',
    f'{START} ".[test]" && .venv/bin/python -m pytest',
)


def lines_of_blocks(language: str) -> list[tuple[int, int, str]]:
    """The code blocks of a language: the first and last line, counted from 1, and the code."""
    blocks = re.finditer(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [
        (README.count("\n", 0, b.start()) + 1, README.count("\n", 0, b.end()) + 1, b[1])
        for b in blocks
    ]


def test_it_is_short() -> None:
    """It has at most 150 lines, and none is so long that it is really several."""
    assert len(LINES) <= 150
    assert [] == [line for line in LINES if len(line) > 200]


def test_the_first_sentence_says_that_there_is_no_autograd() -> None:
    """The first sentence after the title names autograd, and how gradients are proved instead."""
    title, rest = README.split("\n", 1)
    sentence = re.split(r"(?<=[.!?])\s", rest.strip())[0]
    assert "# minigrad" == title
    assert re.search(r"\bno autograd\b", sentence)
    assert "`check_gradients`" in sentence


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands(command: str) -> None:
    """Each of both commands is one line of a code block, once and unchanged: the gate takes them
    from there.
    """
    found = [
        line
        for _, _, code in lines_of_blocks("sh")
        for line in code.splitlines()
        if line == command
    ]
    assert [command] == found
    assert 1 == README.count(command)


def test_the_first_program_is_complete_and_shows_its_output() -> None:
    """The first program that imports minigrad trains and prints, and what it prints follows."""
    end, code = next(
        (end, code) for _, end, code in lines_of_blocks("python") if "import minigrad" in code
    )
    assert "optimizer.step()" in code
    assert "print(" in code
    assert end + 1 in {start for start, _, _ in lines_of_blocks("text")}


def test_compare_comes_first() -> None:
    """The first code block answers the story's question with `mg.compare`."""
    _, _, code = lines_of_blocks("python")[0]
    assert "mg.compare(" in code


def test_links_lead_somewhere() -> None:
    """Each relative link and picture is a file of this repository."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", README)
    relative = [link for link in links if "://" not in link]
    assert relative
    assert [] == [link for link in relative if not (ROOT / link).is_file()]


def test_it_never_says_to_install_from_the_index() -> None:
    """Neither the README nor a page tells anybody to install a package of somebody else's."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    forbidden = re.compile(
        r"(pip|uv|uv pip|pipx|conda)\s+(install|add)\s+(-\S+\s+)*[\"']?minigrad\b"
    )
    assert [] == [page.name for page in pages if forbidden.search(page.read_text("utf-8"))]
