"""What users rely on in each layer of the table."""

from __future__ import annotations

import numpy as np
import pytest
from case_support import sparse
from contract_table import (
    DTYPES,
    LAYERS,
    FloatType,
    MakeLayer,
    batches,
    bits,
    central_differences,
    copies,
    dtypes,
    fitting,
    input_gradient,
    layers,
    random_again,
    random_state,
    sample,
)
from hook_support import Tape, Vandal

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, ShapeError

# -- one pass -------------------------------------------------------------------------------------


@sparse(layers, dtypes, batches, every=3)
def test_a_layer_keeps_dtype_and_batch(make: MakeLayer, dtype: FloatType, batch: int) -> None:
    """What comes out has as many rows as what goes in, and the same dtype.

    The gradient has the input's shape.
    """
    layer = make(dtype)
    batch = fitting(layer, batch)
    x = sample(batch, 4, dtype)
    output = layer(x)
    below = input_gradient(layer, np.ones_like(output))
    assert (batch, np.dtype(dtype)) == (len(output), output.dtype)
    assert (x.shape, np.dtype(dtype)) == (below.shape, below.dtype)
    for _, parameter in layer.parameters():
        assert dtype == parameter.value.dtype == parameter.grad.dtype
        assert parameter.value.shape == parameter.grad.shape
    for array in layer.state_dict().values():
        assert dtype == array.dtype


@sparse(layers, batches, every=3)
def test_the_gradients_of_a_layer_are_its_derivatives(make: MakeLayer, batch: int) -> None:
    """Every gradient agrees with central differences, entry by entry, where the random numbers stay
    the same.
    """
    layer = make(np.float64)
    x = sample(fitting(layer, batch), 4, np.float64)
    again = random_again(layer)
    output = layer(x)
    weighting = sample(1, output.size, np.float64, seed=4).reshape(output.shape)

    def value() -> float:
        again()
        return float((layer(x) * weighting).sum())

    value()
    found = {"x": input_gradient(layer, weighting)}
    found |= {name: parameter.grad.copy() for name, parameter in layer.parameters()}
    arrays = {"x": x, **{name: parameter.value for name, parameter in layer.parameters()}}
    for name, array in arrays.items():
        np.testing.assert_allclose(
            found[name], central_differences(value, array), 1e-6, 1e-8, err_msg=name
        )


@sparse(layers, dtypes, every=6)
def test_check_gradients_passes(make: MakeLayer, dtype: FloatType) -> None:
    """The checker for authors passes each layer, in the mode that it is in, and leaves it as it
    was.
    """
    layer, before = make(dtype), make(dtype)
    mg.testing.check_gradients(layer, sample(7, 4, dtype))
    assert bits(before) == bits(layer)
    x = sample(7, 4, dtype, seed=1)
    assert before(x).tobytes() == layer(x).tobytes()


@sparse(layers, batches, every=3)
def test_float32_computes_what_float64_computes(make: MakeLayer, batch: int) -> None:
    """The same layer in float32 gives the same outputs and gradients, but for rounding."""
    results: dict[FloatType, list[Array]] = {}
    for dtype in DTYPES:
        layer = make(dtype)
        output = layer(sample(fitting(layer, batch), 4, np.float32).astype(dtype))
        below = input_gradient(layer, np.cos(output))
        results[dtype] = [output, below, *(parameter.grad for _, parameter in layer.parameters())]
    for exact, rounded in zip(results[np.float64], results[np.float32], strict=True):
        np.testing.assert_allclose(rounded, exact, rtol=1e-4, atol=1e-5)


@sparse(
    pytest.mark.parametrize(
        "name", [name for name in LAYERS if name not in ("custom layer", "residual block")]
    ),
    dtypes,
    every=2,
)
def test_a_layer_wants_forward_before_backward(name: str, dtype: FloatType) -> None:
    """Backward before forward, a second time, or with another batch is an error that says so."""
    layer = LAYERS[name](dtype)
    with pytest.raises(CallOrderError, match="before forward"):
        layer.backward(sample(7, 4, dtype))
    output = layer(sample(7, 4, dtype))
    with pytest.raises(ShapeError, match="broadcast"):
        layer.backward(np.ones((8, *output.shape[1:]), dtype))
    layer.backward(output)
    with pytest.raises(CallOrderError, match="a second time"):
        layer.backward(output)


