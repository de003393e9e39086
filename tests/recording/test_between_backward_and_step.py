"""The record is true, whatever stands between backward and step, against a recount."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from case_support import sparse
from recount_support import Act, Truth, batches, forward_and_back, network, plain

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientOverwritten
from minigrad.reason import Reason


def saliency_after(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    made = truth.made_of(x, grad)
    forward_and_back(model, x, grad)
    forward_and_back(model, np.ones((2, 5)), np.ones((2, 3)), parameters=False)
    truth.step(optimizer, [made])


def extra_before(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """A saliency map in the old way, or the generator's backward through D: its gradients are
    overwritten.
    """
    made = truth.made_of(x, grad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradientOverwritten)
        forward_and_back(model, np.ones((2, 5)), np.ones((2, 3)))
        forward_and_back(model, x, grad)
    truth.step(optimizer, [made])


def extra_after_the_step(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    plain(model, optimizer, truth, x, grad)
    forward_and_back(model, np.ones((2, 5)), np.ones((2, 3)))
    mg.ParameterVector.of(model).gradients.forget()


def accumulated(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    parts = [(x[:1], grad[:1]), (x[1:2], grad[1:2]), (x[2:], grad[2:])]
    made = [truth.made_of(*part) for part in parts]
    for part in parts:
        forward_and_back(model, *part, accumulate=True)
    truth.step(optimizer, made)


def refilled(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """The buffers of the batch are filled with the next one before the step."""
    made = truth.made_of(x, grad)
    forward_and_back(model, x, grad)
    x[...], grad[...] = 7, 7
    truth.step(optimizer, [made])


def evaluated(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """Forwards of other data between backward and step, with and without `predict`."""
    made = truth.made_of(x, grad)
    forward_and_back(model, x, grad)
    model(np.ones((3, 5)))
    model.predict(np.ones((3, 5)))
    truth.step(optimizer, [made])
    model.eval()
    model(np.ones((3, 5)))
    model.train()


def part_only(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """The head alone has a backward; the rest gets no gradient in this step."""
    made = truth.made_of(x, grad)
    hidden = np.maximum(x @ model[0].weight.value + model[0].bias.value, 0)
    head = model[2:]
    head(hidden)
    head.backward(grad)
    truth.step(optimizer, [made], reached=("2.weight", "2.bias"))


SCENARIOS: dict[str, Act] = {
    "plain": plain, "saliency after backward": saliency_after, "overwritten": extra_before,
    "a backward after the step": extra_after_the_step, "accumulated": accumulated,
    "refilled in place": refilled,
    "evaluated between": evaluated, "a part alone": part_only,
}  # fmt: skip


@sparse(
    pytest.mark.parametrize("name", SCENARIOS),
    pytest.mark.parametrize("momentum", [0.0, 0.9]),
    every=2,
)
def test_the_record_is_what_happened(name: str, momentum: float) -> None:
    """In every step, and in every other one between plain ones, reasons, samples and values are
    those of the recount.
    """
    for every in (1, 2):
        model = network()
        optimizer, truth = mg.SGD(model, 0.1, momentum=momentum), Truth(model)
        with mg.Recorder(optimizer, coactivation=True) as recorder:
            for number, (x, grad) in enumerate(batches()):
                (SCENARIOS[name] if number % every == 0 else plain)(
                    model, optimizer, truth, x, grad
                )
        truth.check(recorder.run, notes=name == "overwritten")
        if every == 2:
            assert {Reason.INPUT_ZERO, Reason.UNIT_SILENT, Reason.MOVED} == set(
                truth.reasons("0.weight").ravel()
            )
            assert {Reason.CANCELLED, Reason.UNIT_SILENT} <= set(truth.reasons("2.weight").ravel())


def test_a_recount_would_see_a_wrong_record() -> None:
    """The recount differs where something else than what it was told happened, so it can fail."""
    model = network()
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            made = truth.made_of(np.ones_like(x), grad)
            forward_and_back(model, x, grad)
            truth.step(optimizer, [made])
    with pytest.raises(AssertionError):
        truth.check(recorder.run)


# -- recorders that begin late, other optimizers, parts ------------------------------------------


def test_a_recorder_that_starts_between() -> None:
    """A gradient that arrived before nobody has looked at: no statement about inputs and units,
    here and for the run.
    """
    model = network()
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    recorder = mg.Recorder(optimizer, coactivation=True)
    for number, (x, grad) in enumerate(batches()):
        made = truth.made_of(x, grad)
        forward_and_back(model, x, grad)
        if number == 0:
            recorder.start()
        truth.step(optimizer, [made], edited=truth.initial)
    recorder.stop()
    truth.check(recorder.run)
    assert "arrived before it was recorded" in recorder.run.report()


@pytest.mark.parametrize("first", ["the other", "this one"])
def test_two_optimizers_over_one_model(first: str) -> None:
    """The other's steps are writes by an optimizer, named, from the first on, and no step of this
    run.
    """
    model = network()
    this, other = mg.SGD(model, 0.1), mg.Adam(model, 0.01)
    mine = []
    with mg.Recorder(this, keyframe_every=2) as recorder:  # warnings are errors here
        for number, (x, grad) in enumerate(batches(6)):
            optimizer = other if (number % 2 == 0) == (first == "the other") else this
            forward_and_back(model, x, grad)
            optimizer.step()
            if optimizer is this:
                mine.append(model[0].weight.value.copy())
    run = recorder.run
    assert 3 == len(run.steps)
    assert run.verify().mismatch is None
    assert [value.tobytes() for value in mine] == [
        run["0.weight"].value(step).tobytes() for step in run.steps
    ]
    assert run.notes
    assert all("by Adam over 0.weight ... 2.bias" in note for note in run.notes)


def test_a_recorder_of_a_part() -> None:
    """An optimizer of the head alone: its run has the model's names, and the backward of the whole
    explains it.
    """
    model = network()
    optimizer, truth = mg.SGD(model[2:], 0.1), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            made = truth.made_of(x, grad)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", GradientOverwritten)
                forward_and_back(model, x, grad)
            truth.step(optimizer, [made])
    run = recorder.run
    assert ["2.weight", "2.bias"] == list(run)
    for name in run:
        assert truth.reasons(name).tolist() == run[name].why.reasons.tolist()
    assert "2.weight[" in run["2.weight"].why.at(1, 0)
