"""`check_gradients` says which gradient is of the wrong kind, changed in place, or not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from check_gradients_support import Affine, Plain, Squares, X

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientError, KindError
from minigrad.testing import check_gradients


@pytest.mark.parametrize(
    ("below", "told"),
    [
        (lambda grad, x: None, "backward returned NoneType, expected the input's gradient, shape"),
        (lambda grad, x: grad.tolist(), "backward returned list"),
        (
            lambda grad, x: grad[:, :1],
            r"a gradient of shape \(5, 1\) for an input of shape \(5, 3\)",
        ),
        (lambda grad, x: np.rint(grad).astype(int), "backward returned an array of int64"),
        (lambda grad, x: grad.astype(complex), "backward returned .*complex128"),
        (lambda grad, x: grad * np.nan, "holds NaN or infinity"),
    ],
)
def test_gradients_of_another_kind(below: Callable[[Array, Array], Any], told: str) -> None:
    """Each says what came; none prints the array."""
    with pytest.raises(GradientError, match=told) as caught:
        check_gradients(Plain(lambda x: x.copy(), below), X)
    assert "[" not in str(caught.value)


def test_what_is_changed_in_place() -> None:
    """Values of parameters, by forward or backward, and targets are found like inputs."""

    class Normalizing(Affine):
        def forward(self, x: Array) -> Array:
            self.weight.value = self.weight.value / np.linalg.norm(self.weight.value)
            return super().forward(x)

    class Stepping(Affine):
        def backward(self, grad: Array) -> Array | None:
            below = super().backward(grad)
            self.bias.value = self.bias.value - 0.1
            return below

    class Shifting(Squares):
        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            assert isinstance(targets, np.ndarray)
            targets -= 1
            return super().forward(logits, targets)

    with pytest.raises(GradientError, match="forward changes the value of 'weight' in place"):
        check_gradients(Normalizing(), X)
    with pytest.raises(GradientError, match="backward changes the value of 'bias' in place"):
        check_gradients(Stepping(), X)
    targets = np.zeros_like(X)
    with pytest.raises(GradientError, match="forward changes the targets in place"):
        check_gradients(Shifting(), X, targets)
    assert not targets.any()


def test_a_gradient_that_is_assigned_in_part() -> None:
    """Rows that backward leaves as they were would keep an older gradient."""

    class Some(Affine):
        def backward(self, grad: Array) -> Array | None:
            self.weight.new_grad[:2] = (self.x.T @ grad)[:2]
            self.bias.grad = grad.sum(axis=0)
            return np.asarray(grad @ self.weight.value.T)

    with pytest.raises(
        GradientError, match="backward leaves 3 of the 9 entries of the gradient of 'weight'"
    ):
        check_gradients(Some(), X)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_is_not_finite() -> None:
    """NaN and infinity are named, with counts, and nobody's backward is judged by them."""
    log = Plain(np.log, lambda grad, x: grad / x)
    with pytest.raises(
        GradientError, match=r"forward gives NaN or infinity .*\d+ of 15 are NaN or infinite"
    ) as caught:
        check_gradients(log, X)
    assert "is wrong" not in str(caught.value)
    with pytest.raises(GradientError, match="forward gives NaN or infinity"):
        check_gradients(mg.Activation("tanh"), np.full((2, 2), np.nan))
    with pytest.raises(GradientError, match="forward gives NaN or infinity"):
        check_gradients(mg.SoftmaxCrossEntropy(ignore_index=0), X, np.zeros(5, int))
    masked = X.copy()
    masked[0, 0] = -np.inf  # a class that is ruled out; the loss is finite
    check_gradients(mg.SoftmaxCrossEntropy(), masked, [1, 2, 0, 1, 2])


@pytest.mark.parametrize("value", [None, np.ones(1), "1", 1j])
def test_a_loss_that_is_no_number(value: object) -> None:
    """It says what came."""

    class Odd(Squares):
        def forward(self, logits: Array, targets: npt.ArrayLike) -> Any:
            return value

    with pytest.raises(KindError, match=r"returned .*, expected one number"):
        check_gradients(Odd(), X, X)


def test_the_layer_stays_as_it_was() -> None:
    """Its values, gradients and generators, and that no gradient has arrived."""
    model = mg.Sequential(mg.Dense(3, 4, rng=0), mg.Dropout(0.5, rng=1), mg.BatchNorm(4))
    optimizer = mg.SGD(model, lr=0.1)
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    check_gradients(model, X)
    assert before == {name: array.tobytes() for name, array in model.state_dict().items()}
    assert not any(parameter.grad.any() for _, parameter in model.parameters())
    with pytest.raises(mg.errors.MissingGradientError):
        optimizer.step()


@pytest.mark.parametrize("perturbation", [-0.1, 2, np.nan])
def test_the_perturbation_is_a_share(perturbation: float) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="perturbation is"):
        check_gradients(mg.Activation("tanh"), X, perturbation=perturbation)
