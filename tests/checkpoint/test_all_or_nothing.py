"""Whichever part of a checkpoint cannot be loaded, and whatever is raised: all that was given is as
before, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from checkpoint_support import Plan, Training, bits, refused

import minigrad as mg
from minigrad.errors import KindError


class Breaks(mg.Hook):
    """A hook whose state cannot be taken: half of it is, and then there is an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.count = 0
        self._error = error

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        if self._error is not None and state["count"]:
            raise self._error


@sparse(
    pytest.mark.parametrize(
        "error",
        [
            KindError("not this"),
            KeyError("count"),
            TypeError("not this"),
            AttributeError("not this"),
            IndexError("not this"),
            ZeroDivisionError("not this"),
            OverflowError("not this"),
            RuntimeError("not this"),
            RecursionError("not this"),
            MemoryError("not this"),
            AssertionError("not this"),
        ],
        ids=lambda error: type(error).__name__,
    ),
    every=3,
)
def test_a_hook_that_fails(error: Exception, tmp_path: Path) -> None:
    """Whatever it raises, it is one error that names the hook, and all that was loaded before it is
    as before.
    """
    saved = Training(Plan(plateau=True)).made(3)
    broken = Breaks()
    broken.count = 3
    mg.save(tmp_path / "x", **{**saved.parts, "hooks": [*saved.hooks, broken, Breaks()]})
    training = Training(Plan(plateau=True), seed=7).made(2)
    training.model[4].freeze()
    hooks = [*training.hooks, Breaks(error)]
    message = refused(tmp_path / "x", training, hooks=hooks)
    assert (
        f"does not fit, and nothing was changed: its Breaks: "
        f"{error if 'Kind' in repr(error) else repr(error)}" in message
    )
    assert 0 == hooks[-1].state_dict()["count"]


class Fresh(mg.Hook):
    """A hook without a state as long as it has seen nothing."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen} if self.seen else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = list(state["seen"])


def test_a_hook_that_had_no_state(tmp_path: Path) -> None:
    """It is given its state.

    And where another then fails, it has none again, though none can be loaded.
    """
    hook, broken = Fresh(), Breaks()
    hook.seen, broken.count = [1, 2], 3
    training = Training()
    mg.save(tmp_path / "x", **{**training.parts, "hooks": [hook, broken]})
    fresh = Fresh()
    message = refused(tmp_path / "x", training, hooks=[fresh, Breaks(ValueError("not this"))])
    assert "its Breaks: ValueError('not this')" in message
    assert [] == fresh.seen
    mg.load(tmp_path / "x", hooks=[fresh, Breaks()])
    assert [1, 2] == fresh.seen


class Torn(mg.Hook):
    """A hook that has no state yet, and takes in half of another one."""

    def __init__(self) -> None:
        self.seen = 0

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen, "rest": 1} if self.seen else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state.get("seen", 0)
        if self.seen:
            raise ValueError("not the rest")


def test_a_hook_that_had_no_state_and_takes_half_of_one(tmp_path: Path) -> None:
    """Nobody can take that back from it, and the error does not say that nothing was changed.

    Everything else is as before.
    """
    hook = Torn()
    hook.seen = 5
    saved = Training().made(2)
    mg.save(tmp_path / "x", **{**saved.parts, "hooks": [hook]})
    training = Training(seed=7)
    message = refused(tmp_path / "x", training, hooks=[Torn()])
    assert "does not fit, and only Torn may have changed: its Torn: ValueError(" in message


class Stuck(mg.Hook):
    """A hook that has a state, and after half of another one takes its own no more."""

    def __init__(self) -> None:
        self.seen = 1

    def state_dict(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.seen = state["seen"]
        raise ValueError("not that")


def test_a_hook_that_does_not_take_its_old_state_back(tmp_path: Path) -> None:
    """The error does not say that nothing was changed."""
    hook = Stuck()
    hook.seen = 5
    mg.save(tmp_path / "x", **{**Training().made(2).parts, "hooks": [hook]})
    message = refused(tmp_path / "x", Training(seed=7), hooks=[Stuck()])
    assert "does not fit, and only Stuck may have changed: its Stuck: ValueError(" in message


class Interrupted(Breaks):
    """A hook whose loading is interrupted by Ctrl-C, after half of its state is taken."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.count = state["count"]
        if self.count:
            raise KeyboardInterrupt


