"""Initial values plus the recorded updates, added in order, are the final values, bit for bit.

And reading back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from layer_support import Residual
from recording_support import (
    Array,
    Conv1D,
    Scale,
    Switch,
    Tape,
    bias,
    dense,
    flat,
    network,
    same,
    train,
)

import minigrad as mg
from minigrad._messages import described
from minigrad.errors import (
    KindError,
    ModelError,
    NotExactError,
    RangeError,
    ShapeError,
    UnknownNameError,
)

Make = Callable[[mg.Layer], mg.Optimizer]


class SignDescent(mg.Optimizer):
    """Somebody's own optimizer."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(np.sign(grads), -self.current_lr, out=update)


OPTIMIZERS: dict[str, Make] = {
    "plain": lambda model: mg.SGD(model, 0.1),
    "momentum": lambda model: mg.SGD(model, 0.1, momentum=0.9),
    "gentle momentum": lambda model: mg.SGD(model, 0.01, momentum=0.9),
    "nesterov": lambda model: mg.SGD(model, 0.1, momentum=0.9, nesterov=True),
    "decay": lambda model: mg.SGD(model, 0.1, weight_decay=0.01),
    "decay of weights": lambda model: mg.SGD(
        model, 0.1, momentum=0.5, weight_decay={"*.weight": 0.1}
    ),
    "clipping": lambda model: mg.SGD(model, 0.1, max_grad_norm=0.5),
    "clipping entries": lambda model: mg.SGD(model, 0.1, max_grad_value=0.25),
    "schedule": lambda model: mg.SGD(model, lambda step: 0.2 / (1 + step)),
    "everything": lambda model: mg.SGD(
        model,
        lambda step: 0.1 * 0.9**step,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        max_grad_norm=1.0,
    ),
    "tiny": lambda model: mg.SGD(model, 1e-7),
    "adam": lambda model: mg.Adam(model, 0.01),
    "adam amsgrad": lambda model: mg.Adam(model, 0.01, betas=(0.5, 0.9), amsgrad=True),
    "adam everything": lambda model: mg.Adam(
        model,
        mg.LinearWarmup(mg.CosineDecay(0.05, steps=20, minimum=1e-3), steps=5),
        amsgrad=True,
        weight_decay={"*.weight": 0.01},
        max_grad_norm=1.0,
        max_grad_value=0.5,
    ),
    "adamw": lambda model: mg.AdamW(model, 0.01),
    "adamw decay of weights": lambda model: mg.AdamW(
        model, mg.StepDecay(0.1, 10, 0.5), weight_decay={"*.weight": 0.1}
    ),
    "rmsprop": lambda model: mg.RMSprop(model),
    "rmsprop momentum": lambda model: mg.RMSprop(
        model, mg.ExponentialDecay(0.02, 0.9), momentum=0.9
    ),
    "rmsprop everything": lambda model: mg.RMSprop(
        model,
        0.01,
        momentum=0.5,
        centered=True,
        weight_decay=0.01,
        max_grad_norm=1.0,
        max_grad_value=0.5,
    ),
    "own": lambda model: SignDescent(model, 0.01),
}
STATEFUL = ["momentum", "adam everything", "adamw", "rmsprop everything"]


def replayed(history: mg.recording.ParameterHistory) -> Array:
    """What the promise says, word for word."""
    value = history.initial
    for update in history.updates:
        value += update
    return value


def check_against(run: mg.Run, tape: Tape, first: int = 0) -> None:
    """Every step that the run calls exact has the values that were live after it."""
    assert set(run.exact_steps.tolist()) <= set(run.steps)
    for step in run.exact_steps.tolist():
        for name in run.names:
            assert same(run[name].value(step), tape.values[step - first][name]), (name, step)


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
        "0.kernel", "0.shift", "1.0.weight", "1.0.bias", "1.2.scale", "2.inner.0.weight", "2.inner.0.bias",  # noqa: E501
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


# -- sampled and bounded records -----------------------------------------------------------------

