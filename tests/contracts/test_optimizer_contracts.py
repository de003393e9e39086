"""What users rely on in each optimizer of the table."""

from __future__ import annotations

import numpy as np
import pytest
from case_support import sparse
from contract_table import (
    OPTIMIZERS,
    SETTINGS,
    FloatType,
    MakeLayer,
    MakeOptimizer,
    batches,
    bits,
    chain,
    copies,
    dtypes,
    in_bits,
    models_and_optimizers,
    optimizers,
    partly_frozen,
    random_state,
    sample,
    train,
)
from hook_support import Tape, Vandal

import minigrad as mg
from minigrad.errors import MissingGradientError, ModelError

# -- a step ---------------------------------------------------------------------------------------


@sparse(optimizers, dtypes, every=2)
def test_an_optimizer_keeps_dtype_and_memory(make: MakeOptimizer, dtype: FloatType) -> None:
    """Steps change the values where they lie, and leave their dtype."""
    model = chain(dtype)
    optimizer = make(model)
    held = {name: parameter.value for name, parameter in model.parameters()}
    before = model.state_dict()
    train(model, optimizer, steps=3)
    for name, parameter in model.parameters():
        assert held[name] is parameter.value
        assert dtype == parameter.value.dtype == parameter.grad.dtype
        assert not np.array_equal(before[name], parameter.value)
    for arrays in optimizer.state_dict()["state"].values():
        assert {dtype} == {array.dtype.type for array in arrays.values()}


@sparse(optimizers, dtypes, every=2)
def test_a_step_leaves_the_gradients(make: MakeOptimizer, dtype: FloatType) -> None:
    """What backward wrote can be read after the step as well: clipping and decay work on copies."""
    model = chain(dtype)
    optimizer = make(model)
    model.backward(model(sample(7, 4, dtype)))
    before = mg.ParameterVector.of(model).grads.tobytes()
    optimizer.step()
    assert before == mg.ParameterVector.of(model).grads.tobytes()


@sparse(optimizers, dtypes, every=2)
def test_a_gradient_is_used_once(make: MakeOptimizer, dtype: FloatType) -> None:
    """A second step without a backward is an error, and changes neither values nor state."""
    model = chain(dtype)
    optimizer = make(model)
    train(model, optimizer, steps=2)
    before, state = bits(model), in_bits(optimizer.state_dict())
    with pytest.raises(MissingGradientError):
        optimizer.step()
    assert before == bits(model)
    assert state == in_bits(optimizer.state_dict())


@sparse(optimizers, dtypes, batches, every=4)
def test_an_optimizer_makes_the_loss_smaller(
    make: MakeOptimizer, dtype: FloatType, batch: int
) -> None:
    """On any batch size, thirty steps make the sum of squares of the outputs smaller."""
    model, x = chain(dtype), sample(batch, 4, dtype)
    optimizer = make(model)
    first = float((model(x) ** 2).sum())
    for _ in range(30):
        model.backward(model(x) * dtype(0.02 / batch))
        optimizer.step()
    assert float((model(x) ** 2).sum()) < first


@sparse(optimizers, every=4)
def test_float32_computes_what_float64_computes(make: MakeOptimizer) -> None:
    """The same training in float32 ends at the same values, but for rounding."""
    ends = []
    for dtype in (np.float32, np.float64):
        model = chain(dtype)
        optimizer = make(model)
        for seed in range(10):
            mg.ParameterVector.of(model).grads[...] = np.random.default_rng(seed).choice(
                [-2, -1, -0.5, 0.5, 1, 3], 43
            )
            for _, parameter in model.parameters():
                parameter.grad = parameter.grad
            optimizer.step()
        ends.append(mg.ParameterVector.of(model).values.astype(np.float64))
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-4, atol=1e-5)


# -- replay and watching -------------------------------------------------------------------------


@sparse(models_and_optimizers, every=2)
def test_training_replays(make_model: MakeLayer, make: MakeOptimizer, dtype: FloatType) -> None:
    """Initial values plus updates, added in order, are the values after each step bit for bit, on
    every model.
    """
    model = make_model(dtype)
    optimizer, tape = make(model), Tape()
    optimizer.attach(tape)
    now = {name: parameter.value.copy() for name, parameter in model.parameters()}
    frozen = {
        name: value.tobytes()
        for name, value in now.items()
        if not dict(model.parameters())[name].trainable
    }
    with mg.Recorder(optimizer, keyframe_every=4) as recorder:
        train(model, optimizer, steps=10)
    for updates, values in zip(tape.updates, tape.values, strict=True):
        assert set(now) == set(updates) == set(values)
        for name, update in updates.items():
            now[name] += update
            assert values[name].tobytes() == now[name].tobytes()
    run = recorder.run
    for name, parameter in model.parameters():
        assert parameter.value.tobytes() == now[name].tobytes()
        replayed = run[name].initial
        for update in run[name].updates:
            replayed += update
        assert parameter.value.tobytes() == replayed.tobytes()
        assert parameter.size == sum(run[name].why.counts.values())
        assert frozen.get(name, parameter.value.tobytes()) == parameter.value.tobytes()
    assert 10 == run.verify().checked
    assert () == run.notes


