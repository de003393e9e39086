"""`Dropout`: what it leaves out, how the rest grows, and where its random numbers come from."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.testing import check_gradients

dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def state(layer: mg.Dropout) -> Any:
    """Where the layer's generator stands."""
    return layer.rng.bit_generator.state


@dtypes
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.75, 1.0])
def test_entries_are_left_out_at_this_rate_and_the_others_grow(rate: float, dtype: Any) -> None:
    """The share left out is the rate, within five standard deviations.

    What is kept is multiplied by 1 / (1 - rate).
    """
    layer, n = mg.Dropout(rate, rng=0), 300 * 400
    y = layer(np.ones((300, 400), dtype))
    assert dtype == y.dtype
    left_out = float((y == 0).mean())
    assert abs(left_out - rate) <= 5 * (rate * (1 - rate) / n) ** 0.5
    kept = y[y != 0]
    np.testing.assert_allclose(kept, 1 / (1 - rate) if rate < 1 else 0, rtol=1e-6)
    assert (
        abs(float(y.mean(dtype=np.float64)) - (rate < 1))
        <= 5 * (rate / n / max(1 - rate, 0.1)) ** 0.5
    )


def test_each_entry_by_itself() -> None:
    """Neither rows nor columns fall together, nor neighbours, nor one batch with the next."""
    layer, x = mg.Dropout(0.5, rng=1), np.ones((200, 300))
    drawn = [layer(x) - 1 for _ in range(2)]  # -1 and 1, of variance 1
    limit = 5 / x.size**0.5
    first = drawn[0]
    for other in (drawn[1], np.roll(first, 1, axis=0), np.roll(first, 1, axis=1), first[:, ::-1]):
        assert abs(float((first * other).mean())) < limit
    assert abs(first.mean(axis=0)).max() < 5 / 200**0.5
    assert abs(first.mean(axis=1)).max() < 5 / 300**0.5


@dtypes
def test_forward_and_backward_use_the_same_mask(dtype: Any) -> None:
    """What was left out gets no gradient, what was kept the grown one.

    The mask is there to be seen.
    """
    layer, rng = mg.Dropout(0.25, rng=0), np.random.default_rng(5)
    x, grad = rng.normal(size=(6, 3, 4)).astype(dtype), rng.normal(size=(6, 3, 4)).astype(dtype)
    y = layer(x)
    mask = layer.mask
    assert mask is not None
    assert (x.shape, np.dtype(dtype)) == (mask.shape, mask.dtype)
    assert {0.0, float(dtype(1 / 0.75))} == set(np.unique(mask).tolist())
    assert (x * mask).tolist() == y.tolist()
    assert (grad * mask).tolist() == layer.backward(grad).tolist()


def test_a_mask_that_somebody_holds_stays() -> None:
    """Each forward draws a new one."""
    layer = mg.Dropout(0.5, rng=0)
    layer(np.ones((5, 8)))
    mask = layer.mask
    assert mask is not None
    before = mask.tolist()
    layer(np.ones((5, 8)))
    assert layer.mask is not None
    assert before == mask.tolist() != layer.mask.tolist()


@dtypes
def test_in_eval_mode_nothing_happens(dtype: Any) -> None:
    """A copy of the input, a copy of the gradient, no mask, and no random numbers."""
    layer = mg.Dropout(0.5, rng=0)
    layer(np.ones((2, 3), dtype))
    layer.eval()
    before, x = state(layer), np.array([[1, -2, 3]], dtype)
    y = layer(x)
    below = layer.backward(x)
    assert x.tolist() == y.tolist() == below.tolist()
    assert (dtype, dtype) == (y.dtype, below.dtype)
    assert not any(np.shares_memory(x, other) for other in (y, below))
    assert layer.mask is None
    assert before == state(layer)


@pytest.mark.parametrize("rate", [0, 1])
def test_all_or_nothing(rate: int) -> None:
    """At rate 0 everything is kept as it is, at rate 1 nothing; also a whole number is a rate."""
    layer, x = mg.Dropout(rate, rng=0), np.array([[1e300, -2.5, 3.0]])
    expected = [[0, 0, 0]] if rate else x.tolist()
    assert expected == layer(x).tolist()
    assert ([[0, 0, 0]] if rate else [[1, 1, 1]]) == layer.backward(np.ones((1, 3))).tolist()


def test_the_mode_of_the_forward_counts() -> None:
    """Changing the mode between forward and backward does not change the gradient of what was
    computed.
    """
    layer, grad = mg.Dropout(0.5, rng=0), np.ones((4, 5))
    y = layer(np.ones((4, 5)))
    layer.eval()
    assert y.tolist() == layer.backward(grad).tolist()
    layer(np.ones((4, 5)))
    layer.train()
    assert grad.tolist() == layer.backward(grad).tolist()