# -- whose memory --------------------------------------------------------------------------------


@sparse(layers, dtypes, batches, every=3)
def test_a_layer_changes_neither_input_nor_gradient(
    make: MakeLayer, dtype: FloatType, batch: int
) -> None:
    """The arrays that forward and backward are given stay as they are; they may be read-only."""
    layer = make(dtype)
    x = sample(fitting(layer, batch), 4, dtype)
    x.flags.writeable = False
    before = x.tobytes()
    grad = sample(len(x), layer(x).shape[1], dtype, seed=1)
    grad.flags.writeable = False
    grad_before = grad.tobytes()
    layer(x)
    input_gradient(layer, grad)
    assert before == x.tobytes()
    assert grad_before == grad.tobytes()


@sparse(layers, dtypes, batches, every=3)
def test_what_a_layer_hands_out_is_the_callers(
    make: MakeLayer, dtype: FloatType, batch: int
) -> None:
    """Outputs and gradients that somebody holds do not change under later calls, and share no
    memory with others.
    """
    layer = make(dtype)
    batch = fitting(layer, batch)
    x = sample(batch, 4, dtype)
    output = layer(x)
    grad = sample(batch, output.shape[1], dtype, seed=1)
    below = input_gradient(layer, grad)
    state = layer.state_dict()
    kept, below_kept, state_kept = (
        output.copy(),
        below.copy(),
        {name: array.copy() for name, array in state.items()},
    )
    for seed in (2, 3):
        other = layer(sample(batch, 4, dtype, seed))
        other_below = input_gradient(layer, -3 * grad)
    assert kept.tobytes() == output.tobytes()
    assert below_kept.tobytes() == below.tobytes()
    for name, array in state.items():
        assert state_kept[name].tobytes() == array.tobytes()
    held = [
        x,
        grad,
        output,
        below,
        other,
        other_below,
        *(parameter.value for _, parameter in layer.parameters()),
    ]
    held += [parameter.grad for _, parameter in layer.parameters()]
    held += [getattr(inner, name) for _, inner in layer.layers() for name in inner.buffers]
    held += list(state.values())
    for first in range(6):
        assert not any(np.shares_memory(held[first], later) for later in held[first + 1 :])


@sparse(layers, dtypes, every=3)
def test_writing_into_an_output_spoils_nothing(make: MakeLayer, dtype: FloatType) -> None:
    """A caller may write into an output; the gradients are those of the forward that was run."""
    gradients: list[list[bytes]] = []
    for write in (False, True):
        layer = make(dtype)
        output = layer(sample(7, 4, dtype))
        grad = sample(7, output.shape[1], dtype, seed=1)
        if write:
            output.fill(np.nan)
        below = input_gradient(layer, grad)
        gradients.append(
            [below.tobytes(), *(parameter.grad.tobytes() for _, parameter in layer.parameters())]
        )
    assert gradients[0] == gradients[1]


# -- copies and state ----------------------------------------------------------------------------