ROW = (5 * 4 + 4 + 4 * 3 + 3) * 4  # bytes of one flat float32 array of the network 5-4-3


@sparse(
    pytest.mark.parametrize("rows", [4, 9, 40, 10_000]),
    pytest.mark.parametrize("keep", [("update",), ("update", "grad"), ("grad",), ()]),
    pytest.mark.parametrize("on_full", ["thin", "ring", "stop"]),
    pytest.mark.parametrize("every", [1, 7]),
    full=2,
    every=3,
)
def test_every_exact_step_is_exact(
    every: int, keep: tuple[str, ...], rows: int, on_full: Any
) -> None:
    """Whatever the budget gave up or the sampling left out: what the run calls exact is exact, all
    else is refused.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(
        optimizer, keep=keep, every=every, keyframe_every=6, budget=rows * ROW, on_full=on_full
    ) as recorder:
        train(model, optimizer, 75)
    run = recorder.run
    check_against(run, tape)
    exact = run.exact_steps.tolist()
    assert exact[-1] == 74
    for step in set(range(75)) - set(exact):
        with pytest.raises(NotExactError, match="nearest") as error:
            run["0.weight"].value(step)
        below, above = (
            max((e for e in exact if e < step), default=None),
            min(e for e in exact if e > step),
        )
        for near in (below, above):
            assert near is None or str(near) in str(error.value)
    for kind, rows_of in (("update", tape.updates), ("grad", tape.grads)):
        for name in run.names:
            held = run[name].updates if kind == "update" else run[name].grads
            assert (len(held) > 0) == (kind in keep)
            for step, tensor in zip(held.steps.tolist(), held, strict=True):
                assert same(tensor, rows_of[step][name])
    verified = run.verify()
    assert verified.mismatch is None
    assert verified.checked + verified.unchecked == 75
    assert bool(verified) == (verified.checked > 0)
    if not keep or keep == ("grad",):
        assert not verified


def test_sampling_keeps_first_and_last() -> None:
    """With every=7, the tensors of every seventh step are kept, and those of the first and the last
    step too.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    train(model, optimizer, 3)  # the record begins at step 3
    with mg.Recorder(optimizer, every=7, keep=("update", "grad")) as recorder:
        train(model, optimizer, 30)
    history = recorder.run["0.weight"]
    assert history.updates.steps.tolist() == [3, 7, 14, 21, 28, 32]
    assert history.grads.steps.tolist() == [3, 7, 14, 21, 28, 32]
    assert recorder.run.exact_steps.tolist() == [3, 7, 14, 21, 28, 32]
    assert same(history.value(32), history.final)
    assert len(history.ratio) == 6
    assert np.isfinite(history.ratio).all()


def test_thinning_gives_up_alternate_blocks_and_says_so() -> None:
    """Thinning drops whole blocks and lists them as gaps.

    What is kept and what is given up make up the run.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, keyframe_every=3, budget=60 * ROW) as recorder:
        train(model, optimizer, 200)
    run = recorder.run
    kept = run["0.weight"].updates.steps.tolist()
    missing = [step for gap in run.gaps for step in range(gap.first, gap.last + 1)]
    assert sorted(kept + missing) == list(range(200))
    assert kept[0] == 0
    assert kept[-1] == 199
    assert 15 <= len(kept) <= 60
    assert all("budget" in gap.why for gap in run.gaps)
    assert run.verify()
    middle = [step for step in kept if 30 <= step < 170]
    assert middle, "thinning keeps something of everywhere"
    text = run.report()
    assert "Gap" in text


def test_ring_keeps_the_start_and_the_newest() -> None:
    """A ring keeps the first block, keyframes on the way, and the newest steps."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, keyframe_every=3, budget=60 * ROW, on_full="ring") as recorder:
        train(model, optimizer, 200)
    kept = recorder.run["0.weight"].updates.steps.tolist()
    start, newest = np.split(kept, np.flatnonzero(np.diff(kept) > 1) + 1)
    assert start[0] == 0
    assert newest[-1] == 199
    assert len(newest) > len(start)
    exact = set(recorder.run.exact_steps.tolist())
    assert [step for step in exact - set(kept) if step + 1 < newest[0]], "keyframes on the way"
    assert recorder.run.verify()


