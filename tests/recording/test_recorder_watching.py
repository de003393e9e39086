"""Recording changes nothing: the same bits with and without."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from loop_support import take_step
from recording_support import ROW, Scale, bias, dense, network, same

import minigrad as mg

MODES: list[dict[str, Any]] = [
    {},
    {"keep": ()},
    {"keep": ("grad",)},
    {"keep": ("update", "grad"), "coactivation": True},
    {"every": 7},
    {"params": "*.weight"},
    {"aggregates": False},
    {"keyframe_every": 1},
    {"budget": 20 * ROW},
    {"budget": 20 * ROW, "on_full": "ring"},
    {"budget": 20 * ROW, "on_full": "stop"},
]


@sparse(
    pytest.mark.parametrize("mode", MODES, ids=str),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=8,
)
def test_watching_changes_nothing(mode: dict[str, Any], dtype: npt.DTypeLike) -> None:
    """With a recorder in any mode the values, the gradients, the state and the data are the same
    bits as without.
    """
    if dtype == np.float64 and "budget" in mode:
        mode = {**mode, "budget": 2 * mode["budget"]}
    results = []
    for recording in (False, True):
        rng = np.random.default_rng(0)
        model = network(5, 6, 4, 3, activation="relu", dtype=dtype)
        optimizer = mg.SGD(model, 0.1, momentum=0.9, weight_decay=0.001, max_grad_norm=1.0)
        loss = mg.SoftmaxCrossEntropy()
        data = mg.Batches(rng.normal(size=(60, 5)), rng.integers(0, 3, 60), batch_size=7, rng=rng)
        global_state = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
        recorder = mg.Recorder(optimizer, loss=loss, data=data, **mode) if recording else None
        if recorder is not None:
            recorder.start()
        losses = []
        for epoch in range(6):
            model[2].freeze() if epoch == 2 else model[2].unfreeze()
            for x, y in data:
                losses.append(take_step(model, loss, optimizer, x, y))
                if recorder is not None:
                    recorder.run.report()
        if recorder is not None:
            recorder.stop()
        assert np.random.get_state()[1].tolist() == global_state  # type: ignore[index]  # noqa: NPY002
        vector = mg.ParameterVector.of(model)
        velocity = np.concatenate(
            [array.ravel() for array in optimizer.state_dict()["state"]["velocity"].values()]
        )
        results.append(
            (vector.values, vector.grads, velocity, np.array(losses), np.array(data.rng.random(3)))
        )
    for without, with_ in zip(*results, strict=True):
        assert same(without, with_)


@sparse(
    pytest.mark.parametrize("width", [1, 3, 8, 17]),
    pytest.mark.parametrize("frozen", [False, True]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=2,
)
def test_nan_and_infinity_in_training(width: int, frozen: bool, dtype: npt.DTypeLike) -> None:
    """NaN and infinity, of either sign, are recorded and replayed, with no false alarm about writes
    from outside.

    Which of two NaNs a sum takes its sign from is the processor's choice, so NaN counts as equal to
    NaN.
    """
    rng = np.random.default_rng(width)
    model = mg.Sequential(
        mg.Dense(3, width, rng=0, dtype=dtype), mg.Dense(width, 2, rng=0, dtype=dtype)
    )
    if frozen:
        bias(dense(model, 0)).trainable = False
    optimizer = mg.SGD(model, 0.1, momentum=0.5)
    vector = mg.ParameterVector.of(model)
    specials = np.array([0.0, -0.0, 1.0, np.nan, -np.nan, np.inf, -np.inf], dtype)
    with (
        mg.Recorder(optimizer, keep=("update", "grad"), keyframe_every=5) as recorder,
        np.errstate(all="ignore"),
    ):
        for _ in range(12):
            model(np.ones((1, 3), dtype))
            model.backward(np.ones((1, 2), dtype))
            for parameter in vector.parameters:
                parameter.grad[...] = rng.choice(
                    specials, parameter.shape, p=[0.2, 0.1, 0.6, 0.03, 0.03, 0.02, 0.02]
                )
            optimizer.step()
    run = recorder.run
    assert run.notes == ()
    assert run.verify().checked == 12
    for name, parameter in model.parameters():
        value = run[name].initial
        with np.errstate(all="ignore"):
            for update in run[name].updates:
                value += update
        known = ~np.isnan(parameter.value)
        assert same(known, ~np.isnan(value))
        assert same(value[known], parameter.value[known])
        assert np.isfinite(run[name].movement).all()
        assert sum(run[name].why.counts.values()) == run[name].size
    run.report()
    run["0.weight"].picture()
    run["0.weight"].png()


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38, -3e38])
def test_extreme_values_give_no_warning_that_training_does_not(value: float) -> None:
    """Watching changes nothing: a value at or beyond the end of the range warns no more with a
    recorder than without.
    """
    for recording in (False, True):
        model = mg.Sequential(Scale(4))
        optimizer = mg.SGD(model, 0.1)
        recorder = mg.Recorder(optimizer, keep=("update", "grad"))
        scale = dict(model.parameters())["0.scale"]
        scale.value[0] = np.float32(value)
        if recording:
            recorder.start()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for grad in (0.5, 1.0, -0.5):
                scale.grad = np.full(4, grad, np.float32)
                optimizer.step()
            if recording:
                recorder.stop()
                recorder.run.report()
                recorder.run["0.scale"].picture()
                recorder.run["0.scale"].png()
                _ = recorder.run["0.scale"].ratio


@pytest.mark.parametrize("jump", [1e30, -1e25])
def test_large_finite_moves_give_no_warning(jump: float) -> None:
    """A change whose square is beyond float32 is still a change: counted, measured, and no
    warning.
    """
    model = mg.Sequential(Scale(3))
    optimizer = mg.SGD(model, 1.0)
    scale = dict(model.parameters())["0.scale"]
    with mg.Recorder(optimizer) as recorder:
        for _ in range(2):
            scale.grad = np.array([jump, 0, 1], np.float32)
            optimizer.step()
    history = recorder.run["0.scale"]
    assert history.moves.tolist() == [2, 0, 2]
    np.testing.assert_allclose(history.movement, [2 * abs(jump), 0, 2], rtol=1e-6)
    assert np.isfinite(history.ratio).all()
