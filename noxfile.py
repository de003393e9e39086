#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox"]
# ///
"""The checks, each in an environment of its own.

`nox` runs all, `nox -s lint` one, `nox -l` lists them.

What a session needs stands in pyproject.toml alone, as a dependency group. Each is installed
together with `-e .`, so that the groups' `minigrad[...]` means this checkout: the name on the
package index belongs to somebody else.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"

PROJECT = nox.project.load_toml("pyproject.toml")
PYTHONS = nox.project.python_versions(PROJECT)


def install(session: nox.Session, *groups: str, pins: tuple[str, ...] = ()) -> None:
    """Install this checkout with the dependency groups of these names, and the pins."""
    session.install("-e", ".", *nox.project.dependency_groups(PROJECT, *groups), *pins)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests but the slow ones, on each Python that is supported and installed."""
    install(session, "test")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS[0], default=False)
def slow(session: nox.Session) -> None:
    """Run the tests that take long; each week, and before a release."""
    install(session, "test")
    session.run("pytest", "-m", "slow", *session.posargs)


@nox.session(python=PYTHONS[0], default=False)
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows."""
    install(
        session,
        "test",
        pins=tuple(f"{need.replace('>=', '==')}.*" for need in PROJECT["project"]["dependencies"]),
    )
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS[0], default=False)
def pytorch(session: nox.Session) -> None:
    """Train side by side with PyTorch, which is large; without it these tests are skipped."""
    install(session, "pytorch")
    session.run("pytest", "-m", "pytorch", *session.posargs)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests, and show the lines and branches that none of them reaches."""
    install(session, "coverage")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "report")


@nox.session(default=False)
def mutation(session: nox.Session) -> None:
    """Change the code in one place at a time, and show in survivors.txt what no test notices.

    `nox -s mutation -- losses arrays` changes these packages and modules; all take a day.

    It works on a copy, because mutmut leaves functions with decorators alone, and most of the
    mathematics stands in methods with @override: the copy goes without that and @final, which do
    nothing when the code runs.
    """
    install(session, "mutation")
    copy = Path(session.create_tmp()) / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("minigrad", "tests", "benchmarks", "docs"):
        shutil.copytree(name, copy / name)
    for name in ("pyproject.toml", "conftest.py"):
        shutil.copy(name, copy)
    for file in (copy / "minigrad").rglob("*.py"):
        code = file.read_text(encoding="utf-8")
        code = re.sub(r"^ +@(override|final)\n", "", code, flags=re.MULTILINE)
        file.write_text(code, encoding="utf-8")
    with Path("survivors.txt").open("w", encoding="utf-8") as survivors, session.chdir(copy):
        session.run("mutmut", "run", *(f"minigrad.{room}.*" for room in session.posargs))
        results = str(session.run("mutmut", "results", silent=True))
        for name, state in re.findall(r"^ +(\S+): (.+)$", results, re.MULTILINE):
            if state != "not checked":
                survivors.write(f"{session.run('mutmut', 'show', name, silent=True)}\n")


@nox.session(default=False)
def build(session: nox.Session) -> None:
    """Build the sdist and the wheel in dist/, check both, and try the wheel."""
    session.install(*nox.project.dependency_groups(PROJECT, "release"))
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    files = [str(file.resolve()) for file in sorted(Path("dist").iterdir())]
    session.run("twine", "check", "--strict", *files)
    session.run("check-wheel-contents", "dist")
    session.install(*(file for file in files if file.endswith(".whl")))
    with session.chdir(session.create_tmp()):  # where no checkout stands in for the wheel
        session.run("python", "-m", "minigrad")


@nox.session(python=PYTHONS[0], default=False)
def benchmarks(session: nox.Session) -> None:
    """Measure beside the other frameworks, which are large, and write the tables of the docs.

    `nox -s benchmarks -- --workloads S --rounds 5` only prints how long a step takes.
    """
    install(session, "benchmarks")
    session.run(
        "pytest", "-m", "", "tests/benchmarks", env={"MINIGRAD_ALL_PEERS": "1"}
    )  # that all peers compute the same
    session.run(
        "python", "benchmarks/steps.py", *(session.posargs or ["--write", "docs/benchmarks"])
    )
    if not session.posargs:
        session.run("python", "benchmarks/footprint.py", "--write", "docs/benchmarks")
        session.run("python", "benchmarks/breakdown.py", "--write", "docs/benchmarks/breakdown.md")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and layout."""
    install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types inside, and that users see a type for every public name."""
    install(session, "types")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "minigrad", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; every warning is an error.

    `nox -s docs -- serve` shows it while you write.
    """
    install(session, "docs")
    session.run("mkdocs", *(session.posargs or ["build", "--strict"]))


@nox.session
def examples(session: nox.Session) -> None:
    """Run the examples."""
    session.install("-e", ".[examples]")
    session.run("python", "examples/frozen_layer.py", "--output", session.create_tmp())
    session.run("python", "examples/regularized.py")


if __name__ == "__main__":
    nox.main()
