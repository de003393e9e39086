"""One table of every layer, loss and optimizer, which the tests of their contracts go through, and
tools for it.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow
from layer_support import Residual

import minigrad as mg
from minigrad.activations import ActivationName
from minigrad.arrays import Array

T = TypeVar("T")
FloatType: TypeAlias = type[np.float32] | type[np.float64]
MakeLayer: TypeAlias = Callable[[FloatType], mg.Layer]
MakeLoss: TypeAlias = Callable[[], mg.Loss]
MakeOptimizer: TypeAlias = Callable[[mg.Layer], mg.Optimizer]
Targets: TypeAlias = npt.NDArray[Any]
MakeTargets: TypeAlias = Callable[[int], Targets]
Rate: TypeAlias = float | Callable[[int], float]


# -- layers, models and an optimizer of one's own ------------------------------------------------


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


def residual(features: int, dtype: FloatType) -> Residual:
    """A composite: what goes in is added to what its inner layers make of it."""
    return Residual(mg.Dense(features, features, dtype=dtype, rng=5), mg.Activation("tanh"))


class Images(mg.Layer):
    """Rows of 4 as images of 2 x 2, for layers that take more than rows."""

    def forward(self, x: Array) -> Array:
        return x.reshape(-1, 2, 2).copy()

    def backward(self, grad: Array) -> Array:
        return grad.reshape(-1, 4).copy()


class SignDescent(mg.Optimizer):
    """A custom optimizer: only `compute`."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(np.sign(grads), -self.current_lr, out=update)


def shorter(names: object, values: Array, update: Array) -> None:
    """A transform of one's own."""
    update *= 0.75


def chain(dtype: FloatType) -> mg.Sequential:
    return mg.Sequential(
        mg.Dense(4, 5, dtype=dtype, rng=1),
        mg.Activation("relu"),
        mg.Dense(5, 3, dtype=dtype, rng=2),
    )


def batch_norm(dtype: FloatType, **settings: float) -> mg.BatchNorm:
    """With a scale, a shift and running statistics that are not those of the beginning."""
    layer = mg.BatchNorm(4, dtype=dtype, **settings)
    layer.weight.value = np.array([0.5, -1, 2, 1])
    layer.bias.value = np.array([0, 1, -0.5, 0.25])
    layer.running_mean[...] = [0.5, -0.25, 0, 1]
    layer.running_var[...] = [2, 0.5, 1, 4]
    return layer


def layer_norm(features: int, dtype: FloatType, eps: float = 1e-5) -> mg.LayerNorm:
    """With a scale and a shift that are not those of the beginning."""
    layer = mg.LayerNorm(features, eps=eps, dtype=dtype)
    layer.weight.value = np.linspace(-1, 2, features)
    layer.bias.value = np.linspace(1, 0, features)
    return layer


def modern(dtype: FloatType) -> mg.Sequential:
    """Normalization, dropout and a nested part, in training."""
    return mg.Sequential(
        mg.Dense(4, 4, dtype=dtype, rng=1),
        batch_norm(dtype),
        mg.Activation("gelu"),
        mg.Dropout(0.25, rng=2),
        mg.Sequential(mg.Dense(4, 3, dtype=dtype, rng=3), layer_norm(3, dtype)),
        mg.Activation("silu"),
    )


def partly_frozen(dtype: FloatType) -> mg.Sequential:
    """A frozen layer that holds -0.0, and one frozen bias."""
    model = mg.Sequential(
        mg.Dense(4, 4, dtype=dtype, rng=1),
        Scale(4, dtype),
        mg.Activation("tanh"),
        mg.Dense(4, 3, dtype=dtype, rng=2),
    )
    parameters = dict(model.parameters())
    for name in ("1.scale", "3.bias"):
        parameters[name].trainable = False
    parameters["1.scale"].value[0] = -0.0
    return model


# -- the table -----------------------------------------------------------------------------------

ACTIVATIONS: list[ActivationName] = [
    "linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh", "softplus",
    "softmax",
    "log_softmax",
]  # fmt: skip


def activation(name: ActivationName) -> MakeLayer:
    return lambda dtype: mg.Activation(name)


