"""What the recorder makes of values that somebody else writes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from recording_support import Array, Tape, bias, dense, flat, network, same, small, train

import minigrad as mg
from minigrad.errors import (
    HookError,
    OutOfBandWrite,
)


@pytest.mark.parametrize("every", [1, 3])
def test_a_write_from_outside_is_noticed(every: int) -> None:
    """A value changed between two steps other than by an optimizer: a warning naming parameter and
    step.
    """
    model, optimizer = small(momentum=0.9)
    tape = Tape()
    optimizer.attach(tape)
    with mg.Recorder(optimizer, keyframe_every=8, every=every) as recorder:
        train(model, optimizer, 5)
        dense(model, 2).weight.value[1, 1] += 1
        with pytest.warns(
            OutOfBandWrite, match=r"before step 5 2\.weight changed other than by an optimizer"
        ) as seen:
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
        assert verified.unchecked >= 1, (
            "the update of step 5 alone does not lead from value to value"
        )
    assert same(run["2.weight"].final, dense(model, 2).weight.value)


@pytest.mark.parametrize(
    "settings", [{}, {"keep": ("update", "grad")}, {"params": "*.weight"}, {"every": 3}], ids=str
)
def test_a_write_from_outside_without_counts(settings: dict[str, Any]) -> None:
    """Rows alone notice a write from outside too, in time for every step that the run calls exact
    to be so.
    """
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
    assert "before step 5 2.weight changed" in run.notes[0]


PERMUTATIONS: dict[str, Callable[[Array], Array]] = {
    "rows reversed": lambda value: value[::-1].copy(),
    "rows swapped": lambda value: value[[1, 0, 2, 3, 4]],
    "units swapped": lambda value: value[:, [2, 3, 0, 1]],
    "two signs": lambda value: value * np.array([1, -1, 1, -1], np.float32),
    "one up, one down": lambda value: (
        value.view(np.int32) + np.array([[1, 0, -1, 0]], np.int32)
    ).view(np.float32),
}


@sparse(
    pytest.mark.parametrize("write", PERMUTATIONS),
    pytest.mark.parametrize("in_place", [True, False]),
    pytest.mark.parametrize("aggregates", [True, False]),
)
def test_a_write_that_keeps_a_sum_is_noticed(write: str, aggregates: bool, in_place: bool) -> None:
    """Swapping units, turning signs or moving two entries against each other is noticed as any
    other write.
    """
    model, optimizer = small()
    tape = Tape()
    optimizer.attach(tape)
    layer = dense(model, 0)
    with mg.Recorder(optimizer, aggregates=aggregates) as recorder:
        train(model, optimizer, 2)
        written = PERMUTATIONS[write](layer.weight.value)
        if in_place:
            layer.weight.value[...] = written
        else:
            layer.weight.value = written
        with pytest.warns(OutOfBandWrite, match=r"before step 2 0\.weight"):
            train(model, optimizer, 2)
    for step in recorder.run.exact_steps.tolist():
        assert same(recorder.run["0.weight"].value(step), tape.values[step]["0.weight"])


@pytest.mark.parametrize("aggregates", [True, False])
def test_another_nan_is_no_write(aggregates: bool) -> None:
    """All NaNs are the same: one of other bits in its place is nothing that replay could miss."""
    model, optimizer = small()
    flat(model)[0] = np.nan
    with mg.Recorder(optimizer, aggregates=aggregates) as recorder:
        train(model, optimizer, 1)
        flat(model)[:1].view(np.uint32)[0] ^= 1
        assert np.isnan(flat(model)[0])
        train(model, optimizer, 1)
    assert not recorder.run.notes


@pytest.mark.frames
def test_the_warning_points_at_the_callers_line() -> None:
    """The warning of a write from outside points at the line that called `step`, not into
    minigrad.
    """
    model, optimizer = small()
    with mg.Recorder(optimizer):
        train(model, optimizer, 1)
        flat(model)[0] += 1
        with pytest.warns(OutOfBandWrite) as seen:
            train(model, optimizer, 1)
    assert seen[0].filename.endswith("recording_support.py")


def test_the_final_value_is_that_of_the_last_step() -> None:
    """What somebody writes after the last step is not the run's: `final` is the value after the
    last step.
    """
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
    """All changed parameters are named, and only those.

    Bits count, so a change of the sign of zero is noticed too.
    """
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
    """Loading a state, assigning, restoring or writing into the flat vector between steps is
    noticed and survived.
    """
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
    """A step of another optimizer is told apart from a write from outside: no warning, a note with
    its name.
    """

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
    """A write from outside is warned of, also if an optimizer of quite other parameters made a step
    meanwhile.
    """
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
        with pytest.warns(
            OutOfBandWrite, match=r"before step 1 0\.weight changed other than by an optimizer"
        ):
            both()
    assert len(recorder.run.notes) == 1
    assert "2.weight" not in recorder.run.notes[0]


@pytest.mark.filterwarnings("error")
def test_warnings_as_errors_lose_nothing() -> None:
    """Where warnings are errors each write from outside raises, and the record is as true as with
    warnings.
    """
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
    assert [note.split(" changed")[1] for note in recorder.run.notes] == [
        " other than by an optimizer"
    ] * 2
    assert recorder.run.verify().mismatch is None
    assert recorder.run.exact_steps.tolist() == list(range(6))
    assert same(recorder.run["0.weight"].final, dense(model, 0).weight.value)


def test_report_stays_short_with_many_notes() -> None:
    """Two optimizers that take turns make a note each step.

    The counts are still near the top of the report.
    """
    model, optimizer = small()
    twin = mg.SGD(model, 0.2)
    with mg.Recorder(optimizer) as recorder:
        for seed in range(100):
            train(model, optimizer, 1, seed=seed)
            train(model, twin, 1, seed=seed)
    lines = recorder.run.report().splitlines()
    assert any(line.startswith("0.weight") for line in lines[:15])


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_a_write_into_several_parameters_is_a_cause_in_each() -> None:
    """Where several were written at once, what moved without a gradient may have moved by that in
    the first of them as in the last.
    """
    model = network(2, 1)
    optimizer, layer = mg.SGD(model, 0.1, weight_decay=0.1), dense(model, 0)
    with mg.Recorder(optimizer) as recorder:
        for step in range(2):
            if step == 1:
                layer.weight.value[0, 0] = 5
                bias(layer).value[0] = 3
            model(np.array([[0.0, 1.0]]))  # input 0 is dark
            model.backward(np.array([[0.0]]))
            optimizer.step()
    for name, place in (("0.weight", (0, 0)), ("0.bias", (0,))):
        assert "decay, momentum or a write by others alone" in recorder.run[name].why.at(*place)


class Veto(mg.Hook):
    """Lets no step through."""

    def before_step(self, event: mg.Step) -> None:
        raise ArithmeticError("no step today")


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
@pytest.mark.parametrize("on_disk", [False, True])
def test_a_write_before_a_step_that_did_not_come_takes_no_room(
    on_disk: bool, tmp_path: Path
) -> None:
    """Each write by somebody else begins with the values as they are then.

    Where no step followed, the next one takes the place of it: a record does not grow by steps that
    were never made.
    """

    def recorded(attempts: int) -> mg.Run:
        model, optimizer = small()
        path = tmp_path / str(attempts) if on_disk else None
        with mg.Recorder(optimizer, path=path) as recorder:
            train(model, optimizer, 1)
            with optimizer.attach(Veto()):
                for _ in range(attempts):
                    dense(model, 2).weight.value[1, 1] += 1
                    with pytest.raises(ArithmeticError, match="no step today"):
                        train(model, optimizer, 1)
            train(model, optimizer, 1)
        return recorder.run

    assert recorded(1).bytes == recorded(5).bytes
