"""One table of every layer, loss and optimizer, and what users rely on in each of them."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pytest

import minigrad as mg
from minigrad.arrays import Array

T = TypeVar("T")
FloatType = type[np.float32] | type[np.float64]


class Scale(mg.Layer):
    """A custom layer of ten lines, as in the documentation."""

    def __init__(self, features: int, dtype: FloatType) -> None:
        self.scale = mg.Parameter(np.linspace(0.5, 2, features).astype(dtype))

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.scale.value

    def backward(self, grad: Array) -> Array:
        self.scale.grad = (grad * self.x).sum(axis=0)
        return grad * self.scale.value


class Residual(mg.Layer):
    """A composite: what goes in is added to what its inner layers make of it."""

    def __init__(self, features: int, dtype: FloatType) -> None:
        self.inner = mg.Sequential(mg.Dense(features, features, dtype=dtype, rng=5), mg.Activation("tanh"))

    def forward(self, x: Array) -> Array:
        return x + self.inner(x)

    def backward(self, grad: Array) -> Array:
        below = self.inner.backward(grad)
        assert below is not None
        return grad + below


class SignDescent(mg.Optimizer):
    """A custom optimizer: only `compute`."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(np.sign(grads), -self.current_lr, out=update)


def chain(dtype: FloatType) -> mg.Sequential:
    return mg.Sequential(mg.Dense(4, 5, dtype=dtype, rng=1), mg.Activation("relu"), mg.Dense(5, 3, dtype=dtype, rng=2))


# -- the table --------------------------------------------------------------------------------------------------------

LAYERS: dict[str, Callable[[FloatType], mg.Layer]] = {  # each takes 4 features
    "Dense": lambda dtype: mg.Dense(4, 3, dtype=dtype, rng=1),
    "Dense to one unit": lambda dtype: mg.Dense(4, 1, dtype=dtype, rng=1),
    "Dense without bias": lambda dtype: mg.Dense(4, 3, bias=False, dtype=dtype, rng=1),
    "Activation linear": lambda dtype: mg.Activation("linear"),
    "Activation relu": lambda dtype: mg.Activation("relu"),
    "Activation sigmoid": lambda dtype: mg.Activation("sigmoid"),
    "Activation tanh": lambda dtype: mg.Activation("tanh"),
    "Activation softmax": lambda dtype: mg.Activation("softmax"),
    "Sequential": chain,
    "Sequential that starts with an Activation": lambda dtype: mg.Sequential(mg.Activation("tanh"), chain(dtype)),
    "Sequential without parameters": lambda dtype: mg.Sequential(mg.Activation("sigmoid"), mg.Activation("softmax")),
    "nested Sequential": lambda dtype: mg.Sequential(Scale(4, dtype), mg.Sequential(chain(dtype)), Scale(3, dtype)),
    "slice of a Sequential": lambda dtype: chain(dtype)[0:2],
    "custom layer": lambda dtype: Scale(4, dtype),
    "residual block": lambda dtype: Residual(4, dtype),
    "residual block in a Sequential": lambda dtype: mg.Sequential(Residual(4, dtype), Residual(4, dtype)),
}


LOSSES: dict[str, Callable[[], mg.Loss]] = {  # each takes 3 classes; ignored labels are 1
    "SoftmaxCrossEntropy": lambda: mg.SoftmaxCrossEntropy(),
    "SoftmaxCrossEntropy sum": lambda: mg.SoftmaxCrossEntropy(reduction="sum"),
    "SoftmaxCrossEntropy smoothed": lambda: mg.SoftmaxCrossEntropy(label_smoothing=0.2),
    "SoftmaxCrossEntropy weighted": lambda: mg.SoftmaxCrossEntropy(class_weight=[0.5, 2, 3]),
    "SoftmaxCrossEntropy ignoring": lambda: mg.SoftmaxCrossEntropy(ignore_index=1),
    "SoftmaxCrossEntropy with all": lambda: mg.SoftmaxCrossEntropy(
        label_smoothing=0.2, class_weight=[0.5, 2, 3], ignore_index=1
    ),
}