@sparse(models_and_optimizers, every=2)
def test_watching_changes_nothing(
    make_model: MakeLayer, make: MakeOptimizer, dtype: FloatType
) -> None:
    """Hooks that write into all they get, and a recorder, change no bit of the model nor of the
    optimizer's state.
    """
    ends = []
    for watched in (False, True):
        model = make_model(dtype)
        optimizer, vandal = make(model), Vandal()
        recorder = mg.Recorder(optimizer, keep=("update", "grad"), coactivation=True)
        if watched:
            optimizer.attach(vandal)
            if isinstance(model, mg.Sequential):
                model.attach(vandal)
            recorder.start()
        train(model, optimizer, steps=6)
        assert watched == (vandal.calls > 0)
        ends.append((bits(model), in_bits(optimizer.state_dict())))
    recorder.stop()
    assert ends[0] == ends[1]


@sparse(optimizers, dtypes, every=4)
def test_what_an_optimizer_hands_out_is_the_callers(make: MakeOptimizer, dtype: FloatType) -> None:
    """States and an event's arrays that somebody holds do not change in later steps.

    Writing into them spoils nothing.
    """
    model, tape = chain(dtype), Tape()
    optimizer = make(model)
    optimizer.attach(tape)
    train(model, optimizer, steps=2)
    state = optimizer.state_dict()
    kept = in_bits([state, tape.updates, tape.grads, tape.values])
    held = [*tape.updates], [*tape.grads], [*tape.values]
    train(model, optimizer, steps=3, seed=2)
    assert kept == in_bits([state, *held])
    end = in_bits(optimizer.state_dict())
    for arrays in state["state"].values():
        for array in arrays.values():
            array.fill(np.nan)
    state["skipped_steps"]["0.weight"] = 99
    assert end == in_bits(optimizer.state_dict())


# -- copies and state ----------------------------------------------------------------------------


@sparse(optimizers, dtypes, every=5)
def test_copies_of_an_optimizer_go_on_alike(make: MakeOptimizer, dtype: FloatType) -> None:
    """An optimizer copied or pickled with its model goes on with the same bits, in memory of its
    own.
    """
    model = chain(dtype)
    optimizer = make(model)
    train(model, optimizer, steps=3)
    others = copies((model, optimizer))
    train(model, optimizer, steps=3, seed=3)
    after = mg.ParameterVector.of(model).values.tobytes()
    for other_model, other_optimizer in others:
        assert other_optimizer.model is other_model
        assert repr(optimizer) == repr(other_optimizer)
        train(other_model, other_optimizer, steps=3, seed=3)
        assert after == mg.ParameterVector.of(other_model).values.tobytes()
        assert optimizer.step_count == other_optimizer.step_count == 6
        assert in_bits(optimizer.state_dict()) == in_bits(other_optimizer.state_dict())
    assert after == mg.ParameterVector.of(model).values.tobytes()


@sparse(optimizers, dtypes, pytest.mark.parametrize("stop", [0, 4]), every=5)
def test_resuming_from_a_state_is_exact(make: MakeOptimizer, dtype: FloatType, stop: int) -> None:
    """A new optimizer with the state of another goes on with its bits.

    The other is forgotten, and not shared.
    """

    def go(model: mg.Sequential, optimizer: mg.Optimizer, steps: range) -> None:
        for step in steps:
            model[0].freeze() if step in (1, 2, 6) else model[
                0
            ].unfreeze()  # so that counts differ by parameter
            train(model, optimizer, 1, seed=step)

    model = chain(dtype)
    optimizer = make(model)
    go(model, optimizer, range(stop))
    values, state = model.state_dict(), optimizer.state_dict()
    go(model, optimizer, range(stop, 8))
    other = chain(dtype)
    resumed = make(other)
    train(other, resumed, 3, seed=50)  # something else before
    other.load_state_dict(values)
    resumed.load_state_dict(state)
    assert stop == resumed.step_count
    go(other, resumed, range(stop, 8))
    assert bits(model) == bits(other)
    assert in_bits(optimizer.state_dict()) == in_bits(resumed.state_dict())