@sparse(pytest.mark.parametrize("rows", [4, 5, 6, 7, 8, 10, 16]), every=7)
def test_a_ring_never_stops_recording(rows: int) -> None:
    """However small its budget, a ring holds the newest step: that is what people choose it for."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, budget=rows * ROW, on_full="ring") as recorder:
        train(model, optimizer, 100)
    assert recorder.run["0.weight"].updates.steps.tolist()[-1] == 99


def test_stop_keeps_the_beginning() -> None:
    """With on_full="stop" the beginning is kept without a hole, and one gap says where the tensors
    end.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, keyframe_every=3, budget=30 * ROW, on_full="stop") as recorder:
        train(model, optimizer, 50)
    kept = recorder.run["0.weight"].updates.steps.tolist()
    assert kept == list(range(len(kept)))
    assert [(gap.first, gap.last) for gap in recorder.run.gaps] == [(len(kept), 49)]
    assert same(recorder.run["0.weight"].final, dense(model, 0).weight.value)


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


# -- what the run hands out ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded() -> tuple[mg.Run, Tape, Array]:
    """A run of 40 steps with keyframes every 16, what was live, and the initial values."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    initial = flat(model).copy()
    with mg.Recorder(optimizer, keep=("update", "grad"), keyframe_every=16) as recorder:
        train(model, optimizer, 40)
    return recorder.run, tape, initial


def test_effective_is_the_change_that_happened(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """`effective(step)` is the value after a step less the value before it, at the first and the
    last step too.
    """
    run, tape, _ = recorded
    before = {name: run[name].initial for name in run}
    for step in range(40):
        for name in run:
            assert same(run[name].effective(step), tape.values[step][name] - before[name])
        before = tape.values[step]


def test_effective_needs_both_values() -> None:
    """Where the value before a step is not known exactly, `effective` says so instead of
    guessing.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, every=5) as recorder:
        train(model, optimizer, 20)
    assert recorder.run["0.weight"].effective(0).shape == (5, 4)
    with pytest.raises(NotExactError):
        recorder.run["0.weight"].effective(10)