OPTIMIZERS: dict[str, Callable[[mg.Layer], mg.Optimizer]] = {
    "SGD": lambda model: mg.SGD(model, lr=0.1),
    "SGD momentum": lambda model: mg.SGD(model, lr=0.1, momentum=0.9),
    "SGD Nesterov": lambda model: mg.SGD(model, lr=0.1, momentum=0.9, nesterov=True),
    "SGD decay": lambda model: mg.SGD(model, lr=0.1, weight_decay=0.01),
    "SGD decay by name": lambda model: mg.SGD(model, lr=0.1, momentum=0.5, weight_decay={"*.weight": 0.01}),
    "SGD clipping": lambda model: mg.SGD(model, lr=0.1, max_grad_norm=0.01),
    "custom optimizer": lambda model: SignDescent(model, lr=0.01),
}

DTYPES: list[FloatType] = [np.float32, np.float64]
BATCHES = [1, 7, 64]

layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
losses = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES.keys())
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
dtypes = pytest.mark.parametrize("dtype", DTYPES)
batches = pytest.mark.parametrize("batch", BATCHES)
row_targets = pytest.mark.parametrize("rows", [False, True], ids=["labels", "probabilities"])


# -- tools ------------------------------------------------------------------------------------------------------------


def sample(batch: int, width: int, dtype: npt.DTypeLike, seed: int = 0) -> Array:
    drawn: Array = np.random.default_rng(seed).normal(size=(batch, width)).astype(dtype)
    return drawn


def targets_of(batch: int, rows: bool) -> npt.NDArray[Any]:
    rng = np.random.default_rng(9)
    if rows:
        return rng.dirichlet([1, 1, 1], size=batch)
    labels = rng.integers(0, 3, size=batch)
    labels[0] = 2  # at least one that nobody ignores
    return labels


def input_gradient(layer: mg.Layer, grad: Array) -> Array:
    below = layer.backward(grad, input_grad=True) if isinstance(layer, mg.Sequential) else layer.backward(grad)
    assert below is not None
    return below


def central_differences(value: Callable[[], float], array: Array, eps: float = 1e-6) -> Array:
    """The derivative of `value()` by each entry of an array, where the array is changed in place."""
    slopes = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + eps
        above = value()
        array[place] = kept - eps
        slopes[place] = (above - value()) / (2 * eps)
        array[place] = kept
    return slopes


def copies(thing: T) -> list[T]:
    """The two ways to copy something."""
    return [copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))]


def random_state() -> bytes:
    """NumPy's global random state."""
    return pickle.dumps(np.random.get_state())  # noqa: NPY002


def train(model: mg.Layer, optimizer: mg.Optimizer, steps: int, seed: int = 0, width: int = 4) -> None:
    for step in range(steps):
        x = sample(7, width, next(p.dtype for _, p in model.parameters()), seed + step)
        model.backward(model(x) * 2)  # the gradient of the sum of squares
        optimizer.step()


# -- layers -----------------------------------------------------------------------------------------------------------


@layers
@dtypes
@batches
def test_a_layer_keeps_dtype_and_batch(make: Callable[[FloatType], mg.Layer], dtype: FloatType, batch: int) -> None:
    """What comes out has as many rows as what goes in, and the same dtype; the gradient has the input's shape."""
    layer, x = make(dtype), sample(batch, 4, dtype)
    output = layer(x)
    below = input_gradient(layer, np.ones_like(output))
    assert (batch, np.dtype(dtype)) == (len(output), output.dtype)
    assert (x.shape, np.dtype(dtype)) == (below.shape, below.dtype)
    for _, parameter in layer.parameters():
        assert dtype == parameter.value.dtype == parameter.grad.dtype
        assert parameter.value.shape == parameter.grad.shape


@layers
@batches
def test_the_gradients_of_a_layer_are_its_derivatives(make: Callable[[FloatType], mg.Layer], batch: int) -> None:
    """Every gradient agrees with central differences, entry by entry."""
    layer, x = make(np.float64), sample(batch, 4, np.float64)
    weighting = sample(1, layer(x).size, np.float64, seed=4).reshape(layer(x).shape)

    def value() -> float:
        return float((layer(x) * weighting).sum())

    layer(x)
    found = {"x": input_gradient(layer, weighting)}
    found |= {name: parameter.grad.copy() for name, parameter in layer.parameters()}
    arrays = {"x": x, **{name: parameter.value for name, parameter in layer.parameters()}}
    for name, array in arrays.items():
        np.testing.assert_allclose(found[name], central_differences(value, array), 1e-6, 1e-8, err_msg=name)


