"""The recorder: what it takes, how it starts and stops, and that nothing keeps it alive."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from recording_support import ROW, Tape, dense, flat, same, small, train

import minigrad as mg
from minigrad.errors import (
    BudgetError,
    CallOrderError,
    HookError,
    KindError,
    ModelError,
    RangeError,
    StaleParametersError,
)

# -- arguments ------------------------------------------------------------------------------------


@sparse(
    pytest.mark.parametrize(
        ("params", "names"),
        [
            ("*", ["0.weight", "0.bias", "2.weight", "2.bias"]),
            ("*.weight", ["0.weight", "2.weight"]),
            ("2.*", ["2.weight", "2.bias"]),
            ("0.bias", ["0.bias"]),
            (["2.bias", "0.*"], ["0.weight", "0.bias", "2.bias"]),
            (("*.weight", "0.weight"), ["0.weight", "2.weight"]),
            (lambda name: name != "0.bias", ["0.weight", "2.weight", "2.bias"]),
        ],
    ),
    pytest.mark.parametrize("frozen", [None, 0, 2]),
    every=2,
)
def test_params_select(params: Any, names: list[str], frozen: int | None) -> None:
    """A glob, several, or a function select parameters.

    The record of these is as that of all, and replays.
    """
    runs: list[mg.Run] = []
    for selection in (params, "*"):
        model, optimizer = small(momentum=0.9)
        if frozen is not None:
            model[frozen].freeze()
        with mg.Recorder(
            optimizer, params=selection, coactivation=True, keyframe_every=4
        ) as recorder:
            train(model, optimizer, 10)
        runs.append(recorder.run)
        if selection is not params:
            continue
        for name, parameter in model.parameters():
            assert (name in recorder.run.names) == (name in names)
            if name in names:
                assert same(recorder.run[name].final, parameter.value)
    part, whole = runs
    assert list(part.names) == names
    assert part.verify()
    for name in names:
        assert same(np.asarray(part[name].updates), np.asarray(whole[name].updates))
        assert same(part[name].value(5), whole[name].value(5))
        assert part[name].why.counts == whole[name].why.counts
        np.testing.assert_array_equal(part[name].moves, whole[name].moves)


@pytest.mark.parametrize("params", ["9.*", ["*.weight", "bias"], [], lambda name: False, "Weight"])
def test_params_that_match_nothing_are_an_error(params: Any) -> None:
    """A selection, or one glob of several, that matches no parameter is an error that lists those
    there are.
    """
    with pytest.raises(
        ModelError, match=r"matches no parameter; there are 0\.weight, 0\.bias, 2\.weight, 2\.bias"
    ):
        mg.Recorder(small()[1], params=params)


@pytest.mark.parametrize(
    ("keep", "updates", "grads"),
    [
        ((), 0, 0),
        ("update", 8, 0),
        (("grad",), 0, 8),
        (["grad", "update"], 8, 8),
        ({"update"}, 8, 0),
    ],
)
def test_keep(keep: Any, updates: int, grads: int) -> None:
    """`keep` chooses the tensors; the counts and the final values are there whatever it says."""
    model, optimizer = small()
    with mg.Recorder(optimizer, keep=keep) as recorder:
        train(model, optimizer, 8)
    run = recorder.run
    assert len(run["0.weight"].updates) == updates
    assert len(run["0.weight"].grads) == grads
    assert len(run["0.weight"].ratio) == updates
    assert run["0.weight"].moves.max() == 8
    assert same(run["0.weight"].final, dense(model, 0).weight.value)
    assert np.asarray(run["0.weight"].grads).shape == (grads, 5, 4)
    if not updates and not grads:
        assert "counts, and no tensors" in run.report()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"keep": ("value",)}, RangeError, "keep"),
        ({"keep": "updates"}, RangeError, "keep"),
        ({"every": 0}, RangeError, "every"),
        ({"every": 1.5}, KindError, "every"),
        ({"keyframe_every": 0}, RangeError, "keyframe_every"),
        ({"on_full": "drop"}, RangeError, "on_full"),
        ({"budget": "lots"}, RangeError, "budget"),
        ({"budget": "5 XB"}, RangeError, "budget"),
        ({"budget": "-1GB"}, RangeError, "budget"),
        ({"budget": -5}, RangeError, "budget"),
        ({"budget": 0}, RangeError, "budget"),
        ({"budget": True}, KindError, "budget"),
        ({"budget": None}, KindError, "budget"),
        ({"budget": 10}, BudgetError, "one step with its keyframe takes"),
        ({"resume": True}, RangeError, "resume=True needs the path"),
    ],
)
def test_bad_settings(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    """Each setting that makes no sense is refused at once, by its name."""
    with pytest.raises(error, match=message):
        mg.Recorder(small()[1], **settings)


def test_an_optimizer_is_needed() -> None:
    """A model in place of an optimizer is an error that says what was expected."""
    with pytest.raises(KindError, match="expected an optimizer"):
        mg.Recorder(small()[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mse"}, "loss of a Recorder is 'mse', expected a Loss"),
        (
            {"loss": mg.SoftmaxCrossEntropy},
            "loss of a Recorder is the class SoftmaxCrossEntropy, expected a Loss",
        ),
        ({"data": ["x", "y"]}, r"data of a Recorder is \['x', 'y'\], expected a Batches"),
        ({"path": 3}, "path of a Recorder is 3, expected a path"),
        ({"params": 3}, "params is 3, expected a glob, several, or a function of the name"),
        ({"params": ["*.bias", 3]}, r"params has 3 in it, expected globs, such as '\*\.weight'"),
        ({"params": [["*"]]}, r"params has \['\*'\] in it, expected globs"),
        ({"keep": None}, "keep is None, expected any of 'update' and 'grad'"),
        ({"every": "3"}, "every is '3', expected a whole number"),
        ({"keyframe_every": 2.5}, "keyframe_every is 2.5, expected a whole number"),
        ({"budget": []}, r"budget is \[\], expected a number of bytes, or text"),
    ],
    ids=str,
)
def test_settings_of_the_wrong_kind(settings: dict[str, Any], message: str) -> None:
    """Each argument of the wrong kind is named, with what it was and what was expected.

    Nothing is attached.
    """
    model, optimizer = small()
    with pytest.raises(KindError, match=message):
        mg.Recorder(optimizer, **settings)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 2)
    assert 2 == len(recorder.run.steps)
    with pytest.raises(RangeError, match=r"keep is \[\['update'\]\], expected any of"):
        mg.Recorder(optimizer, keep=[["update"]])  # type: ignore[list-item]


@sparse(
    pytest.mark.parametrize(
        ("budget", "bytes_"),
        [
            (10_000, 10_000),
            (np.int64(10_000), 10_000),
            ("10000", 10_000),
            ("10000B", 10_000),
            ("10 kB", 10_000),
            ("10KB", 10_000),
            ("0.01MB", 10_000),
            (" 0.00001 gb ", 10_000),
        ],
        ids=repr,
    ),
    every=8,
)
def test_budget_as_text(budget: Any, bytes_: int) -> None:
    """A budget is a number of bytes or a text with a decimal unit, in any case and spacing: all
    mean the same.
    """
    runs: list[mg.Run] = []
    for given in (budget, bytes_):
        model, optimizer = small()
        with mg.Recorder(optimizer, budget=given) as recorder:
            train(model, optimizer, 120)
        runs.append(recorder.run)
    assert runs[0].gaps == runs[1].gaps
    assert runs[0].gaps
    assert runs[0].exact_steps.tolist() == runs[1].exact_steps.tolist()


@pytest.mark.parametrize("keep", [("update",), ("update", "grad")])
@pytest.mark.parametrize("every", [1, 3])
def test_smallest_budget(keep: tuple[str, ...], every: int) -> None:
    """One step with its keyframe is the least.

    A byte less is an error that says how much it takes.
    """
    model, optimizer = small()
    with pytest.raises(BudgetError, match=r"takes \d") as error:
        mg.Recorder(optimizer, keep=keep, every=every, budget=1)
    least = int(str(error.value).rsplit(" ", 1)[1].replace(",", ""))
    with pytest.raises(BudgetError):
        mg.Recorder(optimizer, keep=keep, every=every, budget=least - 1)
    with mg.Recorder(optimizer, keep=keep, every=every, budget=least) as recorder:
        train(model, optimizer, 10)
    assert len(recorder.run["0.weight"].updates) >= 1
    assert same(recorder.run["0.weight"].value(9), dense(model, 0).weight.value)


# -- start, stop, with ---------------------------------------------------------------------------


def listeners(optimizer: mg.Optimizer) -> int:
    """How many hooks the optimizer has."""
    return len(optimizer.listeners)


def test_start_and_stop() -> None:
    """`with` and start/stop do the same; a second start is an error, a second stop does nothing."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer)
    assert "not started" in repr(recorder)
    with pytest.raises(CallOrderError, match="nothing is recorded"):
        _ = recorder.run
    recorder.stop()
    recorder.start()
    assert "recording" in repr(recorder)
    with pytest.raises(CallOrderError, match="recording already"):
        recorder.start()
    with pytest.raises(CallOrderError, match="recording already"), recorder:
        pass
    train(model, optimizer, 3)
    assert not recorder.run.complete
    recorder.stop()
    recorder.stop()
    assert "stopped" in repr(recorder)
    assert recorder.run.complete
    assert listeners(optimizer) == 0
    train(model, optimizer, 3)
    assert recorder.run.steps == (0, 1, 2)


