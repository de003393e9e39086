"""The HTML report is well-formed, self-contained, small, and can be saved and read anywhere."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from html_support import RUNS, TEMPLATE, Reader, page_of, pages, reasons, recorded
from recording_support import network

import minigrad as mg
from minigrad._printable import printable
from minigrad.errors import DataFileError

# -- structure -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        slow(name)
        if name in ("story", "large", "ring", "every 7", "neither", "gradients")
        else name
        for name in RUNS
    ],
)
def test_structure(name: str) -> None:
    """Well-formed; ids are unique, and what refers to one finds it; pictures have words; one h1;
    nothing is loaded.
    """
    run, text = pages[name]
    page = Reader(text)
    assert [] == page.errors
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    wanted = {
        value
        for _, a in page.elements
        for key in ("for", "aria-labelledby")
        if (value := a.get(key))
    }
    wanted |= {attributes["href"][1:] for attributes in page.all("a")}
    assert not wanted - set(ids)
    assert 1 == len(page.all("h1"))
    assert all("alt" in attributes for attributes in page.all("img"))
    assert all(
        attributes.get("alt") for attributes in page.all("img") if "hidden" not in attributes
    )
    assert all(a.get("aria-label") for _, a in page.elements if a.get("role") == "img")
    assert all(a.get("scope") for a in page.all("th"))
    loaded = [a[key] for _, a in page.elements for key in ("src", "href") if key in a]
    assert [] == [address for address in loaded if not address.startswith(("data:", "#"))]
    assert "http:" not in text
    assert "https:" not in text
    if name != "nonfinite":  # whose examples end at NaN
        assert not re.search(r"\bnan\b|\binf\b|\bNone\b", page.text)
    assert (
        len(run.names) == sum(f'id="p{place}"' in text for place in range(len(run.names)))
        or not run.steps
    )
    assert len(text) < 300_000


def test_the_page_may_load_nothing() -> None:
    """Its own policy forbids it, so that a mistake would be seen in the browser's console."""
    policy = next(a["content"] for a in Reader(TEMPLATE).all("meta") if "http-equiv" in a)
    assert (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
        == policy
    )


def test_names_are_escaped() -> None:
    """Names, notes and the optimizer's words are text, whatever characters they have.

    What does not print is escaped, and the template's are left alone.
    """
    run, text = pages["odd names"]
    page = Reader(text)
    assert [] == [one for one in text if not one.isprintable() and one != "\n"]
    for name in map(printable, run.names):
        assert name in page.text
        assert any(a.get("data-name") == name for _, a in page.elements)
    assert r"\x1b[31m\r\n\x0b\u2028\u202e" in page.text
    assert run.names[0] in run.notes[0]
    assert f"{run.notes[0]}." in page.text
    assert "alert(" not in "".join(page.scripts.values())
    assert 2 == text.count("</script>")  # the slider's data, and the script
    assert 2 == len(page.all("script"))


def test_every_length_fits_its_json() -> None:
    """The script's data are JSON without NaN, with one entry a step and a parameter."""
    for run, text in (
        pages[name] for name in ("one step", "no step", "every 7", "nonfinite", "touched")
    ):
        page = Reader(text)
        if "frames" in page.scripts:
            data = json.loads(page.scripts["frames"], parse_constant=pytest.fail)
            assert len(data["steps"]) == len(data["x"])
            assert [len(data["steps"])] * len(run.names) == [len(says) for says in data["says"]]


# -- size ----------------------------------------------------------------------------------------


def noise(model: mg.Sequential, steps: int, **settings: object) -> mg.Run:
    """Updates of pure noise, which no compression makes small."""
    optimizer = mg.SGD(model, 0.1)
    vector, rng = mg.ParameterVector.of(model), np.random.default_rng(0)
    with mg.Recorder(optimizer, **settings) as recorder:  # type: ignore[arg-type]
        for _ in range(steps):
            vector.grads = rng.uniform(-1, 1, vector.grads.shape)
            optimizer.step()
    return recorder.run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sizes", "steps"),
    [
        slow((784, 10, 10), 600),
        ((784, 128, 64, 10), 30),
        slow((6,) * 60, 200),
        slow((300, 2000), 5),
    ],
)
def test_size_is_bounded(tmp_path: Path, sizes: tuple[int, ...], steps: int) -> None:
    """The page has less than 5 MB, of the worst that can come: and the first and last update are
    always among those shown.
    """
    run = noise(network(*sizes), steps)
    page = Reader(page_of(run, tmp_path))
    assert (tmp_path / "run.html").stat().st_size < 5_000_000
    shown = json.loads(page.scripts["frames"])["steps"]
    assert (run.steps[0], run.steps[-1]) == (shown[0], shown[-1])
    assert len(shown) >= min(steps, 12)
    assert f"The steps of the slider {', '.join(f'{step:,}' for step in shown)} " in page.text
    if len(shown) < steps:
        assert (
            f"{len(shown):,} of the {steps:,} recorded updates: the first, the last, and others "
            f"evenly" in page.text
        )
        assert np.ptp(np.diff(shown)) <= 1


# -- the file ------------------------------------------------------------------------------------


def test_saving(tmp_path: Path) -> None:
    """A path may be a string or a path.

    It returns None; an older file is replaced, and nothing else is left behind.
    """
    run = reasons()
    target = tmp_path / "a report, of 100 %.html"
    target.write_text("older")
    assert run.save_report(str(target)) is None  # type: ignore[func-returns-value]
    first = target.read_bytes()
    assert first.startswith(b"<!doctype html>")
    run.save_report(target)
    assert first == target.read_bytes()
    assert [target] == list(tmp_path.iterdir())


def test_a_report_that_cannot_be_saved(tmp_path: Path) -> None:
    """A directory that is missing or not one, a directory in its place, one that is not writable:
    an error that says so.
    """
    run = reasons()
    (tmp_path / "file").write_text("kept")
    (tmp_path / "directory").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for wrong, why in [
        ("missing/run.html", "No such file or directory"),
        ("file/run.html", "Not a directory"),
        ("directory", "Is a directory"),
    ]:
        path = tmp_path / wrong
        with pytest.raises(DataFileError) as caught:
            run.save_report(path)
        assert (
            f"the report '{path}' cannot be written: {why}; give a file in a directory that exists "
            f"and is writable" == str(caught.value)
        )
        assert isinstance(caught.value.__cause__, OSError)
        assert before == sorted(tmp_path.rglob("*"))


@sparse(
    pytest.mark.parametrize("settings", [{}, {"every": 7}, {"keep": ()}, {"aggregates": False}]),
    every=4,
)
def test_from_disk(tmp_path: Path, settings: dict[str, Any]) -> None:
    """The page of a run that was opened from a directory is the page of the run in memory."""
    run = recorded(network(5, 4, 3), 30, path=tmp_path / "run", **settings)
    assert page_of(run, tmp_path) == page_of(mg.Run.open(tmp_path / "run"), tmp_path)


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write anywhere"
)
def test_a_directory_that_is_not_writable(tmp_path: Path) -> None:
    """One clear error."""
    run = reasons()
    tmp_path.chmod(0o500)
    with pytest.raises(DataFileError, match="Permission denied"):
        run.save_report(tmp_path / "run.html")
    tmp_path.chmod(0o700)
