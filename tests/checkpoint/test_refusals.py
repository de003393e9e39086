"""A checkpoint of something else: one error that lists every difference, and everything is as
before, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from checkpoint_support import BATCH, Plan, Signs, Training, X, Y, genuine, refused

import minigrad as mg
from minigrad.activations import ActivationFunction
from minigrad.errors import ModelError

Layers = Callable[[], list[mg.Layer]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A checkpoint of a training after three steps."""
    (tmp_path / "x.npz").write_bytes(genuine())
    return tmp_path / "x.npz"


# -- another architecture ------------------------------------------------------------------------


def plain() -> list[mg.Layer]:
    """The layers that were saved."""
    return [
        mg.Dense(5, 6, rng=1),
        mg.BatchNorm(6),
        mg.Activation("tanh"),
        mg.Dropout(0.3, rng=1),
        mg.Dense(6, 3, rng=1),
    ]


def put(place: int, *layers: mg.Layer) -> list[mg.Layer]:
    """The same with other layers at one place."""
    return [*plain()[:place], *layers, *plain()[place + 1 :]]


ARCHITECTURES: dict[str, tuple[Layers, list[str]]] = {
    "another activation": (
        lambda: put(2, mg.Activation("relu")),
        ["layer '2' is Activation('tanh') in the file and Activation('relu') in the model"],
    ),
    "another rate": (
        lambda: put(3, mg.Dropout(0.5, rng=1)),
        ["layer '3' is Dropout(0.3) in the file and Dropout(0.5) in the model"],
    ),
    "dropout instead of an activation": (
        lambda: put(2, mg.Dropout(0.3, rng=1)),
        ["layer '2' is Activation('tanh') in the file and Dropout(0.3) in the model"],
    ),
    "LayerNorm": (
        lambda: put(1, mg.LayerNorm(6)),
        [
            "'1.running_mean' is not in the model",
            "'1.running_var' is not in the model",
            "layer '1' is BatchNorm in the file and LayerNorm in the model",
        ],
    ),
    "no bias": (
        lambda: put(0, mg.Dense(5, 6, bias=False, rng=1)),
        ["'0.bias' is not in the model"],
    ),
    "wider": (
        lambda: [mg.Dense(5, 7, rng=1), mg.BatchNorm(7), *plain()[2:4], mg.Dense(7, 3, rng=1)],
        [
            "'0.weight' has shape (5, 6) in the file and (5, 7) in the model",
            "'0.bias' has shape (6,) in the file and (7,) in the model",
            "'1.weight' has shape (6,) in the file and (7,) in the model",
            "'1.bias' has shape (6,) in the file and (7,) in the model",
            "'4.weight' has shape (6, 3) in the file and (7, 3) in the model",
            "'1.running_mean' has shape (6,) in the file and (7,) in the model",
            "'1.running_var' has shape (6,) in the file and (7,) in the model",
        ],
    ),
    "a layer more at the end": (
        lambda: [*plain(), mg.Dense(3, 3, rng=1)],
        ["'5.weight' is missing in the file", "'5.bias' is missing in the file"],
    ),
    "an activation more at the end": (
        lambda: [*plain(), mg.Activation("tanh")],
        ["layer '5' is missing in the file and Activation('tanh') in the model"],
    ),
    "dropout and an activation more": (
        lambda: [*plain(), mg.Dropout(0.1, rng=1), mg.Activation("relu")],
        [
            "layer '5' is missing in the file and Dropout(0.1) in the model",
            "layer '6' is missing in the file and Activation('relu') in the model",
        ],
    ),
    "a last layer less": (
        lambda: plain()[:4],
        ["'4.weight' is not in the model", "'4.bias' is not in the model"],
    ),
}


@sparse(pytest.mark.parametrize("name", ARCHITECTURES), every=2)
def test_another_architecture(name: str, path: Path) -> None:
    """Every difference is listed, in the order of the model, and no other one; nothing at all is
    changed.

    Dropout and data have different generators here, which is one difference more where a training
    is to go on.
    """
    layers, differences = ARCHITECTURES[name]
    training = Training(Plan(plateau=True), seed=7)
    training.model = mg.Sequential(*layers())
    training.optimizer = mg.Adam(training.model)
    training.hooks = [mg.ReduceOnPlateau(training.optimizer)]
    training.hooks[0].on_epoch(mg.Epoch(0, {"val_loss": 3.0}))
    training.data = mg.Batches(X, Y, BATCH, rng=3)
    next(iter(training.data))
    training.history["loss"] = [1.0]
    told = refused(path, training).partition("nothing was changed: ")[2].split("; ")
    sharing = ["model 3.rng and data shared one generator: give them the same one again"]
    drops = isinstance(layers()[3], mg.Dropout)
    assert [*differences, *(sharing if drops else [])] == told
    alone = refused(path, training, optimizer=None, data=None, history=None, hooks=[])
    assert f"{path}' does not fit, and nothing was changed: {'; '.join(differences)}" in alone


def test_a_model_that_has_less_at_its_end(tmp_path: Path) -> None:
    """An activation that was saved, and that the model does not have, is a difference, though no
    parameter says so.
    """
    mg.save(
        tmp_path / "x",
        model=mg.Sequential(mg.Dense(2, 2, rng=0), mg.Activation("tanh"), mg.Flatten()),
    )
    with pytest.raises(ModelError) as caught:
        mg.load(tmp_path / "x", model=mg.Sequential(mg.Dense(2, 2, rng=0)))
    assert "layer '1' is Activation('tanh') in the file and missing in the model" in str(
        caught.value
    )
    assert "layer '2' is Flatten() in the file and missing in the model" in str(caught.value)


