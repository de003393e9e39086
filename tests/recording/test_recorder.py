"""The recorder: what it takes, what it notices, what it costs, and that it changes nothing."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
import tracemalloc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from recording_support import Array, Scale, Tape, bias, dense, flat, network, one, same, train

import minigrad as mg
from minigrad.errors import (
    BudgetError,
    HookError,
    KindError,
    ModelError,
    OrderError,
    OutOfBandWrite,
    RangeError,
    StaleParameters,
)

SIZE = 5 * 4 + 4 + 4 * 3 + 3  # entries of the network 5-4-3
ROW = SIZE * 4


def small(lr: Any = 0.1, **settings: Any) -> tuple[mg.Sequential, mg.SGD]:
    """The network 5-4-3 and its optimizer."""
    model = network(5, 4, 3)
    return model, mg.SGD(model, lr, **settings)


# -- arguments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
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
)
@pytest.mark.parametrize("frozen", [None, 0, 2])
def test_params_select(params: Any, names: list[str], frozen: int | None) -> None:
    """A glob, several, or a function select parameters; the record of these is as that of all, and replays."""
    runs: list[mg.Run] = []
    for selection in (params, "*"):
        model, optimizer = small(momentum=0.9)
        if frozen is not None:
            model[frozen].freeze()
        with mg.Recorder(optimizer, params=selection, coactivation=True, keyframe_every=4) as recorder:
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
    """A selection, or one glob of several, that matches no parameter is an error that lists those there are."""
    with pytest.raises(ModelError, match=r"matches no parameter; there are 0\.weight, 0\.bias, 2\.weight, 2\.bias"):
        mg.Recorder(small()[1], params=params)


@pytest.mark.parametrize(
    ("keep", "updates", "grads"),
    [((), 0, 0), ("update", 8, 0), (("grad",), 0, 8), (["grad", "update"], 8, 8), ({"update"}, 8, 0)],
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
        ({"loss": mg.SoftmaxCrossEntropy}, "loss of a Recorder is <class .*>, expected a Loss"),
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
    """Each argument of the wrong kind is named, with what it was and what was expected; nothing is attached."""
    model, optimizer = small()
    with pytest.raises(KindError, match=message):
        mg.Recorder(optimizer, **settings)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 2)
    assert 2 == len(recorder.run.steps)
    with pytest.raises(RangeError, match=r"keep is \[\['update'\]\], expected any of"):
        mg.Recorder(optimizer, keep=[["update"]])  # type: ignore[list-item]


@pytest.mark.parametrize(
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
)
def test_budget_as_text(budget: Any, bytes_: int) -> None:
    """A budget is a number of bytes or a text with a decimal unit, in any case and spacing: all mean the same."""
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
    """One step with its keyframe is the least; a byte less is an error that says how much it takes."""
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


# -- start, stop, with -----------------------------------------------------------------------------------------------


def listeners(optimizer: mg.Optimizer) -> int:
    """How many hooks the optimizer has."""
    return len(optimizer._listeners)


def test_start_and_stop() -> None:
    """`with` and start/stop do the same; a second start is an error, a second stop does nothing."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer)
    assert "not started" in repr(recorder)
    with pytest.raises(OrderError, match="nothing is recorded"):
        _ = recorder.run
    recorder.stop()
    recorder.start()
    assert "recording" in repr(recorder)
    with pytest.raises(OrderError, match="recording already"):
        recorder.start()
    with pytest.raises(OrderError, match="recording already"), recorder:
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
    """What passes through the `with` goes on its way, and the recorder is detached, with what it has recorded."""
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
    """Two recorders on one optimizer, with other settings, record the same steps and do not disturb each other."""
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
    """`recorder.run` may be read after any step; what was read stays as it was, and reading it changes no count."""
    model, optimizer = small(momentum=0.9)
    runs: list[mg.Run] = []
    with mg.Recorder(optimizer, loss=None, keyframe_every=4, budget=60 * ROW) as recorder:
        recorder.run.report()
        assert recorder.run.steps == ()
        for seed in range(100):
            train(model, optimizer, 1, seed=seed)
            runs.append(recorder.run)
            assert recorder.run is runs[-1]
        texts = [run.report() for run in runs]
    other, again = small(momentum=0.9)
    with mg.Recorder(again, keyframe_every=4, budget=60 * ROW) as undisturbed:
        for seed in range(100):
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
            np.testing.assert_array_equal(getattr(runs[-1][name], count), getattr(undisturbed.run[name], count))
        np.testing.assert_allclose(runs[-1][name].movement, undisturbed.run[name].movement, rtol=1e-5)


