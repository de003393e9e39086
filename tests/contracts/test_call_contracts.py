"""`predict`, copies and pickles of every layer of the table, and of layers as users write them."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from calls_support import USERS
from case_support import sparse
from contract_table import LAYERS, fitting, sample

import minigrad as mg
from minigrad.errors import CallOrderError


@sparse(pytest.mark.parametrize("name", [*LAYERS, *USERS]), every=4)
def test_predict_on_every_layer(name: str) -> None:
    """It gives what eval mode gives, in batches too, and leaves modes, state and what backward
    needs as they were.
    """
    layer = LAYERS[name](np.float32) if name in LAYERS else USERS[name]()
    width = 4 if name in LAYERS else 3
    x = sample(7, width, np.float32)
    modes = [inner.training for _, inner in layer.layers()]
    attributes = [dict(vars(inner)) for _, inner in layer.layers()]
    found, in_batches = layer.predict(x), layer.predict(x, batch_size=3)
    assert modes == [inner.training for _, inner in layer.layers()]
    for before, (_, inner) in zip(attributes, layer.layers(), strict=True):
        assert before.keys() == vars(inner).keys()
        assert all(before[own] is value for own, value in vars(inner).items())
    with pytest.raises(CallOrderError):
        layer.backward(found)
    expected = layer.eval()(x)
    assert expected.tobytes() == found.tobytes()
    np.testing.assert_allclose(in_batches, expected, rtol=1e-5, atol=1e-6)
    layer.backward(np.ones_like(expected))


def used(layer: mg.Layer, width: int, rows: int, passes: int, *, backward: bool = True) -> mg.Layer:
    for _ in range(passes):
        output = layer(sample(fitting(layer, rows), width, np.float32))
        if backward:
            layer.backward(np.ones_like(output))
    return layer


@sparse(
    pytest.mark.parametrize("name", [*LAYERS, *USERS]),
    pytest.mark.parametrize("how", ["forward", "both", "several", "eval first"]),
    every=4,
)
def test_a_pickle_holds_no_batch(name: str, how: str) -> None:
    """Its size does not depend on the size of the batches, whatever has run.

    Deep copies hold none of their arrays.
    """
    sizes = []
    for rows in (2, 600):
        layer = LAYERS[name](np.float32) if name in LAYERS else USERS[name]()
        width, modes = 4 if name in LAYERS else 3, [inner.training for _, inner in layer.layers()]
        if how == "eval first":
            used(layer.eval(), width, rows, 1)
            for (_, inner), mode in zip(layer.layers(), modes, strict=True):
                inner.training = mode
        used(layer, width, rows, 2 if how == "several" else 1, backward=how != "forward")
        sizes.append(len(pickle.dumps(layer)))
        for _, inner in copy.deepcopy(layer).layers():
            assert not [
                own
                for own, value in vars(inner).items()
                if isinstance(value, np.ndarray) and len(value) == 600
            ]
    assert abs(sizes[1] - sizes[0]) < 100  # a length, a count of calls


@sparse(pytest.mark.parametrize("name", [*LAYERS, *USERS]), every=4)
def test_a_copy_begins_anew(name: str) -> None:
    """A copied layer awaits a forward, and then goes on as the original does, in passes that hold
    no batch either.
    """
    layer = LAYERS[name](np.float32) if name in LAYERS else USERS[name]()
    width = 4 if name in LAYERS else 3
    used(layer, width, 7, 2)
    output = layer(sample(7, width, np.float32))
    other = copy.deepcopy(layer)
    with pytest.raises(CallOrderError, match="before forward"):
        other.backward(np.ones_like(output))
    size = len(pickle.dumps(other))
    used(other, width, 7, 2)
    assert abs(len(pickle.dumps(other)) - size) < 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer.backward(np.ones_like(output))


def test_predict_between_leaves_no_trace() -> None:
    """A look by `predict` changes neither gradient nor order, in training mode with dropout and
    batch statistics too.
    """
    grads = []
    for looks in (False, True):
        model = LAYERS["Sequential with normalization and dropout"](np.float32)
        output = model(sample(7, 4, np.float32))
        if looks:
            before = model.state_dict()
            model.predict(sample(9, 4, np.float32))
            assert all(
                before[name].tobytes() == array.tobytes()
                for name, array in model.state_dict().items()
            )
        model.backward(output)
        grads.append(mg.ParameterVector.of(model).grads.tobytes())
    assert grads[0] == grads[1]
