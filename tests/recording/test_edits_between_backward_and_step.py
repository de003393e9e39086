"""The record is true where others edit gradients or values, or use the loss, between the passes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from recount_support import Truth, batches, forward_and_back, network, plain

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import OutOfBandWrite
from minigrad.reason import Reason

# -- gradients that are changed ------------------------------------------------------------------


def masked(weight: mg.Parameter) -> None:
    weight.grad[1] = 0


def edited(weight: mg.Parameter) -> None:
    weight.grad[...] = np.clip(weight.grad, -0.1, 0.1)


def clipped(weight: mg.Parameter) -> None:
    np.clip(weight.grad, -0.1, 0.1, out=weight.grad)


def by_mask(weight: mg.Parameter) -> None:
    weight.grad[np.arange(5) == 1] = 0


def assigned(weight: mg.Parameter) -> None:
    weight.grad = weight.grad * (np.arange(5) != 1)[:, np.newaxis]


def summed(weight: mg.Parameter) -> None:
    """As a sum over processes does, in place, where the other's samples cancel out."""
    vector = mg.ParameterVector.of(OWNER[0])
    vector.grads[...] = vector.grads + 0


def summed_by_assignment(weight: mg.Parameter) -> None:
    vector = mg.ParameterVector.of(OWNER[0])
    vector.grads = vector.grads + 0


OWNER: list[mg.Sequential] = []


@sparse(
    pytest.mark.parametrize(
        "edit", [masked, edited, clipped, by_mask, assigned, summed, summed_by_assignment]
    ),
    pytest.mark.parametrize("steps", [(0, 1, 2, 3, 4), (3,)]),
    every=2,
)
def test_a_changed_gradient(edit: Callable[[mg.Parameter], None], steps: tuple[int, ...]) -> None:
    """Changed in all steps or in one: the entries that it left at 0 have a gradient of 0, which is
    all that is known.
    """
    model = network()
    OWNER[:] = [model]
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for number, (x, grad) in enumerate(batches()):
            made = truth.made_of(x, grad)
            forward_and_back(model, x, grad)
            if number in steps:
                edit(model[0].weight)
            touched = (
                list(truth.initial) if edit in (summed, summed_by_assignment) else ["0.weight"]
            )
            truth.step(optimizer, [made], edited=touched if number in steps else ())
    truth.check(recorder.run)
    assert Reason.GRADIENT_ZERO in recorder.run["0.weight"].why.counts
    assert "changed after backward" in recorder.run.report()


def test_transforms_that_change_zeros() -> None:
    """Noise gives entries a gradient whose samples had none: these moved, and nobody says that
    their input was 0.
    """
    model = network()
    optimizer = mg.SGD(model, 0.1, grad_transforms=[mg.GradientNoise(0.1, rng=0)])
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            forward_and_back(model, x, grad)
            optimizer.step()
    assert all(
        {Reason.MOVED: recorder.run[name].size} == recorder.run[name].why.counts
        for name in recorder.run
    )
    assert "was always 0" not in recorder.run["0.weight"].why.at(2, 0)


@pytest.mark.parametrize("transform", [mg.ClipValue(0.1), mg.ClipNorm(0.1)])
def test_transforms_that_keep_zeros(transform: Any) -> None:
    """Clipping changes no reason."""
    model = network()
    optimizer, truth = mg.SGD(model, 0.1, grad_transforms=[transform]), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            plain(model, optimizer, truth, x, grad)
    truth.check(recorder.run)


def test_a_mask_holds_entries() -> None:
    """An entry that a mask holds had gradients and updates of 0, and the sentence names the
    mask.
    """
    model = network()
    moving = np.ones((5, 4), bool)
    moving[0] = False
    optimizer = mg.SGD(model, 0.1, update_transforms=[mg.Mask({"0.weight": moving})])
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            forward_and_back(model, x, grad)
            optimizer.step()
    why = recorder.run["0.weight"].why
    assert [
        Reason.UPDATE_ZERO,
        Reason.UNIT_SILENT,
        Reason.UPDATE_ZERO,
        Reason.UPDATE_ZERO,
    ] == why.reasons[0].tolist()
    assert [Reason.INPUT_ZERO] * 4 == why.reasons[2].tolist()
    assert "Mask" in why.at(0, 0)


# -- values that others write --------------------------------------------------------------------


class Writes(mg.Hook):
    """A constraint as others have it: clips the weights after each step."""

    def __init__(self, model: mg.Sequential) -> None:
        self.model = model

    def on_step(self, event: mg.Step) -> None:
        self.model[0].weight.value = np.clip(self.model[0].weight.value, -0.3, 0.3)