def test_updates_are_a_sequence(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """Updates have steps and a shape, slice like a list, and become an array of (steps, *shape)."""
    run, tape, _ = recorded
    updates = run["0.weight"].updates
    truth = np.array([step["0.weight"] for step in tape.updates])
    assert len(updates) == 40
    assert updates.shape == (40, 5, 4)
    assert updates.steps.tolist() == list(range(40))
    assert same(np.asarray(updates), truth)
    for part in (
        slice(10, 20),
        slice(3, 35),
        slice(None, None, 7),
        slice(30, 5, -4),
        slice(-3, None),
        slice(50, 60),
    ):
        assert updates[part].steps.tolist() == list(range(40))[part]
        assert updates[part].shape == (len(range(40)[part]), 5, 4)
        assert same(np.asarray(updates[part]), truth[part])
        assert len(updates[part]) == len(range(40)[part])
    assert same(np.asarray(updates[9:2:-1]), truth[9:2:-1])
    assert same(np.asarray(updates[::-1]), truth[::-1])
    assert same(np.asarray(updates[0:8:2]), truth[0:8:2])
    assert same(updates[-1], truth[-1])
    assert same(updates[5:30][4:8][1], truth[10])
    assert same(np.asarray(updates, np.float64), truth.astype(np.float64))
    assert same(np.array(updates[0:3]), truth[:3])
    with pytest.raises(IndexError):
        updates[40]
    assert sum(1 for _ in updates) == 40


def test_an_array_of_updates_is_a_view_where_it_can_be(
    recorded: tuple[mg.Run, Tape, Array],
) -> None:
    """Consecutive steps of one block come as a read-only view without a copy.

    Np.array always copies.
    """
    run, _, _ = recorded
    updates = run["2.weight"].updates
    first, again = np.asarray(updates[2:9]), np.asarray(updates[4:12])
    assert np.shares_memory(first, again)
    assert not first.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    copied = np.array(updates[2:9])
    assert not np.shares_memory(copied, first)
    assert copied.flags.writeable


def test_an_array_without_a_copy_is_never_a_copy(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """`copy=False` gives a view, or raises where there is none: steps of several blocks, or another
    dtype.
    """
    updates = recorded[0]["2.weight"].updates
    assert np.shares_memory(np.array(updates[2:9], copy=False), np.asarray(updates[2:9]))
    with pytest.raises(ValueError):
        np.array(updates, copy=False)  # 40 steps lie in several blocks
    with pytest.raises(ValueError):
        np.array(updates[2:9], np.float64, copy=False)


def test_gradients_are_those_of_backward(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """With keep=("update", "grad") the gradients are there as backward left them."""
    run, tape, _ = recorded
    for name in run:
        assert run[name].grads.steps.tolist() == list(range(40))
        for step, grad in enumerate(run[name].grads):
            assert same(grad, tape.grads[step][name])


def test_gradients_before_clipping() -> None:
    """The recorded gradient is the one before clipping; the factor is in the step's row."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, max_grad_norm=0.01)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(optimizer, keep=("grad", "update")) as recorder:
        train(model, optimizer, 3)
    for step, grad in enumerate(recorder.run["2.weight"].grads):
        assert same(grad, tape.grads[step]["2.weight"])
        clipped = grad.astype(np.float64) * recorder.run.clip_factor[step] * -0.1
        np.testing.assert_allclose(recorder.run["2.weight"].updates[step], clipped, rtol=1e-5)
    assert (recorder.run.clip_factor < 0.1).all()


def test_ratio_is_update_over_value(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """`ratio` has |update| / |value| for each recorded step."""
    run, tape, _ = recorded
    for name in run:
        truth = [
            np.linalg.norm(update[name].astype(np.float64))
            / np.linalg.norm(value[name].astype(np.float64))
            for update, value in zip(tape.updates, tape.values, strict=True)
        ]
        np.testing.assert_allclose(run[name].ratio, truth, rtol=1e-10)


def test_ratio_where_the_value_is_zero() -> None:
    """A value of all zeros has no ratio: NaN, without a warning."""
    model = mg.Sequential(mg.Dense(2, 2, init="zeros"))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        model(np.zeros((1, 2), np.float32))
        model.backward(np.zeros((1, 2), np.float32))
        optimizer.step()
    assert np.isnan(recorder.run["0.weight"].ratio).all()


def test_ratio_is_sampled_and_thinned_with_the_updates() -> None:
    """`ratio` belongs to `updates.steps`, whatever was sampled or given up."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(optimizer, keyframe_every=3, budget=60 * ROW) as recorder:
        train(model, optimizer, 200)
    history = recorder.run["2.weight"]
    for step, ratio in zip(history.updates.steps.tolist(), history.ratio, strict=True):
        update, value = tape.updates[step]["2.weight"], tape.values[step]["2.weight"]
        assert ratio == pytest.approx(np.linalg.norm(update) / np.linalg.norm(value), rel=1e-5)


def test_what_the_run_hands_out_is_the_callers() -> None:
    """Arrays from a run never change when training goes on, and changing them changes neither run
    nor model.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    recorder = mg.Recorder(optimizer, keep=("update", "grad"), keyframe_every=4, budget=100 * ROW)
    recorder.start()
    train(model, optimizer, 10)
    run = recorder.run
    history = run["0.weight"]

    def everything() -> dict[str, Any]:
        return {
            "initial": history.initial,
            "final": history.final,
            "value": history.value(6),
            "effective": history.effective(6),
            "update": history.updates[3],
            "updates": np.asarray(history.updates),
            "view": np.asarray(history.updates[0:3]),
            "update steps": history.updates.steps,
            "grads": np.asarray(history.grads),
            "moved": history.moved,
            "moves": history.moves,
            "swallowed": history.swallowed,
            "movement": history.movement,
            "first": history.first_move,
            "last": history.last_move,
            "reasons": history.why.reasons,
            "where": history.why.where(mg.Reason.MOVED),
            "exact": run.exact_steps,
            "lr": run.lr,
            "loss": run.loss,
            "clip": run.clip_factor,
        }

    held = everything()
    before = {name: array.copy() for name, array in held.items()}
    train(model, optimizer, 60)  # thins, too
    values = flat(model).copy()
    for name, array in held.items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    for array in held.values():
        if array.flags.writeable:
            array[...] = np.zeros((), array.dtype)
    for name, array in everything().items():
        np.testing.assert_array_equal(
            array, before[name], err_msg=f"changed through what was handed out: {name}"
        )
    assert same(flat(model), values)
    train(model, optimizer, 3)
    recorder.stop()
    assert recorder.run.notes == ()
    assert recorder.run.verify()


def test_what_a_history_works_out_is_the_callers() -> None:
    """Results that a history keeps for the next time it is asked are copies too."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 5)
    history = recorder.run["0.weight"]
    ratio = history.ratio.copy()
    history.ratio[:] = 0
    assert same(history.ratio, ratio)
    history.updates.steps[:] = 7
    assert history.updates.steps.tolist() == [0, 1, 2, 3, 4]
    history.why.counts.clear()
    assert sum(history.why.counts.values()) == history.size


def test_names_steps_and_indices_are_checked(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """An unknown name, a step that is not there or an entry outside is a clear error."""
    run, _, _ = recorded
    with pytest.raises(UnknownNameError, match=r"no parameter '9.weight'.*0.weight"):
        run["9.weight"]
    for step in (-1, 40, 1000):
        with pytest.raises(RangeError, match="steps 0 to 39"):
            run["0.weight"].value(step)
        with pytest.raises(RangeError, match="steps 0 to 39"):
            run["0.weight"].effective(step)
        with pytest.raises(RangeError):
            run.restore(network(5, 4, 3), step=step)
        with pytest.raises(RangeError):
            run.indices(step)
    for index in ((5, 0), (0, 4), (0,), (), (0, 0, 0)):
        with pytest.raises(ShapeError, match="no entry"):
            run["0.weight"].why.at(*index)
    assert list(run) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert len(run) == 4


@pytest.mark.parametrize("step", ["1", 1.0, True, [1], np.array([0, 1])], ids=str)
def test_a_step_is_a_whole_number(step: Any, recorded: tuple[mg.Run, Tape, Array]) -> None:
    """Anything else in the place of a step's number is a KindError that tells what it is.

    NumPy's whole numbers will do.
    """
    run, tape, _ = recorded
    history = run["0.weight"]
    asked: list[Callable[[Any], object]] = [
        run.indices, history.value, history.effective, lambda step: run.restore(network(5, 4, 3), step)  # noqa: E501
    ]  # fmt: skip
    for ask in asked:
        with pytest.raises(
            KindError, match="is no number of a step; expected a whole number"
        ) as error:
            ask(step)
        assert described(step) in str(error.value)
        ask(np.int64(1))
    assert same(history.value(int(run.exact_steps[3])), tape.values[3]["0.weight"])


def test_arguments_of_the_wrong_kind(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """What a run and a parameter's history cannot use is an error that shows it, and says what was
    expected.
    """
    run: Any = recorded[0]
    why, history = run["0.weight"].why, run["0.weight"]
    asked: list[tuple[Callable[[], object], str]] = [
        (lambda: mg.Run.open(3), "Run.open got 3, expected the path of a directory"),  # type: ignore[arg-type]
        (lambda: run[0], r"run\[...\] got 0, expected the name of a parameter, such as '0.weight'"),
        (lambda: run[["0.weight"]], r"run\[...\] got \['0.weight'\], expected the name"),
        (lambda: run.restore("model"), "restore got 'model', expected a model"),
        (lambda: run.first_difference("run"), "first_difference got 'run', expected a run"),
        (lambda: run.save_report(None), "save_report got None, expected the path of a file"),
        (lambda: why.where("MOVED"), "'MOVED' is not a reason; there are Reason.FROZEN"),
        (lambda: why.at(0.5, 0), r"'0.weight' has entries like \(0, 0\), not \(0.5, 0\)"),
        (lambda: why.at("a", "b"), r"'0.weight' has entries like \(0, 0\), not \('a', 'b'\)"),
        (lambda: history.picture("a"), "'a' is not the number of a unit"),
        (lambda: history.picture(True), "True is not the number of a unit"),
        (
            lambda: history.picture(0, shape=5),
            "shape is 5, expected the height and width of a picture",
        ),
        (lambda: history.png(scale="4"), "scale is '4', expected a whole number"),
    ]
    for ask, message in asked:
        with pytest.raises(KindError, match=message):
            ask()


# -- restoring and comparing ---------------------------------------------------------------------


def test_restore_gives_the_model_of_that_step(recorded: tuple[mg.Run, Tape, Array]) -> None:
    """`restore(model, step)` puts the exact values of that step into a model.

    Without a step, those of the last.
    """
    run, tape, _ = recorded
    model = network(5, 4, 3, seed=99)
    for step in (0, 1, 15, 16, 17, 38, 39):
        run.restore(model, step)
        for name, parameter in model.parameters():
            assert same(parameter.value, tape.values[step][name])
    run.restore(model, 3)
    run.restore(model)
    for name, parameter in model.parameters():
        assert same(parameter.value, tape.values[-1][name])


def test_restore_into_the_model_in_training() -> None:
    """Going back to an earlier step of the same training gives the same bits when it is repeated
    from there.
    """
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 5)
        train(model, optimizer, 10, seed=2)
    final = flat(model).copy()
    recorder.run.restore(model, 4)
    train(model, optimizer, 10, seed=2)
    assert same(flat(model), final)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: network(5, 4, 4), id="shape"),
        pytest.param(lambda: network(5, 4), id="fewer"),
        pytest.param(lambda: network(5, 4, 3, 2), id="more"),
        pytest.param(lambda: network(5, 4, 3, dtype=np.float64), id="dtype"),
    ],
)
def test_restore_refuses_another_model(
    recorded: tuple[mg.Run, Tape, Array], other: Callable[[], mg.Sequential]
) -> None:
    """A model whose parameters cannot hold the exact values is refused, and is unchanged."""
    if other().parameters().__next__()[1].dtype == np.float64:
        wide = network(5, 4, 3, dtype=np.float64)
        optimizer = mg.SGD(wide, 0.1)
        with mg.Recorder(optimizer) as recorder:
            train(wide, optimizer, 2)
        run, model = (
            recorder.run,
            network(5, 4, 3),
        )  # float64 values do not fit a float32 model to the bit
    else:
        run, model = recorded[0], other()
    before = flat(model).copy()
    with pytest.raises((ModelError, TypeError)):
        run.restore(model, 1)
    assert same(flat(model), before)


class RunningMean(mg.Layer):
    """Takes away a mean that it keeps up to date: state that is not a parameter."""

    buffers = ("mean",)

    def __init__(self, features: int) -> None:
        self.mean = np.zeros(features, np.float32)

    def forward(self, x: Array) -> Array:
        if self.training:
            self.mean[...] = 0.5 * self.mean + 0.5 * x.mean(axis=0)
        return np.asarray(x - self.mean)

    def backward(self, grad: Array) -> Array:
        return grad.copy()


def test_restored_model_predicts_as_it_did_then() -> None:
    """State that is not a parameter comes back too: a restored model predicts as it did at that
    step.
    """
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dense(5, 4, rng=rng), RunningMean(4), mg.Dense(4, 3, rng=rng))
    optimizer = mg.SGD(model, 0.1)
    x = rng.normal(size=(6, 5)).astype(np.float32)
    then: list[Array] = []
    with mg.Recorder(optimizer) as recorder:
        for seed in range(6):
            train(model, optimizer, 1, seed=seed)
            then.append(model.predict(x))
    for step in (0, 3, 5):
        recorder.run.restore(model, step)
        assert same(model.predict(x), then[step])