def test_recording_only_parts() -> None:
    """Stop, train on, start again: one run of both parts, exact in both, with a note of what lies between."""
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
    """Steps that were not recorded are in `run.gaps`, which is where people look for what is missing."""
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
    """With sampling too, the first and the last step are kept, also when there was a pause between."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer, every=every)
    for _ in range(2):
        with recorder:
            train(model, optimizer, 8)
        assert {0, optimizer.step_count - 1} <= set(recorder.run["0.weight"].updates.steps.tolist())
        train(model, optimizer, 3)


@pytest.mark.parametrize("on_disk", [False, True])
def test_the_last_step_of_each_part_stays(on_disk: bool, tmp_path: Path) -> None:
    """With sampling, the tensors of the last step before a stop are kept for good, also when the record goes on."""
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
    """After the optimizer has gone back to an earlier step, a record never gives two answers for one step."""
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
    with pytest.raises(StaleParameters):
        recorder.start()
    assert listeners(optimizer) == 0


# -- the budget ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_full", ["thin", "ring", "stop"])
@pytest.mark.parametrize("rows", [2, 3, 7, 20, 50])
@pytest.mark.parametrize("keyframe_every", [1, 5, 256])
def test_the_budget_holds(rows: int, on_full: Any, keyframe_every: int) -> None:
    """The tensors never take more than the budget, at any step, and all counts stay exact."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer, budget=rows * ROW, on_full=on_full, keyframe_every=keyframe_every)
    with recorder:
        for seed in range(80):
            train(model, optimizer, 1, seed=seed)
            run = recorder.run
            assert run.bytes <= rows * ROW + 80 * 64
            held = sum((block.keyframe is not None) + len(block.rows.get("update", ())) for block in run._record.blocks)
            assert held <= rows
    assert recorder.run.verify().mismatch is None
    assert recorder.run["2.bias"].moves.min() == 80


def test_on_full_raise() -> None:
    """on_full="raise" raises once, from the step that did not fit; that step is complete, and the record stays true."""
    model, optimizer = small()
    tape = Tape()
    optimizer.attach(tape)
    raised: list[tuple[int, HookError]] = []
    with mg.Recorder(optimizer, budget=12 * ROW, on_full="raise") as recorder:
        for seed in range(20):
            try:
                train(model, optimizer, 1, seed=seed)
            except HookError as error:
                raised.append((seed, error))
    assert len(raised) == 1
    first, told = raised[0]
    assert isinstance(told.__cause__, BudgetError)
    assert f"{12 * ROW:,} bytes" in str(told)
    run = recorder.run
    kept = run["0.weight"].updates.steps.tolist()
    assert kept == list(range(len(kept)))
    assert first <= len(kept) <= first + 1
    assert run.steps == tuple(range(20))
    assert [(gap.first, gap.last) for gap in run.gaps] == [(len(kept), 19)]
    assert run.notes == ()
    assert run["2.bias"].moves.tolist() == [20, 20, 20]
    assert same(run["0.weight"].final, tape.values[-1]["0.weight"])


