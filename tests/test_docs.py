"""The documentation: every public name has a place in the reference, every page is in the
navigation, every block is run.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import minigrad

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in DOCS.rglob("*.md")
    if page.parent.name not in ("architecture", "benchmarks")  # tables that a page includes
)
REFERENCE = "\n".join(page.read_text("utf-8") for page in sorted((DOCS / "reference").glob("*.md")))
FENCE = re.compile(
    r"^ *(?:`{3,}|~{3,})([^\n]*)\n(.*?)^ *(?:`{3,}|~{3,})$", re.DOTALL | re.MULTILINE
)


def test_every_public_name_is_in_the_reference() -> None:
    """Each name of `minigrad.__all__` has a `:::` directive of its own, which shows its
    docstring.
    """
    shown = set(re.findall(r"^::: minigrad\.(\w+)$", REFERENCE, re.MULTILINE))
    assert [] == sorted(set(minigrad.__all__) - shown)


def test_every_error_has_cause_and_cure() -> None:
    """Each error has a row in the table of causes and cures."""
    rows = set(
        re.findall(
            r"^\| `(\w+)`", (DOCS / "reference" / "errors.md").read_text("utf-8"), re.MULTILINE
        )
    )
    assert sorted(set(minigrad.errors.__all__) - {"MinigradError"}) == sorted(rows)


def test_pages_and_navigation_are_the_same() -> None:
    """Each page is in the navigation of mkdocs.yml, once, and each entry of the navigation is a
    page.
    """
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").split("\nnav:\n")[1].split("\n\n")[0]
    entries = re.findall(r"([\w/-]+\.md)$", navigation, re.MULTILINE)
    assert sorted(page.relative_to(DOCS).as_posix() for page in PAGES) == sorted(entries)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_no_code_is_left_untested(page: Path) -> None:
    """Each block is one that conftest.py runs or compares, a shell command, or for a stated reason
    neither.

    A block with another label would never be run, and nobody would notice: `pycon`, or `python`
    with a title.
    """
    text = page.read_text("utf-8")
    assert [] == [
        label for label, _ in FENCE.findall(text) if label not in ("python", "text", "sh", "py")
    ]
    # An output is compared with what the block before it prints, so there must be one.
    outputs = re.findall(r"(.*)\n\s*```text$", text, re.MULTILINE)
    assert [] == [before for before in outputs if before != "```"]
    # A program from another file is run by that file's test; MNIST would have to be downloaded.
    unrun = [code for label, code in FENCE.findall(text) if label == "py"]
    assert [] == [
        code for code in unrun if not code.startswith("--8<--") and "load_mnist(" not in code
    ]


def test_a_wrong_output_is_noticed(pytestconfig: pytest.Config) -> None:
    """The comparison of outputs lets numbers with a decimal point differ by a little, and nothing
    else.
    """
    conftest: Any = pytestconfig.pluginmanager.get_plugin(str(ROOT / "conftest.py"))
    assert conftest.agree("accuracy 0.936 of 359", "accuracy 0.933 of 359\n")
    assert not conftest.agree("accuracy 0.936 of 359", "accuracy 0.900 of 359\n")
    assert not conftest.agree("accuracy 0.936 of 359", "accuracy 0.936 of 360\n")
    assert not conftest.agree("5,490 of 7,840", "5,491 of 7,840\n")
    assert not conftest.agree("", "anything")