@sparse(optimizers, every=4)
def test_a_state_of_other_parameters(make: MakeOptimizer) -> None:
    """A state that belongs to another model is refused, and changes nothing."""
    model = chain(np.float64)
    optimizer = make(model)
    train(model, optimizer, 2)
    before = in_bits(optimizer.state_dict())
    with pytest.raises(ModelError, match="no state of an optimizer"):
        optimizer.load_state_dict({})
    other_model = partly_frozen(np.float64)
    other = make(other_model)
    train(other_model, other, 2)
    with pytest.raises(ModelError, match=r"1\.scale"):
        optimizer.load_state_dict(other.state_dict())
    assert before == in_bits(optimizer.state_dict())


@sparse(optimizers, dtypes, every=4)
def test_training_is_determined_by_its_seeds(make: MakeOptimizer, dtype: FloatType) -> None:
    """Two trainings from the same seeds have identical bits, and NumPy's global random state is
    left alone.
    """
    before, ends = random_state(), []
    for _ in range(2):
        model = chain(dtype)
        train(model, make(model), steps=5)
        ends.append(mg.ParameterVector.of(model).values.tobytes())
    assert ends[0] == ends[1]
    assert before == random_state()


# -- freezing ------------------------------------------------------------------------------------


@sparse(optimizers, dtypes, every=4)
def test_freezing_keeps_values_and_state(make: MakeOptimizer, dtype: FloatType) -> None:
    """What is frozen keeps its values, -0.0 included, and the optimizer's arrays for it.

    The others go on.
    """
    model = chain(dtype)
    optimizer, tape = make(model), Tape()
    optimizer.attach(tape)
    train(model, optimizer, 2)
    model[0].weight.value[0, 0] = -0.0
    model[0].freeze()
    before, state = model.state_dict(), optimizer.state_dict()["state"]
    train(model, optimizer, 3, seed=2)
    after = optimizer.state_dict()
    for name, parameter in model.parameters():
        assert name.startswith("0.") == (before[name].tobytes() == parameter.value.tobytes())
        for own, arrays in after["state"].items():
            if name.startswith("0."):
                assert state[own][name].tobytes() == arrays[name].tobytes()
    assert {"0.weight": 3, "0.bias": 3} == after["skipped_steps"]
    for updates in tape.updates[2:]:
        assert all(
            np.signbit(updates[name]).all() and not updates[name].any()
            for name in ("0.weight", "0.bias")
        )


# A schedule and noise go on while a part is frozen, and a common limit ties the parts together:
# these rows are left out.
APART = [
    name
    for name in SETTINGS
    if not any(word in name for word in ("norm", "limits", "all", "transforms"))
]


@sparse(pytest.mark.parametrize("name", APART), dtypes, every=4)
def test_a_frozen_part_goes_on_where_it_stopped(name: str, dtype: FloatType) -> None:
    """Steps in which a part is frozen are, for that part, as if they had not been.

    For the others, as any step.
    """
    rows = np.random.default_rng(3).normal(size=(5, 43)).astype(dtype)

    def end(numbers: list[int], frozen: bool) -> dict[str, bytes]:
        """The bits after steps with these rows as gradients, where the first layer is frozen for
        row 4.
        """
        model = chain(dtype)
        optimizer = OPTIMIZERS[name](model)
        for number in numbers:
            for own, parameter in model.parameters():
                parameter.trainable = not (frozen and number == 4 and own.startswith("0."))
                slot = mg.ParameterVector.of(model).slots[own]
                parameter.grad = rows[number][slot.slice].reshape(slot.shape)
            optimizer.step()
        return bits(model)

    found = end([0, 1, 4, 4, 4, 2, 3], frozen=True)
    without, never = end([0, 1, 2, 3], frozen=False), end([0, 1, 4, 4, 4, 2, 3], frozen=False)
    assert found == {own: (without if own.startswith("0.") else never)[own] for own in found}


@pytest.mark.parametrize(
    "name", [name for name in OPTIMIZERS if "max_grad" in name or "limits" in name]
)
def test_limits_are_seen(name: str) -> None:
    """The rows of the table that limit gradients really do: without the limit the updates are
    others.
    """
    model = chain(np.float64)
    optimizer, tape = OPTIMIZERS[name](model), Tape()
    optimizer.attach(tape)
    train(model, optimizer, 3)
    free_model = chain(np.float64)
    free, free_tape = OPTIMIZERS[name](free_model), Tape()
    free.max_grad_norm = free.max_grad_value = None
    free.attach(free_tape)
    train(free_model, free, 3)
    assert not np.allclose(tape.updates[2]["0.weight"], free_tape.updates[2]["0.weight"], rtol=1e-3)
