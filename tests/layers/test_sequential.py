"""`Sequential`: layers in a chain, nesting, slices, names, and predict."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.activations import ActivationName
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError, ShapeError


def chain(seed: int = 0) -> mg.Sequential:
    rng = np.random.default_rng(seed)
    return mg.Sequential(mg.Dense(3, 4, rng=rng), mg.Activation("tanh"), mg.Dense(4, 2, rng=rng))


class Noise(mg.Layer):
    """Does something else in training mode, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def forward(self, x: Array) -> Array:
        self.calls += 1
        return x + 1 if self.training else x.copy()

    def backward(self, grad: Array) -> Array:
        return grad.copy()


def test_it_is_its_layers_one_after_the_other() -> None:
    """Forward and backward agree with the formulas, in plain NumPy."""
    model, x = chain(), np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    w1, b1, w2, b2 = (parameter.value for _, parameter in model.parameters())
    hidden = np.tanh(x @ w1 + b1)
    np.testing.assert_allclose(model(x), hidden @ w2 + b2, rtol=1e-5, atol=1e-6)
    grad = np.ones((5, 2), np.float32)
    below = model.backward(grad, input_grad=True)
    slope = grad @ w2.T * (1 - hidden**2)
    expected = [x.T @ slope, slope.sum(axis=0), hidden.T @ grad, grad.sum(axis=0)]
    for (name, parameter), gradient in zip(model.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-5, err_msg=name)
    assert below is not None
    np.testing.assert_allclose(below, slope @ w1.T, rtol=1e-4, atol=1e-5)


def test_the_input_gradient_is_given_where_somebody_needs_it() -> None:
    """The outermost model returns None, unless it is asked.

    One that another layer holds returns it, unless told not to.
    """
    model, inner, x = chain(), chain(), np.ones((2, 3))

    def backward(one: mg.Sequential, **wish: Any) -> Array | None:
        return one.backward(one(x), **wish)

    def shape(array: Array | None) -> tuple[int, ...]:
        assert array is not None
        return array.shape

    assert backward(model) is None
    assert (2, 3) == shape(backward(model, input_grad=True))
    mg.Sequential(inner, mg.Dense(2, 1, rng=0))
    assert (2, 3) == shape(backward(inner))
    assert backward(inner, input_grad=False) is None
    assert backward(mg.Sequential(mg.Activation("relu"))) is None


def test_a_copy_of_an_inner_model_is_an_outermost_one() -> None:
    """A copy that nothing holds gives None as every outermost model does, and names itself as
    one.
    """
    model = mg.Sequential(chain(), mg.Activation("relu"))
    other = copy.deepcopy(model[0])
    assert other.backward(other(np.ones((2, 3)))) is None
    with pytest.raises(ShapeError, match=r"^layer '0', Dense"):
        other(np.ones((2, 5)))


@pytest.mark.parametrize("first", ["relu", "tanh"])
def test_layers_without_parameters_at_the_start_are_left_out_of_backward(
    first: ActivationName,
) -> None:
    """Leaving them out changes no gradient of a parameter."""
    model, x = (
        mg.Sequential(mg.Activation(first), chain()),
        np.random.default_rng(1).normal(size=(5, 3)),
    )
    model.backward(model(x))
    without = mg.ParameterVector.of(model).grads.copy()
    model.backward(model(x), input_grad=True)
    assert without.any()
    assert without.tobytes() == mg.ParameterVector.of(model).grads.tobytes()


def test_a_sequence_of_layers() -> None:
    """Length, positions from both ends, iteration; names where layers have them."""
    model = chain()
    assert 3 == len(model)
    assert list(model) == [model[0], model[1], model[2]]
    assert model[-1] is model[2]
    assert model["2"] is model[2]
    assert model[np.int64(1)] is model[1]
    with pytest.raises(IndexError):
        model[3]


def test_layers_with_names() -> None:
    """Names take the place of positions, in parameters, indexing and repr."""
    model = mg.Sequential(hidden=mg.Dense(3, 4, rng=0), out=mg.Dense(4, 2, rng=1))
    assert ["hidden.weight", "hidden.bias", "out.weight", "out.bias"] == [
        name for name, _ in model.parameters()
    ]
    assert model["out"] is model[1]
    assert "Sequential(hidden=Dense(3, 4), out=Dense(4, 2))" == repr(model)
    assert ["out.weight", "out.bias"] == [name for name, _ in model[1:].parameters()]
    assert "Sequential(Dense(3, 4), Activation('tanh'), Dense(4, 2))" == repr(chain())


