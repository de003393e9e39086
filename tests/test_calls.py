"""The order of calls of users' layers, forward called again before backward, predict in threads,
and what copies hold.
"""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from calls_support import USERS, Lazy, Times

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ModelError, RepeatedForward, ShapeError

X = np.array([[0.5, 2, -3], [1, -1, 0.25]], np.float32)


def sample(rows: int, width: int, seed: int = 0) -> Array:
    drawn: Array = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return drawn


PLACES: dict[str, Callable[[mg.Layer], mg.Layer]] = {
    "alone": lambda layer: layer,
    "in a Sequential": lambda layer: mg.Sequential(layer),
    "above another": lambda layer: mg.Sequential(
        mg.Dense(3, 3, rng=5), layer, mg.Dense(3, 2, rng=6)
    ),
    "nested": lambda layer: mg.Sequential(mg.Sequential(layer), mg.Activation("tanh")),
}
everywhere = pytest.mark.parametrize(
    ("make", "put"),
    [pytest.param(m, p, id=f"{n}, {w}") for n, m in USERS.items() for w, p in PLACES.items()],
)


@everywhere
def test_the_order_of_calls(
    make: Callable[[], mg.Layer], put: Callable[[mg.Layer], mg.Layer]
) -> None:
    """Backward before forward, or twice, is an error that says which.

    Then all goes on, with no warning.
    """
    model = put(make())
    with pytest.raises(CallOrderError, match="backward was called before forward"):
        model.backward(np.ones((2, 3), np.float32))
    for _ in range(3):
        output = model(X)
        model.backward(np.ones_like(output))  # warnings are errors here
        with pytest.raises(CallOrderError, match="a second time for the same forward"):
            model.backward(np.ones_like(output))
    output = model(X)
    for wrong in (np.ones((5, output.shape[1])), np.ones(len(output))):
        with pytest.raises(ShapeError, match="the gradient of its last output has shape"):
            model.backward(wrong)
    model.backward(np.ones_like(output))


@pytest.mark.parametrize("name", ["plain", "super", "super twice", "mixin", "lazy", "empty"])
def test_gradients_of_users_layers(name: str) -> None:
    """However the methods call one another, backward runs once, and its gradient is the
    derivative.
    """
    layer = USERS[name]()
    assert isinstance(layer, Times)
    model = mg.Sequential(layer, mg.Dense(3, 1, rng=0))
    for number in range(3):
        model.backward(np.ones_like(model(X)))
        assert number + 1 == layer.calls
    mg.testing.check_gradients(USERS[name](), X.astype(np.float64) / 10)


def test_backward_parameters_runs_once() -> None:
    """An overridden `backward_parameters` that calls `backward` is the one that the lowest layer
    runs, and once a pass.
    """
    layer = Lazy()
    model = mg.Sequential(layer, mg.Dense(3, 1, rng=0))
    for _ in range(3):
        model.backward(np.ones_like(model(X)))
    assert (3, 3) == (layer.more, layer.calls)


def test_more_arguments_are_passed_on() -> None:
    """A forward of several inputs, a backward with a keyword, several outputs: these are between
    the layer and its caller.
    """

    class Pair(mg.Layer):
        def __init__(self) -> None:
            self.inner = mg.Sequential(mg.Dense(3, 3, rng=0))

        def forward(self, x: Array, other: Array) -> Any:  # type: ignore[override]
            return self.inner(x + other), x - other

        def backward(self, grad: Any, *, input_grad: bool = False) -> Any:
            first, second = grad
            below = self.inner.backward(first, input_grad=input_grad)
            return None if below is None else (below + second, below - second)

    layer = Pair()
    for wanted in (False, True):
        layer.forward(X, X)
        found = layer.backward((X, X), input_grad=wanted)
        assert wanted == (found is not None)
    with pytest.raises(CallOrderError, match="a second time"):
        layer.backward((X, X))


