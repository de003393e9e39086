"""`check_gradients` passes what is right, and names what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, GradientError, KindError, ShapeError
from minigrad.testing import check_gradients

X = np.random.default_rng(0).normal(
    size=(5, 3)
)  # as everybody writes it; the checker must not draw the same numbers


class Affine(mg.Layer):
    """A layer like Dense, whose backward a test may spoil."""

    def __init__(self, n_in: int = 3, n_out: int = 3, spoil: str = "") -> None:
        rng = np.random.default_rng(1)
        self.weight = mg.Parameter(rng.normal(size=(n_in, n_out)).astype(np.float32))
        self.bias = mg.Parameter(rng.normal(size=n_out).astype(np.float32))
        self.spoil = spoil

    def forward(self, x: Array) -> Array:
        self.x = x
        y = x @ self.weight.value + self.bias.value
        if self.spoil == "forward changes its input":
            x *= 1.5
        return np.asarray(np.tanh(y) if self.spoil == "a slope is missing" else y)

    def backward(self, grad: Array) -> Array:
        w, x, spoil = self.weight.value, self.x, self.spoil
        if spoil == "backward changes the gradient":
            grad *= 0.5
        if spoil == "backward changes its input":
            x *= 0.5
        weight: dict[str, Callable[[], Array]] = {
            "the weight's sign is wrong": lambda: -(x.T @ grad),
            "the weight's gradient is transposed": lambda: (x.T @ grad).T,
            "the weight's gradient is the mean": lambda: x.T @ grad / len(x),
            "the weight's gradient is zero": lambda: np.zeros(w.shape),
            "one entry is wrong": lambda: (
                x.T @ grad + 1e-3 * (np.arange(w.size) == 4).reshape(w.shape)
            ),
            "NaN": lambda: np.full(w.shape, np.nan),
        }
        if spoil != "the weight's gradient is not assigned":
            self.weight.grad = weight[spoil]() if spoil in weight else x.T @ grad
        bias: dict[str, Callable[[], Array]] = {
            "the bias is summed over the wrong axis": lambda: grad.sum(axis=1)[: self.bias.size],
            "the bias is doubled": lambda: 2 * grad.sum(axis=0),
        }
        self.bias.grad = bias[spoil]() if spoil in bias else grad.sum(axis=0)
        below: dict[str, Callable[[], Array]] = {
            "the input's sign is wrong": lambda: -(grad @ w.T),
            "the input's weight is not transposed": lambda: grad @ w,
            "the input's gradient is doubled": lambda: 2 * (grad @ w.T),
            "the input's gradient has another shape": lambda: (grad @ w.T)[:, :1],
        }
        return below[spoil]() if spoil in below else grad @ w.T


class Scale(mg.Layer):
    """Ten lines."""

    def __init__(self, features: int) -> None:
        self.scale = mg.Parameter(np.linspace(1, 2, features, dtype=np.float32))

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.scale.value

    def backward(self, grad: Array) -> Array:
        self.scale.grad = (grad * self.x).sum(axis=0)
        return grad * self.scale.value


class Residual(mg.Layer):
    def __init__(self, features: int, factor: float = 1.0) -> None:
        self.inner = mg.Sequential(
            mg.Dense(features, 4, rng=1), mg.Activation("tanh"), mg.Dense(4, features, rng=2)
        )
        self.factor = factor

    def forward(self, x: Array) -> Array:
        return x + self.inner(x)

    def backward(self, grad: Array) -> Array:
        below = self.inner.backward(grad)
        assert below is not None
        return grad + self.factor * below


# -- what is right -------------------------------------------------------------------------------

RIGHT: dict[str, Callable[[], mg.Layer]] = {
    "Dense": lambda: mg.Dense(3, 4, rng=0),
    "Dense in float64": lambda: mg.Dense(3, 4, dtype=np.float64, rng=0),
    "a large Dense": lambda: mg.Dense(3, 400, rng=0),
    "relu": lambda: mg.Activation("relu"),
    "sigmoid": lambda: mg.Activation("sigmoid"),
    "tanh": lambda: mg.Activation("tanh"),
    "softmax": lambda: mg.Activation("softmax"),
    "leaky_relu": lambda: mg.Activation("leaky_relu"),
    "elu": lambda: mg.Activation("elu"),
    "selu": lambda: mg.Activation("selu"),
    "gelu": lambda: mg.Activation("gelu"),
    "silu": lambda: mg.Activation("silu"),
    "softplus": lambda: mg.Activation("softplus"),
    "log_softmax": lambda: mg.Activation("log_softmax"),
    "BatchNorm": lambda: mg.BatchNorm(3),
    "BatchNorm in eval mode": lambda: mg.BatchNorm(3).eval(),
    "LayerNorm": lambda: mg.LayerNorm(3),
    "Flatten": mg.Flatten,
    "a custom layer": lambda: Scale(3),
    "a layer like Dense": lambda: Affine(),
    "a residual block": lambda: Residual(3),
    "a chain": lambda: mg.Sequential(
        mg.Activation("tanh"), Residual(3), Scale(3), mg.Dense(3, 2, rng=0)
    ),
    "a frozen layer": lambda: mg.Dense(3, 4, rng=0).freeze(),
}


@sparse(pytest.mark.parametrize("make", RIGHT.values(), ids=RIGHT.keys()), every=3)
def test_right_layers_pass(make: Callable[[], mg.Layer]) -> None:
    """Whatever the dtype, and however a gradient is written; the layer stays as it is."""
    layer = make()
    before = {name: array.tobytes() for name, array in layer.state_dict().items()}
    grads = [parameter.grad.tobytes() for _, parameter in layer.parameters()]
    assert check_gradients(layer, X) is None  # type: ignore[func-returns-value]
    assert before == {name: array.tobytes() for name, array in layer.state_dict().items()}
    assert grads == [parameter.grad.tobytes() for _, parameter in layer.parameters()]


@sparse(pytest.mark.parametrize("scale", [1e-4, 1.0, 1e3]), every=3)
def test_right_layers_pass_at_any_size(scale: float) -> None:
    """Small and large inputs are no reason to fail."""
    for layer in (
        mg.Dense(3, 4, rng=0),
        mg.Sequential(mg.Dense(3, 4, rng=0), mg.Activation("relu")),
        Scale(3),
    ):
        check_gradients(layer, scale * X)


@pytest.mark.parametrize(
    "targets", [[0, 1, 2, 2, 0], np.full((5, 3), 1 / 3)], ids=["labels", "rows"]
)
@pytest.mark.parametrize(
    "settings", [{}, {"label_smoothing": 0.1, "class_weight": [1, 2, 3]}, {"reduction": "sum"}]
)
def test_right_losses_pass(targets: npt.ArrayLike, settings: dict[str, Any]) -> None:
    """For losses the logits are checked; the loss stays as it is."""
    loss = mg.SoftmaxCrossEntropy(**settings)
    check_gradients(loss, X, targets)
    assert np.isnan(loss.value)


def test_a_wrong_gradient_beside_kinks_is_found() -> None:
    """A relu at exactly 0 may have either slope; the entries around it are checked nevertheless."""
    x = X.copy()
    x[0, 0] = x[3, 1] = 0
    check_gradients(mg.Activation("relu"), x)
    bad = mg.Activation(
        mg.ActivationFunction(
            "bad", lambda x: np.maximum(x, 0), lambda grad, x, y: grad * (x > 0.5)
        )
    )
    with pytest.raises(GradientError):
        check_gradients(bad, x)
    check_gradients(mg.Activation("relu"), np.zeros((2, 2)))


# -- layers that draw random numbers -------------------------------------------------------------


class Noise(mg.Layer):
    """Multiplies by what it draws from a generator of its own."""

    def __init__(self) -> None:
        self.generator = np.random.default_rng(7)

    def forward(self, x: Array) -> Array:
        self.y, self.factor = np.tanh(x), self.generator.normal(size=x.shape)
        return np.asarray(self.y * self.factor)

    def backward(self, grad: Array) -> Array:
        return np.asarray(grad * self.factor * (1 - self.y**2))


class Around(mg.Layer):
    """A composite that holds its inner layer in a list."""

    def __init__(self, inner: mg.Layer) -> None:
        self.inner = [inner]

    def forward(self, x: Array) -> Array:
        return x + self.inner[0](x)

    def backward(self, grad: Array) -> Array:
        below = self.inner[0].backward(grad)
        assert below is not None
        return grad + below


def shared_generator() -> mg.Sequential:
    rng = np.random.default_rng(3)
    return mg.Sequential(
        mg.Dropout(0.5, rng=rng), mg.Dense(3, 4, rng=rng), mg.Sequential(mg.Dropout(0.2, rng=rng))
    )


RANDOM: dict[str, Callable[[], mg.Layer]] = {
    "Dropout": lambda: mg.Dropout(0.5, rng=0),
    "Dropout that nobody seeded": lambda: mg.Dropout(0.5),
    "in eval mode": lambda: mg.Dropout(0.5, rng=0).eval(),
    "one generator for several": shared_generator,
    "one's own": lambda: Noise(),
    "inside of others": lambda: mg.Sequential(
        mg.Dense(3, 3, rng=0), Around(Noise()), mg.BatchNorm(3)
    ),
}


def generators(layer: mg.Layer) -> list[Any]:
    """Where the generators of the layers inside stand."""
    inside = [vars(inner).values() for _, inner in layer.layers()]
    return [
        thing.bit_generator.state
        for things in inside
        for thing in things
        if isinstance(thing, np.random.Generator)
    ]


@sparse(pytest.mark.parametrize("make", RANDOM.values(), ids=RANDOM.keys()), every=2)
def test_layers_that_draw_random_numbers(make: Callable[[], mg.Layer]) -> None:
    """Each evaluation draws the same ones, so that the differences are derivatives.

    The layer's own are not used up.
    """
    layer = make()
    before = generators(layer)
    assert before
    check_gradients(layer, X)
    assert before == generators(layer)
    check_gradients(layer, X[:2])


class WrongDropout(mg.Layer):
    """The mistake that people make with dropout."""

    def __init__(self, mistake: str) -> None:
        self.rng, self.mistake = np.random.default_rng(0), mistake

    def forward(self, x: Array) -> Array:
        self.kept = self.rng.random(x.shape) > 0.5
        return x * self.kept * 2

    def backward(self, grad: Array) -> Array:
        if self.mistake == "another mask":
            return grad * (self.rng.random(grad.shape) > 0.5) * 2
        return grad if self.mistake == "no mask" else grad * self.kept


@sparse(pytest.mark.parametrize("mistake", ["another mask", "no mask", "no factor"]), every=3)
def test_wrong_layers_that_draw_random_numbers_fail(mistake: str) -> None:
    """The same draw for each evaluation hides no mistake."""
    with pytest.raises(GradientError, match="the gradient of the input"):
        check_gradients(WrongDropout(mistake), X)
    with pytest.raises(GradientError, match="the gradient of the input"):
        check_gradients(mg.Sequential(mg.Dropout(0.1, rng=0), WrongDropout(mistake)), X)


@sparse(pytest.mark.parametrize("forget", ["mean", "variance"]), every=2)
def test_a_normalization_that_takes_its_statistics_for_constants_fails(forget: str) -> None:
    """The other one: mean and variance of a batch depend on each sample."""

    class Constant(mg.Layer):
        def forward(self, x: Array) -> Array:
            self.std = x.std(axis=0)
            self.normalized = np.asarray((x - x.mean(axis=0)) / self.std)
            return self.normalized.copy()

        def backward(self, grad: Array) -> Array:
            mean = 0 if forget == "mean" else grad.mean(axis=0)
            scale = 0 if forget == "variance" else (grad * self.normalized).mean(axis=0)
            return np.asarray((grad - mean - self.normalized * scale) / self.std)

    with pytest.raises(GradientError, match="the gradient of the input"):
        check_gradients(Constant(), X)


# -- what is wrong -------------------------------------------------------------------------------

WRONG: dict[str, tuple[str, str]] = {  # where it is found, and what is said about it
    "the weight's sign is wrong": ("'weight'", "the sign is wrong everywhere"),
    "the weight's gradient is transposed": ("'weight'", ""),
    "the weight's gradient is the mean": ("'weight'", "0.2 times the right one everywhere"),
    "the weight's gradient is zero": ("'weight'", "it is 0 where it should not be"),
    "one entry is wrong": ("'weight'", r"at \(1, 1\).*\(1 of 9 compared differ\)"),
    "NaN": ("'weight'", "NaN"),
    "the weight's gradient is not assigned": ("'weight'", r"write self\.weight\.grad = "),
    "the bias is summed over the wrong axis": ("'bias'", ""),
    "the bias is doubled": ("'bias'", "2 times the right one everywhere"),
    "the input's sign is wrong": ("the gradient of the input", "the sign is wrong everywhere"),
    "the input's weight is not transposed": ("the gradient of the input", ""),
    "the input's gradient is doubled": ("the gradient of the input", "2 times the right one"),
    "the input's gradient has another shape": ("backward returned", r"\(5, 1\).*\(5, 3\)"),
    "a slope is missing": ("the gradient of the input", "central differences say"),
    "forward changes its input": ("Affine", "changes its input in place"),
    "backward changes its input": ("Affine", "changes its input in place"),
    "backward changes the gradient": ("Affine", "changes the gradient that it is given"),
}


@sparse(
    pytest.mark.parametrize(
        ("spoil", "where", "told"),
        [(key, *value) for key, value in WRONG.items()],
        ids=WRONG.keys(),
    ),
    every=5,
)
def test_wrong_layers_fail(spoil: str, where: str, told: str) -> None:
    """The message names the tensor, both numbers, and what they have in common."""
    with pytest.raises(GradientError, match=re.escape(where)) as caught:
        check_gradients(Affine(spoil=spoil), X)
    assert re.search(told, str(caught.value)), str(caught.value)
    assert isinstance(caught.value, AssertionError)


@sparse(
    pytest.mark.parametrize(
        "spoil", [key for key in WRONG if "shape" not in key and key != "one entry is wrong"]
    ),
    every=8,
)
def test_wrong_layers_fail_inside_of_a_model(spoil: str) -> None:
    """A wrong layer in a chain is found as well, by its name there."""
    model = mg.Sequential(mg.Dense(3, 3, rng=0), Affine(spoil=spoil), mg.Activation("tanh"))
    with pytest.raises(GradientError) as caught:
        check_gradients(model, X)
    if "weight's" in spoil or "bias" in spoil:
        assert re.search(r"'1\.(weight|bias)'", str(caught.value))


@sparse(
    pytest.mark.parametrize(
        "spoil",
        ["the weight's sign is wrong", "the weight's gradient is the mean", "the bias is doubled"],
    ),
    every=3,
)
def test_wrong_gradients_of_large_tensors_fail(spoil: str) -> None:
    """Tensors too large for each entry are checked along random directions."""
    with pytest.raises(GradientError, match=r"weight|bias"):
        check_gradients(Affine(20, 90, spoil), np.random.default_rng(0).normal(size=(4, 20)))


def test_a_single_wrong_entry_of_a_large_tensor_fails() -> None:
    """A random direction has a share of each entry, so that one wrong entry in hundreds is seen."""

    class OneWrong(Scale):
        def backward(self, grad: Array) -> Array:
            below = super().backward(grad)
            grads = self.scale.grad.copy()
            grads[137] *= 1.5
            self.scale.grad = grads
            return below

    with pytest.raises(GradientError, match="'scale'"):
        check_gradients(OneWrong(500), np.random.default_rng(0).normal(size=(4, 500)))


@sparse(
    pytest.mark.parametrize(
        ("name", "function"),
        [
            (
                "sigmoid",
                mg.ActivationFunction(
                    "s", lambda x: 1 / (1 + np.exp(-x)), lambda grad, x, y: grad * y
                ),
            ),
            (
                "tanh",
                mg.ActivationFunction(
                    "t", lambda x: np.asarray(np.tanh(x)), lambda grad, x, y: grad * (1 - y)
                ),
            ),
            (
                "no slope",
                mg.ActivationFunction(
                    "n", lambda x: np.asarray(np.tanh(x)), lambda grad, x, y: grad
                ),
            ),
            (
                "other row",
                mg.ActivationFunction("r", lambda x: x * x, lambda grad, x, y: grad * 2 * x[::-1]),
            ),
            (
                "leak",
                mg.ActivationFunction(
                    "l",
                    lambda x: np.maximum(x, 0),
                    lambda grad, x, y: grad * np.where(x > 0, 1, 0.01),
                ),
            ),
        ],
    ),
    every=2,
)
def test_wrong_activations_fail(name: str, function: mg.ActivationFunction) -> None:
    """A factor that is missing in a slope is found."""
    with pytest.raises(GradientError, match="the gradient of the input"):
        check_gradients(mg.Activation(function), X)


def test_a_wrong_composite_fails() -> None:
    """A residual block whose inner path is counted twice."""
    with pytest.raises(GradientError, match="the gradient of the input"):
        check_gradients(Residual(3, factor=2.0), X)


class Weighted(mg.Loss):
    """A loss whose gradient a test may spoil: the mean of squares."""

    def __init__(self, factor: float = 1.0, change: bool = False) -> None:
        self.factor, self.change = factor, change

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.error = logits - np.asarray(targets)
        if self.change:
            logits *= 2
        return float((self.error**2).mean())

    def backward(self) -> Array:
        return np.asarray(self.factor * 2 * self.error / self.error.size)


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (Weighted(factor=X.size), "times the right one everywhere"),
        (Weighted(factor=-1), "the sign is wrong"),
        (Weighted(change=True), "changes"),
    ],
    ids=["not the mean", "sign", "in place"],
)
def test_wrong_losses_fail(loss: mg.Loss, told: str) -> None:
    """A gradient of the sum where the value is a mean, a wrong sign, a loss that writes into the
    logits.
    """
    check_gradients(Weighted(), X, np.zeros_like(X))
    with pytest.raises(GradientError, match=told):
        check_gradients(loss, X, np.zeros_like(X))


def test_a_class_weighted_loss_with_the_wrong_mean_fails() -> None:
    """The trap of published code: the value is a weighted mean, the gradient that of a plain
    one.
    """

    class Trap(mg.Loss):
        def __init__(self) -> None:
            self.right = mg.SoftmaxCrossEntropy(class_weight=[1, 2, 3])
            self.other = mg.SoftmaxCrossEntropy()

        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            self.other.forward(logits, targets)
            return self.right.forward(logits, targets)

        def backward(self) -> Array:
            return self.other.backward()

    with pytest.raises(GradientError, match="the gradient of the logits"):
        check_gradients(Trap(), X, [0, 1, 2, 2, 0])


@sparse(pytest.mark.parametrize("eps", [1.0, 0.5]), every=2)
def test_a_coarse_distance_fails(eps: float) -> None:
    """The checker itself is able to fail: with too large a distance the differences are no
    derivatives.
    """
    for right, targets in (
        (mg.Activation("tanh"), None),
        (mg.SoftmaxCrossEntropy(), [0, 1, 2, 2, 0]),
    ):
        check_gradients(right, X, targets)
        with pytest.raises(GradientError):
            check_gradients(right, X, targets, eps=eps)


def test_a_fine_distance_that_drowns_in_rounding_fails() -> None:
    """With too small a distance there is nothing left but rounding, and the check does not pass by
    itself.
    """
    with pytest.raises((GradientError, CallOrderError)):
        check_gradients(mg.Activation("tanh"), X, eps=1e-15)


# -- what cannot be checked ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("act", "error", "told"),
    [
        (lambda: check_gradients(np.tanh, X), KindError, "expected a layer or a loss"),  # type: ignore[arg-type]
        (lambda: check_gradients(mg.SoftmaxCrossEntropy(), X), KindError, "needs targets"),
        (lambda: check_gradients(mg.Dense(4, 2), X), ShapeError, r"\(5, 3\)"),
        (lambda: check_gradients(Scale(3), X.astype(complex)), KindError, "complex"),
        (lambda: check_gradients(Scale(3), X, eps=0), ValueError, "eps is 0"),
    ],
    ids=["function", "no targets", "width", "complex", "eps"],
)
def test_what_cannot_be_checked(act: Callable[[], None], error: type[Exception], told: str) -> None:
    """It says why."""
    with pytest.raises(error, match=told):
        act()


def test_integers_are_converted() -> None:
    """Inputs of any real kind, as everywhere."""
    check_gradients(mg.Dense(3, 2, rng=0), np.arange(6).reshape(2, 3))


def test_it_takes_no_random_numbers_but_its_own() -> None:
    """The same check twice is the same check."""
    rng = np.random.default_rng(4)
    before = rng.bit_generator.state
    check_gradients(Scale(3), X)
    assert before == rng.bit_generator.state


def test_parameters_are_moved_where_the_input_cannot_be() -> None:
    """A layer that takes its input alone is still checked at other weights than zeros, which would
    hide a missing transpose.
    """

    class Table(mg.Layer):
        def __init__(self) -> None:
            self.weight = mg.Parameter(np.zeros((2, 2)))

        def forward(self, x: Array) -> Array:
            if np.abs(x - np.rint(x)).max() > 1e-3:
                raise ValueError("whole numbers only")
            self.x = x
            return x @ self.weight.value

        def backward(self, grad: Array) -> Array:
            self.weight.grad = self.x.T @ grad
            return grad @ self.weight.value

    with pytest.raises(GradientError, match="the gradient of the input is wrong"):
        check_gradients(Table(), np.array([[1.0, 2.0], [3.0, 1.0]]))
