"""What the recorder keeps of each step, and what it counts of each entry."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from loop_support import take_step
from recording_support import Array, Tape, network, one, small, train

import minigrad as mg

# -- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("keep", [(), ("update",)])
def test_rows_hold_loss_rate_clipping_and_indices(keep: tuple[str, ...], every: int) -> None:
    """Each step's row has the loss, the rate, the clip factor and the rows of the batch, whatever
    tensors are kept.
    """
    rng = np.random.default_rng(0)
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, lambda step: 0.1 / (1 + step), max_grad_norm=0.5)
    tape = Tape()
    optimizer.attach(tape)
    loss = mg.SoftmaxCrossEntropy()
    data = mg.Batches(rng.normal(size=(23, 5)), rng.integers(0, 3, 23), batch_size=4, rng=0)
    losses, indices = [], []
    with mg.Recorder(optimizer, loss=loss, data=data, keep=keep, every=every) as recorder:
        for _ in range(3):
            for x, y in data:
                losses.append(take_step(model, loss, optimizer, x, y))
                indices.append(data.indices)
    run = recorder.run
    assert run.loss.tolist() == losses
    assert run.lr.tolist() == tape.lr == [0.1 / (1 + step) for step in range(18)]
    assert run.clip_factor.tolist() == tape.clip
    assert min(tape.clip) < 1
    assert len(indices) == 18
    for step, rows in enumerate(indices):
        found = run.indices(step)
        assert found is not None
        assert found.tolist() == rows.tolist()
        found[...] = 0
        again = run.indices(step)
        assert again is not None
        assert again.tolist() == rows.tolist()
    assert len(indices[5]) == 3


def test_rows_without_loss_and_data() -> None:
    """Where nothing is known of loss and rows, they are NaN and None, and the report does
    without.
    """
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 2)
    assert np.isnan(recorder.run.loss).all()
    assert recorder.run.indices(1) is None
    assert "loss" not in recorder.run.report()


class Total(mg.Loss):
    """A loss of one's own, that says nothing of `value`."""

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.shape = logits.shape
        return float(logits.sum())

    def backward(self) -> Array:
        return np.ones(self.shape, np.float32)


class TwiceTotal(Total):
    """And one made of that one."""

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        return 2 * super().forward(logits, targets)

    def backward(self) -> Array:
        return 2 * super().backward()


@pytest.mark.parametrize("kind", [Total, TwiceTotal])
def test_the_value_of_a_loss_of_ones_own_is_recorded(kind: type[Total]) -> None:
    """A `forward` that returns a number is enough: that number is in the step's row."""
    model, optimizer = small()
    loss = kind()
    told = []
    with mg.Recorder(optimizer, loss=loss) as recorder:
        for _ in range(3):
            told.append(take_step(model, loss, optimizer, np.ones((2, 5)), np.zeros(2)))
    assert 3 == len(set(told))
    assert told == recorder.run.loss.tolist()
    assert told[-1] == loss.value


def test_loss_and_indices_given_to_the_step() -> None:
    """Loss and indices that a loop gives to `step` go into the rows too."""
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        model(np.ones((2, 5), np.float32))
        model.backward(np.ones((2, 3), np.float32))
        optimizer.step(loss=0.25, indices=np.array([4, 2]))
    assert recorder.run.loss.tolist() == [0.25]
    found = recorder.run.indices(0)
    assert found is not None
    assert found.tolist() == [4, 2]


def test_data_that_have_given_no_batch() -> None:
    """A step made without a batch from `data` has no indices; it is no reason to fail."""
    model, optimizer = small()
    data = mg.Batches(np.ones((4, 5)), np.zeros(4, int), batch_size=2)
    with mg.Recorder(optimizer, data=data) as recorder:
        train(model, optimizer, 2)
    assert recorder.run.indices(0) is None


# -- counts --------------------------------------------------------------------------------------