class Regrads(mg.Hook):
    def __init__(self, model: mg.Sequential) -> None:
        self.model = model

    def on_step(self, event: mg.Step) -> None:
        self.model[0].weight.grad = np.full((5, 4), 9.0)


class Notes(mg.Hook):
    """The updates, and the values right after the addition, by this test's own sum."""

    def __init__(self, model: mg.Sequential) -> None:
        self.model = model
        self.updates: list[dict[str, Array]] = []
        self.befores: list[dict[str, Array]] = []

    def before_step(self, event: mg.Step) -> None:
        self.befores.append(
            {name: parameter.value.copy() for name, parameter in self.model.parameters()}
        )
        self.updates.append(dict(event.updates))


@pytest.mark.parametrize("order", ["writer first", "recorder first"])
@pytest.mark.parametrize("keep", [("update",), ()])
def test_a_hook_that_writes_values(order: str, keep: tuple[str, ...]) -> None:
    """In whatever order hooks are attached: the write is none of the step's, it is warned of and
    noted, and replay is true.
    """
    model = network()
    optimizer, notes = mg.SGD(model, 0.5), Notes(model)
    optimizer.attach(notes)
    recorder = mg.Recorder(optimizer, keep=keep)
    if order == "writer first":
        optimizer.attach(Writes(model))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with recorder:
            if order == "recorder first":
                optimizer.attach(Writes(model))
            for x, grad in batches():
                forward_and_back(model, x, grad)
                optimizer.step()
    assert {OutOfBandWrite} == {one.category for one in told}
    run = recorder.run
    assert any("0.weight changed other than by an optimizer" in note for note in run.notes)
    assert not any("2.weight" in note for note in run.notes)
    if keep:
        assert run.verify().mismatch is None
        for step in run.exact_steps:
            for name in run:
                expected = notes.befores[step][name] + notes.updates[step][name]
                assert expected.tobytes() == run[name].value(step).tobytes(), (step, name)
                assert (
                    notes.updates[step][name].tobytes()
                    == np.asarray(run[name].updates[step]).tobytes()
                )


@pytest.mark.parametrize("order", ["writer first", "recorder first"])
def test_a_hook_that_writes_gradients_after_a_step(order: str) -> None:
    """What `on_step` assigns belongs to no step, and changes neither reasons nor kept gradients."""
    model = network()
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    recorder = mg.Recorder(optimizer, coactivation=True, keep=("update", "grad"))
    if order == "writer first":
        optimizer.attach(Regrads(model))
    with recorder:
        if order == "recorder first":
            optimizer.attach(Regrads(model))
        for x, grad in batches():
            plain(model, optimizer, truth, x, grad)
    truth.check(recorder.run)
    assert not any((np.asarray(grad) == 9).any() for grad in recorder.run["0.weight"].grads)


# -- losses --------------------------------------------------------------------------------------


def test_the_loss_that_is_recorded() -> None:
    """It is that of the gradient: whatever the same loss object is asked between, and `step(loss=)`
    comes first.
    """
    x = np.random.default_rng(0).normal(size=(8, 5))
    y = x[:, :3] * 2
    model, loss = network(), mg.MeanSquaredError()
    optimizer = mg.SGD(model, 0.01)
    expected = []

    def backward() -> float:
        value = loss.forward(model(x), y)
        model.backward(loss.backward())
        return float(value)

    def validates() -> None:
        loss.forward(model.predict(x[:2]), y[:2])

    def saliency() -> None:
        loss.forward(model(x[:1]), y[:1])
        model.backward(loss.backward(), parameters=False)

    with mg.Recorder(optimizer, loss=loss) as recorder:
        for between in ((), (validates,), (saliency,), (saliency, validates)):
            expected.append(backward())
            for act in between:
                act()
            optimizer.step()
        backward()
        validates()
        optimizer.step(loss=42.0)
        expected.append(42.0)
        validates()
        expected.append(backward())
        optimizer.step()
    assert expected == [float(value) for value in recorder.run.loss]


@pytest.mark.parametrize("aggregates", [True, False])
def test_the_loss_of_one_model_among_two(aggregates: bool) -> None:
    """One loss object for two models: the recorder of one records the loss of that one."""
    x = np.random.default_rng(0).normal(size=(8, 5))
    one, other, loss = network(), network(), mg.MeanSquaredError()
    optimizer = mg.SGD(one, 0.01)
    with mg.Recorder(optimizer, loss=loss, aggregates=aggregates) as recorder:
        value = loss.forward(one(x), x[:, :3])
        one.backward(loss.backward())
        loss.forward(other(x + 1), x[:, :3])
        other.backward(loss.backward())
        optimizer.step()
    assert [value] == [float(found) for found in recorder.run.loss]