LAYERS: dict[str, MakeLayer] = {  # each takes 4 features
    "Dense": lambda dtype: mg.Dense(4, 3, dtype=dtype, rng=1),
    "Dense to one unit": lambda dtype: mg.Dense(4, 1, dtype=dtype, rng=1),
    "Dense without bias": lambda dtype: mg.Dense(4, 3, bias=False, dtype=dtype, rng=1),
    "Dense frozen": lambda dtype: mg.Dense(4, 3, dtype=dtype, rng=1).freeze(),
    **{f"Activation {name}": activation(name) for name in ACTIVATIONS},
    "Dropout": lambda dtype: mg.Dropout(0.5, rng=1),
    "Dropout of nothing": lambda dtype: mg.Dropout(0, rng=1),
    "Dropout of everything": lambda dtype: mg.Dropout(1, rng=1),
    "Dropout in eval mode": lambda dtype: mg.Dropout(0.5, rng=1).eval(),
    "BatchNorm": batch_norm,
    "BatchNorm of its own settings": lambda dtype: batch_norm(dtype, momentum=0.5, eps=0.1),
    "BatchNorm in eval mode": lambda dtype: batch_norm(dtype).eval(),
    "BatchNorm frozen": lambda dtype: batch_norm(dtype).freeze(),
    "LayerNorm": lambda dtype: layer_norm(4, dtype),
    "LayerNorm in eval mode": lambda dtype: layer_norm(4, dtype).eval(),
    "LayerNorm of images": lambda dtype: mg.Sequential(
        Images(), layer_norm(2, dtype, eps=0.1), mg.Flatten()
    ),
    "Flatten": lambda dtype: mg.Flatten(),
    "Flatten of images": lambda dtype: mg.Sequential(Images(), mg.Flatten()),
    "Dropout of images": lambda dtype: mg.Sequential(
        Images(), mg.Dropout(0.25, rng=3), mg.Flatten()
    ),
    "Sequential": chain,
    "Sequential by names": lambda dtype: mg.Sequential(
        hidden=mg.Dense(4, 3, dtype=dtype, rng=1), out=Scale(3, dtype)
    ),
    "Sequential frozen": lambda dtype: chain(dtype).freeze(),
    "Sequential partly frozen": partly_frozen,
    "Sequential that starts with an Activation": lambda dtype: mg.Sequential(
        mg.Activation("tanh"), chain(dtype)
    ),
    "Sequential without parameters": lambda dtype: mg.Sequential(
        mg.Activation("sigmoid"), mg.Activation("softmax")
    ),
    "Sequential with normalization and dropout": modern,
    "Sequential with normalization and dropout in eval mode": lambda dtype: modern(dtype).eval(),
    "nested Sequential": lambda dtype: mg.Sequential(
        Scale(4, dtype), mg.Sequential(chain(dtype)), Scale(3, dtype)
    ),
    "slice of a Sequential": lambda dtype: chain(dtype)[0:2],
    "slice with normalization and dropout": lambda dtype: modern(dtype)[1:4],
    "custom layer": lambda dtype: Scale(4, dtype),
    "residual block": lambda dtype: residual(4, dtype),
    "residual block in a Sequential": lambda dtype: mg.Sequential(
        residual(4, dtype), residual(4, dtype)
    ),
}

MODELS: dict[str, MakeLayer] = {  # each takes 4 features, and has weights that are trained
    "chain": chain,
    "nested": lambda dtype: mg.Sequential(
        Scale(4, dtype), mg.Sequential(chain(dtype)), mg.Dense(3, 2, dtype=dtype, rng=4)
    ),
    "slice": lambda dtype: mg.Sequential(
        chain(dtype), Scale(3, dtype), mg.Dense(3, 2, dtype=dtype, rng=4)
    )[0:2],
    "partly frozen": partly_frozen,
    "residual": lambda dtype: mg.Sequential(residual(4, dtype), mg.Dense(4, 3, dtype=dtype, rng=4)),
    "normalization and dropout": modern,
    "a Dense alone": lambda dtype: mg.Dense(4, 3, dtype=dtype, rng=1),
}


def balanced() -> mg.Loss:
    loss = mg.SoftmaxCrossEntropy(label_smoothing=0.2, class_weight="balanced")
    loss.balance([0, 0, 0, 1, 2, 2])
    return loss


