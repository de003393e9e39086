"""Validation runs in eval mode over all samples at once, and leaves no trace."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow, sparse
from training_support import (
    Diary,
    Training,
    classifier,
    constant,
    descent,
    identity,
    plain,
    samples,
    sgd,
)

import minigrad as mg
from minigrad.arrays import Array
from minigrad.training import evaluation


class Noise(mg.Layer):
    """Adds noise, also in eval mode, and remembers its input."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def forward(self, x: Array) -> Array:
        self.x = x
        return x + self.rng.normal(size=x.shape).astype(x.dtype)

    def backward(self, grad: Array) -> Array:
        return grad.copy()


def noisy() -> Training:
    """One generator for weights, noise, dropout and order.

    Statistics of batches; a loss with label smoothing.
    """
    rng = np.random.default_rng(3)
    model = mg.Sequential(
        mg.Dense(4, 6, rng=rng),
        mg.BatchNorm(6),
        Noise(rng),
        mg.Sequential(mg.Activation("gelu"), mg.Dropout(0.4, rng=rng)),
        mg.Dense(6, 3, rng=rng),
    )
    return Training(
        model,
        mg.SoftmaxCrossEntropy(label_smoothing=0.1),
        sgd(model),
        mg.Batches(*samples(), 5, rng=rng),
    )


def everything(training: Training) -> object:
    """More than the bits of a training: also what layers and loss have kept of the last batch, and
    gradients.
    """
    kept = [
        {
            name: plain(value)
            for name, value in vars(layer).items()
            if isinstance(value, np.ndarray | float | bool)
        }
        for _, layer in training.model.layers()
    ]
    loss = {
        name: value
        for name, value in vars(training.loss).items()
        if name not in ("_last", "_outputs")
    }
    assert isinstance(training.loss, mg.SoftmaxCrossEntropy)
    assert training.loss.probabilities is not None
    grads = mg.ParameterVector.of(training.model).grads
    return training.bits(), kept, loss, plain(training.loss.probabilities), plain(grads)


# -- without a trace -----------------------------------------------------------------------------


@sparse(
    pytest.mark.parametrize("recorded", [False, True]),
    pytest.mark.parametrize("as_batches", [False, True]),
    every=2,
)
def test_it_leaves_no_trace(recorded: bool, as_batches: bool) -> None:
    """With and without it: the same weights, statistics, moments, generators and kept arrays, to
    the bit; the same run.
    """
    trainings = [noisy(), noisy()]
    x, y = samples(9, seed=1)
    validation: Any = mg.Batches(x, y, 4, rng=trainings[1].data.rng) if as_batches else (x, y)
    runs: list[mg.Run] = []
    for training, settings in zip(trainings, [{}, {"validation_data": validation}], strict=True):
        recorder = mg.Recorder(
            training.optimizer, training.loss, training.data, keep=("update", "grad")
        )
        training.fit(3, hooks=[recorder] if recorded else [], **settings)
        runs += [recorder.run] if recorded else []
    assert everything(trainings[0]) == everything(trainings[1])
    if recorded:
        first, second = runs
        assert plain(first.loss) == plain(second.loss)
        for name in mg.ParameterVector.of(trainings[0].model).slots:
            for step in first.steps:
                assert plain(first[name].updates[step]) == plain(second[name].updates[step])


def test_the_comparison_sees_a_trace() -> None:
    """What these tests rest on: a forward in eval mode, a number drawn, the loss of other data."""
    reference = noisy()
    reference.fit(1)

    def forward(training: Training) -> None:
        training.model.eval()
        training.model(samples()[0])
        training.model.train()

    for act in (
        forward,
        lambda training: training.data.rng.random(),
        lambda training: training.loss.forward(np.zeros((2, 3)), [0, 1]),
    ):
        training = noisy()
        training.fit(1)
        assert everything(reference) == everything(training)
        act(training)
        assert everything(reference) != everything(training)


