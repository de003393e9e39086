"""`check_gradients` says what rounds to float32, and accuses nobody who does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from check_gradients_support import Plain, Squares, X

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientError
from minigrad.testing import check_gradients


class Rounding(mg.Layer):
    """Two layers in one, right but for a dtype in between."""

    def __init__(self, where: str, dtype: Any, sign: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        self.w, self.v = (
            mg.Parameter(rng.normal(size=(3, 4))),
            mg.Parameter(rng.normal(size=(4, 3))),
        )
        self.where, self.dtype, self.sign = where, dtype, sign

    def _rounded(self, what: str, array: Array) -> Array:
        return array.astype(self.dtype).astype(np.float64) if what == self.where else array

    def forward(self, x: Array) -> Array:
        self.x = self._rounded("input", x)
        z = self._rounded("inside", self.x @ self._rounded("weight", self.w.value))
        self.h = np.tanh(z)
        if self.where == "buffer":
            buffer = np.zeros(self.h.shape, self.dtype)
            buffer[...] = self.h
            self.h = buffer
        y = self.h @ self.v.value
        y = self._rounded("output", y)
        if self.where == "dtype of the output":
            return np.asarray(y.astype(self.dtype))
        return np.asarray(self._rounded("branch", y) + x if self.where == "branch" else y)

    def backward(self, grad: Array) -> Array:
        self.v.grad = self.h.T @ grad
        inner = (grad @ self.v.value.T) * (1 - self.h.astype(np.float64) ** 2)
        self.w.grad = self.sign * (self.x.T @ inner)
        return np.asarray(inner @ self.w.value.T + (grad if self.where == "branch" else 0))


def told_of(layer: mg.Layer, x: Array) -> str:
    """What the check says; empty if it passes."""
    try:
        check_gradients(layer, x)
    except GradientError as error:
        return str(error)
    return ""


@sparse(
    pytest.mark.parametrize(
        "where", ["input", "weight", "inside", "buffer", "output", "dtype of the output", "branch"]
    ),
    pytest.mark.parametrize("dtype", [np.float32, np.float16]),
    every=14,
)
def test_a_forward_that_rounds(where: str, dtype: Any) -> None:
    """It is told that it rounds, to what precision and what to do, or it passes.

    Its backward is never called wrong.
    """
    check_gradients(Rounding("nowhere", dtype), X)
    for layer in (
        Rounding(where, dtype),
        mg.Sequential(Rounding(where, dtype), mg.Activation("tanh")),
    ):
        assert told_of(layer, X) == "" or "forward rounds" in told_of(layer, X)
        told = told_of(layer, 10 * X)
        assert "forward rounds" in told
        assert f"the precision of {np.dtype(dtype)}" in told
        assert "compute in the dtype of the input" in told
        assert "is wrong" not in told
    with pytest.raises(GradientError):
        check_gradients(Rounding(where, dtype, sign=-1.0), X)


def test_a_large_input_that_rounding_makes_a_plateau() -> None:
    """Where float32 hides every difference, a gradient of 0 is not taken for right."""
    layer = Plain(lambda x: x.astype(np.float32), lambda grad, x: 0 * grad)
    with pytest.raises(GradientError, match=r"forward rounds: .* the precision of float32"):
        check_gradients(layer, 1e4 * np.abs(X) + 1e4)
    check_gradients(
        Plain(lambda x: np.floor(x), lambda grad, x: 0 * grad), 1e4 * X
    )  # a plateau in truth


@pytest.mark.slow
@sparse(
    pytest.mark.parametrize(("seed", "width", "rows"), [(0, 50, 10), (14, 50, 1), (39, 16, 1)]),
    every=3,
)
def test_many_kinks_are_no_rounding(seed: int, width: int, rows: int) -> None:
    """In a deep network there is a kink wherever one moves.

    A wrong sign in it is called wrong all the same.
    """
    rng = np.random.default_rng(seed)
    layers = [
        layer
        for _ in range(3)
        for layer in (mg.Dense(width, width, rng=rng), mg.Activation("relu"))
    ]
    negative = mg.Activation(
        mg.ActivationFunction("negative", lambda x: -x, lambda grad, x, y: grad.copy())
    )
    wrong = mg.Sequential(*layers, negative, mg.Dense(width, 3, rng=rng))
    x = rng.normal(size=(rows, width))
    check_gradients(mg.Sequential(*layers), x)
    with pytest.raises(GradientError, match="is wrong"):
        check_gradients(wrong, x)


@pytest.mark.slow
@sparse(pytest.mark.parametrize("seed", range(3)), every=3)
def test_the_rounding_of_float64_is_nobodys_fault(seed: int) -> None:
    """Columns that are all the same but for rounding, and a small difference of large numbers, are
    no reason to fail.
    """
    x = np.random.default_rng(seed).normal(size=(2, 4))
    layers = [
        mg.Dense(4, 4, dtype=np.float64, rng=1),
        mg.BatchNorm(4, dtype=np.float64),
        mg.Activation("gelu"),
    ]
    for values in (1e4 + x, np.ones((30, 4)), np.full((3, 4), 0.1)):
        check_gradients(mg.Sequential(*layers, mg.LayerNorm(4, dtype=np.float64)), values, rng=seed)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_loss_that_rounds(dtype: Any) -> None:
    """As a layer is."""

    class Narrow(Squares):
        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            super().forward(logits, targets)
            return float((self.error.astype(dtype) ** 2).mean())

    with pytest.raises(
        GradientError, match="the gradient of the logits cannot be checked, as forward rounds"
    ):
        check_gradients(Narrow(), X, np.zeros_like(X))


def test_a_backward_that_rounds() -> None:
    """To float32 is as exact as need be; to float16 is not, and is told so."""
    check_gradients(
        Plain(np.tanh, lambda grad, x: (grad * (1 - np.tanh(x) ** 2)).astype(np.float32)), X
    )
    with pytest.raises(
        GradientError, match="it is right but for rounding: backward rounds to float16"
    ):
        check_gradients(
            Plain(np.tanh, lambda grad, x: (grad * (1 - np.tanh(x) ** 2)).astype(np.float16)), X
        )


def test_constants_in_float32_are_no_rounding() -> None:
    """A mask or a table in float32 loses nothing; lookups and steps are no rounding either."""
    table = np.random.default_rng(0).normal(size=3).astype(np.float32)
    check_gradients(Plain(lambda x: x * table, lambda grad, x: grad * table), X)
    check_gradients(Plain(lambda x: table[np.abs(x).astype(int) % 3], lambda grad, x: 0 * grad), X)
    check_gradients(Plain(lambda x: (x > 0).astype(np.float32), lambda grad, x: 0 * grad), X)