# -- where the random numbers come from ----------------------------------------------------------


def test_the_seed_says_what_is_left_out() -> None:
    """The same seed leaves out the same entries, another one others, and None what no seed
    repeats.
    """
    x = np.ones((10, 20))
    first, same = mg.Dropout(0.5, rng=3), mg.Dropout(0.5, rng=np.random.default_rng(3))
    for _ in range(3):
        assert first(x).tolist() == same(x).tolist()
    assert mg.Dropout(0.5, rng=3)(x).tolist() != mg.Dropout(0.5, rng=4)(x).tolist()
    assert mg.Dropout(0.5)(x).tolist() != mg.Dropout(0.5)(x).tolist()


def test_a_generator_may_be_shared() -> None:
    """Two layers with one generator draw in turn, and do not leave out the same entries."""
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dropout(0.5, rng=rng), mg.Dropout(0.5, rng=rng))
    y, x = model(np.ones((100, 100))), np.ones((100, 100))
    assert abs(float((y == 0).mean()) - 0.75) < 0.03
    assert y.tolist() != model(x).tolist()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_goes_on_with_the_same_random_numbers(how: Any) -> None:
    """And with a generator of its own: neither draws what the other was to draw."""
    layer, x = mg.Dropout(0.5, rng=0), np.ones((5, 6))
    layer(x)
    other = how(layer)
    expected = [layer(x).tolist() for _ in range(2)]
    assert expected == [other(x).tolist() for _ in range(2)]
    assert other.rng is not layer.rng


def small() -> mg.Sequential:
    return mg.Sequential(mg.Dense(3, 50, rng=0), mg.Dropout(0.5, rng=1), mg.Dense(50, 2, rng=2))


def test_predict_leaves_no_trace() -> None:
    """It leaves out nothing, draws nothing, and keeps the mask of a pending backward."""
    ends = []
    x, more = np.random.default_rng(0).normal(size=(5, 3)), np.ones((9, 3))
    for predict in (False, True):
        model = small()
        optimizer = mg.SGD(model, lr=0.001)
        for _ in range(3):
            y = model(x)
            mask = model[1].mask
            if predict:
                before = state(model[1])
                assert (
                    model.predict(more, batch_size=4).tolist()
                    == model.predict(more, batch_size=4).tolist()
                )
                assert before == state(model[1])
                assert mask is model[1].mask
            model.backward(y)
            optimizer.step()
        ends.append(mg.ParameterVector.of(model).values.tobytes())
    assert ends[0] == ends[1]


def test_predict_is_the_mean_of_what_training_gives() -> None:
    """Inverted dropout: a layer that is linear above it needs no correction in eval mode."""
    model, x = small(), np.ones((1, 3), np.float32)
    drawn = np.array([model(x)[0] for _ in range(4000)])
    error = drawn.std(axis=0) / 4000**0.5
    assert (abs(drawn.mean(axis=0) - model.predict(x)[0]) < 5 * error).all()


def test_training_with_it_is_replayed() -> None:
    """The updates that are recorded contain what dropout made of them."""
    model = small()
    optimizer = mg.SGD(model, lr=0.001, momentum=0.9)
    with mg.Recorder(optimizer) as recorder:
        for seed in range(5):
            model.backward(model(np.random.default_rng(seed).normal(size=(4, 3))))
            optimizer.step()
    expected = model.predict(np.ones((2, 3)))
    assert recorder.run.verify()
    model.load_state_dict({name: array * 0 for name, array in model.state_dict().items()})
    recorder.run.restore(model, 4)
    assert expected.tobytes() == model.predict(np.ones((2, 3))).tobytes()


def test_it_has_no_parameters_and_no_state() -> None:
    """A rate is a setting; where the generator stands is the caller's to keep."""
    layer = mg.Dropout(0.1, rng=0)
    assert [] == list(layer.parameters())
    assert {} == layer.state_dict()
    assert "Dropout(0.1)" == repr(layer)
    assert 0.1 == layer.rate


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_its_gradient(rate: float, training: bool) -> None:
    """Central differences over one and the same draw; the layer's own generator is not asked."""
    layer = mg.Dropout(rate, rng=0).train() if training else mg.Dropout(rate, rng=0).eval()
    before = state(layer)
    check_gradients(layer, np.random.default_rng(1).normal(size=(4, 5)))
    assert before == state(layer)