def test_another_dtype(path: Path) -> None:
    """A model of another dtype would not go on with the same bits."""
    told = refused(path, Training(Plan(dtype=np.float64), seed=7))
    assert [
        f"'{name}' is float32 in the file and float64 in the model"
        for name in Training().model.state_dict()
    ] == told.partition("changed: ")[2].split("; ")


def test_the_same_layers_nested(path: Path) -> None:
    """The names are others, so everything is missing on both sides."""
    nested = mg.Sequential(mg.Sequential(*plain()))
    with pytest.raises(ModelError) as caught:
        mg.load(path, model=nested)
    for name in Training().model.state_dict():
        assert f"'{name}' is not in the model" in str(caught.value)
        assert f"'0.{name}' is missing in the file" in str(caught.value)


class Around(mg.Layer):
    """A layer around others: what they make of its input, and with `Skip` the input as well."""

    def __init__(self, *layers: mg.Layer) -> None:
        self.inner = mg.Sequential(*layers)

    def forward(self, x: Any) -> Any:
        return self.inner(x)

    def backward(self, grad: Any) -> Any:
        return self.inner.backward(grad)


class Skip(Around):
    def forward(self, x: Any) -> Any:
        return x + self.inner(x)

    def backward(self, grad: Any) -> Any:
        return grad + self.inner.backward(grad)


def test_another_layer_around_the_same(tmp_path: Path) -> None:
    """A residual block is no plain one, though all names and shapes are the same."""
    mg.save(tmp_path / "x", model=mg.Sequential(Skip(mg.Dense(2, 2, rng=0)), mg.Dense(2, 1, rng=0)))
    mg.load(tmp_path / "x", model=mg.Sequential(Skip(mg.Dense(2, 2, rng=1)), mg.Dense(2, 1, rng=0)))
    with pytest.raises(ModelError, match=r"layer '0' is Skip in the file and Around in the model$"):
        mg.load(
            tmp_path / "x",
            model=mg.Sequential(Around(mg.Dense(2, 2, rng=1)), mg.Dense(2, 1, rng=0)),
        )


class Times(mg.Layer):
    """A layer without parameters whose repr tells the address of a function."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)

    def backward(self, grad: Any) -> Any:
        return self.function(grad)

    def __repr__(self) -> str:
        return f"Times({self.function})"


def test_functions_of_somebodys_own(tmp_path: Path) -> None:
    """They lie elsewhere in each process, which is no difference; another name is one."""

    def build(name: str) -> mg.Sequential:
        own = ActivationFunction(name, lambda x: 2 * x, lambda grad, x, y: 2 * grad)
        return mg.Sequential(mg.Dense(2, 2, rng=0), mg.Activation(own), Times(lambda x: 3 * x))

    first, second = build("double"), build("double")
    assert repr(first[2]) != repr(second[2])
    mg.save(tmp_path / "x", model=first)
    mg.save(tmp_path / "y", model=second)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()
    mg.load(tmp_path / "x", model=second)
    told = (
        "layer '1' is Activation(ActivationFunction('double', ...)) in the file and "
        "Activation(ActivationFunction('twice'"
    )
    with pytest.raises(ModelError) as caught:
        mg.load(tmp_path / "x", model=build("twice"))
    assert told in str(caught.value)


# -- another optimizer, other data ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda model: mg.SGD(model, 0.1),
            "state of Adam with first_moment, second_moment, expected that of SGD",
        ),
        (lambda model: mg.AdamW(model), "expected that of AdamW"),
        (lambda model: Signs(model, 0.1), "expected that of Signs with mean"),
        (
            lambda model: mg.Adam(model, amsgrad=True),
            "with first_moment, largest_second_moment, second_moment",
        ),
        (
            lambda model: mg.Adam(model[0]),
            "'first_moment' is of other parameters; the difference is 0.bias, 0.weight, 1.b",
        ),
        (lambda model: mg.Adam(model[3:]), "'first_moment' is of other parameters"),
    ],
)
def test_another_optimizer(make: Callable[[Any], mg.Optimizer], told: str, path: Path) -> None:
    """One of another class, with other states, or of another part of the model."""
    training = Training(Plan(make), seed=7).made(2)
    message = refused(path, training)
    assert "does not fit, and nothing was changed: its optimizer: " in message
    assert told in message


def test_other_data(path: Path) -> None:
    """Another number of samples; the error names both."""
    training = Training(Plan(), seed=7).made(2)
    training.data = mg.Batches(X[:20], Y[:20], BATCH, rng=training.data.rng)
    assert "its data: the state is of 22 samples, but there are 20" in refused(path, training)


def test_another_history(path: Path) -> None:
    """A dict of lists of different lengths is no `History`."""
    training = Training(seed=7)
    history = mg.History({"loss": [1.0]})
    history.stopped = "Ctrl-C"
    message = refused(path, training, history=history)
    assert "its history: the figures of a History must be of one length" in message
    assert ([1.0], "Ctrl-C") == (history["loss"], history.stopped)


@pytest.mark.parametrize(
    "kinds",
    [("PCG64", "MT19937"), slow(("MT19937", "PCG64")), ("Philox", "SFC64"), ("PCG64", "PCG64DXSM")],
)
def test_another_kind_of_generator(kinds: tuple[str, str], tmp_path: Path) -> None:
    """A generator of another kind cannot go on; the error names both kinds."""
    mg.save(tmp_path / "x", **Training(Plan(kind=kinds[0])).made(2).parts)
    training = Training(Plan(kind=kinds[1]), seed=7).made(1)
    message = refused(tmp_path / "x", training)
    assert (
        f"is a {kinds[1]}, and this is a state of {kinds[0]}; use a generator of the same kind"
        in message
    )
