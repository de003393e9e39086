"""Initial values plus the recorded updates, added in order, are the final values, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from layer_support import Residual
from recording_support import Array, Conv1D, Scale, Switch, Tape, bias, dense, network, same, train
from replay_support import OPTIMIZERS, STATEFUL, Make, check_against, replayed

import minigrad as mg


@sparse(
    pytest.mark.parametrize("kind", OPTIMIZERS),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=3,
)
def test_replay_gives_the_final_bits(kind: str, dtype: npt.DTypeLike) -> None:
    """Initial plus the updates in order is the final value bit for bit, and so is every value in
    between.
    """
    model = network(5, 4, 3, dtype=dtype)
    optimizer = OPTIMIZERS[kind](model)
    tape = Tape()
    optimizer.attach(tape)
    before = {name: p.value.copy() for name, p in model.parameters()}
    with mg.Recorder(optimizer, keyframe_every=7) as recorder:
        train(model, optimizer, 30)
    run = recorder.run
    for name, parameter in model.parameters():
        history = run[name]
        assert same(history.initial, before[name])
        assert same(history.final, parameter.value)
        assert same(replayed(history), parameter.value)
        assert history.updates.steps.tolist() == list(range(30))
        for step, update in enumerate(history.updates):
            assert same(update, tape.updates[step][name])
    assert run.exact_steps.tolist() == list(range(30))
    check_against(run, tape)
    checked = run.verify()
    assert checked
    assert (checked.checked, checked.unchecked, checked.mismatch) == (30, 0, None)
    assert checked.keyframes == 5


@sparse(
    pytest.mark.parametrize("frozen", [(0,), (2,), (4,), (0, 4), (0, 2)]),
    pytest.mark.parametrize("kind", ["everything", *STATEFUL]),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
)
def test_frozen_layers_keep_minus_zero(
    frozen: tuple[int, ...], kind: str, dtype: npt.DTypeLike
) -> None:
    """A frozen entry of -0.0 stays -0.0 in training and in replay, also where it is frozen only for
    some steps.
    """
    model = network(5, 4, 4, 3, dtype=dtype)
    for index in frozen:
        layer = dense(model, index)
        layer.freeze()
        layer.weight.value = np.full(layer.weight.shape, -0.0, dtype)
        bias(layer).value = np.full(layer.n_out, -0.0, dtype)
    optimizer = OPTIMIZERS[kind](model)
    with mg.Recorder(optimizer, keyframe_every=4) as recorder:
        train(model, optimizer, 10)
    for name, parameter in model.parameters():
        assert same(replayed(recorder.run[name]), parameter.value), name
        if int(name[0]) in frozen:
            assert np.signbit(recorder.run[name].final).all()
            assert recorder.run[name].why.counts == {mg.Reason.FROZEN: parameter.size}
    assert recorder.run.verify()


@sparse(
    pytest.mark.parametrize(
        "pattern", ["TF", "FT", "FTF", "FFTTFFTT", "TFTFTTFFFT", "0202", "0220", "0T2T0T2"]
    ),
    pytest.mark.parametrize("kind", STATEFUL),
)
def test_freezing_and_unfreezing_between_steps(pattern: str, kind: str) -> None:
    """Freezing a layer, letting it go and freezing it again leaves a record that replays, with no
    false alarm.
    """
    model = network(5, 4, 3)
    optimizer = OPTIMIZERS[kind](model)
    tape = Tape()
    optimizer.attach(tape)

    def before(step: int) -> None:
        model.unfreeze()
        state = pattern[step]
        if state in "F0":
            model[0].freeze()
        if state == "2":
            model[2].freeze()

    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, len(pattern), before)
    run = recorder.run
    assert run.notes == ()
    assert run.verify().checked == len(pattern)
    check_against(run, tape)
    for name, parameter in model.parameters():
        assert same(replayed(run[name]), parameter.value)


@pytest.mark.parametrize("kind", ["gentle momentum", *STATEFUL[1:]])
def test_parts_without_a_gradient(kind: str) -> None:
    """A branch that backward does not reach gets no update, and the record replays whichever branch
    runs.
    """
    rng = np.random.default_rng(0)
    switch = Switch(mg.Dense(4, 4, rng=rng), mg.Dense(4, 4, rng=rng), mg.Dense(4, 4, rng=rng))
    model = mg.Sequential(mg.Dense(5, 4, rng=rng), switch, mg.Dense(4, 3, rng=rng))
    optimizer = OPTIMIZERS[kind](model)
    tape = Tape()
    optimizer.attach(tape)

    def before(step: int) -> None:
        switch.which = (0, 0, 1, 1, 0, 1)[step % 6]

    with mg.Recorder(optimizer, keyframe_every=5) as recorder:
        train(model, optimizer, 24, before)
    run = recorder.run
    check_against(run, tape)
    for name, parameter in model.parameters():
        assert same(replayed(run[name]), parameter.value)
    assert run["1.branches.2.0.weight"].why.counts == {mg.Reason.NO_GRADIENT: 16}
    assert same(run["1.branches.1.0.weight"].value(1), run["1.branches.1.0.weight"].initial)


@sparse(
    pytest.mark.parametrize(
        "make", [lambda model: mg.SGD(model, 0.001, momentum=0.9), mg.Adam, mg.AdamW, mg.RMSprop]
    ),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
)
def test_nested_models_and_own_layers(make: Make, dtype: npt.DTypeLike) -> None:
    """Nested models, a residual block and layers of one's own replay as any other."""
    rng = np.random.default_rng(0)
    model = mg.Sequential(
        Conv1D(2, 2, rng, dtype),
        mg.Sequential(mg.Dense(8, 4, rng=rng, dtype=dtype), mg.Activation("relu"), Scale(4, dtype)),
        Residual(mg.Dense(4, 4, rng=rng, dtype=dtype), mg.Activation("tanh")),
        mg.Dense(4, 3, rng=rng, dtype=dtype),
    )
    optimizer = make(model)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(optimizer, keyframe_every=3) as recorder:
        train(model, optimizer, 20)
    run = recorder.run
    assert run.names == (
        "0.kernel", "0.shift", "1.0.weight", "1.0.bias", "1.2.scale", "2.inner.0.weight",
        "2.inner.0.bias",
        "3.weight", "3.bias",
    )  # fmt: skip
    check_against(run, tape)
    for name, parameter in model.parameters():
        assert same(replayed(run[name]), parameter.value)
    assert run.verify().checked == 20


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
def test_two_optimizers_over_two_slices() -> None:
    """Each of two optimizers over slices of one model has a record of its own part, exact and
    without alarms.
    """
    model = network(5, 4, 4, 3)
    lower, upper = mg.SGD(model[:2], 0.1, momentum=0.9), mg.Adam(model[2:], 0.01, weight_decay=0.01)
    tapes = Tape(), Tape()
    lower.attach(tapes[0])
    upper.attach(tapes[1])
    rng = np.random.default_rng(0)
    with mg.Recorder(lower, keyframe_every=4) as low, mg.Recorder(upper, keyframe_every=4) as high:
        for step in range(15):
            output = model(rng.normal(size=(4, 5)).astype(np.float32))
            model.backward(rng.normal(size=output.shape).astype(np.float32))
            upper.step()
            if step % 3:
                lower.step()
    (note,) = low.run.notes  # of its own parts, in the steps that it leaves out
    assert "replaced the gradients of 0.weight, 0.bias" in note
    assert high.run.notes == ()
    assert (low.run.names, high.run.names[0]) == (("0.weight", "0.bias"), "2.weight")
    for recorder, tape, part in ((low, tapes[0], model[:2]), (high, tapes[1], model[2:])):
        own = {name: parameter.name for name, parameter in part.parameters()}
        for told in (*tape.updates, *tape.values):
            renamed = {own[name]: array for name, array in told.items()}
            told.clear()
            told.update(renamed)
        check_against(recorder.run, tape)
        assert recorder.run.verify()
        for _, parameter in part.parameters():
            assert same(replayed(recorder.run[parameter.name]), parameter.value)


