"""Explanations of gradients: how a weight may lie, and what is refused as not true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from recount_support import forward_and_back

import minigrad as mg
from minigrad.arrays import Array
from minigrad.reason import Reason


class Lying(mg.Layer):
    """A linear layer whose weight lies in some way, and which says how, or leaves it open."""

    def __init__(
        self, n_in: int, n_out: int, turned: bool, layout: Any = None, image: bool = False
    ) -> None:
        value = np.random.default_rng(0).normal(size=(n_in, n_out))
        if image:
            value = value.T.reshape(n_out, n_in // 4, 2, 2)
        self.weight = mg.Parameter(value.T if turned and not image else value)
        self.turned, self.layout = turned, layout

    def table(self, array: Array, n_out: int) -> Array:
        return array.reshape(n_out, -1).T if self.turned else array

    def forward(self, x: Array) -> Array:
        self.x = x
        self.n_out = self.weight.shape[0] if self.turned else self.weight.shape[1]
        found: Array = x @ self.table(self.weight.value, self.n_out)
        return found

    def backward(self, grad: Array) -> Array:
        self.units = grad
        made = self.x.T @ grad
        self.weight.grad = made.T.reshape(self.weight.shape) if self.turned else made
        below: Array = grad @ self.table(self.weight.value, self.n_out).T
        return below

    def explain(self) -> Mapping[str, mg.Factors]:
        return {"weight": mg.Factors(self.x, self.units, self.layout)}


@sparse(
    pytest.mark.parametrize(
        ("n_in", "n_out", "turned", "image"),
        [
            (5, 3, False, False),
            (5, 3, True, False),
            (4, 4, False, False),
            (4, 4, True, False),
            (8, 3, True, True),
            (4, 4, True, True),
        ],
    ),
    pytest.mark.parametrize("told", [True, False]),
)
def test_how_a_weight_lies(n_in: int, n_out: int, turned: bool, image: bool, told: bool) -> None:
    """Said or not, also where it is square: the dark input and the silent unit are those of the
    weight.
    """
    layer = Lying(n_in, n_out, turned, ("out_in" if turned else "in_out") if told else None, image)
    model = mg.Sequential(layer)
    optimizer, rng = mg.SGD(model, 0.1), np.random.default_rng(1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(3):
            x, grad = rng.normal(size=(6, n_in)), rng.normal(size=(6, n_out))
            x[:, 1], grad[:, 2] = 0, 0
            forward_and_back(model, x, grad)
            optimizer.step()
    expected = np.full((n_in, n_out), Reason.MOVED, object)
    expected[:, 2] = Reason.UNIT_SILENT
    expected[1] = Reason.INPUT_ZERO
    laid = expected.T.reshape(layer.weight.shape) if turned else expected
    why = recorder.run["0.weight"].why
    assert laid.tolist() == why.reasons.tolist()
    place = (2, 0) if turned else (0, 2)
    if not image:
        assert "unit 2" in why.at(*place)
        assert "input 1" in why.at(*place[::-1]) or turned or "input 1" in why.at(1, 0)


def test_an_explanation_that_does_not_fit() -> None:
    """Factors of other shapes, or told to lie as they do not, are not read.

    And the report says so.
    """

    class Wrong(Lying):
        def explain(self) -> Mapping[str, mg.Factors]:
            return {"weight": FACTORS[0](self.x, self.units)}

    wrongs: list[Callable[[Array, Array], mg.Factors]] = [
        lambda x, units: mg.Factors(x[:, :2], units),
        lambda x, units: mg.Factors(x[:2], units),
        lambda x, units: mg.Factors(x, units, "out_in"),
        lambda x, units: mg.Factors(None, units),
        lambda x, units: mg.Factors(x[0], units[0]),
    ]
    for wrong in wrongs:
        FACTORS[:] = [wrong]
        model = mg.Sequential(Wrong(5, 3, False))
        optimizer, rng = mg.SGD(model, 0.1), np.random.default_rng(1)
        with mg.Recorder(optimizer, coactivation=True) as recorder:
            for _ in range(2):
                x = rng.normal(size=(6, 5))
                x[:, 1] = 0
                forward_and_back(model, x, rng.normal(size=(6, 3)))
                optimizer.step()
        assert {Reason.GRADIENT_ZERO: 3, Reason.MOVED: 12} == recorder.run["0.weight"].why.counts
        assert "does not fit" in " ".join(recorder.run.report().split())


FACTORS: list[Callable[[Array, Array], mg.Factors]] = []


def test_an_explanation_that_is_not_true() -> None:
    """Where a gradient contradicts what a layer says, nothing of that is believed."""

    class Lies(Lying):
        def explain(self) -> Mapping[str, mg.Factors]:
            return {"weight": mg.Factors(self.x * 0, self.units, "in_out")}

    model = mg.Sequential(Lies(5, 3, False))
    optimizer, rng = mg.SGD(model, 0.1), np.random.default_rng(1)
    with mg.Recorder(optimizer) as recorder:
        x = rng.normal(size=(6, 5))
        x[:, 1] = 0
        forward_and_back(model, x, rng.normal(size=(6, 3)))
        optimizer.step()
    assert {Reason.GRADIENT_ZERO: 3, Reason.MOVED: 12} == recorder.run["0.weight"].why.counts