class Counting(mg.Layer):
    """Has state without a dimension: an array, and plain numbers."""

    buffers = ("seen", "rate", "scale")

    def __init__(self) -> None:
        self.seen = 0
        self.rate = np.zeros((), np.float32)
        self.scale = 1.0

    def forward(self, x: Array) -> Array:
        if self.training:
            self.seen += len(x)
            self.rate = self.rate + np.float32(0.1)
            self.scale *= 0.5
        return np.asarray(x * x.dtype.type(self.scale))

    def backward(self, grad: Array) -> Array:
        return np.asarray(grad * grad.dtype.type(self.scale))


@pytest.mark.parametrize("on_disk", [False, True])
def test_state_without_a_dimension_is_restored(on_disk: bool, tmp_path: Path) -> None:
    """Plain numbers and 0-d arrays that layers keep come back with the values of their step, to the
    bit.
    """
    model = mg.Sequential(mg.Dense(5, 3, rng=0), Counting())
    optimizer = mg.SGD(model, 0.1)
    then = []
    with mg.Recorder(optimizer, path=tmp_path / "run" if on_disk else None) as recorder:
        for _ in range(4):
            train(model, optimizer, 1)
            then.append(model.state_dict())
    run = mg.Run.open(tmp_path / "run") if on_disk else recorder.run
    assert () == run.notes
    for step in (3, 0, 2):
        other = mg.Sequential(mg.Dense(5, 3, rng=1), Counting())
        run.restore(other, step)
        for name, array in other.state_dict().items():
            assert same(then[step][name], array)
        assert (4 * (step + 1), 0.5 ** (step + 1)) == (other[1].seen, other[1].scale)


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