@sparse(
    pytest.mark.parametrize("kind", STATEFUL),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    every=3,
)
def test_normalization_and_dropout_replay(kind: str, dtype: npt.DTypeLike) -> None:
    """With BatchNorm, LayerNorm and Dropout every step replays, and restored it predicts as it did,
    to the bit.
    """
    rng = np.random.default_rng(0)
    model = mg.Sequential(
        mg.Dense(5, 4, rng=rng, dtype=dtype),
        mg.Sequential(
            mg.BatchNorm(4, dtype=dtype), mg.Activation("gelu"), mg.Dropout(0.5, rng=rng)
        ),
        mg.LayerNorm(4, dtype=dtype),
        mg.Dense(4, 3, rng=rng, dtype=dtype),
    )
    optimizer, tape = OPTIMIZERS[kind](model), Tape()
    optimizer.attach(tape)
    x = rng.normal(size=(6, 5)).astype(dtype)
    then: list[Array] = []
    buffers: list[dict[str, npt.NDArray[Any]]] = []
    with mg.Recorder(optimizer, keyframe_every=3) as recorder:
        for seed in range(12):
            train(model, optimizer, 1, seed=seed)
            then.append(model.predict(x))
            buffers.append(model.state_dict())
    run = recorder.run
    assert not set(run.names) & {
        "1.0.running_mean",
        "1.0.running_var",
    }  # no parameters, so they have no updates
    assert run.verify().checked == 12
    check_against(run, tape)
    for name, parameter in model.parameters():
        assert same(replayed(run[name]), parameter.value)
    for step in (11, 0, 5, 7):
        run.restore(model, step)
        assert same(model.predict(x), then[step])
        for name, array in model.state_dict().items():
            assert same(array, buffers[step][name]), (step, name)


# -- verification --------------------------------------------------------------------------------


def test_verify_is_never_true_over_nothing() -> None:
    """A record without updates, or without steps, verifies nothing: it is false, and says 0
    steps.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    empty = mg.Recorder(optimizer)
    with empty:
        pass
    with mg.Recorder(optimizer, keep=()) as counts:
        train(model, optimizer, 10)
    assert not empty.run.verify()
    assert not counts.run.verify()
    assert counts.run.verify().unchecked == 10
    assert str(counts.run.verify()).startswith("0 steps")


def test_verify_finds_a_planted_error() -> None:
    """One wrong bit in a keyframe or in an update is found, and the parameter and the entry are
    named.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    for kind, where in (("keyframe", 2), ("update", 1)):
        recorder = mg.Recorder(optimizer, keyframe_every=5)
        with recorder:
            train(model, optimizer, 20)
        run = recorder.run
        assert run.verify()
        block = run._record.blocks[where]  # noqa: SLF001
        first = block.first
        array = block.keyframe if kind == "keyframe" else block.rows["update"][2]
        assert array is not None
        damaged = (
            array if array.flags.writeable else np.asarray(array.base).reshape(-1, array.size)[2]
        )
        damaged[24 + 4 + 0] += 1  # 2.weight[1, 1]: the flat place is 24 + 4
        found = run.verify()
        assert not found
        assert found.mismatch is not None
        step, name, index = found.mismatch
        assert (name, index) == ("2.weight", (1, 1))
        assert step == (first - 1 if kind == "keyframe" else first + 4)
        assert "2.weight[1, 1]" in str(found)
        assert found.checked < 20