def test_a_forward_that_fails_leaves_the_order() -> None:
    """After a forward that raised, the gradient of the one before is still awaited.

    Or none, if that was taken.
    """

    class Picky(Times):
        def forward(self, x: Array) -> Array:
            if x.shape[1] != 3:
                raise ZeroDivisionError
            return super().forward(x)

    layer = Picky()
    with pytest.raises(ZeroDivisionError):
        layer(np.ones((2, 4), np.float32))
    with pytest.raises(CallOrderError, match="before forward"):
        layer.backward(X)
    layer.backward(layer(X))
    with pytest.raises(ZeroDivisionError):
        layer(np.ones((2, 4), np.float32))
    with pytest.raises(CallOrderError, match="a second time"):
        layer.backward(X)
    layer(X)
    with pytest.raises(ZeroDivisionError):
        layer(np.ones((2, 4), np.float32))
    layer.backward(X)


def test_a_backward_that_computes_forward_again() -> None:
    """A layer may keep its input alone, and run what is inside again in its backward."""

    class Again(mg.Layer):
        def __init__(self) -> None:
            self.inner = mg.Sequential(mg.Dense(3, 3, rng=0), mg.Activation("tanh"))

        def forward(self, x: Array) -> Array:
            self.x = x
            return self.inner.predict(x)

        def backward(self, grad: Array) -> Array | None:
            self.inner(self.x)
            return self.inner.backward(grad)

    model, usual = (
        mg.Sequential(Again()),
        mg.Sequential(mg.Dense(3, 3, rng=0), mg.Activation("tanh")),
    )
    for _ in range(2):
        for each in (model, usual):
            each.backward(np.ones_like(each(X)))
    assert (
        mg.ParameterVector.of(usual).grads.tobytes() == mg.ParameterVector.of(model).grads.tobytes()
    )


# -- forward again before backward ---------------------------------------------------------------


def setting(kind: str) -> tuple[mg.Layer, mg.Loss]:
    model: mg.Layer = Times() if kind == "alone" else mg.Sequential(mg.Dense(3, 3, rng=0))
    return model, mg.MeanSquaredError()


@pytest.mark.parametrize("kind", ["alone", "in a Sequential"])
@pytest.mark.parametrize("step", [0, 1])
def test_a_second_forward_is_named(kind: str, step: int) -> None:
    """The gradient of an earlier output is refused, in the first step or later.

    Of another shape, too; both name predict.
    """
    model, loss = setting(kind)
    for _ in range(step):
        loss.forward(model(X), X)
        model.backward(loss.backward())
    loss.forward(model(X), X)
    model(X + 1)
    with pytest.raises(
        CallOrderError,
        match=r"belongs to an earlier output; forward was called again.*model\.predict\(x\)",
    ):
        model.backward(loss.backward())
    loss.forward(model(X), X)
    model(X[:1])
    with pytest.raises(CallOrderError, match=r"forward was called again.*model\.predict\(x\)"):
        model.backward(loss.backward())
    loss.forward(model(X), X)
    model.backward(loss.backward())


FIRST_IN_ITS_PROCESS = """
import numpy as np, minigrad as mg
x = np.ones((2, 3), np.float32)
model, loss = mg.Sequential(mg.Dense(3, 3, rng=0)), mg.MeanSquaredError()
output = model(x)
loss.forward(output, x)
grad = loss.backward()
model(x + 1)
try:
    model.backward(grad)
except mg.errors.CallOrderError as error:
    print("belongs to an earlier output" in str(error))
"""