@sparse(layers, dtypes, batches, every=3)
def test_copies_of_a_layer_do_the_same_in_memory_of_their_own(
    make: MakeLayer, dtype: FloatType, batch: int
) -> None:
    """A deep copy or a pickled layer gives the same results and shares no memory.

    What a pass has left is not copied.
    """
    layer = make(dtype)
    x = sample(fitting(layer, batch), 4, dtype)
    random_numbers = any(
        isinstance(inner, mg.Dropout) and inner.training for _, inner in layer.layers()
    )
    output = layer(x)
    grad = np.cos(output)
    originals = copies(layer)
    below = input_gradient(layer, grad)
    after = layer(x)
    assert random_numbers or output.tobytes() == after.tobytes()
    last = input_gradient(layer, grad)
    assert random_numbers or below.tobytes() == last.tobytes()
    for other in originals:
        assert repr(layer) == repr(other)
        with pytest.raises(CallOrderError, match="before forward"):
            other.backward(grad)
        assert after.tobytes() == other(x).tobytes()  # a copy goes on with the same random numbers
        assert last.tobytes() == input_gradient(other, grad).tobytes()
        assert bits(layer) == bits(other)
        pairs = list(zip(layer.parameters(), other.parameters(), strict=True))
        for (name, parameter), (other_name, other_parameter) in pairs:
            assert name == other_name
            assert parameter.trainable == other_parameter.trainable
            assert parameter.grad.tobytes() == other_parameter.grad.tobytes()
            assert not np.shares_memory(parameter.value, other_parameter.value)
            assert not np.shares_memory(parameter.grad, other_parameter.grad)
        for (_, inner), (_, other_inner) in zip(layer.layers(), other.layers(), strict=True):
            assert inner.training == other_inner.training
            for name in inner.buffers:
                assert not np.shares_memory(getattr(inner, name), getattr(other_inner, name))
        vector = mg.ParameterVector.of(other)
        vector.values[...] = 9
        for (_, parameter), (_, other_parameter) in pairs:
            assert not (parameter.value == 9).any()
            assert (other_parameter.value == 9).all()


@sparse(layers, dtypes, every=3)
def test_the_state_of_a_layer_is_all_that_it_knows(make: MakeLayer, dtype: FloatType) -> None:
    """A state written into another layer makes it compute the same bits in eval mode, and is taken
    as a copy.
    """
    layer, other = make(dtype), make(dtype)
    for seed in range(3):  # running statistics move in training
        output = layer(sample(7, 4, dtype, seed))
    mg.ParameterVector.of(layer).values *= dtype(1.5)
    state = layer.state_dict()
    kept = {name: array.tobytes() for name, array in state.items()}
    other.load_state_dict(state)
    assert kept == bits(other)
    layer.eval()
    other.eval()
    x = sample(7, 4, dtype, seed=5)
    assert output.shape == layer(x).shape
    assert layer(x).tobytes() == other(x).tobytes()
    for array in state.values():
        array.fill(np.nan)
    assert kept == bits(layer) == bits(other)


@sparse(layers, dtypes, every=3)
def test_freezing_a_layer_changes_no_number(make: MakeLayer, dtype: FloatType) -> None:
    """A frozen layer computes the same outputs and gradients.

    Only optimizers pass its parameters over.
    """
    results = []
    for freeze in (False, True):
        layer = make(dtype)
        if freeze:
            layer.freeze()
            assert not any(parameter.trainable for _, parameter in layer.parameters())
        else:
            layer.unfreeze()
            assert all(parameter.trainable for _, parameter in layer.parameters())
        output = layer(sample(7, 4, dtype))
        below = input_gradient(layer, np.cos(output))
        results.append(
            [output.tobytes(), below.tobytes(), *(p.grad.tobytes() for _, p in layer.parameters())]
        )
    assert results[0] == results[1]


@sparse(layers, dtypes, every=3)
def test_a_layer_is_determined_by_its_seed(make: MakeLayer, dtype: FloatType) -> None:
    """Two layers made with the same seed give identical bits, and NumPy's global random state is
    left alone.
    """
    before, x = random_state(), sample(7, 4, dtype)
    first, second = make(dtype), make(dtype)
    for _ in range(3):
        assert first(x).tobytes() == second(x).tobytes()
    assert bits(first) == bits(second)
    assert before == random_state()


@sparse(layers, every=3)
def test_a_layer_takes_any_memory_layout(make: MakeLayer) -> None:
    """Column-major and strided batches give the same numbers as plain ones."""
    x = sample(7, 4, np.float64)
    wide = np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)
    layer = make(np.float64)
    again = random_again(layer)
    expected = layer(x)
    below = input_gradient(layer, np.cos(expected))
    for other in (np.asfortranarray(x), wide[::2, ::3]):
        again()
        np.testing.assert_allclose(layer(other), expected, rtol=1e-13)
        np.testing.assert_allclose(
            input_gradient(layer, np.asfortranarray(np.cos(expected))), below, rtol=1e-12
        )


