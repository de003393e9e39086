"""What a run and a parameter's history tell of themselves, for reports and for anybody."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from loop_support import take_step

import minigrad as mg
from minigrad.errors import KindError, NotExactError, RangeError
from minigrad.reason import Reason


def recorded(steps: int = 20, **settings: Any) -> mg.Run:
    """A weight of three units whose first input is always 0."""
    model = mg.Sequential(mg.Dense(4, 3, rng=0), mg.Activation("relu"))
    optimizer, loss = mg.SGD(model, 0.1), mg.MeanSquaredError()
    rng = np.random.default_rng(1)
    with mg.Recorder(optimizer, loss=loss, **settings) as recorder:
        for _ in range(steps):
            x = rng.normal(size=(2, 4))
            x[:, 0] = 0
            take_step(model, loss, optimizer, x, rng.normal(size=(2, 3)))
    return recorder.run


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"keyframe_every": 4},
        {"every": 3},
        {"budget": 900},
        {"budget": 1500, "on_full": "ring"},
        {"keep": ()},
    ],
    ids=str,
)
def test_values_of_many_steps(settings: dict[str, Any]) -> None:
    """However steps are kept, `values` gives each once, in order, as `value` gives it alone; and
    what it gives is the caller's.
    """
    history = recorded(25, **settings)["0.weight"]
    exact = history.exact_steps.tolist()
    told = list(history.values(reversed(exact)))
    assert exact == [step for step, _ in told]
    for step, value in told:
        assert np.array_equal(history.value(step), value)
        value[...] = 99
        assert not (history.value(step) == 99).any()


def test_values_that_are_not_known() -> None:
    """A step that the record does not know exactly, or does not have, is an error."""
    history = recorded(every=3)["0.weight"]
    with pytest.raises(NotExactError, match="step 1 are not known to the bit"):
        list(history.values([0, 1]))
    with pytest.raises(RangeError, match="there is no step 99"):
        list(history.values([99]))
    with pytest.raises(KindError, match="steps is 'ab'"):
        list(history.values("ab"))  # type: ignore[arg-type] # that is the point


def test_gates_follow_each_other() -> None:
    """Whoever passes a gate has passed those before; who is stopped has the gate's reason; and
    those that pass the last one have moved.
    """
    history = recorded()["0.weight"]
    why = history.why
    passed = history.size
    stopped: dict[Reason, int] = {}
    for gate in why.gates:
        passed -= sum(gate.stopped.values())
        assert passed == gate.passed
        assert all(reason.gate == gate.name for reason in gate.stopped)
        stopped |= gate.stopped
    assert int(np.count_nonzero(history.moved)) == passed
    assert stopped == {reason: n for reason, n in why.counts.items() if not reason.moved}
    assert {Reason.INPUT_ZERO: 3} == {r: n for r, n in stopped.items() if r is Reason.INPUT_ZERO}
    assert why.zero_inputs is not None
    assert [0] == why.zero_inputs.tolist()


def test_gates_of_a_bias() -> None:
    """A bias has no input that could be 0, so it has no such gate, and no such inputs."""
    run = recorded()
    names = [gate.name for gate in run["0.bias"].why.gates]
    assert Reason.UNIT_SILENT.gate in names
    assert Reason.INPUT_ZERO.gate not in names
    assert run["0.bias"].why.zero_inputs is None


def test_gates_leave_out_what_is_unknown() -> None:
    """Where nothing was counted nobody is known to have passed any gate."""
    history = recorded(aggregates=False)["0.weight"]
    assert history.counted_steps is None
    assert {0} == {gate.passed for gate in history.why.gates}


def test_what_a_run_holds() -> None:
    """Of how many steps tensors are held, and in how many entries were counted."""
    run = recorded(keep=("update", "grad"))
    assert {"update": 20, "grad": 20} == run.held
    assert 20 == run.counted_steps == run["0.weight"].counted_steps
    assert {} == recorded(keep=()).held
    assert recorded(aggregates=False).counted_steps is None


def test_a_loss_that_is_nan_is_known() -> None:
    """A loss that was NaN is known; one that was not given is not. Both are NaN in `loss`."""
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        for loss in (1.0, np.nan, None):
            model(np.ones((1, 2)))
            model.backward(np.ones((1, 1)))
            optimizer.step(loss=loss)
    run = recorder.run
    assert [False, True, True] == np.isnan(run.loss).tolist()
    assert [True, True, False] == run.loss_known.tolist()
    assert run.first_non_finite == run.first_non_finite_loss
    assert run.first_non_finite_values is None


def test_norms_are_those_of_each_history() -> None:
    """All parameters' ratios at once are those of each alone."""
    run = recorded()
    norms = run.norms()
    assert list(run.names) == list(norms)
    for name in run.names:
        assert np.array_equal(run[name].ratio, norms[name].ratios)
        lengths = [np.linalg.norm(update.astype(float)) for update in run[name].updates]
        assert np.allclose(lengths, norms[name].updates, rtol=1e-12)