def test_slices_share_the_parameters() -> None:
    """A slice is a model of its own over the same parameters, with positions of its own."""
    model, x = chain(), np.ones((2, 3))
    body, head = model[:2], model[2:]
    assert model(x).tolist() == head(body(x)).tolist()
    assert ["0.weight", "0.bias"] == [name for name, _ in head.parameters()]
    head.freeze()
    assert ["2.weight", "2.bias"] == [
        name for name, parameter in model.parameters() if not parameter.trainable
    ]
    assert head[0] is model[2]
    assert [model[1], model[2]] == list(model[1:][:])
    assert (2, 2) == (len(body), len(model[-2:]))


def test_training_a_slice_alone() -> None:
    """A head is trained over fixed features: forward and backward of the slice, and an optimizer
    over it.
    """
    model, x = chain(), np.random.default_rng(1).normal(size=(8, 3))
    body, head = model[:2], model[2:]
    before = model.state_dict()
    features = body(x)
    optimizer = mg.SGD(head, lr=0.1)
    for _ in range(3):
        assert head.backward(head(features)) is None
        optimizer.step()
    after = model.state_dict()
    assert ["2.weight", "2.bias"] == [
        name for name in before if before[name].tobytes() != after[name].tobytes()
    ]
    assert model(x).tolist() == head(features).tolist()


def test_nested_models_do_what_flat_ones_do() -> None:
    """Nesting changes names, nothing else."""
    flat = chain()
    nested = mg.Sequential(
        mg.Sequential(*list(chain())[:1]), mg.Sequential(mg.Sequential(*list(chain())[1:]))
    )
    nested.load_state_dict(dict(zip(nested.state_dict(), flat.state_dict().values(), strict=True)))
    x = np.random.default_rng(1).normal(size=(5, 3))
    assert flat(x).tobytes() == nested(x).tobytes()
    flat.backward(np.ones((5, 2)))
    nested.backward(np.ones((5, 2)))
    assert (
        mg.ParameterVector.of(flat).grads.tobytes() == mg.ParameterVector.of(nested).grads.tobytes()
    )
    assert ["0.0.weight", "0.0.bias", "1.0.1.weight", "1.0.1.bias"] == [
        name for name, _ in nested.parameters()
    ]


class Keeper(mg.Layer):
    """A layer that hands on what it was given, and keeps it: what a Sequential gives away must be
    its caller's.
    """

    def forward(self, x: Array) -> Array:
        self.y = x
        return x

    def backward(self, grad: Array) -> Array:
        self.grad = grad
        return grad


def test_what_leaves_is_the_callers_whatever_the_layers_keep() -> None:
    """Writing into outputs and gradients reaches neither the caller's own arrays nor what a layer
    keeps.
    """
    model, x, grad = mg.Sequential(Keeper()), np.ones((2, 2)), np.ones((2, 2))
    output = model(x)
    below = model.backward(grad, input_grad=True)
    assert below is not None
    output.fill(9)
    below.fill(9)
    assert not (x == 9).any()
    assert not (grad == 9).any()
    keeper = model[0]
    assert isinstance(keeper, Keeper)
    assert not (keeper.y == 9).any()
    assert not (keeper.grad == 9).any()


# -- with layers of every kind -------------------------------------------------------------------


def of_every_kind(named: bool = True) -> mg.Sequential:
    layers: dict[str, mg.Layer] = {
        "flatten": mg.Flatten(),
        "hidden": mg.Dense(12, 4, rng=0),
        "norm": mg.BatchNorm(4),
        "act": mg.Activation("gelu"),
        "drop": mg.Dropout(0.5, rng=1),
        "block": mg.Sequential(mg.LayerNorm(4), mg.Dense(4, 2, bias=False, rng=2)),
    }
    return mg.Sequential(**layers) if named else mg.Sequential(*layers.values())


IMAGES = np.random.default_rng(0).normal(size=(6, 3, 4)).astype(np.float32)
NAMES = [
    "hidden.weight",
    "hidden.bias",
    "norm.weight",
    "norm.bias",
    "block.0.weight",
    "block.0.bias",
    "block.1.weight",
]
NUMBERS = {"flatten": "0", "hidden": "1", "norm": "2", "act": "3", "drop": "4", "block": "5"}


def test_names_of_every_kind() -> None:
    """Layers without parameters have no entries, but keep their names and places.

    Statistics come last in a state.
    """
    model, numbered = of_every_kind(), of_every_kind(named=False)
    assert NAMES == [name for name, _ in model.parameters()]
    assert [*NAMES, "norm.running_mean", "norm.running_var"] == list(model.state_dict())
    places = [f"{NUMBERS[first]}.{rest}" for first, rest in (name.split(".", 1) for name in NAMES)]
    assert places == [name for name, _ in numbered.parameters()]
    assert 12 * 4 + 4 + 8 + 8 + 8 == mg.ParameterVector.of(model).values.size
    assert model["norm"] is model[2]
    inside = "Flatten(), Dense(12, 4), BatchNorm(4), Activation('gelu'), Dropout(0.5), "
    assert f"Sequential({inside}Sequential(LayerNorm(4), Dense(4, 2, bias=False)))" == repr(
        numbered
    )
    assert repr(model).startswith(
        "Sequential(flatten=Flatten(), hidden=Dense(12, 4), norm=BatchNorm(4), act="
    )