def test_on_full_raise_at_the_last_step() -> None:
    """When training ends because the budget is reached, the final value is that of the model."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer, budget=12 * ROW, on_full="raise")
    with pytest.raises(HookError), recorder:
        train(model, optimizer, 100)
    run = recorder.run
    assert same(run["0.weight"].final, dense(model, 0).weight.value)
    assert same(run["0.weight"].value(run.steps[-1]), dense(model, 0).weight.value)


@pytest.mark.parametrize("every", [1, 6])
@pytest.mark.parametrize("keep", [(), ("update",), ("update", "grad")])
@pytest.mark.parametrize("keyframe_every", [10, 256])
def test_estimate_agrees_with_what_the_record_takes(keyframe_every: int, keep: tuple[str, ...], every: int) -> None:
    """`estimate(steps)` says before training what a record will take, to a tenth."""
    rng = np.random.default_rng(0)
    model = network(40, 30, 3)
    optimizer = mg.SGD(model, 0.01)
    loss = mg.SoftmaxCrossEntropy()
    data = mg.Batches(rng.normal(size=(800, 40)), rng.integers(0, 3, 800), batch_size=10, rng=0)
    recorder = mg.Recorder(optimizer, loss=loss, data=data, keep=keep, every=every, keyframe_every=keyframe_every)
    told = recorder.estimate(400)
    with recorder:
        for _ in range(5):
            for x, y in data:
                loss(model(x), y)
                model.backward(loss.backward())
                optimizer.step()
    assert told.full_at is None
    assert told.bytes == pytest.approx(recorder.run.bytes, rel=0.1)
    assert told.bytes_per_step == flat(model).size * 4 * (len(keep) + bool(keep and every > 1))


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("rows", [20, 50, 90])
def test_estimate_says_when_the_budget_is_reached(rows: int, every: int) -> None:
    """`full_at` is the first step whose tensors do not fit."""
    model, optimizer = small()
    recorder = mg.Recorder(optimizer, budget=rows * ROW, on_full="stop", every=every)
    told = recorder.estimate(500)
    with recorder:
        train(model, optimizer, 500)
    kept = recorder.run["0.weight"].updates.steps.tolist()
    kept = [step for step in kept if step != 499]
    assert told.full_at is not None
    assert kept[-1] < told.full_at <= kept[-1] + every


def test_estimate_checks_its_steps() -> None:
    """Steps are a whole number, at least 1."""
    recorder = mg.Recorder(small()[1])
    for steps in (0, -3):
        with pytest.raises(RangeError, match="steps"):
            recorder.estimate(steps)
    with pytest.raises(KindError, match="steps"):
        recorder.estimate(2.5)  # type: ignore[arg-type]


def memory_of(budget: int, steps: int) -> tuple[int, int]:
    """How many bytes a recorder really takes after some steps, and what its run says."""
    model = network(200, 50, 3)
    optimizer = mg.SGD(model, 0.01)
    with mg.Recorder(optimizer):
        train(model, optimizer, 2, n_in=200)  # whatever is only made once
    gc.collect()
    tracemalloc.start()
    try:
        begin = tracemalloc.get_traced_memory()[0]
        with mg.Recorder(optimizer, aggregates=False, budget=budget) as recorder:
            train(model, optimizer, steps, n_in=200)
            gc.collect()
            taken = tracemalloc.get_traced_memory()[0] - begin
        told = recorder.run.bytes
        del recorder
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - begin < 0.1 * taken, "memory is given back with the record"
        return taken, told
    finally:
        tracemalloc.stop()


def test_memory_is_what_bytes_says() -> None:
    """`run.bytes` is what the record really takes, but for one block made ahead, an eighth of the budget at most."""
    taken, told = memory_of(20_000_000, 330)
    assert told <= taken <= 1.05 * told + 20_000_000 / 8


def test_memory_stays_within_the_budget() -> None:
    """Whatever is made ahead counts: what a recorder really takes is the budget at most, with the rows on top."""
    taken, told = memory_of(8_000_000, 600)
    assert told <= 8_000_000 + 600 * 32
    assert taken <= 1.05 * 8_000_000


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_many_writes_from_outside_do_not_eat_the_budget() -> None:
    """A keyframe for each write from outside costs a keyframe, not a whole block of empty rows."""
    model, optimizer = small()

    def write(step: int) -> None:
        dense(model, 0).weight.value[0, 0] += 1

    with mg.Recorder(optimizer, budget=300 * ROW) as recorder:
        train(model, optimizer, 60, write)
    assert recorder.run.gaps == ()
    assert recorder.run.bytes <= 150 * ROW + 60 * 64


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("keep", [(), ("update",)])
def test_rows_hold_loss_rate_clipping_and_indices(keep: tuple[str, ...], every: int) -> None:
    """Each step's row has the loss, the rate, the clip factor and the rows of the batch, whatever tensors are kept."""
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
                losses.append(loss(model(x), y))
                indices.append(data.indices)
                model.backward(loss.backward())
                optimizer.step()
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
    """Where nothing is known of loss and rows, they are NaN and None, and the report does without."""
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
            told.append(loss.forward(model(np.ones((2, 5))), np.zeros(2)))
            model.backward(loss.backward())
            optimizer.step()
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