def run_of(
    before: Callable[[mg.Sequential, int], None] | None = None, steps: int = 20, **settings: Any
) -> mg.Run:
    """A run of the network 5-4-3, which `before` may meddle with before a step."""
    model = network(5, 4, 3)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)

    def act(step: int) -> None:
        if before is not None:
            before(model, step)

    with mg.Recorder(optimizer, **settings) as recorder:
        train(model, optimizer, steps, act)
    return recorder.run


@sparse(
    pytest.mark.parametrize(
        "settings", [{}, {"every": 7}, {"keep": ()}, {"keyframe_every": 3, "budget": 20 * ROW}]
    ),
    every=4,
)
def test_equal_runs_have_no_difference(settings: dict[str, Any]) -> None:
    """The same training twice gives runs without a difference, however they were recorded."""
    assert run_of().first_difference(run_of(**settings)) is None
    assert run_of(**settings).first_difference(run_of()) is None
    assert run_of(**settings).first_difference(run_of(**settings)) is None


@pytest.mark.parametrize(
    ("name", "index"),
    [("0.weight", (3, 2)), ("0.bias", (1,)), ("2.weight", (0, 0)), ("2.bias", (2,))],
)
def test_difference_in_the_initial_values(name: str, index: tuple[int, ...]) -> None:
    """Runs that start one bit apart part before the first step, in that entry."""

    def nudge(model: mg.Sequential, step: int) -> None:
        parameter = dict(model.parameters())[name]
        parameter.value[index] = np.nextafter(parameter.value[index], np.float32(9))

    model = network(5, 4, 3)
    nudge(model, -1)
    optimizer = mg.SGD(model, 0.1, momentum=0.9)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 5)
    found = run_of(steps=5).first_difference(recorder.run)
    assert found is not None
    assert (found.step, found.name, found.index, found.what) == (-1, name, index, "value")
    assert found.here < found.there


