"""`BatchNorm` and `LayerNorm`: PyTorch's definitions, running statistics, and what a record and a
copy keep of them.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from normalization_numbers import BATCHES, BIAS, GRAD, IN_EVAL, IN_TRAINING, OVER_FEATURES, WEIGHT

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import ModelError, ShapeError
from minigrad.testing import check_gradients

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def batch_norm(dtype: Any = np.float64) -> mg.BatchNorm:
    layer = mg.BatchNorm(3, dtype=dtype)
    layer.weight.value, layer.bias.value = WEIGHT, BIAS
    return layer


def layer_norm(dtype: Any = np.float64) -> mg.LayerNorm:
    layer = mg.LayerNorm(3, dtype=dtype)
    layer.weight.value, layer.bias.value = WEIGHT, BIAS
    return layer


def results(layer: mg.BatchNorm | mg.LayerNorm, x: Any) -> dict[str, Any]:
    """Everything that a forward and a backward give, by the names above."""
    y = layer(np.array(x, layer.weight.dtype))
    below = layer.backward(np.array(GRAD[: len(x)], layer.weight.dtype))
    found = {"y": y, "x": below, "weight": layer.weight.grad, "bias": layer.bias.grad}
    assert {layer.weight.dtype} == {array.dtype for array in found.values()}
    return found | {name: getattr(layer, name) for name in layer.buffers}


def assert_near(expected: dict[str, Any], found: dict[str, Any], dtype: Any) -> None:
    assert list(expected) == list(found)
    # atol: the batch of two leaves gradients that are nearly 0, as the difference of numbers of
    # about 1
    rtol, atol = (1e-12, 1e-14) if dtype is np.float64 else (1e-4, 1e-4)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=rtol, atol=atol, err_msg=name)


# -- BatchNorm -----------------------------------------------------------------------------------


@dtypes
def test_batches_as_in_pytorch(dtype: Any) -> None:
    """Outputs, all three gradients and the running statistics over three batches, and then in eval
    mode.
    """
    layer = batch_norm(dtype)
    for x, expected in zip(BATCHES, IN_TRAINING, strict=True):
        assert_near(expected, results(layer, x), dtype)
    assert_near(IN_EVAL, results(layer.eval(), BATCHES[0]), dtype)


def test_by_hand() -> None:
    """Of 0 and 2 the mean is 1, the variance 1, and the unbiased one 2."""
    layer = mg.BatchNorm(1, eps=1e-12, dtype=np.float64)
    assert ([0], [1], [1], [0]) == tuple(
        a.tolist() for a in (layer.running_mean, layer.running_var, *values(layer))
    )
    np.testing.assert_allclose(layer(np.array([[0.0], [2.0]])), [[-1], [1]], rtol=1e-11)
    np.testing.assert_allclose(layer.running_mean, [0.1], rtol=1e-15)
    np.testing.assert_allclose(layer.running_var, [0.9 + 0.1 * 2], rtol=1e-15)


def values(layer: mg.Layer) -> list[Array]:
    return [parameter.value for _, parameter in layer.parameters()]


def test_momentum_and_eps() -> None:
    """The settings of PyTorch's example, BatchNorm1d(3, momentum=0.3, eps=0.1), after the first and
    the third batch.
    """
    layer = mg.BatchNorm(3, momentum=0.3, eps=0.1, dtype=np.float64)
    layer(np.array(BATCHES[0]))
    expected = [
        [-0.23836564731139998, -0.13814474099888363, -0.3922322702763681],
        [1.1918282365569886, -0.9670131869921901, -0.09805806756909205],
        [-0.9534625892455942, 1.1051579279910761, 0.49029033784546],
    ]
    np.testing.assert_allclose(layer(np.array(BATCHES[2])), expected, rtol=1e-12)
    np.testing.assert_allclose(layer.running_mean, [30.3125, -1.9175, 0.450625], rtol=1e-13)
    np.testing.assert_allclose(layer.running_var, [1.2775, 1.92125, 4.23653125], rtol=1e-13)


@pytest.mark.parametrize("momentum", [0, 1])
def test_momentum_at_its_ends(momentum: float) -> None:
    """At 0 the statistics stay where they are, at 1 they are those of the last batch."""
    layer = mg.BatchNorm(3, momentum=momentum, dtype=np.float64)
    for x in BATCHES:
        layer(np.array(x))
    last = np.array(BATCHES[-1])
    np.testing.assert_allclose(
        layer.running_mean, last.mean(axis=0) if momentum else np.zeros(3), rtol=1e-14
    )
    np.testing.assert_allclose(
        layer.running_var, last.var(axis=0, ddof=1) if momentum else np.ones(3), rtol=1e-14
    )


@pytest.mark.parametrize("make", [batch_norm, layer_norm])
@dtypes
def test_what_comes_out_has_mean_0_and_variance_1(make: Any, dtype: Any) -> None:
    """Times weight, plus bias.

    In float32 also far from 0, where the mean of squares less the squared mean fails.
    """
    layer, axis = make(dtype), 0 if make is batch_norm else 1
    x = 1000 + np.random.default_rng(0).normal(size=(50, 3)).astype(dtype)
    y = (layer(x).astype(np.float64) - BIAS) / WEIGHT
    np.testing.assert_allclose(y.mean(axis=axis), 0, atol=1e-3)
    exact = x.astype(np.float64)
    expected = exact.var(axis=axis) / (exact.var(axis=axis) + 1e-5)
    np.testing.assert_allclose(
        y.var(axis=axis), expected, rtol=1e-2 if dtype is np.float32 else 1e-10
    )


@dtypes
def test_a_feature_that_never_changes(dtype: Any) -> None:
    """It becomes its bias, and its slopes are finite: eps is there for that."""
    layer = batch_norm(dtype)
    found = results(layer, [[5, 1, 2], [5, 2, 4], [5, 3, 9]])
    assert [0, 0, 0] == found["y"][:, 0].tolist()
    assert np.isfinite(found["x"]).all()
    np.testing.assert_allclose(layer.running_var[0], 0.9, rtol=1e-6)


def test_in_eval_mode_each_sample_by_itself() -> None:
    """One row is enough then, the others do not matter, and the statistics stay."""
    layer = batch_norm()
    layer(np.array(BATCHES[0]))
    before = {name: array.tobytes() for name, array in layer.state_dict().items()}
    layer.eval()
    x = np.array(BATCHES[2])
    np.testing.assert_allclose(
        np.concatenate([layer(row[np.newaxis]) for row in x]), layer(x), rtol=1e-14
    )
    assert before == {name: array.tobytes() for name, array in layer.state_dict().items()}


def test_a_batch_of_one_in_training() -> None:
    """It has no variance: an error, and the statistics stay."""
    layer = batch_norm()
    before = {name: array.tobytes() for name, array in layer.state_dict().items()}
    with pytest.raises(ShapeError, match=r"BatchNorm\(3, dtype=float64\)"):
        layer(np.ones((1, 3)))
    assert before == {name: array.tobytes() for name, array in layer.state_dict().items()}
    assert (1, 3) == layer.eval()(np.ones((1, 3))).shape


def test_the_mode_of_the_forward_counts() -> None:
    """Changing the mode between forward and backward does not change the gradient of what was
    computed.
    """
    layer, x, grad = batch_norm(), np.array(BATCHES[0]), np.array(GRAD)
    layer(x)
    np.testing.assert_allclose(layer.eval().backward(grad), IN_TRAINING[0]["x"], rtol=1e-12)
    layer(x)
    expected = grad * WEIGHT / np.sqrt(layer.running_var + 1e-5)
    np.testing.assert_allclose(layer.train().backward(grad), expected, rtol=1e-12)


def test_frozen_it_still_counts() -> None:
    """Freezing is for the optimizer: weight and bias stay, the statistics go on, as in PyTorch."""
    model = mg.Sequential(mg.Dense(3, 3, rng=0), mg.BatchNorm(3))
    model[1].freeze()
    optimizer = mg.SGD(model, lr=0.1)
    model.backward(model(np.array(BATCHES[0])))
    optimizer.step()
    assert ([1, 1, 1], [0, 0, 0]) == (model[1].weight.value.tolist(), model[1].bias.value.tolist())
    assert (model[1].running_mean != 0).all()


# -- its buffers ---------------------------------------------------------------------------------


def network(seed: int = 0, dtype: Any = np.float32) -> mg.Sequential:
    dense = mg.Dense(3, 4, dtype=dtype, rng=seed), mg.Dense(4, 2, dtype=dtype, rng=seed + 1)
    return mg.Sequential(dense[0], mg.BatchNorm(4, dtype=dtype), mg.Activation("tanh"), dense[1])


def train(model: mg.Sequential, optimizer: mg.Optimizer, steps: int, seed: int = 0) -> list[bytes]:
    """What the model predicts after each step."""
    predictions = []
    for step in range(steps):
        x = np.random.default_rng(seed + step).normal(1, 2, size=(6, 3))
        model.backward(model(x))
        optimizer.step()
        predictions.append(model.predict(np.array(BATCHES[0])).tobytes())
    return predictions


def test_the_state_has_them() -> None:
    """By name, as copies; they come back, in the memory where they were, and with their dtype."""
    model, other = network(), network(seed=5)
    train(model, mg.SGD(model, lr=0.1), 3)
    state = model.state_dict()
    assert {"1.running_mean", "1.running_var", "1.weight", "1.bias"} == {
        name for name in state if name[0] == "1"
    }
    held = other[1].running_mean
    other.load_state_dict(state)
    assert {n: a.tobytes() for n, a in state.items()} == {
        n: a.tobytes() for n, a in other.state_dict().items()
    }
    assert held is not other[1].running_mean  # an array that somebody holds does not change
    state["1.running_mean"].fill(9)
    assert not (model[1].running_mean == 9).any()
    x = np.array(BATCHES[0])
    assert model.predict(x).tobytes() == other.predict(x).tobytes()


def test_a_state_without_them_does_not_fit() -> None:
    """They are part of the model; with `strict=False` they may stay as they are."""
    model = network()
    state = model.state_dict()
    del state["1.running_var"]
    with pytest.raises(ModelError, match=r"'1\.running_var' is missing"):
        model.load_state_dict(state)
    model.load_state_dict(state, strict=False)
    state["1.running_var"] = np.ones(5)
    with pytest.raises(ModelError, match=r"'1\.running_var' has shape \(5,\), expected \(4,\)"):
        model.load_state_dict(state)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_has_its_own(how: Any) -> None:
    """A copy starts with the same statistics.

    Training it leaves the original alone, and goes the same way.
    """
    model = network()
    train(model, mg.SGD(model, lr=0.1), 2)
    other = how(model)
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    theirs = train(other, mg.SGD(other, lr=0.1), 3, seed=2)
    assert before == {name: array.tobytes() for name, array in model.state_dict().items()}
    assert theirs == train(model, mg.SGD(model, lr=0.1), 3, seed=2)


def test_predict_leaves_them_alone() -> None:
    """Neither they nor the gradients of a pending backward change, and the mode is as before."""
    ends = []
    for predict in (False, True):
        model = network()
        optimizer = mg.SGD(model, lr=0.1)
        for seed in range(3):
            y = model(np.random.default_rng(seed).normal(size=(5, 3)))
            if predict:
                before = {name: array.tobytes() for name, array in model.state_dict().items()}
                model.predict(np.random.default_rng(9).normal(7, 1, size=(9, 3)), batch_size=4)
                assert before == {
                    name: array.tobytes() for name, array in model.state_dict().items()
                }
                assert model[1].training
            model.backward(y)
            optimizer.step()
        ends.append([array.tobytes() for array in model.state_dict().values()])
    assert ends[0] == ends[1]


@dtypes
def test_a_record_has_them(dtype: Any) -> None:
    """Restoring a step brings back the statistics of that step: the same predictions, bit for
    bit.
    """
    model = network(dtype=dtype)
    optimizer = mg.SGD(model, lr=0.05, momentum=0.9)
    with mg.Recorder(optimizer, keyframe_every=4) as recorder:
        predictions = train(model, optimizer, 10)
    other = network(seed=7, dtype=dtype)
    assert 10 == len(set(predictions))
    for step in (0, 9, 3, 5):
        for one in (model, other):
            recorder.run.restore(one, step)
            assert predictions[step] == one.predict(np.array(BATCHES[0])).tobytes()


def test_recording_changes_nothing() -> None:
    """With and without a recorder the same bits, statistics included.

    And they are told of by no hook's doing.
    """
    ends = []
    for record in (False, True):
        model = network()
        optimizer = mg.SGD(model, lr=0.1)
        if record:
            with mg.Recorder(optimizer) as recorder:
                train(model, optimizer, 5)
            assert len(recorder.run) == len(list(model.parameters()))
        else:
            train(model, optimizer, 5)
        ends.append([array.tobytes() for array in model.state_dict().values()])
    assert ends[0] == ends[1]


# -- LayerNorm -----------------------------------------------------------------------------------


@dtypes
def test_samples_as_in_pytorch(dtype: Any) -> None:
    """Outputs and all three gradients, the same in both modes."""
    for layer in (layer_norm(dtype).train(), layer_norm(dtype).eval()):
        assert_near(OVER_FEATURES, results(layer, BATCHES[0]), dtype)


def test_another_eps() -> None:
    """As PyTorch's LayerNorm(3, eps=0.1)."""
    expected = [
        [0.864263397068391, -1.3581281953931856, 0.49386479832479485],
        [1.3735321564778689, -0.7763442623570562, -0.5971878941208125],
        [-0.5992015964527209, 1.3981370583896822, -0.7989354619369612],
        [-0.5363646115729076, -0.8581833785166522, 1.3945479900895599],
    ]
    found = mg.LayerNorm(3, eps=0.1, dtype=np.float64)(np.array(BATCHES[0]))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_more_axes() -> None:
    """Of sequences each place is normalized by itself.

    The gradients of weight and bias are summed over all places.
    """
    layer, flat = layer_norm(), layer_norm()
    rng = np.random.default_rng(0)
    x, grad = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(2, 4, 5, 3))
    expected = flat(x.reshape(-1, 3))
    below = flat.backward(grad.reshape(-1, 3))
    np.testing.assert_allclose(layer(x).reshape(-1, 3), expected, rtol=1e-13)
    np.testing.assert_allclose(layer.backward(grad).reshape(-1, 3), below, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(layer.weight.grad, flat.weight.grad, rtol=1e-12)
    np.testing.assert_allclose(layer.bias.grad, flat.bias.grad, rtol=1e-12)


def test_one_row_and_one_feature() -> None:
    """A single row is fine.

    A single feature has no variance and becomes its bias, with slopes of 0.
    """
    assert (1, 3) == layer_norm()(np.ones((1, 3))).shape
    layer = mg.LayerNorm(1, dtype=np.float64)
    layer.bias.value = [7]
    assert [[7], [7]] == layer(np.array([[1.0], [5.0]])).tolist()
    assert [[0], [0]] == layer.backward(np.array([[1.0], [2.0]])).tolist()


# -- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [batch_norm, layer_norm])
@pytest.mark.parametrize("n", [2, 5])
def test_their_gradients(make: Any, n: int, training: bool) -> None:
    """Central differences in both modes; the statistics of the layer that is checked stay."""
    layer = make(np.float32)
    layer(np.random.default_rng(1).normal(2, 3, size=(8, 3)))
    layer = layer.train() if training else layer.eval()
    before = {name: array.tobytes() for name, array in layer.state_dict().items()}
    check_gradients(layer, np.random.default_rng(0).normal(size=(n, 3)))
    assert before == {name: array.tobytes() for name, array in layer.state_dict().items()}


def test_their_reprs() -> None:
    """What one would type, where it is not what it is without."""
    assert "BatchNorm(3)" == repr(mg.BatchNorm(3))
    assert "LayerNorm(3)" == repr(mg.LayerNorm(3))
    told = repr(mg.BatchNorm(3, momentum=0.5, eps=0.01, dtype=np.float64))
    assert "BatchNorm(3, momentum=0.5, eps=0.01, dtype=float64)" == told
    assert "LayerNorm(3, eps=0.01)" == repr(mg.LayerNorm(3, eps=0.01))