def test_it_leaves_no_trace_when_it_fails() -> None:
    """A metric that fails in the second validation: layers, loss and generators are as after the
    last step.
    """

    class Fails:
        calls = 0

        def __call__(self, outputs: Array, targets: npt.NDArray[Any]) -> float:
            self.calls += len(outputs) == 9
            if self.calls == 3:  # the first is the look before the first step
                raise ZeroDivisionError("second")
            return 1.0

    straight, failing = noisy(), noisy()
    straight.fit(2)
    with pytest.raises(ZeroDivisionError):
        failing.fit(3, metrics=Fails(), validation_data=samples(9, seed=1))
    assert everything(straight) == everything(failing)


# -- what it measures ----------------------------------------------------------------------------


def test_it_is_the_loss_in_eval_mode() -> None:
    """By the formulas of eval mode, in NumPy: running statistics, and nothing dropped."""
    training, (x, y) = classifier(), samples(9, seed=1)
    history = training.fit(2, validation_data=(x, y))
    state = {name: value.astype(np.float64) for name, value in training.model.state_dict().items()}
    z = x @ state["0.weight"] + state["0.bias"]
    z = (z - state["1.running_mean"]) / np.sqrt(state["1.running_var"] + 1e-5) * state[
        "1.weight"
    ] + state["1.bias"]
    z = np.tanh(z) @ state["3.weight"] + state["3.bias"]
    log_shares = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(
        history["val_loss"][-1], -log_shares[np.arange(9), y].mean(), rtol=1e-5
    )
    assert (z.argmax(axis=1) == y).mean() == history["val_accuracy"][-1]


def test_it_comes_after_the_last_step_of_an_epoch() -> None:
    """From w = 9 down by 1 a step, three steps an epoch: |w - 4| is 2 and 1."""
    history = descent(9.0, steps=3).fit(2, validation_data=([[1.0]], [[4.0]]))
    assert ([8.0, 5.0], [2.0, 1.0]) == (history["loss"], history["val_loss"])


@pytest.mark.parametrize("n", [1, slow(1023), 1024, 1025, slow(2500)])
def test_any_number_of_samples(n: int) -> None:
    """Each counts once, however many the model sees at a time.

    Batch size and `drop_last` of the data do not matter.
    """
    outputs, targets = np.arange(n, dtype=np.float64)[:, np.newaxis], np.zeros((n, 1))
    training = constant(mg.MeanAbsoluteError(), [[1.0]], [[2.0]], 1)
    given = mg.Batches(outputs, targets, min(n, 400), drop_last=True, rng=0)
    for validation in ((outputs, targets), [outputs.tolist(), targets.tolist()], given):
        history = training.fit(validation_data=validation)
        np.testing.assert_allclose(history["val_loss"], [(n - 1) / 2], rtol=1e-14)
    assert not given.has_given