# -- counts ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("steps", [1, 254, 255, 256, 511, 600])
def test_counts_over_many_steps(steps: int, dtype: npt.DTypeLike) -> None:
    """Every count is exact over any number of steps: beyond 255 and 510 too, where single bytes would overflow."""
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
            history.first_move, np.where(moved, number, 10**6).min(axis=0) % 10**6 - ~moved.any(axis=0)
        )
        np.testing.assert_array_equal(history.last_move, np.where(moved, number, -1).max(axis=0))
        way = np.abs(after - before).astype(np.float64).sum(axis=0)
        np.testing.assert_allclose(history.movement, way, rtol=1e-5 if dtype == np.float32 else 1e-12)
        index = np.unravel_index(int(history.moves.argmax()), history.shape)
        if history.moves.max():
            assert f"in {history.moves.max():,} of {steps:,} step" in history.why.at(*map(int, index))


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
            f"its input 1 was not 0 in {inputs[1]:,} of {3 * rows:,} samples, and its unit 0 had a gradient in "
            f"{units[0]:,}," in why.at(1, 0)
        )


def test_a_count_of_256_rows_is_not_0() -> None:
    """An input that is active in 256 rows, or in 256 batches, is not taken for one that never was."""
    model = mg.Sequential(mg.Dense(2, 2, init="zeros"))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        one(model, optimizer, np.tile([[1, 0], [0, 1]], (256, 1)), np.tile([[0, 1], [0, -1]], (256, 1)))
    assert recorder.run["0.weight"].why.counts == {mg.Reason.UNIT_SILENT: 2, mg.Reason.MOVED: 2}
    model = mg.Sequential(mg.Dense(1, 2, init="zeros"))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(256):
            one(model, optimizer, [[1], [0]], [[0, 0], [1, 0]])
    assert recorder.run["0.weight"].why.counts == {mg.Reason.NEVER_TOGETHER: 1, mg.Reason.UNIT_SILENT: 1}


