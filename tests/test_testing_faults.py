"""`check_gradients` finds what one look at one point does not show, says what it is, and accuses
nobody who is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow, sparse
from layer_support import Residual

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, GradientError, KindError
from minigrad.testing import check_gradients

X = np.random.default_rng(0).normal(size=(5, 3))


class Affine(mg.Layer):
    """x W + b in the plainest form, for others to spoil."""

    def __init__(self, weight: npt.ArrayLike | None = None) -> None:
        drawn = np.random.default_rng(1).normal(size=(3, 3))
        self.weight = mg.Parameter(np.array(drawn if weight is None else weight, np.float64))
        self.bias = mg.Parameter(np.zeros(self.weight.shape[1]))

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x @ self.weight.value + self.bias.value)

    def backward(self, grad: Array) -> Array | None:
        self.weight.grad = self.x.T @ grad
        self.bias.grad = grad.sum(axis=0)
        return np.asarray(grad @ self.weight.value.T)


class Plain(mg.Layer):
    """A layer made of two functions, without parameters."""

    def __init__(
        self, forward: Callable[[Array], Array], backward: Callable[[Array, Array], Any]
    ) -> None:
        self.functions = (forward, backward)

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(self.functions[0](x))

    def backward(self, grad: Array) -> Array:
        below: Array = self.functions[1](grad, self.x)
        return below


class Squares(mg.Loss):
    """The mean of squares."""

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.error = logits - np.asarray(targets)
        return float((self.error**2).mean())

    def backward(self) -> Array:
        return np.asarray(2 * self.error / self.error.size)


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
                    "backward_parameters leaves another gradient of 'weight' than backward.*the sign "  # noqa: E501
                    "is wrong everywhere"
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


# -- special values ------------------------------------------------------------------------------


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


# -- rounding ------------------------------------------------------------------------------------


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


# -- kinks ---------------------------------------------------------------------------------------


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


# -- what else may be wrong ----------------------------------------------------------------------


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