class Nudge(mg.Optimizer):
    """Plain descent, but for one entry in one step."""

    def __init__(self, model: mg.Layer, at: tuple[int, int] | None) -> None:
        super().__init__(model, 0.1)
        self.at = at

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        np.multiply(grads, -0.1, out=update)
        if self.at is not None and self.step_count == self.at[0]:
            update[self.at[1]] += np.float32(0.25)


@sparse(
    pytest.mark.parametrize(
        ("flat_index", "name", "index"),
        [
            (0, "0.weight", (0, 0)),
            (13, "0.weight", (3, 1)),
            (28, "2.weight", (1, 1)),
            (38, "2.bias", (2,)),
        ],
    ),
    pytest.mark.parametrize("step", [0, 1, 8, 19]),
)
def test_difference_in_one_update(
    step: int, flat_index: int, name: str, index: tuple[int, ...]
) -> None:
    """One update that differs in one entry is named: step, parameter, entry and both numbers."""
    runs: list[mg.Run] = []
    for at in (None, (step, flat_index)):
        model = network(5, 4, 3)
        optimizer = Nudge(model, at)
        with mg.Recorder(optimizer, keyframe_every=6) as recorder:
            train(model, optimizer, 20)
        runs.append(recorder.run)
    found = runs[0].first_difference(runs[1])
    assert found is not None
    assert (found.step, found.name, found.index, found.what) == (step, name, index, "update")
    assert found.here == runs[0][name].updates[step][index]
    assert found.there == runs[1][name].updates[step][index]
    back = runs[1].first_difference(runs[0])
    assert back is not None
    assert (back.step, back.name, back.index, back.here, back.there) == (
        step,
        name,
        index,
        found.there,
        found.here,
    )


