"""`check_gradients` at kinks, ties and jumps, where there is no derivative or more than one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow, sparse
from check_gradients_support import Plain, Squares, X

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, GradientError
from minigrad.testing import check_gradients


def relu(at_zero: float) -> mg.Layer:
    return Plain(
        lambda x: np.maximum(x, 0), lambda grad, x: grad * np.where(x == 0, at_zero, x > 0)
    )


WITH_ZEROS = X.copy()
WITH_ZEROS[0, 0] = WITH_ZEROS[3, 1] = 0
LARGE = np.random.default_rng(0).normal(size=(20, 40))
LARGE[::3, ::2] = 0


@pytest.mark.slow
@sparse(
    pytest.mark.parametrize(
        "x",
        [WITH_ZEROS, np.zeros((2, 2)), slow(LARGE)],
        ids=["some", "all", "a large one"],
    ),
    every=2,
)
def test_relu_at_zero(x: Array) -> None:
    """Either one-sided slope is right and what lies between.

    What lies outside is found, and both slopes are told.
    """
    for right in (0.0, 0.5, 1.0):
        check_gradients(relu(right), x)
    for wrong in (5.0, 1.5, -1.0):
        with pytest.raises(
            GradientError,
            match=r"backward says .*, the slope there is .* from the left and .* from the",
        ):
            check_gradients(relu(wrong), x)


def test_the_message_at_a_kink() -> None:
    """It tells the entry, and counts only the wrong ones."""
    with pytest.raises(
        GradientError, match=r"wrong at \((0, 0|3, 1)\): .* \(2 of 15 compared differ\)"
    ):
        check_gradients(relu(5.0), WITH_ZEROS)
    with pytest.raises(
        GradientError, match=r"backward says (\S+), the slope there is -?0 from the left"
    ):
        check_gradients(relu(5.0), WITH_ZEROS)


def test_other_kinks() -> None:
    """An absolute value, a clipped one at its upper end, hinge and absolute losses exactly at the
    kink.
    """

    def absolute(at_zero: float) -> mg.Layer:
        return Plain(np.abs, lambda grad, x: grad * np.where(x == 0, at_zero, np.sign(x)))

    for right in (-1.0, 0.0, 0.3, 1.0):
        check_gradients(absolute(right), WITH_ZEROS)
    with pytest.raises(GradientError, match="from the left"):
        check_gradients(absolute(2.0), WITH_ZEROS)
    clipped = np.where(X > 1, 1.0, X)
    assert (clipped == 1).any()
    check_gradients(Plain(lambda x: np.minimum(x, 1), lambda grad, x: grad * (x < 1)), clipped)
    with pytest.raises(GradientError, match="from the left"):
        check_gradients(
            Plain(lambda x: np.minimum(x, 1), lambda grad, x: grad * np.where(x == 1, -1, x < 1)),
            clipped,
        )

    class Absolute(Squares):
        def __init__(self, at_zero: float) -> None:
            self.at_zero = at_zero

        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            super().forward(logits, targets)
            return float(np.abs(self.error).sum())

        def backward(self) -> Array:
            return np.where(self.error == 0, self.at_zero, np.sign(self.error))

    check_gradients(Absolute(0.0), WITH_ZEROS, np.zeros_like(X))
    with pytest.raises(GradientError, match="from the left"):
        check_gradients(Absolute(3.0), WITH_ZEROS, np.zeros_like(X))


class Largest(mg.Layer):
    """The largest of each row; at ties it goes to the first, to all in equal parts, or wrongly."""

    def __init__(self, ties: str) -> None:
        self.ties = ties

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x.max(axis=1, keepdims=True))

    def backward(self, grad: Array) -> Array:
        first = np.zeros_like(self.x)
        np.put_along_axis(first, self.x.argmax(axis=1)[:, np.newaxis], 1, axis=1)
        tied = self.x == self.x.max(axis=1, keepdims=True)
        shares = {
            "the first": first,
            "equal parts": tied / tied.sum(axis=1, keepdims=True),
            "to each in full": tied.astype(np.float64),
            "more than all": 2 * first,
            "negative": np.where(tied.sum(axis=1, keepdims=True) > 1, -first, first),
        }
        return np.asarray(grad * shares[self.ties])


def test_ties() -> None:
    """Each right share of a tie passes.

    Shares that are more than all together are found where all move together.
    """
    x = np.array([[1.0, 1, 0], [2, -1, 2], [3, 3, 3], [1, 2, 3]])
    check_gradients(Largest("the first"), x)
    check_gradients(Largest("equal parts"), x)
    for wrong in ("more than all", "negative"):
        with pytest.raises(GradientError, match="the gradient of the input is wrong"):
            check_gradients(Largest(wrong), x)
    with pytest.raises(GradientError, match="wrong where all entries move together"):
        check_gradients(Largest("to each in full"), x)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *map(slow, range(1, 5))])
def test_several_kinks_in_one_place(seed: int) -> None:
    """A row of zeros before dense, relu, dense: each unit is at its kink, and what comes of all is
    no slope of one side.
    """
    rng = np.random.default_rng(seed)
    layers = [mg.Dense(4, 5, rng=rng), mg.Activation("relu"), mg.Dense(5, 3, rng=rng)]
    check_gradients(mg.Sequential(*layers), np.zeros((3, 4)), rng=seed)
    both = Plain(
        lambda x: np.concatenate([np.maximum(x, 0), np.maximum(-x, 0)], axis=1),
        lambda grad, x: grad[:, :3] * (x > 0) - grad[:, 3:] * (x < 0),
    )
    check_gradients(both, np.zeros((2, 3)))


def test_jumps_have_no_derivative() -> None:
    """At a jump nothing is compared; where there is nothing else, it is told so."""
    step = Plain(lambda x: np.sign(x), lambda grad, x: 0 * grad)
    check_gradients(step, WITH_ZEROS)
    with pytest.raises(
        CallOrderError, match="could not check anything: in every entry forward jumps"
    ):
        check_gradients(step, np.zeros((2, 2)), perturbation=0)
    with pytest.raises(GradientError, match="central differences say 0"):
        check_gradients(Plain(lambda x: np.sign(x), lambda grad, x: grad.copy()), X)