@layers
@batches
def test_float32_computes_what_float64_computes(make: Callable[[FloatType], mg.Layer], batch: int) -> None:
    """The same layer in float32 gives the same outputs and gradients, but for rounding."""
    results: dict[FloatType, list[Array]] = {}
    for dtype in DTYPES:
        layer = make(dtype)
        output = layer(sample(batch, 4, np.float32).astype(dtype))
        below = input_gradient(layer, np.cos(output))
        results[dtype] = [output, below, *(parameter.grad for _, parameter in layer.parameters())]
    for exact, rounded in zip(results[np.float64], results[np.float32], strict=True):
        np.testing.assert_allclose(rounded, exact, rtol=1e-4, atol=1e-5)


@layers
@dtypes
@batches
def test_a_layer_changes_neither_input_nor_gradient(
    make: Callable[[FloatType], mg.Layer], dtype: FloatType, batch: int
) -> None:
    """The arrays that forward and backward are given stay as they are; they may be read-only."""
    layer, x = make(dtype), sample(batch, 4, dtype)
    x.flags.writeable = False
    before = x.tobytes()
    grad = sample(batch, layer(x).shape[1], dtype, seed=1)
    grad.flags.writeable = False
    grad_before = grad.tobytes()
    layer(x)
    input_gradient(layer, grad)
    assert before == x.tobytes()
    assert grad_before == grad.tobytes()


@layers
@dtypes
@batches
def test_what_a_layer_hands_out_is_the_callers(
    make: Callable[[FloatType], mg.Layer], dtype: FloatType, batch: int
) -> None:
    """Outputs and gradients that somebody holds do not change under later calls, and share no memory with others."""
    layer, x = make(dtype), sample(batch, 4, dtype)
    output = layer(x)
    grad = sample(batch, output.shape[1], dtype, seed=1)
    below = input_gradient(layer, grad)
    kept, below_kept = output.copy(), below.copy()
    for seed in (2, 3):
        other = layer(sample(batch, 4, dtype, seed))
        other_below = input_gradient(layer, -3 * grad)
    assert kept.tobytes() == output.tobytes()
    assert below_kept.tobytes() == below.tobytes()
    held = [x, grad, output, below, other, other_below, *(parameter.value for _, parameter in layer.parameters())]
    held += [parameter.grad for _, parameter in layer.parameters()]
    for first in range(4):
        assert not any(np.shares_memory(held[first], later) for later in held[first + 1 :])


@layers
@dtypes
def test_writing_into_an_output_spoils_nothing(make: Callable[[FloatType], mg.Layer], dtype: FloatType) -> None:
    """A caller may write into an output; the gradients are those of the forward that was run."""
    gradients: list[list[bytes]] = []
    for write in (False, True):
        layer = make(dtype)
        output = layer(sample(7, 4, dtype))
        grad = sample(7, output.shape[1], dtype, seed=1)
        if write:
            output.fill(np.nan)
        below = input_gradient(layer, grad)
        gradients.append([below.tobytes(), *(parameter.grad.tobytes() for _, parameter in layer.parameters())])
    assert gradients[0] == gradients[1]


@layers
@dtypes
@batches
def test_copies_of_a_layer_do_the_same_in_memory_of_their_own(
    make: Callable[[FloatType], mg.Layer], dtype: FloatType, batch: int
) -> None:
    """A deep copy or a pickled layer gives the same results, also in the midst of a pass, and shares no memory."""
    layer, x = make(dtype), sample(batch, 4, dtype)
    output = layer(x)
    grad = np.cos(output)
    originals = copies(layer)
    below = input_gradient(layer, grad)
    for other in originals:
        assert repr(layer) == repr(other)
        assert below.tobytes() == input_gradient(other, grad).tobytes()
        assert output.tobytes() == other(x).tobytes()
        pairs = list(zip(layer.parameters(), other.parameters(), strict=True))
        for (name, parameter), (other_name, other_parameter) in pairs:
            assert name == other_name
            assert parameter.grad.tobytes() == other_parameter.grad.tobytes()
            assert not np.shares_memory(parameter.value, other_parameter.value)
            assert not np.shares_memory(parameter.grad, other_parameter.grad)
        vector = mg.ParameterVector.of(other)
        vector.values[...] = 9
        for (_, parameter), (_, other_parameter) in pairs:
            assert not (parameter.value == 9).any()
            assert (other_parameter.value == 9).all()