# -- others write into the parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3])
def test_a_write_from_outside_is_noticed(every: int) -> None:
    """A value changed between two steps other than by an optimizer: a warning naming parameter and step."""
    model, optimizer = small(momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(optimizer, keyframe_every=8, every=every) as recorder:
        train(model, optimizer, 5)
        dense(model, 2).weight.value[1, 1] += 1
        with pytest.warns(OutOfBandWrite, match=r"before step 5 2\.weight changed other than by an optimizer") as seen:
            train(model, optimizer, 1)
        train(model, optimizer, 6)
    assert len(seen) == 1
    run = recorder.run
    assert len(run.notes) == 1
    assert "before step 5 2.weight" in run.notes[0]
    assert "before step 5 2.weight" in run.report()
    exact = run.exact_steps.tolist()
    for step in exact:
        for name in run:
            assert same(run[name].value(step), tape.values[step][name])
    if every == 1:
        assert exact == list(range(12)), "replay stays true: a keyframe was taken at once"
        verified = run.verify()
        assert verified.mismatch is None
        assert verified.checked + verified.unchecked == 12
        assert verified.unchecked >= 1, "the update of step 5 alone does not lead from value to value"
    assert same(run["2.weight"].final, dense(model, 2).weight.value)


@pytest.mark.parametrize("settings", [{}, {"keep": ("update", "grad")}, {"params": "*.weight"}, {"every": 3}], ids=str)
def test_a_write_from_outside_without_counts(settings: dict[str, Any]) -> None:
    """Rows alone notice a write from outside too, in time for every step that the run calls exact to be so."""
    model, optimizer = small(momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(optimizer, aggregates=False, **settings) as recorder:
        train(model, optimizer, 5)
        dense(model, 2).weight.value[1, 1] += 1
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            train(model, optimizer, 6)
    run = recorder.run
    for step in run.exact_steps.tolist():
        for name in run:
            assert same(run[name].value(step), tape.values[step][name]), step
    assert run.verify().mismatch is None
    assert [warning.category for warning in seen] == [OutOfBandWrite]
    told = "something of 0.weight, 0.bias, 2.weight, 2.bias" if "every" in settings else "2.weight"
    assert f"before step 5 {told} changed" in run.notes[0]


PERMUTATIONS: dict[str, Callable[[Array], Array]] = {
    "rows reversed": lambda value: value[::-1].copy(),
    "rows swapped": lambda value: value[[1, 0, 2, 3, 4]],
    "units swapped": lambda value: value[:, [2, 3, 0, 1]],
    "two signs": lambda value: value * np.array([1, -1, 1, -1], np.float32),
    "one up, one down": lambda value: (value.view(np.int32) + np.array([[1, 0, -1, 0]], np.int32)).view(np.float32),
}


@pytest.mark.parametrize("aggregates", [True, False])
@pytest.mark.parametrize("write", PERMUTATIONS)
def test_a_write_that_keeps_a_sum_is_noticed(write: str, aggregates: bool) -> None:
    """Swapping units, turning signs or moving two entries against each other is noticed as any other write."""
    model, optimizer = small()
    tape = Tape()
    optimizer.attach(tape)
    layer = dense(model, 0)
    with mg.Recorder(optimizer, aggregates=aggregates) as recorder:
        train(model, optimizer, 2)
        layer.weight.value = PERMUTATIONS[write](layer.weight.value)
        with pytest.warns(OutOfBandWrite, match=r"before step 2 0\.weight"):
            train(model, optimizer, 2)
    for step in recorder.run.exact_steps.tolist():
        assert same(recorder.run["0.weight"].value(step), tape.values[step]["0.weight"])


def test_the_warning_points_at_the_callers_line() -> None:
    """The warning of a write from outside points at the line that called `step`, not into minigrad."""
    model, optimizer = small()
    with mg.Recorder(optimizer):
        train(model, optimizer, 1)
        flat(model)[0] += 1
        with pytest.warns(OutOfBandWrite) as seen:
            train(model, optimizer, 1)
    assert seen[0].filename.endswith("recording_support.py")


def test_the_final_value_is_that_of_the_last_step() -> None:
    """What somebody writes after the last step is not the run's: `final` is the value after the last step."""
    for settings in ({}, {"aggregates": False}, {"every": 3}):
        model, optimizer = small()
        tape = Tape()
        optimizer.attach(tape)
        with mg.Recorder(optimizer, **settings) as recorder:
            train(model, optimizer, 5)
            dense(model, 2).weight.value[1, 1] += 1
            during = recorder.run
            assert same(during["2.weight"].final, tape.values[-1]["2.weight"]), settings
        assert same(recorder.run["2.weight"].final, tape.values[-1]["2.weight"]), settings


def test_several_parameters_written_at_once() -> None:
    """All changed parameters are named, and only those; bits count, so a change of the sign of zero is noticed too."""
    model, optimizer = small()
    layer = dense(model, 0)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 1)
        layer.weight.value[0, 0] = 3
        bias(dense(model, 2)).value[2] *= 2
        with pytest.warns(OutOfBandWrite, match=r"step 1 0\.weight, 2\.bias changed"):
            train(model, optimizer, 1)
        layer.freeze()
        bias(layer).value = np.zeros(4, np.float32)
        with pytest.warns(OutOfBandWrite, match=r"step 2 0\.bias changed"):
            train(model, optimizer, 1)
        bias(layer).value = np.full(4, -0.0, np.float32)
        with pytest.warns(OutOfBandWrite, match=r"step 3 0\.bias changed"):
            train(model, optimizer, 1)
    assert np.signbit(recorder.run["0.bias"].final).all()
    assert recorder.run.exact_steps.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("write", ["load_state_dict", "assignment", "restore", "vector"])
def test_every_way_of_writing_is_noticed(write: str) -> None:
    """Loading a state, assigning, restoring or writing into the flat vector between steps is noticed and survived."""
    model, optimizer = small()
    state = network(5, 4, 3, seed=7).state_dict()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 4)
        if write == "load_state_dict":
            model.load_state_dict(state)
        elif write == "assignment":
            dense(model, 0).weight.value = state["0.weight"]
        elif write == "restore":
            recorder.run.restore(model, 1)
        else:
            flat(model)[:] = 0.5
        with pytest.warns(OutOfBandWrite, match="step 4"):
            train(model, optimizer, 4)
    assert recorder.run.verify().mismatch is None
    assert recorder.run.exact_steps.tolist() == list(range(8))
    assert same(recorder.run["0.weight"].final, dense(model, 0).weight.value)