LOSSES: dict[str, MakeLoss] = {  # each takes 3 classes or columns; ignored labels are 1
    "SoftmaxCrossEntropy": lambda: mg.SoftmaxCrossEntropy(),
    "SoftmaxCrossEntropy sum": lambda: mg.SoftmaxCrossEntropy(reduction="sum"),
    "SoftmaxCrossEntropy smoothed": lambda: mg.SoftmaxCrossEntropy(label_smoothing=0.2),
    "SoftmaxCrossEntropy weighted": lambda: mg.SoftmaxCrossEntropy(class_weight=[0.5, 2, 3]),
    "SoftmaxCrossEntropy ignoring": lambda: mg.SoftmaxCrossEntropy(ignore_index=1),
    "SoftmaxCrossEntropy smoothed and weighted, sum": lambda: mg.SoftmaxCrossEntropy(
        label_smoothing=0.2, class_weight={0: 0.5, 2: 3}, reduction="sum"
    ),
    "SoftmaxCrossEntropy balanced": balanced,
    "SoftmaxCrossEntropy with all": lambda: mg.SoftmaxCrossEntropy(
        label_smoothing=0.2, class_weight=[0.5, 2, 3], ignore_index=1
    ),
    "SoftmaxCrossEntropy with all, sum": lambda: mg.SoftmaxCrossEntropy(
        label_smoothing=0.2, class_weight=[0.5, 2, 3], ignore_index=1, reduction="sum"
    ),
    "SigmoidCrossEntropy": lambda: mg.SigmoidCrossEntropy(),
    "SigmoidCrossEntropy sum": lambda: mg.SigmoidCrossEntropy(reduction="sum"),
    "SigmoidCrossEntropy weighted": lambda: mg.SigmoidCrossEntropy(pos_weight=3.0),
    "SigmoidCrossEntropy weighted by column, sum": lambda: mg.SigmoidCrossEntropy(
        pos_weight=[0.5, 2, 0], reduction="sum"
    ),
    "MeanSquaredError": lambda: mg.MeanSquaredError(),
    "MeanSquaredError sum": lambda: mg.MeanSquaredError(reduction="sum"),
    "MeanAbsoluteError": lambda: mg.MeanAbsoluteError(),
    "MeanAbsoluteError sum": lambda: mg.MeanAbsoluteError(reduction="sum"),
    "Huber": lambda: mg.Huber(),
    "Huber sum": lambda: mg.Huber(reduction="sum"),
    "Huber narrow": lambda: mg.Huber(delta=0.25),
}


def transforms() -> dict[str, Any]:
    """Transforms of both stages: noise, which has a state; a user's own; and a constraint."""
    return {
        "grad_transforms": [mg.GradientNoise(0.01, rng=3)],
        "update_transforms": [shorter, mg.MaxNorm(2.0)],
    }