@layers
@dtypes
def test_a_layer_is_determined_by_its_seed(make: Callable[[FloatType], mg.Layer], dtype: FloatType) -> None:
    """Two layers made with the same seed give identical bits, and NumPy's global random state is left alone."""
    before, x = random_state(), sample(7, 4, dtype)
    first, second = make(dtype), make(dtype)
    assert first(x).tobytes() == second(x).tobytes()
    assert before == random_state()


@layers
def test_a_layer_takes_any_memory_layout(make: Callable[[FloatType], mg.Layer]) -> None:
    """Column-major and strided batches give the same numbers as plain ones."""
    x = sample(7, 4, np.float64)
    wide = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)
    layer = make(np.float64)
    expected = layer(x)
    below = input_gradient(layer, np.cos(expected))
    for other in (np.asfortranarray(x), wide[::2, ::3]):
        np.testing.assert_allclose(layer(other), expected, rtol=1e-13)
        np.testing.assert_allclose(input_gradient(layer, np.asfortranarray(np.cos(expected))), below, rtol=1e-12)


# -- losses -----------------------------------------------------------------------------------------------------------


@losses
@row_targets
@dtypes
@batches
def test_a_loss_is_one_number_and_its_gradient_has_the_logits_form(
    make: Callable[[], mg.Loss], rows: bool, dtype: FloatType, batch: int
) -> None:
    """`forward` gives a Python float and keeps it as `.value`; the gradient has the logits' shape and dtype."""
    loss, logits = make(), sample(batch, 3, dtype)
    value = loss.forward(logits, targets_of(batch, rows))
    grad = loss.backward()
    assert float is type(value)
    assert value == loss.value
    assert (logits.shape, np.dtype(dtype)) == (grad.shape, grad.dtype)


@losses
@row_targets
@batches
def test_the_gradient_of_a_loss_is_its_derivative(make: Callable[[], mg.Loss], rows: bool, batch: int) -> None:
    """The gradient agrees with central differences of the very value that `forward` returns."""
    loss, logits, targets = make(), sample(batch, 3, np.float64), targets_of(batch, rows)
    loss.forward(logits, targets)
    found = loss.backward()
    expected = central_differences(lambda: loss.forward(logits, targets), logits)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@losses
@row_targets
@dtypes
@batches
def test_a_loss_changes_nothing_that_it_is_given(
    make: Callable[[], mg.Loss], rows: bool, dtype: FloatType, batch: int
) -> None:
    """Logits and targets stay as they are, and may be read-only."""
    loss, logits, targets = make(), sample(batch, 3, dtype), targets_of(batch, rows)
    logits.flags.writeable = targets.flags.writeable = False
    before = logits.tobytes(), targets.tobytes()
    loss.forward(logits, targets)
    loss.backward()
    assert before == (logits.tobytes(), targets.tobytes())


@losses
@row_targets
@dtypes
def test_what_a_loss_hands_out_is_the_callers(make: Callable[[], mg.Loss], rows: bool, dtype: FloatType) -> None:
    """A gradient that somebody holds, or writes into, does not change under later calls, nor changes them."""
    loss, targets = make(), targets_of(7, rows)
    loss.forward(sample(7, 3, dtype), targets)
    grad = loss.backward()
    kept = grad.tobytes()
    again = loss.backward()
    assert kept == again.tobytes()
    again.fill(np.nan)
    assert kept == loss.backward().tobytes()
    loss.forward(sample(7, 3, dtype, seed=1), targets)
    loss.backward()
    assert kept == grad.tobytes()


@losses
@row_targets
@dtypes
def test_copies_of_a_loss_do_the_same(make: Callable[[], mg.Loss], rows: bool, dtype: FloatType) -> None:
    """A deep copy or a pickled loss gives the same value and gradient, also between forward and backward."""
    loss, logits, targets = make(), sample(7, 3, dtype), targets_of(7, rows)
    value = loss.forward(logits, targets)
    for other in copies(loss):
        grad = other.backward()
        assert loss.backward().tobytes() == grad.tobytes()
        assert value == other.forward(logits, targets)
        other.forward(-logits, targets)
        assert grad.tobytes() == loss.backward().tobytes()


