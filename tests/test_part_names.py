"""What parts of a model may be called: anything that files can hold, and that is there once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import ModelError
from minigrad.parameters.names import LONGEST_NAME


def dense(seed: int = 0) -> mg.Dense:
    return mg.Dense(2, 2, rng=seed)


class Holder(mg.Layer):
    """Holds parameters and layers under any names.

    Args:
        parts: The parts by the attribute's name.
    """

    def __init__(self, **parts: object) -> None:
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad: Array) -> Array:
        return grad


ODD = [
    " ", "=1+1", "größer", "重み", "🙂", "a/b", "../../etc", "a\\b", "a\x1b[31m\n", "\u202e", "a.b",
    "%s{0}", "con", "'", '"', "<b>", "n" * (LONGEST_NAME - len(".weight")),
]  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_names(name: str, tmp_path: Path) -> None:
    """Files hold any name: a checkpoint and a record come back under it."""

    def build(seed: int) -> mg.Sequential:
        return mg.Sequential(**{name: dense(seed), "last": dense(seed + 1)})

    model, loss = build(0), mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    with mg.Recorder(optimizer, loss=loss, path=tmp_path / "run"):
        loss.forward(model(np.ones((3, 2))), np.array([0, 1, 1]))
        model.backward(loss.backward())
        optimizer.step()
    mg.save(tmp_path / "model.npz", model=model, optimizer=optimizer)
    other = build(7)
    mg.load(tmp_path / "model.npz", model=other, optimizer=mg.SGD(other, 0.1, momentum=0.9))
    run = mg.Run.open(tmp_path / "run")
    assert f"{name}.weight" == run.names[0]
    for key, parameter in model.parameters():
        np.testing.assert_array_equal(parameter.value, dict(other.parameters())[key].value)
        np.testing.assert_array_equal(parameter.value, run[key].final)
    assert run.verify()


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "NUL": (lambda: mg.Sequential(**{"a\0b": dense()}), r"'a\x00b'"),
    "NUL in a layer without parameters": (
        lambda: mg.Sequential(**{"a": dense(), "b\0": mg.Activation("relu")}),
        r"'b\x00'",
    ),
    "NUL in an attribute": (lambda: Holder(**{"a\0": mg.Parameter(np.ones(2))}), r"'a\x00'"),
    "NUL in a key": (lambda: Holder(inner={"a\0": dense()}), r"'inner.a\x00'"),
    "a lone surrogate": (lambda: mg.Sequential(**{"a\ud800": dense()}), r"'a\ud800'"),
    "too long": (lambda: mg.Sequential(**{"n" * 70_000: dense()}), "70,000 characters"),
    "just too long": (
        lambda: mg.Sequential(**{"n" * (LONGEST_NAME - 6): dense()}),
        "10,001 characters",
    ),
    "too long together": (
        lambda: mg.Sequential(**{"n" * 6_000: mg.Sequential(**{"m" * 6_000: dense()})}),
        "12,001 characters",
    ),
    "twice by a dot": (
        lambda: mg.Sequential(**{"a.b": dense(0), "a": mg.Sequential(b=dense(1))}),
        "two parts of the model are named 'a.b'",
    ),
    "twice by a number": (
        lambda: Holder(inner={0: dense(0), "0": dense(1)}),
        "two parts of the model are named 'inner.0'",
    ),
    "no name": (lambda: mg.Sequential(**{"": dense()}), "named ''"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_names_that_no_file_can_hold(case: str) -> None:
    """They are refused when the model is made, in one line that says what to do."""
    make, says = REFUSED[case]
    with pytest.raises(ModelError) as caught:
        make()
    assert says in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_refused_model_leaves_its_layers_where_they_are() -> None:
    """The layers can go on in the model that they belong to, with its optimizer."""
    model, loss = mg.Sequential(dense(0), dense(1)), mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, 0.1)
    with pytest.raises(ModelError):
        mg.Sequential(**{"a": model, "b\0": mg.Activation("relu")})
    loss.forward(model(np.ones((3, 2))), np.array([0, 1, 1]))
    model.backward(loss.backward())
    optimizer.step()
    assert ["0.weight", "0.bias", "1.weight", "1.bias"] == [n for n, _ in model.parameters()]


def test_parameters_that_come_later() -> None:
    """What a layer gets after it was made is looked at when a vector takes it over."""
    layer: Any = Holder(first=mg.Parameter(np.ones(2)))
    setattr(layer, "a\0", mg.Parameter(np.ones(2)))
    with pytest.raises(ModelError, match=r"a\\x00"):
        mg.SGD(layer, 0.1)


@pytest.mark.parametrize("name", ["a\0b", "n" * 70_000, "\ud800", "a\x1b\n", "meta", "重" * 30_000])
def test_other_names_in_a_checkpoint(name: str, tmp_path: Path) -> None:
    """A figure may be called anything, and comes back from a checkpoint under the same name."""
    model, figures = mg.Sequential(dense()), {name: [1.0, 2.0], "loss": [3.0, 4.0]}
    mg.save(tmp_path / "a.npz", model=model, history=mg.History(figures))
    history = mg.History()
    mg.load(tmp_path / "a.npz", model=model, history=history)
    assert figures == dict(history)
