"""`check_gradients` tells passes that depend on each other from wrong ones, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from check_gradients_support import Affine, Plain, Squares, X
from layer_support import Residual

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientError
from minigrad.testing import check_gradients

# -- backward_parameters -------------------------------------------------------------------------


class Shortcut(Affine):
    """A `backward_parameters` that a test may spoil."""

    def __init__(self, spoil: str = "") -> None:
        super().__init__()
        self.spoil, self.sums = spoil, np.zeros((3, 3))

    def backward_parameters(self, grad: Array) -> None:
        weight = self.x.T @ grad
        self.sums = self.sums + weight
        spoilt: dict[str, Callable[[], Array]] = {
            "sign": lambda: -weight,
            "transposed": lambda: weight.T,
            "mean": lambda: weight / len(grad),
            "piles up": lambda: self.weight.grad + weight,
            "piles up by itself": lambda: self.sums,
        }
        if self.spoil == "changes the gradient":
            grad *= 2
        if self.spoil != "no weight":
            self.weight.grad = spoilt.get(self.spoil, lambda: weight)()
        if self.spoil != "no bias":
            self.bias.grad = grad.sum(axis=0)


AROUND: dict[str, Callable[[mg.Layer], mg.Layer]] = {
    "alone": lambda layer: layer,
    "first in a model": lambda layer: mg.Sequential(layer, mg.Activation("tanh")),
    "later in a model": lambda layer: mg.Sequential(mg.Dense(3, 3, dtype=np.float64, rng=0), layer),
    "in a composite": lambda layer: Residual(mg.Activation("tanh"), layer),
}


@sparse(
    pytest.mark.parametrize(
        ("spoil", "told"),
        [
            (
                "sign",
                (
                    "backward_parameters leaves another gradient of 'weight' than backward.*"
                    "the sign is wrong everywhere"
                ),
            ),
            (
                "transposed",
                "backward_parameters leaves another gradient of 'weight' than backward: at",
            ),
            ("mean", "backward_parameters leaves another gradient of 'weight'"),
            ("piles up", "backward_parameters: the gradient of 'weight' piles up"),
            ("piles up by itself", "backward_parameters leaves another gradient of 'weight'"),
            ("no weight", "backward_parameters assigns no gradient to 'weight'"),
            ("no bias", "backward_parameters assigns no gradient to 'bias'"),
            ("changes the gradient", "backward_parameters changes the gradient that it is given"),
        ],
    ),
    pytest.mark.parametrize("around", AROUND.values(), ids=AROUND.keys()),
    every=2,
)
def test_a_wrong_backward_parameters(
    spoil: str, told: str, around: Callable[[mg.Layer], mg.Layer]
) -> None:
    """It is found wherever the layer stands, though `backward` is right.

    The message names the method and the parameter.
    """
    check_gradients(around(Shortcut()), X)
    with pytest.raises(GradientError, match=told):
        check_gradients(around(Shortcut(spoil)), X)


def test_backward_parameters_and_backward_may_call_each_other() -> None:
    """Sharing the work between them is as right as writing it twice.

    So is a layer that a composite never calls.
    """

    class Shared(Affine):
        def backward_parameters(self, grad: Array) -> None:
            super().backward(grad)

        def backward(self, grad: Array) -> Array:
            self.backward_parameters(grad)
            return np.asarray(grad @ self.weight.value.T)

    class Idle(mg.Layer):
        def __init__(self) -> None:
            self.used, self.unused = mg.Activation("tanh"), Plain(np.tanh, lambda grad, x: grad)

        def forward(self, x: Array) -> Array:
            return self.used.forward(x)

        def backward(self, grad: Array) -> Array:
            return self.used.backward(grad)

    check_gradients(Shared(), X)
    check_gradients(Idle(), X)


# -- passes that must not depend on each other ---------------------------------------------------


class Repeated(Affine):
    """Keeps something of the passes before."""

    def __init__(self, spoil: str) -> None:
        super().__init__()
        self.spoil = spoil
        self.inputs: list[Array] = []
        self.sums: list[Array] = []
        self.below, self.kept = np.zeros((5, 3)), np.zeros((3, 3))

    def forward(self, x: Array) -> Array:
        self.inputs.append(x.copy())
        return super().forward(x)

    def backward(self, grad: Array) -> Array:
        below = super().backward(grad)
        assert below is not None
        weight = self.x.T @ grad
        self.sums.append(weight)
        if self.spoil == "a sum of its own":
            self.kept = self.weight.grad = self.kept + weight
        elif self.spoil == "a list of its own":
            self.weight.grad = np.sum(self.sums, axis=0)
        elif self.spoil == "a list of inputs":
            self.weight.grad = np.sum([x.T @ grad for x in self.inputs], axis=0)
        elif self.spoil == "of the input":
            self.below = self.below + below
            return self.below
        elif self.spoil == "an average":
            self.kept = self.weight.grad = 0.5 * self.kept + 0.5 * weight
        elif self.spoil == "random":
            return below * np.random.default_rng().normal()
        return below


class Adding(Affine):
    """The usual line of those who come from a framework that accumulates."""

    def backward(self, grad: Array) -> Array | None:
        before = self.weight.grad.copy()
        below = super().backward(grad)
        self.weight.grad = before + self.x.T @ grad
        return below


@pytest.mark.parametrize(
    ("layer", "told"),
    [
        (Adding(), "the gradient of 'weight' piles up"),
        (
            mg.Sequential(mg.Dense(3, 3, dtype=np.float64, rng=0), Adding()),
            "the gradient of '1.weight' piles up",
        ),
        (Repeated("a sum of its own"), "the gradient of 'weight' piles up"),
        (Repeated("a list of its own"), "the gradient of 'weight' piles up"),
        (Repeated("a list of inputs"), "the gradient of 'weight' piles up"),
        (Repeated("of the input"), "the gradient of the input piles up"),
        (Repeated("an average"), "the gradient of 'weight' is another one the second time"),
        (Repeated("random"), "the gradient of the input is another one the second time"),
    ],
)
def test_gradients_that_pile_up(layer: mg.Layer, told: str) -> None:
    """A gradient that is right after the first backward alone is named for what it is."""
    with pytest.raises(GradientError, match=told):
        check_gradients(layer, X)


def test_a_loss_that_piles_up() -> None:
    """So is that of a loss."""

    class Sums(Squares):
        total: Any = 0.0

        def backward(self) -> Array:
            self.total = self.total + super().backward()
            return np.asarray(self.total).copy()

    check_gradients(Squares(), X, np.zeros_like(X))
    with pytest.raises(GradientError, match="the gradient of the logits piles up"):
        check_gradients(Sums(), X, np.zeros_like(X))


class Unsteady(mg.Layer):
    """Gives another output each time."""

    def __init__(self, how: str) -> None:
        self.how, self.calls, self.mean = how, 0, 0.0
        self.old = np.random.RandomState(0)

    def forward(self, x: Array) -> Array:
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * float(x.mean())
        factors: dict[str, Callable[[], Any]] = {
            "a generator of the moment": lambda: np.random.default_rng().normal(size=x.shape),
            "NumPy's old generator": lambda: self.old.normal(size=x.shape),
            "counts calls": lambda: float(self.calls),
            "changes after some calls": lambda: 1.0 + (self.calls > 20),
            "a running mean": lambda: 1 + self.mean,
        }
        self.factor = factors[self.how]()
        return np.asarray(x * self.factor)

    def backward(self, grad: Array) -> Array:
        return np.asarray(grad * self.factor)


@pytest.mark.parametrize(
    "how",
    [
        "a generator of the moment",
        "NumPy's old generator",
        "counts calls",
        "changes after some calls",
        "a running mean",
    ],
)
def test_a_forward_that_is_not_repeatable(how: str) -> None:
    """It is told so, and how to change that; its backward is not accused."""
    for layer in (Unsteady(how), mg.Sequential(Unsteady(how), mg.Activation("tanh"))):
        with pytest.raises(
            GradientError, match=r"forward is not repeatable: .*self\.rng"
        ) as caught:
            check_gradients(layer, X)
        assert "is wrong" not in str(caught.value)


def test_generators_of_a_layer_are_rewound_wherever_they_are() -> None:
    """In lists and dicts too, and a seed in forward is none; those of a loss as well."""

    class Drawing(mg.Layer):
        def __init__(self) -> None:
            self.generators = {"one": [np.random.default_rng(0)]}

        def forward(self, x: Array) -> Array:
            self.factor = self.generators["one"][0].normal(size=x.shape) + np.random.default_rng(
                3
            ).normal(size=x.shape)
            return np.asarray(x * self.factor)

        def backward(self, grad: Array) -> Array:
            return np.asarray(grad * self.factor)

    class Sampled(Squares):
        def __init__(self) -> None:
            self.rng = np.random.default_rng(0)

        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            return super().forward(logits, np.asarray(targets) + self.rng.normal(size=logits.shape))

    check_gradients(Drawing(), X)
    check_gradients(Sampled(), X, np.zeros_like(X))


class Centred(mg.Layer):
    """Takes away a running mean, of which half is the batch's: a buffer that forward changes, in
    place.
    """

    buffers = ("mean",)

    def __init__(self, right: bool) -> None:
        self.mean, self.right = np.ones(3, np.float32), right

    def forward(self, x: Array) -> Array:
        self.mean[...] = 0.5 * self.mean + 0.5 * x.mean(axis=0)
        return np.asarray(x - self.mean)

    def backward(self, grad: Array) -> Array:
        return np.asarray(grad - 0.5 * grad.mean(axis=0)) if self.right else grad.copy()


def test_buffers_are_put_back() -> None:
    """What a layer names as its state is the same for each forward, in float64 too.

    So its derivative can be found.
    """
    layer = Centred(right=True)
    check_gradients(layer, X)
    check_gradients(mg.Sequential(mg.Dense(3, 3, rng=0), Centred(right=True)), X)
    np.testing.assert_array_equal(np.ones(3, np.float32), layer.mean)
    with pytest.raises(GradientError, match="the gradient of the input is wrong"):
        check_gradients(Centred(right=False), X)
