"""What a run hands out of a parameter: values, updates, gradients and ratios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from recording_support import ROW, Tape, flat, network, same, train
from replay_support import recorded

import minigrad as mg
from minigrad._messages import described
from minigrad.errors import KindError, NotExactError, RangeError, ShapeError, UnknownNameError


def test_effective_is_the_change_that_happened() -> None:
    """`effective(step)` is the value after a step less the value before it, at the first and the
    last step too.
    """
    run, tape, _ = recorded()
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


def test_updates_are_a_sequence() -> None:
    """Updates have steps and a shape, slice like a list, and become an array of (steps, *shape)."""
    run, tape, _ = recorded()
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


def test_an_array_of_updates_is_a_view_where_it_can_be() -> None:
    """Consecutive steps of one block come as a read-only view without a copy.

    Np.array always copies.
    """
    run, _, _ = recorded()
    updates = run["2.weight"].updates
    first, again = np.asarray(updates[2:9]), np.asarray(updates[4:12])
    assert np.shares_memory(first, again)
    assert not first.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    copied = np.array(updates[2:9])
    assert not np.shares_memory(copied, first)
    assert copied.flags.writeable


def test_an_array_without_a_copy_is_never_a_copy() -> None:
    """`copy=False` gives a view, or raises where there is none: steps of several blocks, or another
    dtype.
    """
    updates = recorded()[0]["2.weight"].updates
    assert np.shares_memory(np.array(updates[2:9], copy=False), np.asarray(updates[2:9]))
    with pytest.raises(ValueError):
        np.array(updates, copy=False)  # 40 steps lie in several blocks
    with pytest.raises(ValueError):
        np.array(updates[2:9], np.float64, copy=False)


def test_gradients_are_those_of_backward() -> None:
    """With keep=("update", "grad") the gradients are there as backward left them."""
    run, tape, _ = recorded()
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


def test_ratio_is_update_over_value() -> None:
    """`ratio` has |update| / |value| for each recorded step."""
    run, tape, _ = recorded()
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


def test_names_steps_and_indices_are_checked() -> None:
    """An unknown name, a step that is not there or an entry outside is a clear error."""
    run, _, _ = recorded()
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
def test_a_step_is_a_whole_number(
    step: Any,
) -> None:
    """Anything else in the place of a step's number is a KindError that tells what it is.

    NumPy's whole numbers will do.
    """
    run, tape, _ = recorded()
    history = run["0.weight"]
    asked: list[Callable[[Any], object]] = [
        run.indices,
        history.value,
        history.effective,
        lambda step: run.restore(network(5, 4, 3), step),
    ]
    for ask in asked:
        with pytest.raises(
            KindError, match="is no number of a step; expected a whole number"
        ) as error:
            ask(step)
        assert described(step) in str(error.value)
        ask(np.int64(1))
    assert same(history.value(int(run.exact_steps[3])), tape.values[3]["0.weight"])


def test_arguments_of_the_wrong_kind() -> None:
    """What a run and a parameter's history cannot use is an error that shows it, and says what was
    expected.
    """
    run: Any = recorded()[0]
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
