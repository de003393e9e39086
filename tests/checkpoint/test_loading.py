"""What `load` does with what it is given, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow
from checkpoint_support import PLAIN, Plan, Training, X, Y, bits, first_difference

import minigrad as mg
from minigrad.errors import MissingGradientError, ModelError, SettingsChanged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a checkpoint is to be."""
    return tmp_path / "x.npz"


# -- parts ---------------------------------------------------------------------------------------


def test_the_model_alone(path: Path) -> None:
    """For predictions the model is enough: no optimizer, no data.

    Its generators are left alone, others may use them.
    """
    trained = Training().made(5)
    mg.save(path, **trained.parts)
    rng = np.random.default_rng(8)
    model = mg.Sequential(
        mg.Dense(5, 6, rng=rng),
        mg.BatchNorm(6),
        mg.Activation("tanh"),
        mg.Dropout(0.3, rng=0),
        mg.Dense(6, 3, rng=rng),
    )
    mg.load(path, model=model)
    assert trained.model.predict(X).tobytes() == model.predict(X).tobytes()


@pytest.mark.parametrize("given", ["model", slow("optimizer"), "data", slow("history"), "hooks"])
def test_what_is_not_given_stays(given: str, path: Path) -> None:
    """Only what is given changes, and it becomes what was saved."""
    plan = Plan(plateau=True, shared=False)
    saved = Training(plan)
    saved.go(1)
    saved.made(2)
    mg.save(path, **saved.parts)
    loaded = Training(plan, seed=3)
    before = loaded.bits
    mg.load(path, **{given: loaded.parts[given]})
    after, expected = loaded.bits, saved.bits
    changed = {what for what in before if before[what] != after[what]}
    assert {given} == changed
    for what in changed:
        assert expected[what] == after[what]


def test_a_file_without_it(path: Path) -> None:
    """What was not saved cannot be loaded; the error says what there is, and nothing is changed."""
    saved = Training(Plan(noisy=True)).made(2)
    mg.save(path, model=saved.model, data=saved.data)
    loaded = Training(Plan(noisy=True), seed=3)
    before = loaded.bits
    with pytest.raises(
        ModelError, match=r"holds no optimizer and no history and no rng, only model, data"
    ):
        mg.load(path, **loaded.parts)
    assert before == loaded.bits
    mg.load(path, model=loaded.model, data=loaded.data, hooks=[mg.EarlyStopping()])
    assert bits(saved.model.state_dict()) == bits(loaded.model.state_dict())


def test_a_generator_of_ones_own(path: Path) -> None:
    """`rng` keeps a generator that neither the model nor the data holds."""
    training, own = Training(), np.random.Generator(np.random.Philox(4))
    own.random(3)
    mg.save(path, **training.parts, rng=own)
    expected = own.random(5).tolist()
    other = np.random.Generator(np.random.Philox(5))
    mg.load(path, rng=other)
    assert expected == other.random(5).tolist()


# -- history -------------------------------------------------------------------------------------


def test_a_history(path: Path) -> None:
    """It is filled anew.

    What was in it before is forgotten, and why an earlier training had stopped.
    """
    history = mg.History({"loss": [0.5, float("nan"), -0.0], "val_loss": [1.0, 2.0, 3.0]})
    mg.save(path, model=Training().model, history=history)
    loaded = mg.History({"loss": [9.0], "accuracy": [9.0]})
    loaded.stopped = "Ctrl-C"
    mg.load(path, history=loaded)
    assert bits(dict(history)) == bits(dict(loaded))
    assert (["loss", "val_loss"], 3, "") == ([*loaded], loaded.epochs, loaded.stopped)


def test_a_dict_of_lists(path: Path) -> None:
    """In a loop by hand a dict does.

    Numbers, text, booleans, None, arrays and nested lists come back as they were.
    """
    history: dict[str, Any] = {
        "loss": [0.1, 0.2],
        "epochs": 2,
        "name": "first",
        "best": None,
        "rows": [[1, 2], [3.5, None, "x", True]],
        "confusion": np.arange(6).reshape(2, 3),
        "nested": {"labels": np.array(["a", "bc"]), "empty": {}, "none": []},
    }
    mg.save(path, model=Training().model, history=history)
    loaded: dict[str, Any] = {"old": 1, "loss": [7]}
    mg.load(path, history=loaded)
    assert bits(history) == bits(loaded)
    assert [*history] == [*loaded]


