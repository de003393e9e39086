"""The version: one number, wherever somebody may look for it."""

from __future__ import annotations

import re
from pathlib import Path

import minigrad

ROOT = Path(__file__).parent.parent


def test_the_changelog_and_the_citation_have_the_version_of_the_package() -> None:
    """The newest release of the changelog, and what CITATION.cff asks to cite, are this version, of
    the same day.
    """
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    released = re.search(r"^## \[(\d[^]]*)\] - (\S+)$", changelog, re.MULTILINE)
    cited = re.search(r'^version: (\S+)\ndate-released: "(\S+)"$', citation, re.MULTILINE)
    assert released is not None
    assert cited is not None
    assert minigrad.__version__ == released[1]
    assert released.groups() == cited.groups()
