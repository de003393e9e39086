"""What `save` and `load` are given: wrong kinds, what no file can hold, places where no file can
be.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from checkpoint_support import Plan, Training, X, Y, genuine

import minigrad as mg
from minigrad.errors import DataFileError, KindError, ModelError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of a training after three steps."""
    (tmp_path / "x.npz").write_bytes(genuine())
    return tmp_path / "x.npz"


class Own:
    """Not a layer, not a history, not anything."""


@sparse(
    pytest.mark.parametrize("function", [mg.save, mg.load], ids=["save", "load"]),
    pytest.mark.parametrize(
        ("name", "thing", "told"),
        [
            ("model", "digits.npz", "model, expected a layer"),
            ("model", Own(), "model, expected a layer"),
            ("optimizer", Training().model, "optimizer, expected an optimizer"),
            ("optimizer", 0.1, "optimizer, expected an optimizer"),
            ("data", (X, Y), "data, expected minigrad.Batches"),
            ("rng", 0, "rng, expected the generator itself, np.random.default_rng"),
            ("rng", np.random.PCG64(0), "rng, expected the generator itself"),
            ("history", [1.0], "history, expected a History, or a dict of lists"),
            ("history", Own(), "history, expected a History, or a dict of lists"),
            ("hooks", 5, "hooks"),
            ("hooks", mg.EarlyStopping(), "hooks"),
            (
                "hooks",
                [mg.EarlyStopping],
                "hooks, expected an instance of a subclass of minigrad.Hook",
            ),
            (
                "hooks",
                ["EarlyStopping"],
                "hooks, expected an instance of a subclass of minigrad.Hook",
            ),
            ("path", 5, "path"),
            ("path", None, "path"),
            ("path", b"x.npz", "path"),
            ("path", Own(), "path"),
        ],
    ),
    every=2,
)
def test_arguments_of_a_wrong_kind(
    function: Callable[..., None], name: str, thing: Any, told: str, path: Path, tmp_path: Path
) -> None:
    """Each is an error that names the function, the argument and what was expected.

    Nothing is written or changed.
    """
    training = Training(Plan(plateau=True), seed=7)
    before, content = training.bits, path.read_bytes()
    arguments = {"path": path, **training.parts, name: thing}
    with pytest.raises(KindError, match=f"^{function.__name__} got ") as caught:
        function(**arguments)
    assert told in str(caught.value)
    assert before == training.bits
    assert content == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_save_needs_a_model(path: Path) -> None:
    """None is no model; and the old file is left."""
    content = path.read_bytes()
    with pytest.raises(KindError, match="save got None as its model"):
        mg.save(path, model=None)  # type: ignore[arg-type]
    assert content == path.read_bytes()


@pytest.mark.parametrize("function", [mg.save, mg.load], ids=["save", "load"])
def test_an_optimizer_of_another_model(function: Callable[..., None], path: Path) -> None:
    """The two do not belong together."""
    training = Training()
    other = mg.Adam(Training().model)
    with pytest.raises(
        ModelError, match=f"{function.__name__} got an optimizer, .* of another model"
    ):
        function(path, model=training.model, optimizer=other)


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        ({"x": object()}, "'history/figures/x', a object"),
        ({"x": [1, {"y": 1j}]}, "'history/figures/x/1/y', a complex"),
        ({"x": np.array([1 + 2j])}, "'history/figures/x', an array of dtype complex128"),
        ({"x": np.array([None])}, "'history/figures/x', an array of dtype object"),
        ({"x": np.array(["2020-01-01"], "M8[D]")}, "an array of dtype datetime64"),
        ({"x": {1, 2}}, "'history/figures/x', a set"),
        ({"x": b"bytes"}, "'history/figures/x', a bytes"),
        ({1: [2.0]}, "'history/figures' with the key 1"),
        ({"array in": [2.0]}, "'history/figures' with the key 'array in'"),
        ({"x": {"array in": 3}}, "'history/figures/x' with the key 'array in'"),
    ],
    ids=lambda thing: str(thing)[:20],
)
def test_a_state_that_a_file_cannot_hold(thing: Any, told: str, path: Path, tmp_path: Path) -> None:
    """What is neither a number nor text nor an array is refused with its place.

    The old file is left, and no other.
    """
    content = path.read_bytes()
    with pytest.raises(KindError, match="a checkpoint cannot hold") as caught:
        mg.save(path, model=Training().model, history=thing)
    assert told in str(caught.value)
    assert content == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["missing/x.npz", "x.npz/y.npz", ".", "", "a\0b"])
def test_places_that_cannot_be(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is missing, a file in its place, a directory in the file's: the error names
    the path.
    """
    monkeypatch.chdir(path.parent)
    for function in (mg.save, mg.load):
        with pytest.raises(DataFileError) as caught:
            function(name, model=Training().model)
        shown = name.replace("\0", r"\x00")  # a message can be printed
        assert f"the checkpoint '{shown}'" in str(caught.value)
    assert [path] == list(path.parent.iterdir())