SETTINGS: dict[
    str, tuple[Callable[[mg.Layer, Rate], mg.Optimizer], float]
] = {  # and a learning rate that suits
    "SGD": (lambda model, lr: mg.SGD(model, lr), 0.1),
    "SGD momentum": (lambda model, lr: mg.SGD(model, lr, momentum=0.9), 0.1),
    "SGD Nesterov": (lambda model, lr: mg.SGD(model, lr, momentum=0.9, nesterov=True), 0.1),
    "SGD decay": (lambda model, lr: mg.SGD(model, lr, weight_decay=0.01), 0.1),
    "SGD decay by name": (
        lambda model, lr: mg.SGD(model, lr, momentum=0.5, weight_decay={"*weight": 0.01}),
        0.1,
    ),
    "SGD max_grad_norm": (lambda model, lr: mg.SGD(model, lr, max_grad_norm=0.01), 0.1),
    "SGD max_grad_value": (lambda model, lr: mg.SGD(model, lr, max_grad_value=0.005), 0.1),
    "SGD both limits": (
        lambda model, lr: mg.SGD(model, lr, max_grad_value=0.01, max_grad_norm=0.02),
        0.1,
    ),
    "Adam": (lambda model, lr: mg.Adam(model, lr), 0.01),
    "Adam amsgrad": (lambda model, lr: mg.Adam(model, lr, amsgrad=True, betas=(0.8, 0.5)), 0.01),
    "Adam decay": (lambda model, lr: mg.Adam(model, lr, weight_decay=0.01), 0.01),
    "Adam decay by name": (
        lambda model, lr: mg.Adam(model, lr, weight_decay={"*weight": 0.01}),
        0.01,
    ),
    "Adam max_grad_norm": (lambda model, lr: mg.Adam(model, lr, max_grad_norm=0.01), 0.01),
    "Adam max_grad_value": (lambda model, lr: mg.Adam(model, lr, max_grad_value=0.005), 0.01),
    "AdamW": (lambda model, lr: mg.AdamW(model, lr), 0.01),
    "AdamW amsgrad": (lambda model, lr: mg.AdamW(model, lr, amsgrad=True), 0.01),
    "AdamW decay by name": (
        lambda model, lr: mg.AdamW(model, lr, weight_decay={"*weight": 0.1}),
        0.01,
    ),
    "AdamW without decay": (lambda model, lr: mg.AdamW(model, lr, weight_decay=0), 0.01),
    "AdamW with all": (
        lambda model, lr: mg.AdamW(
            model,
            lr,
            betas=(0.8, 0.95),
            amsgrad=True,
            weight_decay=0.1,
            max_grad_value=1,
            max_grad_norm=1,
        ),
        0.01,
    ),
    "RMSprop": (lambda model, lr: mg.RMSprop(model, lr), 0.001),
    "RMSprop momentum": (lambda model, lr: mg.RMSprop(model, lr, momentum=0.5, alpha=0.9), 0.001),
    "RMSprop centered": (lambda model, lr: mg.RMSprop(model, lr, centered=True), 0.001),
    "RMSprop decay": (lambda model, lr: mg.RMSprop(model, lr, weight_decay=0.01), 0.001),
    "RMSprop with all": (
        lambda model, lr: mg.RMSprop(
            model,
            lr,
            momentum=0.5,
            centered=True,
            weight_decay={"*weight": 0.01},
            max_grad_value=1,
            max_grad_norm=1,
        ),
        0.001,
    ),
    "custom optimizer": (lambda model, lr: SignDescent(model, lr), 0.01),
    "SGD lr_factors": (
        lambda model, lr: mg.SGD(model, lr, momentum=0.9, lr_factors={"*bias": 0.25}),
        0.1,
    ),
    "SGD transforms": (lambda model, lr: mg.SGD(model, lr, momentum=0.9, **transforms()), 0.1),
    "Adam lr_factors": (lambda model, lr: mg.Adam(model, lr, lr_factors={"*bias": 0.25}), 0.01),
    "Adam transforms": (
        lambda model, lr: mg.Adam(model, lr, max_grad_norm=0.5, **transforms()),
        0.01,
    ),
    "AdamW lr_factors": (lambda model, lr: mg.AdamW(model, lr, lr_factors={"*bias": 0.25}), 0.01),
    "AdamW transforms": (lambda model, lr: mg.AdamW(model, lr, **transforms()), 0.01),
    "RMSprop lr_factors": (
        lambda model, lr: mg.RMSprop(model, lr, lr_factors={"*bias": 0.25}),
        0.001,
    ),
    "RMSprop transforms": (lambda model, lr: mg.RMSprop(model, lr, **transforms()), 0.001),
    "custom optimizer with transforms": (
        lambda model, lr: SignDescent(model, lr, lr_factors={"*bias": 0.25}, **transforms()),
        0.01,
    ),
}


def constant(name: str) -> MakeOptimizer:
    make, lr = SETTINGS[name]
    return lambda model: make(model, lr)


def scheduled(name: str) -> MakeOptimizer:
    make, lr = SETTINGS[name]
    return lambda model: make(
        model, mg.LinearWarmup(mg.CosineDecay(lr, steps=40, minimum=lr / 10), steps=3)
    )


OPTIMIZERS: dict[str, MakeOptimizer] = {
    **{name: constant(name) for name in SETTINGS},
    **{f"{name} with a schedule": scheduled(name) for name in SETTINGS},
    "SGD by StepDecay": lambda model: mg.SGD(
        model, mg.StepDecay(0.1, every=3, factor=0.5), momentum=0.9
    ),
    "Adam by ExponentialDecay": lambda model: mg.Adam(model, mg.ExponentialDecay(0.01, factor=0.9)),
    "RMSprop by CosineDecay": lambda model: mg.RMSprop(model, mg.CosineDecay(0.001, steps=25)),
}

DTYPES: list[FloatType] = [np.float32, np.float64]
BATCHES = [1, 7]

layers = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
SLOW = {  # the usual run takes each setting with a constant rate or with a schedule, in turn
    name if place % 2 else f"{name} with a schedule" for place, name in enumerate(SETTINGS)
}
optimizers = pytest.mark.parametrize(
    "make",
    [
        slow(make, id=name) if name in SLOW else pytest.param(make, id=name)
        for name, make in OPTIMIZERS.items()
    ],
)
# all optimizers on one model, and all settings on the others, of which the usual run takes some
models_and_optimizers = pytest.mark.parametrize(
    ("make_model", "make", "dtype"),
    [
        (pytest.param if usual else slow)(
            make_model, make, dtype, id=f"{model}, {name}, {dtype.__name__}"
        )
        for number, (model, make_model) in enumerate(MODELS.items())
        for place, (name, make) in enumerate(OPTIMIZERS.items())
        for turn, dtype in enumerate(DTYPES)
        if model == "chain" or (name in SETTINGS and turn == (number + place) % 2)
        for usual in [
            name not in SLOW and place % 4 < 2 and turn == place // 4 % 2
            if model == "chain"
            else place % (2 * len(MODELS) - 2) == 2 * number - 1 - number % 2
        ]
    ],
)
dtypes = pytest.mark.parametrize("dtype", DTYPES)
batches = pytest.mark.parametrize("batch", BATCHES)