def test_the_summary_of_every_kind() -> None:
    """A line for each layer, also for those without parameters.

    Shapes, counts, and what is frozen.
    """
    model = of_every_kind()
    model["norm"].freeze()
    head, *lines, last = [line.split() for line in model.summary().splitlines()]
    assert ["name", "layer", "parameters", "entries"] == head
    assert [
        ["flatten", "Flatten()", "0"],
        ["hidden", "Dense(12,", "4)", "weight", "(12,", "4),", "bias", "(4,)", "52"],
        ["norm", "BatchNorm(4)", "weight", "(4,),", "bias", "(4,)", "8", "frozen"],
        ["act", "Activation('gelu')", "0"],
        ["drop", "Dropout(0.5)", "0"],
        ["block.0", "LayerNorm(4)", "weight", "(4,),", "bias", "(4,)", "8"],
        ["block.1", "Dense(4,", "2,", "bias=False)", "weight", "(4,", "2)", "8"],
    ] == lines
    assert "76 entries, 68 of them trainable" == " ".join(last)
    columns = [line.index("weight") for line in model.summary().splitlines() if "weight" in line]
    assert 1 == len(set(columns))


@pytest.mark.parametrize("named", [True, False])
def test_slices_of_every_kind(named: bool) -> None:
    """A slice shares statistics, masks and modes with the whole, since it has the same layers."""
    model = of_every_kind(named)
    part = model[1:5]
    first = "norm" if named else "1"
    assert f"{first}.running_mean" in part.state_dict()
    before = model["norm" if named else "2"].running_mean.copy()
    part(IMAGES.reshape(6, 12))
    assert (before != model[2].running_mean).all()
    assert part.state_dict()[f"{first}.running_mean"].tolist() == model[2].running_mean.tolist()
    part.eval()
    assert [True, True, False, False, False, False, True, True, True] == [
        inner.training for _, inner in model.layers()
    ]
    assert model[4].mask is not None
    part(IMAGES.reshape(6, 12))
    assert model[4].mask is None


