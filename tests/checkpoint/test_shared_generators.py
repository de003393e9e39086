"""Two who draw from one generator draw other numbers than two with a generator each: a checkpoint
knows which it was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from checkpoint_support import BATCH, Plan, Training, X, Y, first_difference, refused

import minigrad as mg

HOLDERS = ("model 0.rng", "model 2.rng", "data", "rng")
"""The names of those who draw: two layers, the data, and somebody else."""


def training(sharing: str, seed: int) -> Training:
    """A training in which those with the same letter share a generator: "aabb", two layers, and
    data with somebody else.
    """
    generators = {letter: np.random.default_rng(seed + ord(letter)) for letter in sharing}
    first, second, data, own = (generators[letter] for letter in sharing)
    made = Training(seed=seed)
    weights = np.random.default_rng(seed)
    made.model = mg.Sequential(
        mg.Dropout(0.1, rng=first),
        mg.Dense(5, 4, rng=weights),
        mg.Dropout(0.2, rng=second),
        mg.Dense(4, 3, rng=weights),
    )
    made.optimizer = mg.SGD(made.model, 0.1)
    made.data = mg.Batches(X, Y, BATCH, rng=data)
    made.rng = own
    return made


def names(sharing: str, letter: str) -> str:
    return " and ".join(name for name, one in zip(HOLDERS, sharing, strict=True) if one == letter)


def lost(sharing: str, letter: str) -> str:
    return f"{names(sharing, letter)} shared one generator: give them the same one again"


def new(sharing: str, letter: str) -> str:
    shared = names(sharing, letter)
    return f"{shared} share one generator, and had different ones: give each its own again"


@pytest.mark.parametrize(
    "sharing", ["aaaa", slow("abcd"), "aabb", slow("abab"), "abca", slow("aaab")]
)
def test_the_same_sharing_goes_on(sharing: str, tmp_path: Path) -> None:
    """Whoever shares with whom, as long as it is the same as before: the same bits."""
    straight, saved, resumed = training(sharing, 0), training(sharing, 0), training(sharing, 50)
    straight.go(2)
    saved.go(1)
    mg.save(tmp_path / "x", **saved.parts)
    mg.load(tmp_path / "x", **resumed.parts)
    resumed.go(2)
    assert "" == first_difference(straight.bits, resumed.bits)


@sparse(
    pytest.mark.parametrize(
        ("before", "now", "told"),
        [
            ("aaaa", "abcd", [lost("aaaa", "a")]),
            ("abcd", "aaaa", [new("aaaa", "a")]),
            ("abab", "abcd", [lost("abab", "a"), lost("abab", "b")]),
            ("abcd", "abab", [new("abab", "a"), new("abab", "b")]),
            ("aaab", "aabc", [lost("aaab", "a")]),  # the two layers still share theirs
            ("aabc", "aaab", [new("aaab", "a")]),
            ("aabc", "abbc", [lost("aabc", "a"), new("abbc", "b")]),
            (
                "aabb",
                "abba",
                [lost("aabb", "a"), lost("aabb", "b"), new("abba", "a"), new("abba", "b")],
            ),
        ],
    ),
    every=2,
)
def test_another_sharing_is_refused(before: str, now: str, told: list[str], tmp_path: Path) -> None:
    """Each group that was torn apart, and each that is new, is named.

    Nothing else is, and nothing is changed.
    """
    path = tmp_path / "x"
    saved = training(before, 0)
    saved.go(1)
    mg.save(path, **saved.parts)
    loaded = training(now, 50).made(2)
    assert (
        f"the checkpoint '{path}' does not fit, and nothing was changed: {'; '.join(told)}"
        == refused(path, loaded)
    )


@pytest.mark.parametrize(("before", "now"), [("aaaa", "abcd"), ("abcd", "aaaa")])
def test_predictions_do_not_need_it(before: str, now: str, tmp_path: Path) -> None:
    """A model alone is loaded whoever shares with whom, and so is all that fits where that is asked
    for.
    """
    saved = training(before, 0)
    saved.go(1)
    mg.save(tmp_path / "x", **saved.parts)
    for given in (
        {"model"},
        {"model", "history", "hooks"},
        {"model", "optimizer", "data", "strict"},
    ):
        loaded = training(now, 50)
        parts: dict[str, Any] = {**loaded.parts, "strict": False}
        mg.load(tmp_path / "x", **{name: thing for name, thing in parts.items() if name in given})
        assert saved.model.predict(X).tobytes() == loaded.model.predict(X).tobytes()


def test_only_those_that_are_given_matter(tmp_path: Path) -> None:
    """Data without the model, or a model without the data: who else drew from their generators is
    no matter.
    """
    saved = training("aaaa", 0)
    mg.save(tmp_path / "x", **saved.parts)
    loaded = training("abcd", 50)
    mg.load(tmp_path / "x", data=loaded.data)
    assert saved.data.rng.bit_generator.state == loaded.data.rng.bit_generator.state
    mg.save(tmp_path / "y", model=saved.model, optimizer=saved.optimizer)
    loaded = training("aabc", 50)
    mg.load(tmp_path / "y", model=loaded.model, optimizer=loaded.optimizer, data=None)


def test_two_generators_of_one_bit_generator_are_one(tmp_path: Path) -> None:
    """What is shared is what the numbers come from."""
    bits = np.random.PCG64(3)
    made = Training(Plan())
    made.data = mg.Batches(X, Y, BATCH, rng=np.random.Generator(bits))
    mg.save(tmp_path / "x", model=made.model, data=made.data, rng=np.random.Generator(bits))
    apart = np.random.default_rng(4)
    message = refused(tmp_path / "x", made, optimizer=None, history=None, rng=apart)
    assert "data and rng shared one generator: give them the same one again" in message
    mg.load(tmp_path / "x", model=made.model, data=made.data, rng=np.random.Generator(bits))