# -- the targets of the losses -------------------------------------------------------------------


def labels(batch: int) -> Targets:
    found = np.random.default_rng(9).integers(0, 3, size=batch)
    found[0] = 2  # at least one that nobody ignores
    return found


def yes_or_no(batch: int) -> Targets:
    return np.random.default_rng(9).integers(0, 2, size=(batch, 3))


NUMBERS: dict[str, MakeTargets] = {
    "numbers": lambda batch: np.random.default_rng(9).normal(size=(batch, 3)),
    "integers": lambda batch: np.random.default_rng(9).integers(-2, 3, size=(batch, 3)),
}
TARGETS: dict[str, dict[str, MakeTargets]] = {  # by the first word of the loss's row
    "SoftmaxCrossEntropy": {
        "labels": labels,
        "probabilities": lambda batch: np.random.default_rng(9).dirichlet([1, 1, 1], size=batch),
    },
    "SigmoidCrossEntropy": {
        "yes or no": yes_or_no,
        "booleans": lambda batch: yes_or_no(batch).astype(bool),
        "probabilities": lambda batch: np.random.default_rng(9).random((batch, 3)),
    },
    "MeanSquaredError": NUMBERS,
    "MeanAbsoluteError": NUMBERS,
    "Huber": NUMBERS,
}
LOSSES_AND_TARGETS = [
    pytest.param(make, targets, id=f"{name}, {kind}")
    for name, make in LOSSES.items()
    for kind, targets in TARGETS[name.split()[0]].items()
    if kind == "labels"
    or getattr(make(), "ignore_index", None) is None  # in rows there is no label to ignore
]
losses = pytest.mark.parametrize(("make", "targets_of"), LOSSES_AND_TARGETS)


# -- tools ---------------------------------------------------------------------------------------


def sample(batch: int, width: int, dtype: npt.DTypeLike, seed: int = 0) -> Array:
    drawn: Array = np.random.default_rng(seed).normal(size=(batch, width)).astype(dtype)
    return drawn


def fitting(layer: mg.Layer, batch: int) -> int:
    """The number of rows, or 2 instead of 1 where a batch of 1 has no variance."""
    norms = any(isinstance(inner, mg.BatchNorm) and inner.training for _, inner in layer.layers())
    return max(batch, 2) if norms else batch


def random_again(layer: mg.Layer) -> Callable[[], None]:
    """Something to call so that the layer's Dropouts draw what they would draw now."""
    drops = [inner for _, inner in layer.layers() if isinstance(inner, mg.Dropout)]
    states = [drop.rng.bit_generator.state for drop in drops]

    def again() -> None:
        for drop, state in zip(drops, states, strict=True):
            drop.rng.bit_generator.state = state

    return again


def input_gradient(layer: mg.Layer, grad: Array) -> Array:
    below = (
        layer.backward(grad, input_grad=True)
        if isinstance(layer, mg.Sequential)
        else layer.backward(grad)
    )
    assert below is not None
    return below


def central_differences(value: Callable[[], float], array: Array, eps: float = 1e-6) -> Array:
    """The derivative of `value()` by each entry of an array, where the array is changed in
    place.
    """
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


def bits(layer: mg.Layer) -> dict[str, bytes]:
    """All parameters and buffers."""
    return {name: array.tobytes() for name, array in layer.state_dict().items()}


def in_bits(thing: object) -> object:
    """Nested dicts and lists of arrays as something that can be compared, bit for bit, and does not
    change.
    """
    if isinstance(thing, dict):
        return {key: in_bits(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [in_bits(value) for value in thing]
    return (thing.shape, thing.dtype, thing.tobytes()) if isinstance(thing, np.ndarray) else thing


def train(
    model: mg.Layer, optimizer: mg.Optimizer, steps: int, seed: int = 0, width: int = 4
) -> None:
    dtype = next(parameter.dtype for _, parameter in model.parameters())
    for step in range(steps):
        output = model(sample(7, width, dtype, seed + step))
        model.backward(
            output * output.dtype.type(2 / 7)
        )  # the gradient of the mean over the samples of |output|^2
        optimizer.step()