@pytest.mark.slow
def test_a_second_forward_is_named_whatever_happened_before_in_the_process() -> None:
    """The gradient may have been computed before the second forward, and that be the first one
    ever.
    """
    told = subprocess.run(
        [sys.executable, "-c", FIRST_IN_ITS_PROCESS], capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "True", told.stderr


@pytest.mark.parametrize("kind", ["alone", "in a Sequential"])
@pytest.mark.parametrize("loss_first", [True, False])
def test_a_look_before_the_forward_that_counts(kind: str, loss_first: bool) -> None:
    """Other data before the training forward, of any shape, with or without their loss: no warning
    and no error.
    """
    model, loss = setting(kind)
    right, _ = setting(kind)
    kept = []
    for _ in range(3):
        for other in (X + 1, X[:1], np.vstack([X, X])):
            kept.append(model(other))
            if loss_first:
                loss.forward(kept[-1], other)
        loss.forward(model(X), X)
        model.backward(loss.backward())
        loss.forward(right(X), X)
        right.backward(loss.backward())
        assert (
            mg.ParameterVector.of(right).grads.tobytes()
            == mg.ParameterVector.of(model).grads.tobytes()
        )
    model.backward(np.ones_like(model(X)))


def test_a_look_whose_output_nobody_keeps() -> None:
    """With a gradient by hand nothing is said where no earlier output lives."""
    model, _ = setting("in a Sequential")
    model(X + 1)
    output = model(X)
    model.backward(2 * (output - X))


def test_a_gradient_by_hand_of_an_unknown_output() -> None:
    """Where an earlier output lives and nobody can tell whose gradient it is, a warning says what
    if.
    """
    model, _ = setting("in a Sequential")
    output = model(X)
    model(X + 1)
    with pytest.warns(
        RepeatedForward, match=r"if the gradient is that of an earlier output, it is wrong"
    ):
        model.backward(2 * (output - X))


@pytest.mark.frames
@pytest.mark.parametrize("place", ["alone", "in a Sequential", "with a hook"])
def test_the_warning_of_a_repeated_forward_points_at_the_caller(place: str) -> None:
    """It names the line that called `backward`, and none of minigrad."""
    model, _ = setting("alone" if place == "alone" else "in a Sequential")
    if place == "with a hook":
        model.attach(Looks())
    output = model(X)
    model(X + 1)
    with pytest.warns(RepeatedForward) as caught:
        model.backward(2 * (output - X))
    assert __file__ == caught[0].filename


class Looks(mg.Hook):
    """A hook that does nothing with what it is shown."""

    def on_backward(self, event: mg.Backward) -> None:
        pass


def test_a_wrong_shape_after_a_look_is_a_wrong_shape() -> None:
    """A gradient of a shape that no output had is not blamed on the look before."""
    model, _ = setting("in a Sequential")
    kept = model(X[:1])
    model(X)
    with pytest.raises(ShapeError, match=r"has shape \(2,\), expected \(2, 3\)"):
        model.backward(np.ones(2))
    assert (1, 3) == kept.shape


@pytest.mark.parametrize("place", ["alone", "in a Sequential"])
def test_a_method_that_is_replaced_in_its_class(place: str) -> None:
    """It runs from then on, in subclasses that do not define their own too, and the order of its
    calls is checked.
    """

    class Base(Times):
        def forward(self, x: Array) -> Array:
            return super().forward(x)

    class Under(Base):
        pass

    model = (
        PLACES[place](Under())
        if place == "alone"
        else mg.Sequential(mg.Dense(3, 3, rng=0), Under())
    )
    for _ in range(2):
        model.backward(np.ones_like(model(X)))
    before = model(X)
    model.backward(before)

    def doubled(self: Times, x: Array) -> Array:
        return 2 * Times.forward(self, x)

    Base.forward = doubled  # type: ignore[method-assign]
    for _ in range(3):
        np.testing.assert_array_equal(2 * before, output := model(X))
        model.backward(output)
        with pytest.raises(CallOrderError, match="a second time"):
            model.backward(output)


# -- predict -------------------------------------------------------------------------------------


class Counts(mg.Hook):
    """How many forwards ran in each mode."""

    def __init__(self) -> None:
        self.modes: list[bool] = []
        self.layers: set[int] = set()

    def on_forward(self, event: mg.Forward) -> None:
        self.modes.append(event.training)
        self.layers.add(id(event.layer))


def test_predict_in_threads_while_training() -> None:
    """Four threads predict with hooks attached while a training goes on: that stays the same, and
    hooks see the own layers.
    """

    def build() -> tuple[mg.Sequential, mg.SGD]:
        model = mg.Sequential(
            mg.Dense(8, 16, rng=0),
            mg.BatchNorm(16),
            mg.Activation("relu"),
            mg.Dropout(0.5, rng=1),
            mg.Dense(16, 3, rng=2),
        )
        return model, mg.SGD(model, 0.1, momentum=0.9)

    def train(model: mg.Sequential, optimizer: mg.SGD, steps: int) -> bytes:
        for step in range(steps):
            output = model(sample(16, 8, step))
            model.backward(output / 16)
            optimizer.step()
        mean: bytes = model[1].running_mean.tobytes()
        return mg.ParameterVector.of(model).values.tobytes() + mean

    steps, x = 60, sample(20, 8)
    expected = train(*build(), steps)
    model, optimizer = build()
    hook, interval = Counts(), sys.getswitchinterval()
    model.attach(hook)
    still, _ = build()
    right = still.predict(x)
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(model.predict, x) for _ in range(80)]
            answers = [pool.submit(still.predict, x) for _ in range(80)]
            found = train(model, optimizer, steps)
            assert all(np.isfinite(one.result()).all() for one in asked)
            assert {right.tobytes()} == {one.result().tobytes() for one in answers}
    finally:
        sys.setswitchinterval(interval)
    assert expected == found
    assert steps * 5 == sum(hook.modes)
    assert 80 * 5 == hook.modes.count(False)
    assert {id(layer) for layer in model} == hook.layers
    assert all(inner.training for _, inner in model.layers())


