"""What users rely on in each loss of the table, with each kind of targets that it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from case_support import sparse
from contract_table import (
    FloatType,
    MakeLoss,
    MakeTargets,
    batches,
    bits,
    central_differences,
    chain,
    copies,
    dtypes,
    losses,
    random_state,
    sample,
)
from hook_support import Vandal
from loop_support import take_step

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ShapeError

# -- one pass -------------------------------------------------------------------------------------


@sparse(losses, dtypes, batches, every=3)
def test_a_loss_is_one_number_and_its_gradient_has_the_logits_form(
    make: MakeLoss, targets_of: MakeTargets, dtype: FloatType, batch: int
) -> None:
    """`forward` gives a Python float and keeps it as `.value`.

    The gradient has the logits' shape and dtype.
    """
    loss, logits = make(), sample(batch, 3, dtype)
    value = loss.forward(logits, targets_of(batch))
    grad = loss.backward()
    assert float is type(value)
    assert value == loss.value
    assert (logits.shape, np.dtype(dtype)) == (grad.shape, grad.dtype)


@sparse(losses, batches, every=3)
def test_the_gradient_of_a_loss_is_its_derivative(
    make: MakeLoss, targets_of: MakeTargets, batch: int
) -> None:
    """The gradient agrees with central differences of the very value that `forward` returns."""
    loss, logits, targets = make(), sample(batch, 3, np.float64), targets_of(batch)
    loss.forward(logits, targets)
    found = loss.backward()
    expected = central_differences(lambda: loss.forward(logits, targets), logits, eps=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


@sparse(losses, dtypes, every=4)
def test_check_gradients_passes(make: MakeLoss, targets_of: MakeTargets, dtype: FloatType) -> None:
    """The checker for authors passes each loss, and leaves it as it was."""
    loss, logits, targets = make(), sample(7, 3, dtype), targets_of(7)
    mg.testing.check_gradients(loss, logits, targets)
    assert math.isnan(loss.value)
    with pytest.raises(CallOrderError):
        loss.backward()


@sparse(losses, batches, every=3)
def test_float32_computes_what_float64_computes(
    make: MakeLoss, targets_of: MakeTargets, batch: int
) -> None:
    """The same loss on float32 outputs gives the same value and gradient, but for rounding."""
    loss, logits, targets = make(), sample(batch, 3, np.float32), targets_of(batch)
    exact = loss.forward(logits.astype(np.float64), targets)
    slopes = loss.backward()
    assert math.isclose(exact, loss.forward(logits, targets), rel_tol=1e-5)
    np.testing.assert_allclose(loss.backward(), slopes, rtol=1e-4, atol=1e-6)


@sparse(losses, dtypes, every=3)
def test_extreme_outputs(make: MakeLoss, targets_of: MakeTargets, dtype: FloatType) -> None:
    """Outputs of a million, of either sign, overflow nowhere: the value is finite and right to
    float32's digits.
    """
    rows = [[1e6, -1e6, 0], [-1e6, 1e6, 1e6], [5e5, 1e6, -3], [1e6, 1e6, 1e6], [-1e6, -1e6, -1e6]]
    logits: Array = np.array(rows, dtype)
    loss, targets = make(), targets_of(5)
    value = loss.forward(logits, targets)
    grad = loss.backward()
    exact = loss.forward(logits.astype(np.float64), targets)
    assert math.isfinite(value)
    assert np.isfinite(grad).all()
    assert math.isclose(exact, value, rel_tol=1e-5)
    np.testing.assert_allclose(grad, loss.backward(), rtol=1e-5, atol=1e-6)


@sparse(losses, every=3)
def test_a_loss_takes_targets_of_any_form(make: MakeLoss, targets_of: MakeTargets) -> None:
    """Lists, column-major and strided arrays of targets are the same targets."""
    logits, targets = sample(7, 3, np.float64), targets_of(7)
    expected = make().forward(logits, targets)
    forms = [targets.tolist(), np.asfortranarray(targets), np.repeat(targets, 2, axis=0)[::2]]
    for form in forms:
        loss = make()
        assert math.isclose(expected, loss.forward(logits.copy(order="F"), form), rel_tol=1e-14)


@sparse(losses, dtypes, every=3)
def test_nothing_broadcasts(make: MakeLoss, targets_of: MakeTargets, dtype: FloatType) -> None:
    """Targets of another shape are refused, whatever NumPy would make of them.

    The last value and gradient stay.
    """
    loss, logits, targets = make(), sample(7, 3, dtype), targets_of(7)
    value = loss.forward(logits, targets)
    grad = loss.backward().tobytes()
    wrong = [
        targets[:6],
        targets[:1],
        targets[0],
        targets[..., np.newaxis],
        np.repeat(targets, 2, axis=0),
    ]
    wrong += [
        targets[np.newaxis],
        np.zeros((7, 1), targets.dtype),
        np.zeros((7, 2), targets.dtype),
        targets[:0],
    ]
    wrong += (
        [np.zeros(7)] if targets.ndim == 2 and not isinstance(loss, mg.SoftmaxCrossEntropy) else []
    )
    for other in wrong:
        with pytest.raises(ShapeError, match=r"shape \("):
            loss.forward(logits, other)
        assert value == loss.value
        assert grad == loss.backward().tobytes()


@sparse(losses, every=3)
def test_a_loss_wants_forward_before_backward(make: MakeLoss, targets_of: MakeTargets) -> None:
    """Before the first forward there is no gradient, and the value is NaN.

    `loss(...)` is `loss.forward(...)`.
    """
    loss = make()
    assert math.isnan(loss.value)
    with pytest.raises(
        CallOrderError, match=rf"{type(loss).__name__}: backward was called before forward"
    ):
        loss.backward()
    logits = sample(7, 3, np.float64)
    assert loss(logits, targets_of(7)) == loss.forward(logits, targets_of(7))


# -- whose memory --------------------------------------------------------------------------------


@sparse(losses, dtypes, batches, every=3)
def test_a_loss_changes_nothing_that_it_is_given(
    make: MakeLoss, targets_of: MakeTargets, dtype: FloatType, batch: int
) -> None:
    """Logits and targets stay as they are, and may be read-only."""
    loss, logits, targets = make(), sample(batch, 3, dtype), targets_of(batch)
    logits.flags.writeable = targets.flags.writeable = False
    before = logits.tobytes(), targets.tobytes()
    loss.forward(logits, targets)
    loss.backward()
    assert before == (logits.tobytes(), targets.tobytes())


@sparse(losses, dtypes, every=3)
def test_what_a_loss_is_given_may_change_after_forward(
    make: MakeLoss, targets_of: MakeTargets, dtype: FloatType
) -> None:
    """The caller may write into logits and targets between forward and backward: the gradient is of
    what they were.
    """
    loss, logits, targets = make(), sample(7, 3, dtype), targets_of(7).copy()
    loss.forward(logits, targets)
    expected = loss.backward().tobytes()
    logits.fill(0)
    targets.fill(0)
    assert expected == loss.backward().tobytes()


@sparse(losses, every=3)
def test_a_setting_that_changes_after_forward(make: MakeLoss, targets_of: MakeTargets) -> None:
    """A reduction that is assigned between forward and backward counts from the next forward on."""
    loss, logits, targets = make(), sample(7, 3, np.float64), targets_of(7)
    loss.forward(logits, targets)
    expected = loss.backward().tobytes()
    other = "sum" if vars(loss)["reduction"] == "mean" else "mean"
    vars(loss)["reduction"] = other
    assert expected == loss.backward().tobytes()
    loss.forward(logits, targets)
    assert expected != loss.backward().tobytes()


@sparse(losses, dtypes, every=3)
def test_what_a_loss_hands_out_is_the_callers(
    make: MakeLoss, targets_of: MakeTargets, dtype: FloatType
) -> None:
    """A gradient that somebody holds, or writes into, does not change under later calls, nor
    changes them.
    """
    loss, targets = make(), targets_of(7)
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


@sparse(losses, dtypes, every=3)
def test_copies_of_a_loss_do_the_same(
    make: MakeLoss, targets_of: MakeTargets, dtype: FloatType
) -> None:
    """A deep copy or a pickled loss gives the same value and gradient, also between forward and
    backward.
    """
    loss, logits, targets = make(), sample(7, 3, dtype), targets_of(7)
    value = loss.forward(logits, targets)
    for other in copies(loss):
        assert (repr(loss), loss.value) == (repr(other), other.value)
        grad = other.backward()
        assert loss.backward().tobytes() == grad.tobytes()
        assert value == other.forward(logits, targets)
        other.forward(-logits, targets)
        assert grad.tobytes() == loss.backward().tobytes()


@sparse(losses, every=3)
def test_a_loss_leaves_the_global_random_state(make: MakeLoss, targets_of: MakeTargets) -> None:
    """Nothing draws from NumPy's global random state."""
    before = random_state()
    loss = make()
    loss.forward(sample(7, 3, np.float32), targets_of(7))
    loss.backward()
    assert before == random_state()


# -- in training ---------------------------------------------------------------------------------


@sparse(losses, dtypes, every=6)
def test_training_by_a_loss(make: MakeLoss, targets_of: MakeTargets, dtype: FloatType) -> None:
    """Training makes the loss smaller.

    Watched it has the same bits, and the record has the loss of each step.
    """
    x, targets = sample(7, 4, dtype), targets_of(7)
    ends: list[dict[str, bytes]] = []
    for watched in (False, True):
        model, loss = chain(dtype), make()
        optimizer = mg.Adam(model, lr=0.01)
        recorder = mg.Recorder(optimizer, loss=loss)
        if watched:
            recorder.start()
            model.attach(Vandal())
            optimizer.attach(Vandal())
        values: list[float] = []
        for _ in range(30):
            values.append(take_step(model, loss, optimizer, x, targets))
        ends.append(bits(model))
        assert values[-1] < values[0]
    recorder.stop()
    assert ends[0] == ends[1]
    assert values == recorder.run.loss.tolist()
    assert 30 == recorder.run.verify().checked