def test_modes_reach_every_kind() -> None:
    """In eval mode the model is a function of each sample alone; in training it is not."""
    model = of_every_kind()
    assert model(IMAGES).tolist() != model(IMAGES).tolist()
    model.eval()
    y = model(IMAGES)
    assert y.tolist() == model(IMAGES).tolist()
    np.testing.assert_allclose(
        np.concatenate([model(image[np.newaxis]) for image in IMAGES]), y, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(model.train().predict(IMAGES, batch_size=4), y, rtol=1e-4, atol=1e-5)


def test_every_kind_nested_or_not_computes_the_same() -> None:
    """A chain in a chain gives the same bits, forward, backward, and after a step of the
    optimizer.
    """
    ends = []
    for nested in (False, True):
        layers = list(of_every_kind())
        model = (
            mg.Sequential(mg.Sequential(*layers[:2]), mg.Sequential(*layers[2:]))
            if nested
            else mg.Sequential(*layers)
        )
        optimizer = mg.SGD(model, lr=0.01)
        for _ in range(3):
            below = model.backward(model(IMAGES), input_grad=True)
            optimizer.step()
        assert below is not None
        assert IMAGES.shape == below.shape
        ends.append([below.tobytes(), *(array.tobytes() for array in model.state_dict().values())])
    assert ends[0] == ends[1]


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
def test_training_a_part_of_every_kind() -> None:
    """An optimizer over the end leaves the parameters of the beginning alone.

    Its statistics go on while it runs.
    """
    model = of_every_kind()
    optimizer = mg.SGD(model[5:], lr=0.1)
    before = model.state_dict()
    for _ in range(3):
        model.backward(model(IMAGES))
        optimizer.step()
    after = model.state_dict()
    changed = [name for name in before if before[name].tobytes() != after[name].tobytes()]
    assert [
        "block.0.weight",
        "block.0.bias",
        "block.1.weight",
        "norm.running_mean",
        "norm.running_var",
    ] == changed


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_every_kind(how: Any) -> None:
    """A copy trains to the same bits: parameters, statistics and what is left out."""
    model = of_every_kind()
    model.backward(model(IMAGES))
    other = how(model)
    assert model.summary() == other.summary()
    ends = []
    for one in (model, other):
        optimizer = mg.SGD(one, lr=0.1)
        for _ in range(3):
            one.backward(one(IMAGES))
            optimizer.step()
        ends.append([array.tobytes() for array in one.state_dict().values()])
    assert ends[0] == ends[1]


# -- predict -------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 10, 1024])
def test_predict_is_forward_batch_by_batch(batch_size: int) -> None:
    """The same outputs, whatever the size of the batches; the last may be smaller."""
    model, x = chain(), np.random.default_rng(1).normal(size=(10, 3))
    np.testing.assert_allclose(
        model.predict(x, batch_size=batch_size), model(x), rtol=1e-5, atol=1e-6
    )


def test_predict_runs_in_eval_mode_and_restores_each_mode() -> None:
    """Each layer is in eval mode meanwhile, and in its own mode afterwards."""
    model = mg.Sequential(Noise(), Noise(), mg.Sequential(Noise()))
    model[1].eval()
    assert [[0, 0]] == model.predict(np.zeros((1, 2))).tolist()
    assert [True, True, False, True, True] == [layer.training for _, layer in model.layers()]


def test_predict_restores_the_modes_after_an_error() -> None:
    """Also where something goes wrong in the midst of it, the model is as before."""
    model = mg.Sequential(Noise(), chain())
    output = model(np.ones((2, 3)))
    with pytest.raises(ShapeError):
        model.predict(np.ones((2, 4)))
    assert {True} == {layer.training for _, layer in model.layers()}
    model.backward(output)


@pytest.mark.parametrize("batch_size", [2, 100])
def test_predict_leaves_a_pending_backward(batch_size: int) -> None:
    """Predicting between forward and backward changes neither the gradients nor that there is a
    backward.
    """
    gradients = []
    for predict in (False, True):
        model = mg.Sequential(
            mg.Activation("sigmoid"), chain(), mg.Sequential(mg.Activation("softmax"), Noise())
        )
        output = model(np.random.default_rng(1).normal(size=(5, 3)))
        if predict:
            model.predict(np.ones((7, 3)), batch_size=batch_size)
        below = model.backward(output, input_grad=True)
        assert below is not None
        gradients.append((below.tobytes(), mg.ParameterVector.of(model).grads.tobytes()))
    assert gradients[0] == gradients[1]


def test_predict_before_backward_is_no_forward() -> None:
    """A prediction alone does not make a backward possible."""
    model = chain()
    model.predict(np.ones((2, 3)))
    with pytest.raises(mg.MinigradError, match="before forward"):
        model.backward(np.ones((2, 2)))


def test_predict_reads_a_memory_map_batch_by_batch(tmp_path: Path) -> None:
    """Bytes on disk, as of images, are converted a batch at a time."""
    rows = np.arange(60, dtype=np.uint8).reshape(20, 3)
    rows.tofile(tmp_path / "rows")
    mapped: Any = np.memmap(tmp_path / "rows", np.uint8, "r", shape=(20, 3))
    model = chain()
    found = model.predict(mapped, batch_size=6)
    assert np.ndarray is type(found)
    np.testing.assert_allclose(found, model(rows.astype(np.float32)), rtol=1e-5)


def test_predict_takes_lists() -> None:
    """Rows as a list are fine."""
    model: Any = chain()
    assert model.predict(np.ones((2, 3))).tolist() == model.predict([[1, 1, 1], [1, 1, 1]]).tolist()


def test_names_of_positions_do_not_mix() -> None:
    """All layers have names, or none."""
    with pytest.raises(ModelError, match="all layers of a Sequential names, or none"):
        mg.Sequential(mg.Activation("relu"), out=mg.Activation("relu"))


class Returns(mg.Layer):
    """Whatever a function makes of a batch."""

    def __init__(self, function: Callable[[Array], Any]) -> None:
        self.function = function

    def forward(self, x: Array) -> Any:
        return self.function(x)

    def backward(self, grad: Array) -> Array:
        return grad.copy()


@pytest.mark.parametrize(
    ("function", "returned"),
    [
        (lambda x: x[:1], r"an array of shape \(1, 3\)"),
        (lambda x: np.concatenate([x, x]), r"an array of shape \(10, 3\)"),
        (lambda x: np.array(x.sum()), r"an array of shape \(\)"),
        (lambda x: x.tolist(), "list"),
    ],
    ids=["fewer", "more", "a number", "a list"],
)
def test_a_layer_that_does_not_return_a_row_for_each_sample(
    function: Callable[[Array], Any], returned: str
) -> None:
    """It is named, with what it returned and what was expected."""
    model = mg.Sequential(mg.Dense(3, 3, rng=0), Returns(function))
    with pytest.raises((ShapeError, KindError)) as caught:
        model(np.ones((5, 3)))
    assert re.search(
        rf"Returns.*: forward returned {returned}, expected an array of 5 rows", str(caught.value)
    )