def test_numpys_numbers_become_pythons(path: Path) -> None:
    """What `float32` losses put into a dict is kept exactly, as plain numbers.

    Tuples become lists.
    """
    mg.save(
        path,
        model=Training().model,
        history={"loss": [np.float32(0.1), np.int8(3), np.bool_(True)], "pair": (1, 2)},
    )
    loaded: dict[str, Any] = {}
    mg.load(path, history=loaded)
    assert {"loss": [float(np.float32(0.1)), 3, True], "pair": [1, 2]} == loaded
    assert [float, int, bool] == [type(item) for item in loaded["loss"]]


# -- hooks ---------------------------------------------------------------------------------------


class Counts(mg.Hook):
    """A hook of somebody's own with a state."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "array": np.full(2, self.count)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        assert [state["count"]] * 2 == state["array"].tolist()
        self.count = state["count"]


class CountsToo(Counts):
    """The same under another name."""


class Stateless(mg.Hook):
    """A hook without a state."""


def test_hooks_by_class_in_order(path: Path) -> None:
    """Each takes the next state of its class, whatever stands between.

    One that finds none keeps its own.
    """
    model = Training().model
    mg.save(path, model=model, hooks=[Counts(1), CountsToo(2), Stateless(), Counts(3)])
    hooks = [CountsToo(20), Counts(10), Stateless(), Counts(30), Counts(40), CountsToo(50)]
    mg.load(path, hooks=hooks)
    assert [2, 1, 3, 40, 50] == [hook.count for hook in hooks if isinstance(hook, Counts)]
    alone = [Counts(7)]
    mg.load(path, hooks=alone)
    assert 1 == alone[0].count


def test_a_hook_without_a_state_takes_none_away(path: Path) -> None:
    """Two `Checkpoint`s, of which only the second remembers a best figure: it goes on from the
    figure that it knew.
    """

    def fit(epochs: int, resume_from: Path | None = None) -> mg.Checkpoint:
        training = Training()
        best = mg.Checkpoint(path, monitor="loss")
        mg.fit(
            training.model,
            training.loss,
            training.optimizer,
            training.data,
            epochs=epochs,
            hooks=[mg.Checkpoint(path.with_name("other.npz")), best],
            progress=False,
            resume_from=resume_from,
        )
        return best

    assert fit(3).state_dict() == fit(3, path).state_dict()
    assert fit(4).state_dict() == fit(4, path).state_dict()


# -- flags and rates -----------------------------------------------------------------------------


def frozen(training: Training) -> list[str]:
    return [name for name, parameter in training.model.parameters() if not parameter.trainable]


def test_frozen_parameters(path: Path) -> None:
    """They are frozen again, and the others not, where the training goes on.

    A model alone keeps its own flags.
    """
    training = Training()
    training.model[0].freeze()
    mg.save(path, **training.parts)
    loaded = Training(seed=3)
    loaded.model[4].freeze()
    mg.load(path, model=loaded.model)
    assert ["4.weight", "4.bias"] == frozen(loaded)
    mg.load(path, model=loaded.model, data=loaded.data)
    assert ["4.weight", "4.bias"] == frozen(loaded)
    mg.load(path, optimizer=loaded.optimizer)
    assert ["4.weight", "4.bias"] == frozen(loaded)
    mg.load(path, model=loaded.model, optimizer=loaded.optimizer)
    assert ["0.weight", "0.bias"] == frozen(loaded)


def test_the_rate_is_that_of_the_file(path: Path) -> None:
    """Where both are numbers; a schedule stays, and so do the other settings."""
    saved = Training(Plan(lambda model: mg.SGD(model, 0.5, momentum=0.9)))
    mg.save(path, **saved.parts)
    loaded = Training(Plan(lambda model: mg.SGD(model, 0.1, momentum=0.3, weight_decay=0.1)))
    with pytest.warns(
        SettingsChanged, match=r"momentum was 0.9 and is 0.3; weight_decay was 0.0 and is 0.1"
    ):
        mg.load(path, **loaded.parts)
    assert isinstance(loaded.optimizer, mg.SGD)
    assert (0.5, 0.3, 0.1) == (
        loaded.optimizer.lr,
        loaded.optimizer.momentum,
        loaded.optimizer.weight_decay,
    )
    schedule = mg.CosineDecay(0.1, 10)
    scheduled = Training(Plan(lambda model: mg.SGD(model, schedule, momentum=0.9)))
    mg.load(path, **scheduled.parts)
    assert schedule is scheduled.optimizer.lr
    mg.save(path, **scheduled.parts)
    with pytest.warns(SettingsChanged):
        mg.load(path, **loaded.parts)
    assert 0.5 == loaded.optimizer.lr


# -- parts that fit ------------------------------------------------------------------------------


def test_not_strict(path: Path) -> None:
    """A model of which a part has the same names and shapes gets that part, converted to its dtype.

    No error is raised.
    """
    trained = Training().made(3)
    mg.save(path, **trained.parts)
    rng = np.random.default_rng(8)
    other = mg.Sequential(
        mg.Dense(5, 6, rng=rng, dtype=np.float64),
        mg.LayerNorm(6, dtype=np.float64),
        mg.Activation("relu"),
        mg.Dense(6, 6, rng=rng, dtype=np.float64),
        mg.Dense(6, 4, rng=rng, dtype=np.float64),
    )
    before = other.state_dict()
    mg.load(path, model=other, strict=False)
    after, saved = other.state_dict(), trained.model.state_dict()
    for name in ("0.weight", "0.bias", "1.weight", "1.bias"):
        assert saved[name].astype(np.float64).tobytes() == after[name].tobytes()
    for name in ("3.weight", "3.bias", "4.weight", "4.bias"):
        assert before[name].tobytes() == after[name].tobytes()


def test_not_strict_goes_on_where_all_fits(path: Path) -> None:
    """Leniency changes nothing for a model that fits."""
    straight, training = Training(), Training()
    straight.go(2)
    training.go(1)
    mg.save(path, **training.parts)
    resumed = Training(PLAIN, seed=4)
    mg.load(path, **resumed.parts, strict=False)
    resumed.go(2)
    assert "" == first_difference(straight.bits, resumed.bits)


def test_arrays_that_were_held_do_not_change(path: Path) -> None:
    """Loading writes into the model's memory, and into no array that somebody took from it
    before.
    """
    training = Training().made(3)
    mg.save(path, **training.parts)
    held = [
        training.model.state_dict(),
        training.optimizer.state_dict(),
        training.data.state_dict(),
    ]
    held.append({"output": training.model(X), "rows": training.data.indices})
    kept = bits(held)
    training.made(2)
    mg.load(path, **training.parts)
    training.made(1)
    assert kept == bits(held)


def test_no_gradient_outlives_the_values_that_it_belongs_to(path: Path) -> None:
    """What a backward before the load has left is of other values: a step needs a new one."""
    training = Training().made(3)
    mg.save(path, **training.parts)
    training.loss.forward(training.model(X), Y)
    training.model.backward(training.loss.backward())
    mg.load(path, **training.parts)
    before = bits(training.model.state_dict())
    with pytest.raises(MissingGradientError):
        training.optimizer.step()
    assert before == bits(training.model.state_dict())


def test_a_live_view_stays_one(path: Path) -> None:
    """After loading, the flat vector and the named arrays are the same memory as before, and show
    what was loaded.
    """
    training = Training().made(3)
    mg.save(path, **training.parts)
    loaded = Training(seed=2)
    weight = loaded.model[0].state_dict  # by name
    vector, live = mg.ParameterVector.of(loaded.model), next(loaded.model.parameters())[1].value
    mg.load(path, **loaded.parts)
    assert vector is mg.ParameterVector.of(loaded.model)
    assert np.shares_memory(vector.values, live)
    assert (
        weight()["weight"].tobytes()
        == live.tobytes()
        == training.model.state_dict()["0.weight"].tobytes()
    )
    loaded.made(1)
    assert weight()["weight"].tobytes() == live.tobytes()


def test_a_dict_and_a_history_have_the_same_figures(path: Path) -> None:
    """What was saved of one can be loaded into the other."""
    training = Training()
    figures = {"loss": [0.1, 0.2], "val_loss": [0.3, 0.7]}
    mg.save(path, model=training.model, history=dict(figures))
    history = mg.History()
    mg.load(path, history=history)
    assert figures == dict(history)
    mg.save(path, model=training.model, history=history)
    found: dict[str, Any] = {}
    mg.load(path, history=found)
    assert figures == {name: list(column) for name, column in found.items()}


def test_a_state_of_arrays_before_ones_own(path: Path) -> None:
    """Hooks of one class that monitor different figures each find theirs, whatever lies in the
    states before.
    """

    class Watching(mg.Hook):
        def __init__(self, monitor: str) -> None:
            self.monitor = monitor
            self.seen = np.zeros(3)

        def state_dict(self) -> dict[str, Any]:
            return {"seen": self.seen, "monitor": self.monitor}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            self.seen = state["seen"]

    first, second = Watching("loss"), Watching("accuracy")
    first.seen, second.seen = np.arange(3.0), np.arange(3.0) + 5
    mg.save(path, model=Training().model, hooks=[first, second])
    found = Watching("accuracy")
    mg.load(path, hooks=[found])
    assert [5.0, 6.0, 7.0] == found.seen.tolist()
