"""Promise 10: no corner of an array stands for the whole."""

from __future__ import annotations

import numpy as np

import minigrad as mg


def test_10_nothing_printed_is_a_corner_of_an_array() -> None:
    """Of large arrays minigrad prints counts and ranges.

    NumPy's dots, and the corner values, appear nowhere.
    """
    corner = 0.123456
    model = mg.Sequential(
        mg.Dense(100, 100, rng=0), mg.Activation("relu"), mg.Dense(100, 100, rng=1)
    )
    for _, parameter in model.parameters():
        parameter.value.ravel()[:3] = parameter.value.ravel()[-3:] = corner
    optimizer = mg.SGD(model, lr=0.1, weight_decay={"*weight": 0.1})
    vector, data = (
        mg.ParameterVector.of(model),
        mg.Batches(np.full((2000, 3), corner), np.zeros(2000, int), 10),
    )
    weight = dict(model.parameters())["0.weight"]
    things: list[object] = [
        model,
        model[0],
        weight,
        vector,
        optimizer,
        data,
        mg.compare(weight.value, vector.values[:10_000].reshape(100, 100) + 1),
    ]
    loss = mg.SoftmaxCrossEntropy(class_weight=np.full(2000, corner))
    for thing in [*things, loss]:
        for text in (repr(thing), str(thing)):
            assert "..." not in text
            assert "…" not in text
            assert str(corner) not in text
    assert "10,000" in repr(weight) or "(100, 100)" in repr(weight)
    assert " to " in repr(weight)