def test_a_write_of_the_same_bits_is_none() -> None:
    """Writing the same values again is no change, and no alarm."""
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 2)
        model.load_state_dict(model.state_dict())
        train(model, optimizer, 2)
    assert recorder.run.notes == ()


def test_another_optimizer_on_the_same_parameters_is_told_by_name() -> None:
    """A step of another optimizer is told apart from a write from outside: no warning, a note with its name."""

    class Other(mg.Optimizer):
        def compute(self, values: Array, grads: Array, update: Array) -> None:
            np.multiply(grads, -self.current_lr, out=update)

    model, optimizer = small()
    other = Other(model, 0.05)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 3)
        train(model, other, 1)
        train(model, optimizer, 3)
    run = recorder.run
    assert len(run.notes) == 1
    assert "before step 3" in run.notes[0]
    assert "Other over 0.weight ... 2.bias" in run.notes[0]
    assert run.verify().mismatch is None
    for step in run.exact_steps.tolist():
        assert same(run["0.weight"].value(step), tape.values[step]["0.weight"])
    assert run.exact_steps.tolist() == list(range(6))


def test_another_optimizer_of_the_same_kind() -> None:
    """Two optimizers of the same class over the same parameters are told apart too."""
    model, optimizer = small()
    twin = mg.SGD(model, 0.2)
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 2)
        train(model, twin, 1)
        train(model, optimizer, 2)
    assert len(recorder.run.notes) == 1
    assert "another SGD" in recorder.run.notes[0]


def test_an_optimizer_of_other_parameters_is_not_blamed() -> None:
    """A write from outside is warned of, also if an optimizer of quite other parameters made a step meanwhile."""
    model = network(5, 4, 3)
    lower, upper = mg.SGD(model[:1], 0.1), mg.SGD(model[2:], 0.1)
    rng = np.random.default_rng(0)

    def both() -> None:
        output = model(rng.normal(size=(3, 5)).astype(np.float32))
        model.backward(rng.normal(size=output.shape).astype(np.float32))
        upper.step()
        lower.step()

    with mg.Recorder(lower) as recorder:
        both()
        dense(model, 0).weight.value[0, 0] += 1
        with pytest.warns(OutOfBandWrite, match=r"before step 1 0\.weight changed other than by an optimizer"):
            both()
    assert len(recorder.run.notes) == 1
    assert "2.weight" not in recorder.run.notes[0]