@losses
def test_a_loss_leaves_the_global_random_state(make: Callable[[], mg.Loss]) -> None:
    """Nothing draws from NumPy's global random state."""
    before = random_state()
    loss = make()
    loss.forward(sample(7, 3, np.float32), targets_of(7, rows=False))
    loss.backward()
    assert before == random_state()


# -- optimizers -------------------------------------------------------------------------------------------------------


@optimizers
@dtypes
def test_an_optimizer_keeps_dtype_and_memory(make: Callable[[mg.Layer], mg.Optimizer], dtype: FloatType) -> None:
    """Steps change the values where they lie, and leave their dtype."""
    model = chain(dtype)
    optimizer = make(model)
    held = {name: parameter.value for name, parameter in model.parameters()}
    before = model.state_dict()
    train(model, optimizer, steps=3)
    for name, parameter in model.parameters():
        assert held[name] is parameter.value
        assert dtype == parameter.value.dtype == parameter.grad.dtype
        assert not np.array_equal(before[name], parameter.value)


@optimizers
@dtypes
def test_a_step_leaves_the_gradients(make: Callable[[mg.Layer], mg.Optimizer], dtype: FloatType) -> None:
    """What backward wrote can be read after the step as well: clipping and decay work on copies."""
    model = chain(dtype)
    optimizer = make(model)
    model.backward(model(sample(7, 4, dtype)))
    before = mg.ParameterVector.of(model).grads.tobytes()
    optimizer.step()
    assert before == mg.ParameterVector.of(model).grads.tobytes()


@optimizers
@dtypes
@batches
def test_an_optimizer_makes_the_loss_smaller(
    make: Callable[[mg.Layer], mg.Optimizer], dtype: FloatType, batch: int
) -> None:
    """On any batch size, thirty steps make the sum of squares of the outputs smaller."""
    model, x = chain(dtype), sample(batch, 4, dtype)
    optimizer = make(model)
    first = float((model(x) ** 2).sum())
    for _ in range(30):
        model.backward(model(x) * dtype(0.02 / batch))
        optimizer.step()
    assert float((model(x) ** 2).sum()) < first


@optimizers
@dtypes
def test_copies_of_an_optimizer_go_on_alike(make: Callable[[mg.Layer], mg.Optimizer], dtype: FloatType) -> None:
    """An optimizer copied or pickled with its model goes on with the same bits, in memory of its own."""
    model = chain(dtype)
    optimizer = make(model)
    train(model, optimizer, steps=3)
    others = copies((model, optimizer))
    train(model, optimizer, steps=3, seed=3)
    after = mg.ParameterVector.of(model).values.tobytes()
    for other_model, other_optimizer in others:
        assert other_optimizer.model is other_model
        train(other_model, other_optimizer, steps=3, seed=3)
        assert after == mg.ParameterVector.of(other_model).values.tobytes()
        assert optimizer.step_count == other_optimizer.step_count == 6
    assert after == mg.ParameterVector.of(model).values.tobytes()


@optimizers
@dtypes
def test_training_is_determined_by_its_seeds(make: Callable[[mg.Layer], mg.Optimizer], dtype: FloatType) -> None:
    """Two trainings from the same seeds have identical bits, and NumPy's global random state is left alone."""
    before, ends = random_state(), []
    for _ in range(2):
        model = chain(dtype)
        train(model, make(model), steps=5)
        ends.append(mg.ParameterVector.of(model).values.tobytes())
    assert ends[0] == ends[1]
    assert before == random_state()


# -- the table itself -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "table"), [(mg.Layer, LAYERS), (mg.Loss, LOSSES), (mg.Optimizer, OPTIMIZERS)])
def test_the_table_has_everything_public(base: type, table: dict[str, object]) -> None:
    """Whoever adds a layer, a loss or an optimizer adds its row here."""
    public = [thing for name in mg.__all__ if inspect.isclass(thing := getattr(mg, name))]
    concrete = [cls.__name__ for cls in public if issubclass(cls, base) and not inspect.isabstract(cls)]
    assert concrete
    assert not [name for name in concrete if not any(row.split()[0] == name for row in table)]