class Random(mg.Optimizer):
    """Updates of every kind: zero, tiny, returning, large."""

    def __init__(self, model: mg.Layer, seed: int = 0) -> None:
        super().__init__(model, 1.0)
        self.rng = np.random.default_rng(seed)

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        kind = self.rng.integers(0, 4, update.shape)
        kind[: len(kind) // 2] = np.minimum(kind[: len(kind) // 2], 1)
        if self.step_count < 300:
            kind[: len(kind) // 4] = 0
        choices = [
            np.zeros(update.shape),
            np.full(update.shape, 1e-12),
            self.rng.normal(size=update.shape),
            -(2.0**-6) + 0 * update,
        ]
        update[...] = np.choose(kind, choices)


@pytest.mark.slow
@sparse(
    pytest.mark.parametrize("steps", [1, 254, 255, 256, 511, 600]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=6,
)
def test_counts_over_many_steps(steps: int, dtype: npt.DTypeLike) -> None:
    """Every count is exact over any number of steps: beyond 255 and 510 too, where single bytes
    would overflow.
    """
    model = network(5, 4, 3, dtype=dtype)
    optimizer = Random(model)
    tape = Tape()
    optimizer.attach(tape)
    initial = {name: parameter.value.copy() for name, parameter in model.parameters()}
    with mg.Recorder(optimizer, keep=()) as recorder:
        train(model, optimizer, steps)
    for name in recorder.run:
        history = recorder.run[name]
        after = np.array([values[name] for values in tape.values])
        before = np.concatenate([initial[name][np.newaxis], after[:-1]])
        updates = np.array([update[name] for update in tape.updates])
        moved = before != after
        number = np.arange(steps).reshape(-1, *[1] * initial[name].ndim)
        np.testing.assert_array_equal(history.moves, moved.sum(axis=0))
        np.testing.assert_array_equal(history.swallowed, ((updates != 0) & ~moved).sum(axis=0))
        np.testing.assert_array_equal(
            history.first_move,
            np.where(moved, number, 10**6).min(axis=0) % 10**6 - ~moved.any(axis=0),
        )
        np.testing.assert_array_equal(history.last_move, np.where(moved, number, -1).max(axis=0))
        way = np.abs(after - before).astype(np.float64).sum(axis=0)
        np.testing.assert_allclose(
            history.movement, way, rtol=1e-5 if dtype == np.float32 else 1e-12
        )
        index = np.unravel_index(int(history.moves.argmax()), history.shape)
        if history.moves.max():
            assert f"in {history.moves.max():,} of {steps:,} step" in history.why.at(
                *map(int, index)
            )


@pytest.mark.parametrize("rows", [1, 255, 256, 300, 511, 700])
def test_counts_of_inputs_in_large_batches(rows: int) -> None:
    """Inputs and units are counted right in batches of more than 255 rows, over several steps."""
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dense(3, 2, init="zeros"))
    optimizer = mg.SGD(model, 0.1)
    inputs = np.zeros(3, int)
    units = np.zeros(2, int)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(3):
            x = np.ones((rows, 3)) * (rng.random((rows, 3)) < [0.0, 0.5, 1.0])
            grad = np.zeros((rows, 2))
            grad[x[:, 1] == 0] = [1.0, 0.0]
            inputs += (x != 0).sum(axis=0)
            units += (grad != 0).sum(axis=0)
            one(model, optimizer, x, grad)
    why = recorder.run["0.weight"].why
    assert why.reasons[0].tolist() == [mg.Reason.INPUT_ZERO] * 2
    assert f"0 in all {3 * rows:,} samples" in why.at(0, 0)
    assert f"0 in all {3 * rows:,} samples" in why.at(2, 1)
    if units[0] and inputs[1]:
        assert why.reasons[1, 0] is mg.Reason.NEVER_TOGETHER
        assert (
            f"its input 1 was not 0 in {inputs[1]:,} of {3 * rows:,} samples, and its unit 0 had a "
            f"gradient in "
            f"{units[0]:,}," in why.at(1, 0)
        )


def test_a_count_of_256_rows_is_not_0() -> None:
    """An input that is active in 256 rows, or in 256 batches, is not taken for one that never
    was.
    """
    model = mg.Sequential(mg.Dense(2, 2, init="zeros"))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        one(
            model,
            optimizer,
            np.tile([[1, 0], [0, 1]], (256, 1)),
            np.tile([[0, 1], [0, -1]], (256, 1)),
        )
    assert recorder.run["0.weight"].why.counts == {mg.Reason.UNIT_SILENT: 2, mg.Reason.MOVED: 2}
    model = mg.Sequential(mg.Dense(1, 2, init="zeros"))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(256):
            one(model, optimizer, [[1], [0]], [[0, 0], [1, 0]])
    assert recorder.run["0.weight"].why.counts == {
        mg.Reason.NEVER_TOGETHER: 1,
        mg.Reason.UNIT_SILENT: 1,
    }