def test_an_interrupt_while_loading(tmp_path: Path) -> None:
    """Ctrl-C goes on, and all that was given is as before."""
    hook = Interrupted()
    hook.count = 3
    saved = Training(Plan(plateau=True)).made(3)
    mg.save(tmp_path / "x", **{**saved.parts, "hooks": [*saved.hooks, hook]})
    training, own = Training(Plan(plateau=True), seed=7).made(2), Interrupted()
    before = training.bits
    with pytest.raises(KeyboardInterrupt):
        mg.load(tmp_path / "x", **{**training.parts, "hooks": [*training.hooks, own]})
    assert before == training.bits
    assert 0 == own.count


@pytest.fixture(params=["model", "optimizer", "data", "history", "hook"])
def failing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The part whose loading fails, the first time that it is tried."""
    places: dict[str, tuple[Any, str]] = {
        "model": (mg.Layer, "load_state_dict"),
        "optimizer": (mg.Optimizer, "load_state_dict"),
        "data": (mg.Batches, "load_state_dict"),
        "history": (mg.History, "load_state_dict"),
        "hook": (mg.ReduceOnPlateau, "load_state_dict"),
    }
    owner, name = places[request.param]
    real = getattr(owner, name)
    calls = []

    def fails(*arguments: Any, **settings: Any) -> None:
        calls.append(name)
        if len(calls) == 1:
            raise ValueError("it breaks here")
        real(*arguments, **settings)

    monkeypatch.setattr(owner, name, fails)
    yield request.param
    assert calls


def test_whichever_part_fails(failing: str, tmp_path: Path) -> None:
    """Everything that was given is as before: values, buffers, flags, moments, data, generators,
    figures, hooks.
    """
    plan = Plan(plateau=True, noisy=True, shared=False)
    saved = Training(plan)
    saved.go(1)
    saved.made(2)
    history = mg.History({"loss": [1.0, 2.0]})
    mg.save(tmp_path / "x", **{**saved.parts, "history": history})
    training = Training(plan, seed=7)
    training.go(1)
    training.made(3)
    training.model[4].freeze()
    own = mg.History({"loss": [5.0], "val_loss": [6.0]})
    own.stopped, own.under_way = "Ctrl-C", {"loss": [1.0, 2.0, 0.0, 0.0]}
    before = bits([own.state_dict(), own.stopped])
    message = refused(tmp_path / "x", training, history=own)
    name = "ReduceOnPlateau" if failing == "hook" else failing
    assert f"nothing was changed: its {name}: ValueError('it breaks here')" in message
    assert before == bits([own.state_dict(), own.stopped])


@pytest.mark.parametrize("others", ["PCG64", "MT19937"])
def test_the_last_generator_fails(others: str, tmp_path: Path) -> None:
    """A generator of another kind, which is loaded after all else: flags, values, and the other
    generators too are as before.
    """
    saved, own = (
        Training(Plan(plateau=True, kind=others)).made(3),
        np.random.Generator(np.random.Philox(1)),
    )
    saved.model[0].freeze()
    mg.save(tmp_path / "x", **saved.parts, rng=own)
    training, other = (
        Training(Plan(plateau=True, kind=others), seed=7).made(2),
        np.random.Generator(np.random.SFC64(2)),
    )
    training.model[4].freeze()
    before = bits(other.bit_generator.state)
    message = refused(tmp_path / "x", training, rng=other)
    assert "its rng: the generator 'rng' is a SFC64, and this is a state of Philox" in message
    assert before == bits(other.bit_generator.state)


def test_a_dict_that_was_given_stays_itself(tmp_path: Path) -> None:
    """After an error a dict of lists holds the very lists that it held, in the same order."""
    training = Training(Plan(lambda model: mg.Adam(model), plateau=True, kind="MT19937"), seed=7)
    lists = {"b": [1.0], "a": [2.0]}
    mg.save(tmp_path / "x", **Training(Plan(plateau=True)).made(3).parts)
    refused(tmp_path / "x", training, history=lists)
    assert [("b", [1.0]), ("a", [2.0])] == [*lists.items()]