@pytest.mark.parametrize("settings", [{"every": 4}, {"keep": ()}])
def test_difference_where_updates_are_not_held(settings: dict[str, Any]) -> None:
    """Where updates are not held, values are compared: the first step that both know exactly is
    named.
    """
    runs: list[mg.Run] = []
    for at in (None, (6, 28)):
        model = network(5, 4, 3)
        optimizer = Nudge(model, at)
        with mg.Recorder(optimizer, **settings) as recorder:
            train(model, optimizer, 20)
        runs.append(recorder.run)
    found = runs[0].first_difference(runs[1])
    assert found is not None
    assert found.step == (8 if "every" in settings else 19)


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_difference_by_a_write_from_outside() -> None:
    """Runs that part by a write from outside part in that step, also where the entry never gets an
    update.
    """

    def write(model: mg.Sequential, step: int) -> None:
        if step == 10:
            dense(model, 0).weight.value[4, 1] += (
                1  # its input is always 0: no update will ever show it
            )

    runs: list[mg.Run] = []
    for meddle in (False, True):
        model = network(5, 4, 3)
        optimizer = mg.SGD(model, 0.1)
        rng = np.random.default_rng(0)
        with mg.Recorder(optimizer) as recorder:
            for step in range(20):
                if meddle:
                    write(model, step)
                x = rng.normal(size=(4, 5)).astype(np.float32)
                x[:, 4] = 0
                model(x)
                model.backward(rng.normal(size=(4, 3)).astype(np.float32))
                optimizer.step()
        runs.append(recorder.run)
    found = runs[0].first_difference(runs[1])
    assert found is not None
    assert (found.step, found.name, found.index, found.what) == (10, "0.weight", (4, 1), "value")


def test_difference_needs_the_same_parameters() -> None:
    """Runs of different parameters or dtypes cannot be compared: an error says which."""
    for model in (network(5, 4, 2), network(5, 4, 3, dtype=np.float64)):
        optimizer = mg.SGD(model, 0.1)
        with mg.Recorder(optimizer) as recorder:
            train(model, optimizer, 2)
        with pytest.raises(ModelError, match="different"):
            run_of(steps=2).first_difference(recorder.run)


def test_difference_of_a_longer_run() -> None:
    """A run that merely goes on for longer has no difference in the steps that both have."""
    assert run_of(steps=10).first_difference(run_of(steps=15)) is None