# -- what copies and pickles hold ----------------------------------------------------------------


def test_state_of_ones_own_is_copied() -> None:
    """What is no part of a pass stays: arrays of `__init__`, what a user sets later, buffers, and
    the mode.
    """

    class Masked(Times):
        buffers = ("average",)

        def __init__(self) -> None:
            super().__init__()
            self.table = np.arange(3.0)
            self.mask: Array | None = None

        def forward(self, x: Array) -> Array:
            self.average = x.mean(axis=0)
            return super().forward(x if self.mask is None else x * self.mask)

    layer = Masked()
    layer.backward(layer(X))
    layer.mask = np.array([1, 0, 1], np.float32)
    layer.note = np.ones(2)  # type: ignore[attr-defined]
    other = copy.deepcopy(layer.eval())
    assert other.predict(X).tobytes() == layer.predict(X).tobytes()
    assert [0, 1, 2] == other.table.tolist()
    assert layer.average.tolist() == other.average.tolist()
    assert [1, 1] == other.note.tolist()  # type: ignore[attr-defined]
    assert not other.training
    assert not hasattr(other, "x")


# -- a parameter that was replaced ---------------------------------------------------------------


@pytest.mark.parametrize("put", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("after", [0, 2])
def test_a_replaced_weight_is_named(put: Callable[[mg.Layer], mg.Layer], after: int) -> None:
    """`layer.factor = array` is an error at the next forward, before a training and within, that
    says what to write.
    """
    layer = Times()
    model = put(layer)
    for _ in range(after):
        model.backward(np.ones_like(model(X)))
    layer.factor = np.ones(3)  # type: ignore[assignment]
    with pytest.raises(
        ModelError,
        match=r"'factor' was a Parameter, and was replaced by ndarray.*\.factor\.value = array",
    ):
        model(X)


def test_an_attribute_error_of_ones_own_stays() -> None:
    """Where nothing was replaced, an AttributeError in a forward is the one that was raised."""

    class Wrong(Times):
        def forward(self, x: Array) -> Array:
            return x * self.facto.value  # type: ignore[attr-defined,no-any-return]

    with pytest.raises(AttributeError, match="facto"):
        mg.Sequential(Wrong())(X)
