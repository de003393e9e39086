"""A state that does not fit says every difference, and is refused whole."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from message_support import fails, small, snapshot

import minigrad as mg
from minigrad.errors import KindError, MinigradError, ModelError, ShapeError

STATES: dict[str, tuple[Callable[[dict[str, Any]], object], type[MinigradError], list[str]]] = {
    "missing": (lambda state: state.pop("0.bias"), ModelError, ["'0.bias' is missing"]),
    "unknown": (lambda state: state.update(other=1), ModelError, ["'other' is unknown"]),
    "shape": (
        lambda state: state.update({"2.bias": np.ones(4)}),
        ModelError,
        ["'2.bias'", "(4,)", "(3,)"],
    ),
    "several": (
        lambda state: (state.pop("0.bias"), state.update({"2.bias": 1.0})),
        ModelError,
        ["'0.bias' is missing", "'2.bias' has shape ()"],
    ),
    "text": (
        lambda state: state.update({"2.bias": ["a", "b", "c"]}),
        KindError,
        ["'2.bias'", "text"],
    ),
}


@pytest.mark.parametrize(("change", "error", "contents"), STATES.values(), ids=STATES.keys())
def test_a_state_that_does_not_fit(
    change: Callable[[dict[str, Any]], object], error: type[MinigradError], contents: list[str]
) -> None:
    """Every difference is listed, and the model is unchanged."""
    model = small()
    before, state = snapshot(model), {name: array + 1 for name, array in model.state_dict().items()}
    change(state)
    fails(
        lambda: model.load_state_dict(state),
        error,
        TypeError if error is KindError else ValueError,
        *contents,
    )
    assert before == snapshot(model)


BUFFERS: dict[str, tuple[object, type[MinigradError], list[str]]] = {
    "shape": (np.ones(5), ModelError, ["'1.running_var' has shape (5,), expected (4,)"]),
    "a number": (1.0, ModelError, ["'1.running_var' has shape ()"]),
    "text": (["a", "b", "c", "d"], KindError, ["'1.running_var'", "text"]),
    "complex": (np.ones(4, complex), KindError, ["'1.running_var'", "complex128"]),
}


@pytest.mark.parametrize(("array", "error", "contents"), BUFFERS.values(), ids=BUFFERS.keys())
def test_running_statistics_that_do_not_fit(
    array: object, error: type[MinigradError], contents: list[str]
) -> None:
    """State that is not learnt is checked as parameters are, before anything is written."""
    model = mg.Sequential(mg.Dense(6, 4, rng=0), mg.BatchNorm(4))
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    state: dict[str, Any] = {name: array + 1 for name, array in model.state_dict().items()}
    state["1.running_var"] = array
    fails(
        lambda: model.load_state_dict(state),
        error,
        TypeError if error is KindError else ValueError,
        *contents,
    )
    assert before == {name: array.tobytes() for name, array in model.state_dict().items()}


def test_an_optimizer_state_that_does_not_fit() -> None:
    """The state of other parameters, or of another shape, is refused whole."""
    model, other = small(), mg.Sequential(mg.Dense(6, 4, rng=0))
    optimizer, theirs = mg.SGD(model, lr=0.1, momentum=0.9), mg.SGD(other, lr=0.1, momentum=0.9)
    for net, sgd in ((model, optimizer), (other, theirs)):
        net.backward(net(np.ones((2, 6))))
        sgd.step()
    before = optimizer.state_dict()
    fails(
        lambda: optimizer.load_state_dict(theirs.state_dict()),
        ModelError,
        ValueError,
        "'velocity'",
        "2.weight",
    )
    fails(
        lambda: optimizer.load_state_dict({}),
        ModelError,
        ValueError,
        "no state of an optimizer",
        "step_count",
    )
    wrong = copy.deepcopy(before)
    wrong["state"]["velocity"]["2.bias"] = np.ones(4)
    fails(
        lambda: optimizer.load_state_dict(wrong | {"step_count": 9}),
        ShapeError,
        ValueError,
        "2.bias",
        "(4,)",
        "(3,)",
    )
    assert 1 == optimizer.step_count
    for name, array in optimizer.state_dict()["state"]["velocity"].items():
        assert np.array_equal(before["state"]["velocity"][name], array)