@pytest.mark.filterwarnings("error")
def test_warnings_as_errors_lose_nothing() -> None:
    """Where warnings are errors each write from outside raises, and the record is as true as with warnings."""
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 2)
        for _ in range(2):
            dense(model, 0).weight.value[0, 0] += 1
            with pytest.raises(HookError) as error:
                train(model, optimizer, 1)
            assert isinstance(error.value.__cause__, OutOfBandWrite)
        train(model, optimizer, 2)
    assert recorder.run.steps == tuple(range(6))
    assert [note.split(" changed")[1] for note in recorder.run.notes] == [" other than by an optimizer"] * 2
    assert recorder.run.verify().mismatch is None
    assert recorder.run.exact_steps.tolist() == list(range(6))
    assert same(recorder.run["0.weight"].final, dense(model, 0).weight.value)


def test_report_stays_short_with_many_notes() -> None:
    """Two optimizers that take turns make a note each step; the counts are still near the top of the report."""
    model, optimizer = small()
    twin = mg.SGD(model, 0.2)
    with mg.Recorder(optimizer) as recorder:
        for seed in range(100):
            train(model, optimizer, 1, seed=seed)
            train(model, twin, 1, seed=seed)
    lines = recorder.run.report().splitlines()
    assert any(line.startswith("0.weight") for line in lines[:15])


# -- watching changes nothing ----------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mode", MODES, ids=str)
def test_watching_changes_nothing(mode: dict[str, Any], dtype: npt.DTypeLike) -> None:
    """With a recorder in any mode the values, the gradients, the state and the data are the same bits as without."""
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
                losses.append(loss(model(x), y))
                model.backward(loss.backward())
                optimizer.step()
                if recorder is not None:
                    recorder.run.report()
        if recorder is not None:
            recorder.stop()
        assert np.random.get_state()[1].tolist() == global_state  # type: ignore[index]  # noqa: NPY002
        vector = mg.ParameterVector.of(model)
        velocity = np.concatenate([array.ravel() for array in optimizer.state_dict()["state"]["velocity"].values()])
        results.append((vector.values, vector.grads, velocity, np.array(losses), np.array(data.rng.random(3))))
    for without, with_ in zip(*results, strict=True):
        assert same(without, with_)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("width", [1, 3, 8, 17])
def test_nan_and_infinity_in_training(width: int, frozen: bool, dtype: npt.DTypeLike) -> None:
    """NaN and infinity, of either sign, are recorded and replayed, with no false alarm about writes from outside.

    Which of two NaNs a sum takes its sign from is the processor's choice, so NaN counts as equal to NaN.
    """
    rng = np.random.default_rng(width)
    model = mg.Sequential(mg.Dense(3, width, rng=0, dtype=dtype), mg.Dense(width, 2, rng=0, dtype=dtype))
    if frozen:
        bias(dense(model, 0)).trainable = False
    optimizer = mg.SGD(model, 0.1, momentum=0.5)
    vector = mg.ParameterVector.of(model)
    specials = np.array([0.0, -0.0, 1.0, np.nan, -np.nan, np.inf, -np.inf], dtype)
    with mg.Recorder(optimizer, keep=("update", "grad"), keyframe_every=5) as recorder, np.errstate(all="ignore"):
        for _ in range(12):
            model(np.ones((1, 3), dtype))
            model.backward(np.ones((1, 2), dtype))
            for parameter in vector.parameters:
                parameter.grad[...] = rng.choice(specials, parameter.shape, p=[0.2, 0.1, 0.6, 0.03, 0.03, 0.02, 0.02])
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
    """Watching changes nothing: a value at or beyond the end of the range warns no more with a recorder than without."""
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
    """A change whose square is beyond float32 is still a change: counted, measured, and no warning."""
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


# -- copies and lifetimes --------------------------------------------------------------------------------------------


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
    """After the `with`, the model and the optimizer hold nothing of the recorder: its memory goes with it."""
    model, optimizer = small()
    with mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 3)
    dead = weakref.ref(recorder)
    del recorder
    gc.collect()
    assert dead() is None


def test_many_recorders_leave_nothing_behind() -> None:
    """Hundreds of recorders, one after the other, leave neither hooks nor threads, even if they are kept."""
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
    """A copy of a recorded model or optimizer trains by itself: the record hears nothing of it, and nothing changes."""

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