@pytest.mark.parametrize("lot", [1, 3000, 5000, 1 << 22])
def test_figures_do_not_depend_on_what_is_seen_at_once(
    lot: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of very much data the loss sees lots.

    The figures are those of all samples: r2 too, which is no mean of anything.
    """
    monkeypatch.setattr(evaluation, "_MAX_OUTPUTS", lot)
    rng = np.random.default_rng(0)
    targets = rng.normal(size=(2500, 2)) + np.linspace(0, 9, 2500)[:, np.newaxis]
    outputs = targets + rng.normal(size=(2500, 2))
    training = constant(mg.MeanSquaredError(), [[1.0, 1.0]], [[2.0, 2.0]], 1)
    history = training.fit(
        validation_data=(outputs, targets), metrics=["r2", "mean_absolute_error"]
    )
    residual, spread = ((targets - outputs) ** 2).sum(), ((targets - targets.mean()) ** 2).sum()
    expected = [residual / 5000, 1 - residual / spread, np.abs(targets - outputs).mean()]
    found = [history[name][0] for name in ("val_loss", "val_r2", "val_mean_absolute_error")]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_sum_is_told_as_the_mean_over_samples() -> None:
    """So training and validation can be compared: (1 + 2 + 3) / 3, and for two batches of training
    (2 + 4 + 9) / 3.
    """
    training = constant(
        mg.MeanAbsoluteError(reduction="sum"), [[0.0], [0.0], [0.0]], [[2.0], [4.0], [9.0]], 2
    )
    history = training.fit(validation_data=(np.zeros((3, 1)), [[1.0], [2.0], [3.0]]))
    np.testing.assert_allclose([*history["loss"], *history["val_loss"]], [5, 2], rtol=1e-14)


def test_a_weighted_loss_is_the_mean_over_the_weights() -> None:
    """Batches count by the weights of their labels: with equal logits, each sample's loss is log 3
    times its weight.

    The mean is log 3 for any weights; so one sample has other logits, and a loss of log(2 + e) - 1.
    """
    outputs = np.zeros((5, 3))
    outputs[4, 2] = 1.0
    labels, weights = np.array([0, 0, 1, 1, 2]), np.array([1.0, 2.0, 5.0])
    training = constant(mg.SoftmaxCrossEntropy(class_weight=weights), outputs, labels, 2)
    history = training.fit(validation_data=(outputs, labels), metrics=())
    expected = ((1 + 1 + 2 + 2) * np.log(3) + 5 * (np.log(2 + np.e) - 1)) / (1 + 1 + 2 + 2 + 5)
    np.testing.assert_allclose(
        [*history["loss"], *history["val_loss"]], [expected, expected], rtol=1e-12
    )


def test_ignored_samples_do_not_count() -> None:
    """One of two samples in the last batch is ignored: the mean is over three."""
    outputs = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 1.0], [7.0, 0.0]])
    training = constant(
        mg.SoftmaxCrossEntropy(ignore_index=-1), outputs, np.array([0, 1, 1, -1]), 2
    )
    expected = (2 * np.log(2) + np.log(1 + np.e) - 1) / 3
    np.testing.assert_allclose(training.fit(metrics=())["loss"], [expected], rtol=1e-12)


def test_a_tuple_is_scaled_as_the_data() -> None:
    """Bytes of 51 become 0.2; and `Batches` by their own scale."""
    model = identity(dtype=np.float32)
    images, targets = np.full((4, 1), 51, np.uint8), np.zeros((4, 1))
    data = mg.Batches(images, targets, 2, scale=1 / 255, rng=0)
    training = Training(model, mg.MeanAbsoluteError(), mg.SGD(model, 0.1), data)
    for validation, expected in [
        ((images, targets), 0.2),
        (mg.Batches(images, targets, 2, scale=1 / 51), 1.0),
        (mg.Batches(images, targets, 2), 51.0),
    ]:
        history = training.fit(validation_data=validation)
        np.testing.assert_allclose(
            [history["loss"], history["val_loss"]], [[0.2], [expected]], rtol=1e-6
        )


def test_a_loss_that_is_no_number_in_validation_ends_nothing() -> None:
    """It stands in the history; the training itself is sound."""
    history = descent(3.0).fit(2, validation_data=([[np.nan]], [[0.0]]))
    assert [3.0, 2.0] == history["loss"]
    assert np.isnan(history["val_loss"]).tolist() == [True, True]
    assert "" == history.stopped


def test_layers_are_in_eval_mode_throughout() -> None:
    """All of them, and in the mode they were in again for the next step, also one that was in eval
    mode.
    """
    training, diary = classifier(batch_size=23), Diary()
    assert isinstance(training.model, mg.Sequential)
    training.model[1].eval()
    training.fit(2, hooks=[diary], validation_data=samples(2000))
    told = diary.of("forward")
    epoch = told[: len(told) // 2]
    assert epoch * 2 == told
    assert [True, False, True, True, True, True] == epoch[:6]
    assert {False} == set(epoch[6:])
