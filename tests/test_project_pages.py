"""The pages on the project: promises with their tests, pictures of today's rooms, decisions."""

from __future__ import annotations

import re
import runpy
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ARCHITECTURE = DOCS / "architecture"
PROMISES = (DOCS / "project" / "promises.md").read_text("utf-8")
DECISIONS = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.stem != "index")


# -- promises -------------------------------------------------------------------------------------


@cache
def functions_in(path: str) -> frozenset[str]:
    """The functions of a file; none, if there is no such file."""
    if not (ROOT / path).is_file():
        return frozenset()
    return frozenset(re.findall(r"^def (\w+)\(", (ROOT / path).read_text("utf-8"), re.MULTILINE))


def promised(page: str) -> dict[int, str]:
    """The number of each promise, and its section of the page."""
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    numbers = [re.match(r"(\d+)\. ", section) for section in sections]
    return {int(found[1]): one for found, one in zip(numbers, sections, strict=True) if found}


def cited(page: str) -> list[tuple[str, str]]:
    """Each `file::test` of a page."""
    return re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)


def missing_tests(page: str) -> list[str]:
    """What a page cites and the suite does not have."""
    return [f"{path}::{name}" for path, name in cited(page) if name not in functions_in(path)]


def test_the_guardians_of_promises_exist() -> None:
    """Each test that the page names is there, and nothing on it looks like a test and is none."""
    assert [] == missing_tests(PROMISES)
    assert PROMISES.count("::") == len(cited(PROMISES))


def test_each_promise_has_a_guardian() -> None:
    """The promises are numbered from 1 on, and each names at least one test."""
    sections = promised(PROMISES)
    assert list(range(1, len(sections) + 1)) == list(sections)
    assert [] == [number for number, section in sections.items() if not cited(section)]


def test_tests_cite_promises_that_are_on_the_page() -> None:
    """A test that names a promise by its number names one that there is, and it is cited there."""
    files = sorted((ROOT / "tests" / "promises").glob("test_*.py"))
    names = {name for file in files for name in functions_in(file.relative_to(ROOT).as_posix())}
    numbers = {int(found[1]) for name in names if (found := re.match(r"test_(\d+)_", name))}
    assert numbers
    assert set() == numbers - promised(PROMISES).keys()
    for file in sorted((ROOT / "tests").rglob("*.py")):
        said = re.findall(r"\bpromise (\d+)\b", file.read_text("utf-8"), re.IGNORECASE)
        assert set() == set(map(int, said)) - promised(PROMISES).keys(), file.name


def test_a_test_that_is_not_there_is_noticed() -> None:
    """A misspelt test, one in another file and a file that is gone are each named."""
    there = "tests/test_project_pages.py::test_the_page_shows_the_pictures"
    wrong = [there + "s", there.replace("project", "no"), there.replace("pages", "page")]
    assert wrong == missing_tests(" ".join(f"`{one}`" for one in [there, *wrong]))


# -- architecture ---------------------------------------------------------------------------------


@cache
def drawn() -> dict[str, str]:
    """What the script draws from the package as it is now, by the names of its files."""
    files: dict[str, str] = runpy.run_path(str(ARCHITECTURE / "draw_architecture.py"))["drawn"]()
    return files


def test_the_pictures_are_those_of_today() -> None:
    """What the script draws from the imports is what is committed, byte for byte."""
    files = drawn()
    committed = {name: (ARCHITECTURE / name).read_text("utf-8") for name in files}
    stale = [name for name in files if committed[name] != files[name]]
    assert [] == stale, "run: python docs/architecture/draw_architecture.py"


def test_the_page_shows_the_pictures() -> None:
    """Each file that is drawn is on the page."""
    page = (DOCS / "project" / "architecture.md").read_text("utf-8")
    assert [] == [name for name in drawn() if f"architecture/{name}" not in page]


# -- decisions ------------------------------------------------------------------------------------

HEADINGS = ["Context", "Decision", "Consequences", "What would change our mind"]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_is_a_screen_of_four_parts(page: Path) -> None:
    """Each record has the same four parts, is short, and is in the index."""
    text = page.read_text("utf-8")
    assert HEADINGS == re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert len(text.split()) <= 350
    assert f"({page.name})" in (DOCS / "decisions" / "index.md").read_text("utf-8")


# -- what code cites ------------------------------------------------------------------------------


def test_pages_that_code_cites_exist() -> None:
    """No docstring, comment or message sends anybody to a page that is not in this repository."""
    folders = ("minigrad", "tests", "examples", "benchmarks", "docs")
    code = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    code += sorted(ROOT.glob("*.py"))
    pages = {page.name for page in (*ROOT.glob("*.md"), *DOCS.rglob("*.md"))}
    pages |= {page.name for page in (ROOT / "minigrad").rglob("*.md")}
    found = {
        (file.relative_to(ROOT).as_posix(), name)
        for file in code
        for name in re.findall(r"([\w-]+\.md)\b", file.read_text("utf-8"))
    }
    assert found
    assert [] == sorted((file, name) for file, name in found if name not in pages)
