"""`check_gradients` finds what special values hide, and does not leave the domain of a function."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from check_gradients_support import Affine, Plain, X

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientError, KindError
from minigrad.testing import check_gradients


class Untransposed(Affine):
    def backward(self, grad: Array) -> Array:
        super().backward(grad)
        return np.asarray(grad @ self.weight.value)


class Forgetful(Affine):
    """Its input's gradient leaves the weight out, as if it were 1."""

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x * self.weight.value[0])

    def backward(self, grad: Array) -> Array:
        self.weight.grad = np.stack([(grad * self.x).sum(axis=0), 0 * grad[0], 0 * grad[0]])
        self.bias.grad = 0 * grad[0]
        return grad.copy()


@sparse(
    pytest.mark.parametrize(
        "weight", [np.zeros((3, 3)), np.eye(3), np.ones((3, 3)), np.diag([1.0, -2, 3]), X.T @ X]
    ),
    every=5,
)
def test_a_missing_transpose_at_a_symmetric_weight(weight: Array) -> None:
    """At the given values the gradient is right.

    Moved a little, it is not, and the message says so.
    """
    check_gradients(Affine(weight), X)
    with pytest.raises(
        GradientError, match=r"the gradient of the input is wrong .*moved at random by up to 10%"
    ):
        check_gradients(Untransposed(weight), X)
    check_gradients(Untransposed(weight), X, perturbation=0)


def test_a_missing_factor_of_one() -> None:
    """A scale that starts at 1, and a power at x = 1."""
    with pytest.raises(
        GradientError, match=r"the gradient of the input is wrong .*moved at random"
    ):
        check_gradients(Forgetful(np.ones((3, 3))), X)
    cube = Plain(lambda x: np.asarray(x**3), lambda grad, x: 3 * grad * x)
    with pytest.raises(
        GradientError, match=r"the gradient of the input is wrong .*moved at random"
    ):
        check_gradients(cube, np.ones((2, 3)))


class Logarithm(mg.Layer):
    """x log(w), for positive w; and x to the power of whole numbers."""

    def __init__(self) -> None:
        self.w = mg.Parameter(np.array([1e-3, 1.0, 20.0]))

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x * np.log(self.w.value))

    def backward(self, grad: Array) -> Array:
        self.w.grad = (grad * self.x).sum(axis=0) / self.w.value
        return np.asarray(grad * np.log(self.w.value))


class Power(mg.Layer):
    def __init__(self) -> None:
        self.k = mg.Parameter(np.array([1.0, 2.0, 3.0]))

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x**self.k.value)

    def backward(self, grad: Array) -> Array:
        k = self.k.value
        with np.errstate(invalid="ignore"):
            self.k.grad = np.nan_to_num((grad * self.x**k * np.log(self.x)).sum(axis=0))
        return np.asarray(grad * k * self.x ** (k - 1))


class Rows(mg.Layer):
    """An embedding that insists on whole numbers within its table."""

    def __init__(self, factor: float = 1.0) -> None:
        self.table, self.factor = mg.Parameter(np.random.default_rng(0).normal(size=(6, 2))), factor

    def forward(self, x: Array) -> Array:
        if (x != np.rint(x)).any():
            raise KindError("ids are whole numbers")
        self.ids = x.astype(int)
        return np.asarray(self.table.value[self.ids].reshape(len(x), -1))

    def backward(self, grad: Array) -> Array:
        table = np.zeros(self.table.shape)
        np.add.at(table, self.ids, self.factor * grad.reshape(*self.ids.shape, 2))
        self.table.grad = table
        return np.zeros(self.ids.shape)


class Likelihood(mg.Loss):
    """The negative logarithm of probabilities, which refuses all others."""

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        assert ((logits >= 0) & (logits <= 1)).all()
        self.grad = -np.asarray(targets) / logits
        return float(-(np.asarray(targets) * np.log(logits)).sum())

    def backward(self) -> Array:
        return self.grad.copy()


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_values_do_not_leave_their_domain() -> None:
    """Positive parameters, whole numbers, ids and probabilities are checked as far as the layer
    takes other values.
    """
    check_gradients(Logarithm(), X)
    check_gradients(Power(), X)
    ids = np.random.default_rng(0).integers(0, 6, size=(5, 3))
    check_gradients(Rows(), ids)
    with pytest.raises(GradientError, match="'table' is wrong"):
        check_gradients(Rows(factor=2.0), ids)
    check_gradients(Likelihood(), np.array([[0.5, 0.5, 1.0], [0.1, 0.9, 1.0]]), np.eye(3)[:2])
    check_gradients(
        Plain(np.sqrt, lambda grad, x: grad / (2 * np.sqrt(x))), np.array([[1e-4, 0.5, 3.0]])
    )