def test_an_exception_inside_the_with_removes_the_hook() -> None:
    """What passes through the `with` goes on its way, and the recorder is detached, with what it
    has recorded.
    """
    model, optimizer = small()
    other = Tape()
    optimizer.attach(other)
    recorder = mg.Recorder(optimizer)

    def interrupt(step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), recorder:
        train(model, optimizer, 9, interrupt)
    assert listeners(optimizer) == 1
    assert recorder.run.complete
    assert recorder.run.verify().checked == 4
    train(model, optimizer, 1)
    assert len(other.steps) == 5


def test_a_failing_neighbour_leaves_no_hole() -> None:
    """When another hook raises in a step, the record holds this step and goes on."""

    class Fails(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            if event.step == 2:
                raise ZeroDivisionError

    model, optimizer = small()
    optimizer.attach(Fails())
    tape = Tape()
    with mg.Recorder(optimizer) as recorder:
        optimizer.attach(tape)
        for seed in range(5):
            if seed == 2:
                with pytest.raises(HookError, match="Fails failed"):
                    train(model, optimizer, 1, seed=seed)
            else:
                train(model, optimizer, 1, seed=seed)
    assert recorder.run.steps == (0, 1, 2, 3, 4)
    assert recorder.run.notes == ()
    assert recorder.run.verify().checked == 5
    assert same(recorder.run["0.weight"].value(2), tape.values[2]["0.weight"])


def test_two_recorders_at_once() -> None:
    """Two recorders on one optimizer, with other settings, record the same steps and do not disturb
    each other.
    """
    model, optimizer = small(momentum=0.9)
    first = mg.Recorder(optimizer, keyframe_every=3)
    second = mg.Recorder(optimizer, params="*.weight", every=4, keep=("update", "grad"))
    with first:
        train(model, optimizer, 4)
        with second:
            train(model, optimizer, 10)
        train(model, optimizer, 4)
    assert first.run.steps == tuple(range(18))
    assert second.run.steps == tuple(range(4, 14))
    assert first.run.notes == second.run.notes == ()
    assert first.run.verify().checked == 18
    for step in second.run.exact_steps.tolist():
        assert same(first.run["2.weight"].value(step), second.run["2.weight"].value(step))
    assert same(second.run["2.weight"].initial, first.run["2.weight"].value(3))


def test_run_is_readable_while_recording_and_does_not_change() -> None:
    """`recorder.run` may be read after any step.

    What was read stays as it was, and reading it changes no count.
    """
    model, optimizer = small(momentum=0.9)
    runs: list[mg.Run] = []
    with mg.Recorder(optimizer, loss=None, keyframe_every=4, budget=24 * ROW) as recorder:
        recorder.run.report()
        assert recorder.run.steps == ()
        for seed in range(40):
            train(model, optimizer, 1, seed=seed)
            runs.append(recorder.run)
            assert recorder.run is runs[-1]
        texts = [run.report() for run in runs]
    other, again = small(momentum=0.9)
    with mg.Recorder(again, keyframe_every=4, budget=24 * ROW) as undisturbed:
        for seed in range(40):
            train(other, again, 1, seed=seed)
    for number, run in enumerate(runs):
        assert run.steps == tuple(range(number + 1))
        assert not run.complete
        assert run.report() == texts[number]
        assert run["0.weight"].moves.max() <= number + 1
        assert run.verify().mismatch is None
    assert undisturbed.run.verify().mismatch is None
    for name in undisturbed.run:
        for count in ("moves", "swallowed", "first_move", "last_move"):
            np.testing.assert_array_equal(
                getattr(runs[-1][name], count), getattr(undisturbed.run[name], count)
            )
        np.testing.assert_allclose(
            runs[-1][name].movement, undisturbed.run[name].movement, rtol=1e-5
        )


def test_recording_only_parts() -> None:
    """Stop, train on, start again: one run of both parts, exact in both, with a note of what lies
    between.
    """
    model, optimizer = small(momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    recorder = mg.Recorder(optimizer, keyframe_every=4)
    with recorder:
        train(model, optimizer, 6)
    between = recorder.run
    train(model, optimizer, 5)
    with recorder:
        train(model, optimizer, 7)
    run = recorder.run
    assert between.steps == tuple(range(6))
    assert run.steps == (*range(6), *range(11, 18))
    assert len(run.notes) == 1
    assert "11" in run.notes[0]
    assert "not recorded" in run.notes[0]
    for step in run.exact_steps.tolist():
        assert same(run["0.weight"].value(step), tape.values[step]["0.weight"])
    assert run.exact_steps.tolist() == list(run.steps)
    assert same(run["2.bias"].effective(11), tape.values[11]["2.bias"] - tape.values[10]["2.bias"])
    assert run["0.weight"].moves.max() == 13
    verified = run.verify()
    assert verified.mismatch is None
    assert verified.checked + verified.unchecked == 13
    assert verified.checked >= 11
    with pytest.raises(RangeError):
        run["0.weight"].value(8)


def test_the_gap_between_two_parts_is_a_gap() -> None:
    """Steps that were not recorded are in `run.gaps`, which is where people look for what is
    missing.
    """
    model, optimizer = small()
    recorder = mg.Recorder(optimizer)
    with recorder:
        train(model, optimizer, 3)
    train(model, optimizer, 4)
    with recorder:
        train(model, optimizer, 2)
    assert [(gap.first, gap.last) for gap in recorder.run.gaps] == [(3, 6)]


def test_starting_again_at_once_leaves_no_trace() -> None:
    """Stop and start with no step between is as if the recorder had never stopped."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer)
    for _ in range(3):
        with recorder:
            train(model, optimizer, 4)
    assert recorder.run.notes == ()
    assert recorder.run.verify().checked == 12
    assert recorder.run.steps == tuple(range(12))


@pytest.mark.parametrize("every", [1, 5])
def test_the_first_and_the_last_step_of_two_parts(every: int) -> None:
    """With sampling too, the first and the last step are kept, also when there was a pause
    between.
    """
    model, optimizer = small()
    recorder = mg.Recorder(optimizer, every=every)
    for _ in range(2):
        with recorder:
            train(model, optimizer, 8)
        assert {0, optimizer.step_count - 1} <= set(recorder.run["0.weight"].updates.steps.tolist())
        train(model, optimizer, 3)


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_last_step_of_each_part_stays(on_disk: bool, tmp_path: Path) -> None:
    """With sampling, the tensors of the last step before a stop are kept for good, also when the
    record goes on.
    """
    model, optimizer = small()
    tape = Tape()
    optimizer.attach(tape)
    recorder = mg.Recorder(optimizer, every=5, path=tmp_path / "run" if on_disk else None)
    for steps in (8, 4, 1):
        with recorder:
            train(model, optimizer, steps)
    updates = recorder.run["0.weight"].updates
    assert [0, 5, 7, 10, 11, 12] == updates.steps.tolist()
    for step, update in zip(updates.steps.tolist(), updates, strict=True):
        assert same(update, tape.updates[step]["0.weight"])
        assert same(recorder.run["0.weight"].value(step), tape.values[step]["0.weight"])


def test_a_step_count_that_goes_back() -> None:
    """After the optimizer has gone back to an earlier step, a record never gives two answers for
    one step.
    """
    model, optimizer = small()
    recorder = mg.Recorder(optimizer)
    with recorder:
        train(model, optimizer, 3)
        checkpoint, then = optimizer.state_dict(), flat(model).copy()
        train(model, optimizer, 3)
    optimizer.load_state_dict(checkpoint)
    flat(model)[...] = then
    try:
        with recorder:
            train(model, optimizer, 3, seed=5)
    except mg.MinigradError:
        return  # refusing is as good
    run = recorder.run
    assert len(set(run.steps)) == len(run.steps)
    assert same(run["0.weight"].value(5), run["0.weight"].final)


def test_stale_parameters_are_not_recorded() -> None:
    """A recorder whose parameters have moved into a larger model refuses to start."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer)
    mg.Sequential(model, mg.Dense(3, 2, rng=0))
    with pytest.raises(StaleParametersError):
        recorder.start()
    assert listeners(optimizer) == 0


# -- copies and lifetimes ------------------------------------------------------------------------


def test_a_run_keeps_no_model_alive() -> None:
    """A run, a history or a sentence kept for later holds neither the model nor the optimizer."""
    model, optimizer = small()
    dead = weakref.ref(model), weakref.ref(optimizer)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        train(model, optimizer, 3)
    run = recorder.run
    kept = run["0.weight"], run["0.weight"].why, run["0.weight"].updates
    del model, optimizer, recorder
    gc.collect()
    assert [ref() for ref in dead] == [None, None]
    assert kept[1].at(0, 0)
    assert run.verify()


def test_a_model_forgets_its_recorder() -> None:
    """After the `with`, the model and the optimizer hold nothing of the recorder: its memory goes
    with it.
    """
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 3)
    dead = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert dead() is None


def test_many_recorders_leave_nothing_behind() -> None:
    """Hundreds of recorders, one after the other, leave neither hooks nor threads, even if they are
    kept.
    """
    model, optimizer = small()
    threads = threading.active_count()
    kept = []
    for _ in range(50):
        with mg.Recorder(optimizer, budget=20 * ROW) as recorder:
            train(model, optimizer, 1)
        kept.append(recorder)
    assert listeners(optimizer) == 0
    for _ in range(100):  # a thread that is about to end may do so
        if threading.active_count() <= threads:
            break
        time.sleep(0.02)
    assert threading.active_count() <= threads


@pytest.mark.parametrize("way", ["deepcopy", "pickle"])
@pytest.mark.parametrize("what", ["model", "optimizer"])
def test_copies_of_what_is_being_recorded(way: str, what: str) -> None:
    """A copy of a recorded model or optimizer trains by itself: the record hears nothing of it, and
    nothing changes.
    """

    def copied(thing: Any) -> Any:
        return copy.deepcopy(thing) if way == "deepcopy" else pickle.loads(pickle.dumps(thing))

    model, optimizer = small(momentum=0.9)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 3)
        if what == "model":
            twin = copied(model)
            twin_optimizer = mg.SGD(twin, 0.1)
        else:
            twin_optimizer = copied(optimizer)
            twin = twin_optimizer.model
        before = flat(model).copy()
        assert same(flat(twin), before)
        train(twin, twin_optimizer, 5)
        assert same(flat(model), before)
        assert not same(flat(twin), before)
        train(model, optimizer, 3)
    assert recorder.run.steps == tuple(range(6))
    assert recorder.run.notes == ()
    assert recorder.run.verify().checked == 6


def test_a_run_can_be_pickled_and_copied() -> None:
    """A run in memory can be pickled and copied, and says the same afterwards."""
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 3)
    for again in (copy.deepcopy(recorder.run), pickle.loads(pickle.dumps(recorder.run))):
        assert again.report() == recorder.run.report()
        assert again.first_difference(recorder.run) is None
        assert again.verify().checked == 3


def test_recorder_and_run_show_themselves() -> None:
    """`repr` and `str` of everything are short and say what it is."""
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 3)
    run = recorder.run
    assert "3 steps" in repr(run)
    assert "0.weight" in repr(run)
    assert str(run) == run.report()
    assert "3 steps" in repr(run["0.weight"].updates)
    assert "20 of 20" in repr(run["0.weight"])
    shown: Callable[[object], str] = repr
    for thing in (recorder, run, run["0.weight"], run["0.weight"].updates, run["0.weight"].why):
        assert len(shown(thing).splitlines()[0]) <= 200