# -- in a model ----------------------------------------------------------------------------------


def around(layer: mg.Layer, dtype: FloatType) -> mg.Sequential:
    """The layer between two that learn."""
    width = layer(sample(2, 4, dtype)).shape[1]
    return mg.Sequential(
        mg.Dense(4, 4, dtype=dtype, rng=6), layer, mg.Dense(width, 2, dtype=dtype, rng=7)
    )


def trained(
    make: MakeLayer, dtype: FloatType, hooks: list[mg.Hook], record: bool
) -> tuple[mg.Sequential, mg.Run | None]:
    """Six steps with Adam, watched or not."""
    model = around(make(dtype), dtype)
    optimizer = mg.Adam(model, lr=0.01)
    for hook in hooks:
        optimizer.attach(hook)
        if isinstance(hook, Vandal):
            model.attach(hook)
    recorder = mg.Recorder(optimizer, coactivation=True, keyframe_every=3) if record else None
    if recorder is not None:
        recorder.start()
    for step in range(6):
        model.backward(model(sample(7, 4, dtype, step)) * 2)
        optimizer.step()
    if recorder is not None:
        recorder.stop()
    return model, None if recorder is None else recorder.run


@sparse(layers, dtypes, every=6)
def test_watching_a_layer_changes_nothing(make: MakeLayer, dtype: FloatType) -> None:
    """With hooks that write into all they get, and with a recorder, training gives the same bits,
    buffers included.
    """
    plain, _ = trained(make, dtype, [], record=False)
    vandal = Vandal()
    watched, _ = trained(make, dtype, [vandal, Vandal()], record=True)
    assert vandal.calls > 6
    assert bits(plain) == bits(watched)
    x = sample(7, 4, dtype, seed=9)
    assert plain(x).tobytes() == watched(x).tobytes()  # the same random numbers, too


@sparse(layers, dtypes, every=6)
def test_training_a_layer_replays(make: MakeLayer, dtype: FloatType) -> None:
    """Initial values plus updates are the final values bit for bit.

    Frozen ones stay; each entry has one reason.
    """
    tape = Tape()
    before = around(make(dtype), dtype)
    model, run = trained(make, dtype, [tape], record=True)
    assert run is not None
    replayed = tape.replayed(before.state_dict())
    for name, parameter in model.parameters():
        assert parameter.value.tobytes() == replayed[name] == run[name].final.tobytes()
        assert parameter.size == sum(run[name].why.counts.values())
        assert mg.Reason.UNKNOWN not in run[name].why.counts
        if not parameter.trainable:
            assert {mg.Reason.FROZEN: parameter.size} == run[name].why.counts
    assert 6 == run.verify().checked
    run.restore(before)
    x = sample(7, 4, dtype, seed=9)
    assert (
        model.predict(x).tobytes() == before.predict(x).tobytes()
    )  # running statistics are in the record


@sparse(layers, dtypes, every=4)
def test_predicting_with_a_layer_leaves_no_trace(make: MakeLayer, dtype: FloatType) -> None:
    """`predict` runs in eval mode, by batches of any size, and disturbs neither training nor a
    pending backward.
    """
    ends = []
    for predict in (False, True):
        model = around(make(dtype), dtype)
        optimizer = mg.Adam(model, lr=0.01)
        modes = [layer.training for _, layer in model.layers()]
        for step in range(3):
            output = model(sample(7, 4, dtype, step))
            if predict:
                x = sample(9, 4, dtype, seed=20)
                whole = model.predict(x)
                np.testing.assert_allclose(
                    model.predict(x, batch_size=1), whole, rtol=1e-4, atol=1e-5
                )
            model.backward(output)
            optimizer.step()
        assert modes == [layer.training for _, layer in model.layers()]
        ends.append((bits(model), model(sample(7, 4, dtype, seed=9)).tobytes()))
    assert ends[0] == ends[1]
